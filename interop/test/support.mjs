// Starts peers for the tests of this folder.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const PEER = fileURLToPath(new URL("../peer.mjs", import.meta.url));

export function temporaryDirectory(test) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "firebrick-interop-"));
  test.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

// Runs a script in a process of its own; answers and exit code.
export async function script(dir, ledger, requests, ...options) {
  const child = spawn(process.execPath, [PEER, ...options, dir, ledger, "-"]);
  child.stdin.end(JSON.stringify(requests));
  return finished(child);
}

// The values of a script's answers; fails if one operation did.
export async function values(dir, ledger, requests, ...options) {
  const { code, answers, log } = await script(dir, ledger, requests, ...options);
  if (code !== 0) throw new Error(`peer ended with ${code}: ${JSON.stringify(answers.at(-1))}\n${log}`);
  return answers.map((answer) => answer.value);
}

async function finished(child) {
  const log = [];
  child.stderr.on("data", (data) => log.push(data));
  const answers = [];
  for await (const line of readline.createInterface({ input: child.stdout })) answers.push(JSON.parse(line));
  const code = child.exitCode ?? (await new Promise((resolve) => child.on("exit", (status, signal) => resolve(status ?? signal))));
  return { code, answers, log: Buffer.concat(log).toString() };
}

// A process that stays open.
export class Open {
  constructor(test, dir, ledger, ...options) {
    this.child = spawn(process.execPath, [PEER, ...options, dir, ledger, "--serve"], { stdio: ["pipe", "pipe", "ignore"] });
    this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    test.after(() => this.child.kill("SIGKILL"));
  }

  async ask(request) {
    this.child.stdin.write(JSON.stringify(request) + "\n");
    const { value: line } = await this.lines.next();
    const answer = JSON.parse(line);
    if (!answer.ok) throw new Error(answer.error);
    return answer.value;
  }

  async end() {
    this.child.stdin.end();
    if (this.child.exitCode === null) await new Promise((resolve) => this.child.on("exit", resolve));
    return this.child.exitCode;
  }
}

export const ids = (rows) => rows.map((row) => row.key);
export const cars = (dir, ledger) => fs.readdirSync(path.join(dir, ledger, "data")).filter((name) => name.endsWith(".car"));
