// Keeps the page for use without a network, and isolates it, so that the model may use threads.
// The export puts a line before this one: const SITE = {version, policy, files}.

const OWN = `mrnn-page ${registration.scope} `;
const CACHE = OWN + SITE.version;

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SITE.files.map((file) => new Request(file, { cache: "reload" })));
  await skipWaiting();
}

async function activate() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(OWN) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

async function answer(request) {
  if (new URL(request.url).pathname.endsWith(".wasm")) { // as it came: so the browser keeps its compiled code
    return await caches.match(request) ?? fetch(request);
  }
  const cache = await caches.open(CACHE);
  const response = await cache.match(request, { ignoreSearch: true })
    ?? await caches.match(request) // loaders of ONNX Runtime, beside the model
    ?? await fetch(request);
  if (response.status !== 200) return response;
  const headers = new Headers(response.headers);
  headers.delete("Content-Encoding"); // the body is decoded already
  headers.delete("Content-Length");
  headers.set("Content-Security-Policy", SITE.policy);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: 200, headers });
}
