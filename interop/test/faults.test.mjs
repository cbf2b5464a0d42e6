// What this client gets wrong on its own, without Firebrick anywhere near. The tests beside the
// library lean on these: where the client is at fault, it is so here, too. A test that fails after
// an update of the client means that a fault is gone.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Client } from "../client.mjs";
import { Open, cars, ids, script, temporaryDirectory, values } from "./support.mjs";

const keyFile = (dir, ledger) => path.join(dir, "keybag", `_${ledger}_data_.json`);
const failing = async (...args) => (await script(...args)).answers.at(-1);

test("two processes on one directory lose what the other one wrote", async (t) => {
  const dir = temporaryDirectory(t);
  await values(dir, "shared", [{ op: "put", doc: { _id: "base" } }]);
  const left = new Open(t, dir, "shared");
  const right = new Open(t, dir, "shared");
  await left.ask({ op: "open" });
  await right.ask({ op: "open" });
  for (let i = 0; i < 3; i++) {
    await left.ask({ op: "put", doc: { _id: `left-${i}` } });
    await right.ask({ op: "put", doc: { _id: `right-${i}` } });
  }
  await left.end();
  await right.end();
  const [rows] = await values(dir, "shared", [{ op: "allDocs" }]);
  assert.deepEqual(ids(rows), ["base", "right-0", "right-1", "right-2"]);
});

test("an open process never sees what another one wrote, and overwrites it", async (t) => {
  const dir = temporaryDirectory(t);
  const open = new Open(t, dir, "shared");
  await open.ask({ op: "put", doc: { _id: "first" } });
  await open.ask({ op: "idle" });
  await values(dir, "shared", [{ op: "put", doc: { _id: "other" } }]);
  assert.deepEqual(ids(await open.ask({ op: "allDocs" })), ["first"]);
  await open.ask({ op: "put", doc: { _id: "second" } });
  await open.end();
  assert.deepEqual(ids((await values(dir, "shared", [{ op: "allDocs" }]))[0]), ["first", "second"]);
});

test("its second compaction deletes cars that another process still needs", async (t) => {
  const dir = temporaryDirectory(t);
  const open = new Open(t, dir, "shared");
  await open.ask({ op: "puts", docs: [{ _id: "a" }, { _id: "b" }] });
  await open.ask({ op: "idle" });
  const other = new Open(t, dir, "shared");
  await other.ask({ op: "open" });
  const before = cars(dir, "shared");
  await open.ask({ op: "compact" });
  assert.deepEqual(before.filter((car) => !cars(dir, "shared").includes(car)), [], "the first one deletes nothing");
  await open.ask({ op: "put", doc: { _id: "c" } });
  await open.ask({ op: "compact" });
  assert.deepEqual(before.filter((car) => cars(dir, "shared").includes(car)), [], "the second one deletes what the first replaced");
  await other.ask({ op: "put", doc: { _id: "d" } });
  await open.end();
  await other.end();
  assert.match((await failing(dir, "shared", [{ op: "allDocs" }])).error, /missing (linked )?block/i);
});

test("a write during a compaction makes the ledger unreadable", async (t) => {
  const dir = temporaryDirectory(t);
  const [, , rows] = await values(dir, "one", [
    { op: "puts", docs: Array.from({ length: 8 }, (_, i) => ({ _id: `k${i}` })) },
    { op: "compactDuring", doc: { _id: "during" } },
    { op: "allDocs" },
  ]);
  assert.equal(rows.length, 9);
  const { code, answers } = await script(dir, "one", [{ op: "allDocs" }]);
  assert.ok(code !== 0 || answers[0].value.length < 9, "nine documents were there before the reopen");
});

test("what was written before attaching never reaches the remote", async (t) => {
  const dir = temporaryDirectory(t);
  const insecure = ["--storekey", "insecure"];
  await values(dir, "early", [{ op: "put", doc: { _id: "before" } }, { op: "attach", url: dir, name: "hub" }, { op: "put", doc: { _id: "after" } }, { op: "idle" }], ...insecure);
  const attach = { op: "attach", url: dir, name: "hub" };
  assert.match((await failing(dir, "other", [attach, { op: "allDocs" }], ...insecure)).error, /missing (linked )?block/i);
  // It goes up when the writer was reopened before it attaches.
  await values(dir, "early", [{ op: "open" }, attach, { op: "idle" }], ...insecure);
  assert.deepEqual(ids((await values(dir, "third", [attach, { op: "allDocs" }], ...insecure))[1]), ["after", "before"]);
});

test("the first sync into an empty ledger reaches no subscriber", async (t) => {
  const dir = temporaryDirectory(t);
  const insecure = ["--storekey", "insecure"];
  await values(dir, "hub", [{ op: "put", doc: { _id: "a" } }], ...insecure);
  const [, , , rows, calls] = await values(dir, "empty", [{ op: "open" }, { op: "subscribe" }, { op: "attach", url: dir, name: "hub" }, { op: "allDocs" }, { op: "collect" }], ...insecure);
  assert.deepEqual(ids(rows), ["a"]);
  assert.deepEqual(calls, []);
});

