// The API for people, from openapi.json.
import { byId, el } from "./dom.js";

const response = await fetch("openapi.json");
const api = await response.json();
if (response.ok) {
  byId("about").textContent = `${api.info.description} Version ${api.info.version}. Errors are problem documents (RFC 9457) whose detail is one line.`;
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) byId("operations").append(described(path, method, operation));
  }
} else {
  byId("about").textContent = api.detail;
}
document.documentElement.dataset.ready = "yes";

function described(path, method, { summary, description, parameters = [], requestBody, responses }) {
  const parts = [el("pre", { tabIndex: 0 }, el("code", {}, curl(path, method, requestBody)))];
  if (description) parts.unshift(el("p", {}, description));
  if (parameters.length) parts.push(table(["Parameter", "Type", "Default", "Meaning"], parameters.map(parameterRow)));
  parts.push(table(["Answer", "As", "Meaning"], Object.entries(responses).map(([status, answer]) =>
    [status, Object.keys(answer.content ?? {}).join(", "), answer.description])));
  const title = el("summary", {}, el("code", {}, `${method.toUpperCase()} ${path}`), ` ${summary}`);
  return el("details", { className: "panel operation" }, title, el("div", { className: "stack inside" }, parts));
}

function parameterRow({ name, description, schema }) {
  const standard = schema.default === undefined ? "" : JSON.stringify(schema.default);
  return [name, schema.enum?.join(" or ") ?? schema.type, standard, description];
}

function curl(path, method, body) {
  const address = `${location.origin}${path.replace("{id}", "ID")}`;
  if (!body) return method === "get" && path === "/v1/search" ? `curl --get ${address} --data-urlencode "q=a red car"` : `curl ${address}`;
  if (body.content["multipart/form-data"]) {
    return `curl --data-binary @photo.jpg "${address}?name=photo.jpg"\ncurl --form photo=@one.jpg --form photo=@two.jpg --form n_best=3 ${address}`;
  }
  return `curl --data-binary @photo.jpg ${address}`;
}

function table(head, rows) {
  const line = (tag, row) => el("tr", {}, row.map((text) => el(tag, {}, text)));
  const whole = el("table", {}, el("thead", {}, line("th", head)), el("tbody", {}, rows.map((row) => line("td", row))));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": head[0] }, whole);
}
