// Shows what /admin/api/overview says, again and again. Names come from clients: they only ever become
// text, never markup.
"use strict";

const EVERY = 2000;
const SAMPLES = 60;
const KEY = "firebrick-admin-token";

const at = (id) => document.getElementById(id);
let timer;
let asking = 0;
// Per tile: the last values, for its line.
const past = new Map();
let last;

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

// ---- words ----

const whole = new Intl.NumberFormat("en");
const number = (n) => whole.format(n);

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const ago = (time) => (time === 0 ? "never" : `${span(Math.max(0, Date.now() / 1000 - time))} ago`);

// ---- tiles ----

function line(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values, 1e-9);
  const first = SAMPLES - values.length;
  const points = values.map((value, n) => `${first + n},${(19 - (18 * value) / most).toFixed(2)}`);
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  drawn.setAttribute("points", points.join(" "));
  svg.append(drawn);
  return svg;
}

function tile(name, value, text) {
  const values = past.get(name) ?? [];
  values.push(value);
  if (values.length > SAMPLES) values.shift();
  past.set(name, values);
  const box = element("div");
  box.append(element("dt", name), element("dd", text(value)), line(values));
  return box;
}

function tiles(now) {
  const seconds = last ? Math.max((now.time - last.time) / 1000, 0.1) : 1;
  // Smaller after a restart.
  const rate = (get) => (last ? Math.max(0, get(now) - get(last)) / seconds : 0);
  const perSecond = (value) => `${bytes(value)}/s`;
  at("tiles").replaceChildren(
    tile("Connections", now.connections.total, number),
    tile("Messages in", rate((o) => o.messages.received), perSecond),
    tile("Messages out", rate((o) => o.messages.sent), perSecond),
    tile("CARs in", rate((o) => o.cars.received), perSecond),
    tile("CARs out", rate((o) => o.cars.sent), perSecond),
    tile("Waiting to be sent", now.queue.bytes, bytes),
    tile("Stored", now.stored.bytes, bytes),
    tile("Memory", now.memory ?? 0, bytes),
  );
}

// ---- tables ----

const left = (title, text) => ({ title, text });
const right = (title, text) => ({ title, text, number: true });

// What is used of what may be.
function quota(used, limit, words) {
  const cell = element("span", words(used));
  if (limit !== null) {
    if (used >= limit) cell.classList.add("full");
    cell.append(element("span", ` of ${words(limit)}`, "of"));
  }
  return cell;
}

function table(id, list, columns) {
  const head = element("tr");
  for (const { title, number } of columns) {
    const cell = element("th", title, ...(number ? ["number"] : []));
    cell.scope = "col";
    head.append(cell);
  }
  const rows = list.rows.map((row) => {
    const made = element("tr");
    columns.forEach(({ text, number }, n) => {
      const cell = element(n === 0 ? "th" : "td", undefined, ...(number ? ["number"] : []));
      if (n === 0) cell.scope = "row";
      cell.append(text(row));
      cell.title = cell.textContent;
      made.append(cell);
    });
    return made;
  });
  if (rows.length === 0) {
    const none = element("td", list.total === 0 ? "None yet" : "None fits the search", "none");
    none.colSpan = columns.length;
    const row = element("tr");
    row.append(none);
    rows.push(row);
  }
  const [thead, tbody] = [element("thead"), element("tbody")];
  thead.append(head);
  tbody.append(...rows);
  at(id).replaceChildren(thead, tbody);
  const shown = list.rows.length < list.found ? `${number(list.rows.length)} of ` : "";
  const of = list.found < list.total ? ` (${number(list.total)} in all)` : "";
  at(`${id}-count`).textContent = `${shown}${number(list.found)}${of}`;
}

