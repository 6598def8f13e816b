// Whether this computer's GPU can run the image encoders, and computes what the model expects.

/** By which features of an encoder may differ, as a part of their length; captions stay the same. */
export const MOST_APART = 1e-3;

/**
 * A name of the GPU; "" where there is none, or only software that acts as one.
 * @param {string | null} asked "any" takes software too, "no" takes none
 */
export async function gpuName(asked) {
  if (asked === "no") return "";
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "";
  const { vendor, architecture, isFallbackAdapter } = adapter.info;
  if ((isFallbackAdapter ?? adapter.isFallbackAdapter) && asked !== "any") return "";
  return `${vendor} ${architecture}`.trim() || "GPU";
}

/** The largest distance between the features of an encoder and those expected, by the length of the latter. */
export function distance(features, expected, encoders) {
  let start = 0;
  const distances = encoders.map(({ feature_size: size }) => {
    let squares = 0, all = 0;
    for (let place = start; place < start + size; place++) {
      squares += (features[place] - expected[place]) ** 2;
      all += expected[place] ** 2;
    }
    start += size;
    return all ? Math.sqrt(squares / all) : squares;
  });
  return distances.every((each) => each >= 0) ? Math.max(...distances) : Infinity; // NaN is no distance
}
