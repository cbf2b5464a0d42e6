// Drives the real client: one method per operation that a test can ask for.
import path from "node:path";
import { createHash } from "node:crypto";
import { fireproof } from "@fireproof/core";
import { get as pailGet } from "@web3-storage/pail";
import { root as pailRoot } from "@web3-storage/pail/crdt";
import { CID } from "multiformats/cid";
import { fromJson, toJson } from "./values.mjs";

// The client enumerates all paths of the clock, so wide bursts of writes exhaust its memory.
const MAX_CONCURRENT_PUTS = 19;

export class Client {
  // `dir` holds the directory of the ledger; `keybag` the directory of the key files.
  constructor({ dir, ledger, keybag = path.join(dir, "keybag"), storekey }) {
    this.config = { dir: path.resolve(dir), ledger, keybag: path.resolve(keybag), storekey };
    this.collected = new Map();
    this.attached = new Map();
  }

  run(request) {
    const { op } = request;
    if (!OPERATIONS.has(op)) throw new Error(`unknown operation: ${op}`);
    return this[op](request);
  }

  get db() {
    this.database ??= this.#open();
    return this.database;
  }

  #open() {
    const { dir, ledger, keybag, storekey } = this.config;
    const base = `file://${dir}${storekey ? `?storekey=${encodeURIComponent(storekey)}` : ""}`;
    const database = fireproof(ledger, { storeUrls: { base }, keyBag: { url: `file://${keybag}` } });
    if (this.config.autoCompact !== undefined) {
      database.ledger.crdt.blockstore.ebOpts.autoCompact = this.config.autoCompact;
    }
    return database;
  }

  // Opening is lazy in the client; this forces it and says where the ledger stands.
  async open({ autoCompact, ...config } = {}) {
    if (autoCompact !== undefined) this.config.autoCompact = autoCompact;
    for (const key of ["dir", "ledger", "keybag", "storekey"]) {
      if (config[key] !== undefined) this.config[key] = config[key];
    }
    await this.db.ready();
    return this.head();
  }

  async close() {
    await this.database?.close();
    this.database = undefined;
    this.collected.clear();
    this.attached.clear();
    return null;
  }

  async reopen(request) {
    await this.close();
    return this.open(request);
  }

  async destroy() {
    await this.db.destroy();
    return null;
  }

  // ---- writing ----

  async put({ doc }) {
    const { id, clock } = await this.db.put(fromJson(doc));
    return { id, clock: clock.map(String) };
  }

  async bulk({ docs }) {
    const { ids, clock } = await this.db.bulk(docs.map(fromJson));
    return { ids, clock: clock.map(String) };
  }

  // All puts at once: the way to make this client end with several heads.
  async concurrent({ docs }) {
    if (docs.length > MAX_CONCURRENT_PUTS) throw new Error(`at most ${MAX_CONCURRENT_PUTS} concurrent puts`);
    const done = await Promise.all(docs.map((doc) => this.db.put(fromJson(doc))));
    return { ids: done.map((d) => d.id), clock: done.at(-1).clock.map(String) };
  }

  // Puts one after the other, in one request.
  async puts({ docs }) {
    for (const doc of docs) await this.db.put(fromJson(doc));
    return this.head();
  }

  async del({ id }) {
    const { clock } = await this.db.del(id);
    return { id, clock: clock.map(String) };
  }

  // Reads a document, sets fields and puts it again, files included.
  async update({ id, set }) {
    const { clock } = await this.db.put({ ...(await this.db.get(id)), ...fromJson(set) });
    return { id, clock: clock.map(String) };
  }

  async compact() {
    await this.db.compact();
    return this.carLog();
  }

  // A put while a compaction runs.
  async compactDuring({ doc }) {
    await Promise.all([this.db.compact(), this.db.put(fromJson(doc))]);
    return this.carLog();
  }

  // ---- reading ----

  // The client turns every failure of a get into "Not found"; only a real absence becomes null here.
  async get({ id }) {
    try {
      return toJson(await this.db.get(id));
    } catch (error) {
      if (error.message === `Not found: ${id} - Not found: ${id}`) return null;
      throw error;
    }
  }

  async gets({ ids }) {
    const docs = {};
    for (const id of ids) docs[id] = await this.get({ id });
    return docs;
  }

  async allDocs({ includeDeleted, limit } = {}) {
    const { rows } = await this.db.allDocs({ includeDeleted, limit });
    return rows.map(({ key, value }) => ({ key, value: toJson(value) }));
  }

  async changes({ since = [], limit } = {}) {
    const { rows } = await this.db.changes(since.map((c) => CID.parse(c)), limit === undefined ? {} : { limit });
    return rows.map(({ key, value, clock }) => ({ key, value: toJson(value), clock: String(clock) }));
  }

  // `map` is the source of a map function, `field` the name of a field.
  async query({ field, map, opts = {} }) {
    const index = map ? (0, eval)(`(${map})`) : field;
    await this.db.ready();
    // Documents that come from elsewhere reset all indexes; a query that runs then finds nothing.
    let resets = 0;
    const stop = this.db.ledger.crdt.clock.onZoom(() => resets++);
    let rows;
    let before;
    do {
      before = resets;
      ({ rows } = await this.db.query(index, fromJson(opts)));
    } while (resets !== before);
    stop();
    return rows.map(({ id, key, value, doc }) => ({ id, key: toJson(key), value: toJson(value), ...(doc ? { doc: toJson(doc) } : {}) }));
  }

  // Collects what a subscriber is told from now on; `collect` hands it out.
  async subscribe({ name = "default", updates = true } = {}) {
    await this.db.ready();
    const calls = [];
    this.collected.set(name, calls);
    this.db.subscribe((docs) => void calls.push(docs.map(toJson)), updates);
    return null;
  }

  // Waits until at least `count` documents were reported.
  async collect({ name = "default", count = 0 } = {}) {
    const calls = this.collected.get(name);
    if (!calls) throw new Error(`no subscription ${name}`);
    while (calls.flat().length < count) await new Promise((resolve) => setTimeout(resolve, 5));
    return calls.splice(0);
  }

  async file({ id, name, public: isPublic = false }) {
    const doc = await this.db.get(id);
    const meta = doc[isPublic ? "_publicFiles" : "_files"]?.[name];
    if (!meta) throw new Error(`document ${id} has no file ${name}`);
    const bytes = new Uint8Array(await (await meta.file()).arrayBuffer());
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { cid: String(meta.cid), car: meta.car.map(String), type: meta.type, size: meta.size, length: bytes.length, sha256 };
  }

  // ---- where the ledger stands ----

  async head() {
    await this.db.ready();
    return this.db.ledger.crdt.clock.head.map(String);
  }

  async carLog({ index } = {}) {
    await this.db.ready();
    const { crdt } = this.db.ledger;
    return crdt[index ? "indexBlockstore" : "blockstore"].loader.carLog.asArray().map((group) => group.map(String));
  }

  // The root that the head stands for, without reading on.
  async root() {
    await this.db.ready();
    const { blockstore, clock } = this.db.ledger.crdt;
    const { root } = await pailRoot({ get: async (cid) => (await blockstore.get(cid)) || undefined }, clock.head);
    return String(root);
  }

  // The resolved root and the document CID of every id: what "equal" means between implementations.
  async state() {
    await this.db.ready();
    const { blockstore, clock } = this.db.ledger.crdt;
    const stored = { get: async (cid) => (await blockstore.get(cid)) || undefined };
    const { root, additions } = await pailRoot(stored, clock.head);
    const merged = new Map(additions.map((block) => [String(block.cid), block]));
    const blocks = { get: async (cid) => merged.get(String(cid)) ?? stored.get(cid) };
    const { rows } = await this.db.allDocs({ includeDeleted: true });
    const docs = {};
    for (const { key } of rows) docs[key] = String(await pailGet(blocks, root, key));
    return {
      head: clock.head.map(String),
      root: String(root),
      docs,
      deleted: rows.filter(({ value }) => value._deleted).map(({ key }) => key),
    };
  }

  // ---- remotes ----

  // `url` is a directory that holds the remote's directory `name`, or any other URL of a store.
  async attach({ url, name, storekey }) {
    const key = storekey ?? this.config.storekey ?? `@${this.config.ledger}-data@`;
    const base = url.includes("://") ? url : `file://${path.resolve(url)}`;
    const store = () => ({ url: `${base}?selfReflect=x&storekey=${encodeURIComponent(key)}` });
    const remote = { name, configHash: () => `${base}/${name}`, prepare: async () => ({ car: store(), meta: store(), file: store() }) };
    this.attached.set(name, await this.db.attach(remote));
    return this.head();
  }

  // A sync server. The client waits for ever for one that refuses its token: that is `false` here.
  async attachCloud({ url, token, withinMs = 20000 }) {
    const { toCloud, SimpleTokenStrategy } = await import("@fireproof/core-gateways-cloud");
    const remote = toCloud({ urls: { base: url }, strategy: new SimpleTokenStrategy(token) });
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve(null), withinMs);
    });
    const attached = await Promise.race([this.db.attach(remote), late]);
    clearTimeout(timer);
    if (attached) this.attached.set("cloud", attached);
    return attached !== null;
  }

  // Waits until exactly these documents are here, given as { id: n }, and a query finds the same. The
  // client's index may be behind for a moment after documents came from elsewhere.
  async awaitDocs({ docs, withinMs = 20000 }) {
    const wanted = JSON.stringify(Object.entries(docs).sort());
    const end = Date.now() + withinMs;
    for (;;) {
      const listed = (await this.allDocs()).map(({ key, value }) => [key, value.n]);
      const queried = (await this.query({ field: "n" })).map(({ id, key }) => [id, key]);
      const found = [listed, queried].map((pairs) => JSON.stringify(pairs.sort()));
      if (found.every((text) => text === wanted)) return null;
      if (Date.now() > end) throw new Error(`found ${found.join(" and by query ")} instead of ${wanted}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async detach({ name }) {
    await this.attached.get(name)?.detach();
    this.attached.delete(name);
    return null;
  }

  // Until everything that this client has queued is written.
  async idle() {
    await this.db.ready();
    const { crdt } = this.db.ledger;
    await crdt.blockstore.loader.commitQueue.waitIdle();
    await crdt.indexBlockstore.loader.commitQueue.waitIdle();
    return null;
  }
}

const OPERATIONS = new Set(Object.getOwnPropertyNames(Client.prototype).filter((name) => !["constructor", "run", "db"].includes(name)));
