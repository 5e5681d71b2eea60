// JSON Merge Patch (RFC 7396). What a patch does not name keeps its identity, so that it is not drawn again.

type Json = unknown;

const isObject = (value: Json): value is Record<string, Json> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function merge<T>(document: T, patch: Json): T {
  return mergeAny(document, patch) as T;
}

function mergeAny(document: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: Record<string, Json> = isObject(document) ? { ...document } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergeAny(merged[key], value);
  }
  return merged;
}
