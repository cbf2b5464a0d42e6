// The server's admin page in a real browser, behind a line protocol as `peer.mjs` has it.
//
//   node admin.mjs <url of the page>
//
// Needs Chromium at /usr/bin/chromium, or where the variable CHROMIUM says.
import readline from "node:readline";
import { chromium } from "playwright-core";

const PATIENCE = 20000;
const [url] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
page.setDefaultTimeout(PATIENCE);

// What must not happen: errors, dialogs, requests to anywhere else.
const problems = [];
page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
page.on("dialog", (dialog) => {
  problems.push(`dialog: ${dialog.message()}`);
  void dialog.dismiss();
});
page.on("request", (request) => {
  const to = request.url();
  if (!to.startsWith("data:") && new URL(to).origin !== new URL(url).origin) problems.push(`request: ${to}`);
});

const rowsOf = (id) => page.locator(`#${id} tbody tr`).evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));

const operations = {
  async open() {
    await page.goto(url);
    return page.title();
  },
  async enter({ token }) {
    await page.fill("#token", token);
    await page.click("#entry button");
    return null;
  },
  async forget() {
    await page.click("#leave");
    return null;
  },
  async search({ text }) {
    await page.fill("#search", text);
    return null;
  },
  async isShown({ id }) {
    return page.locator(`#${id}`).isVisible();
  },
  // Waits until an element shows this text.
  async shows({ id, text }) {
    await page.waitForFunction(([id, text]) => document.getElementById(id).innerText.includes(text), [id, text]);
    return null;
  },
  // Waits until the row that begins with this name is another one than the last time.
  async row({ table, name, not = null }) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const found = (await rowsOf(table)).find((row) => row[0] === name);
      if (found && JSON.stringify(found) !== JSON.stringify(not)) return found;
      if (Date.now() > end) throw new Error(`no row ${name} in ${JSON.stringify(await rowsOf(table))}`);
      await page.waitForTimeout(50);
    }
  },
  // Waits until a table has these rows, by their first cell.
  async rows({ table, names }) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const found = (await rowsOf(table)).map((row) => row[0]);
      if (JSON.stringify(found.sort()) === JSON.stringify([...names].sort())) return null;
      if (Date.now() > end) throw new Error(`${JSON.stringify(found)} in ${table}`);
      await page.waitForTimeout(50);
    }
  },
  async problems() {
    const strange = await page.locator("img, iframe, object, embed").count();
    return strange === 0 ? problems : [...problems, `${strange} elements that are not the page's`];
  },
  async screenshot({ path, dark = false }) {
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
    await page.screenshot({ path, fullPage: true });
    return null;
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = { op: request.op, ok: true, value: await operations[request.op](request) };
  } catch (error) {
    answer = { op: request.op, ok: false, error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