test("a missing newest car opens as an empty ledger, without an error", async (t) => {
  const dir = temporaryDirectory(t);
  const [, [[newest]]] = await values(dir, "one", [{ op: "put", doc: { _id: "a" } }, { op: "carLog" }]);
  fs.rmSync(path.join(dir, "one", "data", `${newest}.car`));
  assert.deepEqual((await values(dir, "one", [{ op: "allDocs" }]))[0], []);
});

test("a missing key opens as an empty ledger, without an error", async (t) => {
  const dir = temporaryDirectory(t);
  await values(dir, "one", [{ op: "put", doc: { _id: "a" } }]);
  fs.rmSync(keyFile(dir, "one"));
  assert.deepEqual((await values(dir, "one", [{ op: "allDocs" }]))[0], []);
});

test("a key file without a default key: it writes with a key that it throws away", async (t) => {
  const dir = temporaryDirectory(t);
  await values(dir, "one", [{ op: "put", doc: { _id: "a" } }]);
  const keys = JSON.parse(fs.readFileSync(keyFile(dir, "one"), "utf8"));
  for (const key of Object.values(keys.item.keys)) key.default = false;
  fs.writeFileSync(keyFile(dir, "one"), JSON.stringify(keys));
  await values(dir, "one", [{ op: "put", doc: { _id: "b" } }]);
  assert.deepEqual((await values(dir, "one", [{ op: "allDocs" }]))[0], []);
});

test("after a file was read, it cannot attach", async (t) => {
  const dir = temporaryDirectory(t);
  const insecure = ["--storekey", "insecure"];
  const file = { $file: { text: "not cbor", type: "text/plain" } };
  const { error } = await failing(dir, "one", [{ op: "put", doc: { _id: "f", _files: { file } } }, { op: "reopen" }, { op: "file", id: "f", name: "file" }, { op: "attach", url: dir, name: "hub" }], ...insecure);
  assert.match(error, /FileFPBlock/);
});

test("a value that comes back in a merge makes every document unreadable", async (t) => {
  const dir = temporaryDirectory(t);
  const insecure = ["--storekey", "insecure"];
  const attach = { op: "attach", url: dir, name: "hub" };
  const put = (_id, done) => ({ op: "put", doc: { _id, done } });
  await values(dir, "left", [put("task-1", false), put("task-2", false)], ...insecure);
  await values(dir, "left", [attach, { op: "idle" }], ...insecure);
  await values(dir, "right", [attach, { op: "idle" }], ...insecure);
  // Apart: one ticks a task twice, the other one adds a task beside it.
  await values(dir, "left", [put("task-1", true), put("task-1", false), put("task-1", true)], ...insecure);
  await values(dir, "right", [put("task-3", false), put("x", 1), put("y", 2), put("z", 3)], ...insecure);
  await values(dir, "right", [attach, { op: "idle" }], ...insecure);
  const answer = await failing(dir, "left", [{ op: "open" }, attach, { op: "allDocs" }], ...insecure);
  assert.match(answer.error ?? "no error", /missing (linked )?block/i);
});

test("an index that was left by another session can answer with rows that are gone", async (t) => {
  const dir = temporaryDirectory(t);
  const query = { op: "query", field: "n" };
  await values(dir, "one", [{ op: "bulk", docs: [{ _id: "a", n: 1 }, { _id: "b", n: 2 }] }, query]);
  // Compacted, so that the documents are always read before the index: the other way round it is rebuilt.
  await values(dir, "one", [{ op: "put", doc: { _id: "a", n: 10 } }, { op: "del", id: "b" }, { op: "compact" }]);
  const rows = (await values(dir, "one", [query]))[0].map(({ key, id }) => [key, id]);
  // A race inside the client: mostly the rows of before are still there, now and then it gets it right.
  const right = [[10, "a"]];
  const stale = [[1, "a"], [2, "b"], ...right];
  assert.deepEqual(rows, rows.length === 1 ? right : stale);
  // It is built anew when its pointer is gone.
  fs.rmSync(path.join(dir, "one", "idx-meta", "main.json"));
  const rebuilt = (await values(dir, "one", [query]))[0].map(({ key, id }) => [key, id]);
  assert.deepEqual(rebuilt, right);
});

test("a query that runs while documents arrive finds nothing", async (t) => {
  const dir = temporaryDirectory(t);
  const reader = new Client({ dir, ledger: "reader" });
  await reader.put({ doc: { _id: "a", n: 1 } });
  const count = async () => (await reader.db.query("n")).rows.length;
  assert.equal(await count(), 1);
  const found = new Set();
  for (let steps = 0; steps < 200; steps++) {
    const running = count();
    for (let n = 0; n < steps; n++) await null;
    // What its clock does at the end of each merge: all indexes start anew.
    await reader.db.ledger.crdt.clock.processUpdates([], true, []);
    found.add(await running);
  }
  assert.deepEqual([...found].sort(), [0, 1]);
  assert.equal(await count(), 1);
  await reader.close();
});
