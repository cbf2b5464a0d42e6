// The line protocol itself: values, errors, deadlines.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fromJson, toJson } from "../values.mjs";
import { Open, ids, script, temporaryDirectory, values } from "./support.mjs";

test("values keep their types over the JSON notation", () => {
  const notation = {
    bytes: { "/": { bytes: "AQID" } },
    link: { "/": "bafyreibxibqhi6wh5klrje7ne4htffeqyyqfd6y7x2no6wnhid4nixizau" },
    big: { $bigint: "1234567890123456789" },
    list: [null, true, 1.5, { nested: "text" }],
  };
  assert.deepEqual(toJson(fromJson(notation)), notation);
});

test("a script runs every operation and leaves a readable ledger", async (t) => {
  const dir = temporaryDirectory(t);
  const document = { _id: "a", v: 1, bytes: { "/": { bytes: "AQID" } }, big: { $bigint: "1234567890123456789" } };
  const file = { text: "hello world", type: "text/plain", lastModified: 5 };
  const results = await values(dir, "one", [
    { op: "put", doc: document },
    { op: "bulk", docs: [{ _id: "b", v: 2 }, { _id: "c", v: 3 }] },
    { op: "subscribe" },
    { op: "concurrent", docs: [{ _id: "d", v: 4 }, { _id: "e", v: 5 }] },
    { op: "collect", count: 2 },
    { op: "del", id: "b" },
    { op: "get", id: "b" },
    { op: "put", doc: { _id: "f", _files: { greeting: { $file: file } } } },
    { op: "update", id: "f", set: { more: true } },
    { op: "file", id: "f", name: "greeting" },
    { op: "compact" },
    { op: "reopen" },
    { op: "get", id: "a" },
    { op: "allDocs", includeDeleted: true },
    { op: "changes", limit: 2 },
    { op: "query", map: "(doc, emit) => { emit(doc.v, doc._id) }", opts: { descending: true, limit: 2 } },
    { op: "query", field: "v", opts: { key: 3 } },
    { op: "state" },
  ]);
  const result = (op, nth = 0) => results[[...OPERATIONS.entries()].filter(([, name]) => name === op)[nth][0]];
  assert.deepEqual(result("collect").flat().map((doc) => doc._id).sort(), ["d", "e"]);
  assert.equal(result("get"), null);
  assert.deepEqual(result("get", 1), document);
  assert.equal(result("file").length, file.text.length);
  assert.deepEqual(ids(result("allDocs")), ["a", "b", "c", "d", "e", "f"]);
  assert.equal(result("changes").length, 2);
  assert.deepEqual(result("query").map((row) => row.key), [5, 4]);
  assert.deepEqual(result("query", 1).map((row) => row.id), ["c"]);
  assert.deepEqual(result("state").deleted, ["b"]);
});
const OPERATIONS = ["put", "bulk", "subscribe", "concurrent", "collect", "del", "get", "put", "update", "file", "compact", "reopen", "get", "allDocs", "changes", "query", "query", "state"];

test("errors are answers, and end a script unless it expects them", async (t) => {
  const dir = temporaryDirectory(t);
  const { code, answers } = await script(dir, "one", [
    { op: "nonsense", mayFail: true },
    { op: "put", doc: { _id: "ünprintable" } },
    { op: "allDocs" },
  ]);
  assert.equal(code, 1);
  assert.deepEqual(answers.map((answer) => answer.ok), [false, false]);
  assert.match(answers[0].error, /unknown operation/);
});

test("an operation that takes too long is reported", async (t) => {
  const dir = temporaryDirectory(t);
  const { code, answers } = await script(dir, "one", [{ op: "subscribe" }, { op: "collect", count: 1, timeoutMs: 50 }]);
  assert.equal(code, 3);
  assert.equal(answers.at(-1).timeout, true);
});

test("an open process answers line by line", async (t) => {
  const dir = temporaryDirectory(t);
  const peer = new Open(t, dir, "one");
  await peer.ask({ op: "put", doc: { _id: "a" } });
  await assert.rejects(peer.ask({ op: "nonsense" }), /unknown operation/);
  assert.deepEqual(ids(await peer.ask({ op: "allDocs" })), ["a"]);
  assert.equal(await peer.end(), 0);
  assert.ok(fs.existsSync(path.join(dir, "one", "meta", "main.json")));
});