const LEDGERS = [
  left("Ledger", (l) => `${l.tenant}/${l.name}`),
  right("Subscribers", (l) => number(l.subscribers)),
  right("Metas", (l) => number(l.metas)),
  right("CARs", (l) => number(l.cars)),
  right("Stored", (l) => bytes(l.bytes)),
  right("Received", (l) => bytes(l.traffic.received)),
  right("Sent", (l) => bytes(l.traffic.sent)),
  right("Last write", (l) => ago(l.lastWrite)),
];

const CONNECTIONS = [
  left("User", (c) => c.user),
  left("Ledgers", (c) => c.ledgers.join(", ") || "none"),
  left("Over", (c) => (c.websocket ? "WebSocket" : "HTTP")),
  right("Since", (c) => ago(c.since)),
  right("Last request", (c) => `${span(c.idleSeconds)} ago`),
  right("Waiting", (c) => (c.queue.messages === 0 ? "–" : `${number(c.queue.messages)}, ${bytes(c.queue.bytes)}`)),
  right("Received", (c) => bytes(c.traffic.received)),
  right("Sent", (c) => bytes(c.traffic.sent)),
];

const TENANTS = [
  left("Tenant", (t) => t.name),
  right("Connections", (t) => quota(t.connections, t.maxConnections, number)),
  right("Ledgers", (t) => quota(t.ledgers, t.maxLedgers, number)),
  right("Metas", (t) => quota(t.metas, t.maxMetas, number)),
  right("Stored", (t) => quota(t.bytes, t.maxBytes, bytes)),
  right("Messages", (t) => (t.maxMessagesPerSecond === null ? "no limit" : `${number(t.maxMessagesPerSecond)}/s`)),
  right("Refused", (t) => number(t.overQuota + t.overRate)),
];

function show(now) {
  at("version").textContent = now.version;
  const words = [`up ${span(now.uptimeSeconds)}`, `${number(now.websockets)} WebSockets`, `${number(now.rooms)} ledgers in use`];
  if (now.overflows > 0) words.push(`${number(now.overflows)} slow readers disconnected`);
  if (!now.counted) words.push("still counting what is stored");
  if (now.draining) words.push("ending");
  say(words.join(" · "), now.draining);
  // Whoever types into the search asks more often than rates can be told.
  if (!last || now.time - last.time >= EVERY / 2) {
    tiles(now);
    last = now;
  }
  table("ledgers", now.ledgers, LEDGERS);
  table("connections", now.connections, CONNECTIONS);
  table("tenants", now.tenants, TENANTS);
  at("entry").hidden = true;
  at("shown").hidden = at("leave").hidden = false;
}

function say(text, trouble = false) {
  at("state").textContent = text;
  at("state").classList.toggle("trouble", trouble);
}

// ---- asking ----

function leave(why) {
  clearTimeout(timer);
  sessionStorage.removeItem(KEY);
  asking++;
  last = undefined;
  past.clear();
  at("shown").hidden = at("leave").hidden = true;
  at("entry").hidden = false;
  at("refused").textContent = why;
  at("token").value = "";
  say("");
  at("token").focus();
}

async function ask() {
  clearTimeout(timer);
  const token = sessionStorage.getItem(KEY);
  if (!token) return;
  const turn = ++asking;
  try {
    const query = new URLSearchParams({ search: at("search").value });
    const answer = await fetch(`api/overview?${query}`, { headers: { authorization: `Bearer ${token}` } });
    if (turn !== asking) return;
    if (answer.status === 401) return leave("That is not the admin token of this server.");
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const now = await answer.json();
    if (turn !== asking) return;
    show({ ...now, time: performance.now() });
  } catch (error) {
    if (turn !== asking) return;
    say(`No answer: ${error.message}. Trying again.`, true);
  }
  timer = setTimeout(ask, EVERY);
}

at("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  at("refused").textContent = "";
  sessionStorage.setItem(KEY, at("token").value.trim());
  ask();
});
at("leave").addEventListener("click", () => leave(""));
at("search").addEventListener("input", ask);
// Nobody looks: nobody asks.
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
ask();
if (!sessionStorage.getItem(KEY)) at("token").focus();
