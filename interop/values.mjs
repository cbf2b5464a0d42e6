// JSON notation of document values, the same that the golden fixtures use:
// bytes {"/":{"bytes":base64}}, links {"/":cid}, big integers {"$bigint":text}.
// Inputs may also hold {"$date":iso}, {"$undefined":true}, {"$nan":true} and
// {"$file":{text|bytes|fill,type,name,lastModified}}.
import { CID } from "multiformats/cid";

const base64 = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

// Functions (a file's `file()`) have no JSON form and are left out.
export function toJson(value) {
  if (value === undefined) return { $undefined: true };
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isNaN(value) ? { $nan: true } : value;
  if (typeof value === "bigint") return { $bigint: value.toString() };
  if (typeof value === "function") return undefined;
  if (value instanceof Uint8Array) return { "/": { bytes: base64(value) } };
  if (value instanceof Date) return { $date: value.toISOString() };
  const cid = CID.asCID(value);
  if (cid) return { "/": cid.toString() };
  if (Array.isArray(value)) return value.map(toJson);
  return mapEntries(value, toJson);
}

export function fromJson(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(fromJson);
  const keys = Object.keys(value);
  if (keys.length === 1) {
    const inner = value[keys[0]];
    switch (keys[0]) {
      case "/":
        return typeof inner === "string" ? CID.parse(inner) : new Uint8Array(Buffer.from(inner.bytes, "base64"));
      case "$bigint":
        return BigInt(inner);
      case "$date":
        return new Date(inner);
      case "$undefined":
        return undefined;
      case "$nan":
        return NaN;
      case "$file":
        return toFile(inner);
    }
  }
  return mapEntries(value, fromJson);
}

function mapEntries(object, each) {
  const out = {};
  for (const [key, value] of Object.entries(object)) {
    if (typeof value !== "function") out[key] = each(value);
  }
  return out;
}

function toFile({ text, bytes, fill, name = "file", type = "", lastModified = 0 }) {
  const content = text ?? (fill ? new Uint8Array(fill.length).fill(fill.value) : Buffer.from(bytes, "base64"));
  return new File([content], name, { type, lastModified });
}
