// The real JavaScript client behind a line protocol, for tests.
//
//   node peer.mjs [options] <dir> <ledger> <script.json | ->     runs a list of operations
//   node peer.mjs [options] <dir> <ledger> --serve               answers requests until stdin ends
//
// A request is {"op": name, …arguments}, in --serve one a line. Each is answered by one line
// {"op", "ok": true, "value": …} or {"op", "ok": false, "error": text}, in order.
// Everything else, the client's own log included, goes to stderr.
//
// Options: --keybag DIR (default <dir>/keybag), --storekey KEY, --timeout MS (of one operation)
// Exit codes: 0 all operations succeeded, 1 one failed (a script stops there unless it has
// "mayFail": true), 2 bad usage, 3 an operation took too long. SIGKILL: it blocked the process.
import fs from "node:fs";
import readline from "node:readline";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";

const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);
const { Client } = await import("./client.mjs");

const EXIT = { ok: 0, failed: 1, usage: 2, timeout: 3 };
// The client leaves promises unhandled when a remote fails; that must not end the process.
process.on("unhandledRejection", (error) => console.error("unhandled rejection:", error));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    keybag: { type: "string" },
    storekey: { type: "string" },
    timeout: { type: "string", default: "30000" },
    serve: { type: "boolean", default: false },
  },
});
const [dir, ledger, script] = positionals;
if (!dir || !ledger || (!script && !options.serve)) {
  console.error("usage: peer.mjs [--keybag DIR] [--storekey KEY] [--timeout MS] <dir> <ledger> <script.json | - | --serve>");
  process.exit(EXIT.usage);
}
const timeoutMs = Number(options.timeout);
const client = new Client({ dir, ledger, keybag: options.keybag, storekey: options.storekey });
const watchdog = startWatchdog();

if (options.serve) await serve();
else await runScript(JSON.parse(fs.readFileSync(script === "-" ? 0 : script, "utf8")));

async function runScript(requests) {
  for (const request of requests) {
    const answer = await perform(request);
    send(answer);
    if (!answer.ok && !request.mayFail) await end(answer.timeout ? EXIT.timeout : EXIT.failed);
  }
  const closed = await perform({ op: "close" });
  if (!closed.ok) send(closed);
  await end(closed.ok ? EXIT.ok : EXIT.failed);
}

async function serve() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line.trim()) send(await performLine(line));
  }
  const closed = await perform({ op: "close" });
  await end(closed.ok ? EXIT.ok : EXIT.failed);
}

async function performLine(line) {
  try {
    return await perform(JSON.parse(line));
  } catch (error) {
    return { ok: false, error: String(error) };
  }
}

async function perform(request) {
  const about = { op: request.op };
  const limitMs = request.timeoutMs ?? timeoutMs;
  watchdog.start(limitMs);
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ ...about, ok: false, timeout: true, error: `no result within ${limitMs} ms` }), limitMs);
  });
  const done = (async () => ({ ...about, ok: true, value: await client.run(request) }))().catch((error) => ({
    ...about,
    ok: false,
    error: error?.message ?? String(error),
  }));
  try {
    return await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
    watchdog.stop();
  }
}

function send(answer) {
  write(JSON.stringify(answer) + "\n");
}

// An answer may have several hundred kilobytes: wait until the pipe took them.
function end(code) {
  return new Promise(() => write("", () => process.exit(code)));
}

// The client can spin without ever returning to the event loop, where no timer fires. A second
// thread then says so in one more line and ends the process.
function startWatchdog() {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const code = `
    const { workerData: shared } = require("node:worker_threads");
    let seen = -1, waitedMs = 0;
    setInterval(() => {
      const [round, limitMs] = [Atomics.load(shared, 0), Atomics.load(shared, 1)];
      waitedMs = round === seen && limitMs > 0 ? waitedMs + 250 : 0;
      seen = round;
      if (limitMs === 0 || waitedMs <= limitMs + 2000) return;
      require("node:fs").writeSync(1, JSON.stringify({ ok: false, timeout: true, error: "the client blocks the process" }) + "\\n");
      process.kill(process.pid, "SIGKILL");
    }, 250);`;
  const worker = new Worker(code, { eval: true, workerData: shared });
  worker.unref();
  return {
    start(limitMs) {
      Atomics.add(shared, 0, 1);
      Atomics.store(shared, 1, limitMs);
    },
    stop() {
      Atomics.store(shared, 1, 0);
    },
  };
}
