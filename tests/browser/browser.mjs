// What every browser script shares: a Chromium to drive, and a list of checks
// that ends as JSON on standard output and an exit code.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const PLACES = [
  "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** Opens `address` and hands its page to `use`; the browser always ends. */
export async function withPage(address, use, { phone = false } = {}) {
  const executablePath = process.env.CHROMIUM ?? PLACES.find((place) => existsSync(place));
  if (!executablePath) throw new Error("no Chromium found; name one in CHROMIUM, or run scripts/setup.sh test");
  const browser = await chromium.launch({
    executablePath,
    // Root in a container has no sandbox; the rest keeps Chromium from
    // talking to anyone but the server under test.
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio"],
  });
  try {
    const context = await browser.newContext(phone
      ? { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
      : { viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const console = [];
    page.on("console", (message) => { if (message.type() === "error") console.push(message.text()); });
    page.on("pageerror", (error) => console.push(String(error)));
    await page.goto(address, { waitUntil: "load" });
    return await use(page, console);
  } finally {
    await browser.close();
  }
}

/** Checks, each with what was seen; `done` prints them and ends the process. */
export class Checks {
  #list = [];

  constructor(title) { this.title = title; }

  that(what, ok, seen) {
    this.#list.push({ what, ok: Boolean(ok), seen });
    process.stderr.write(`${ok ? "ok    " : "FAILED"} ${this.title}: ${what}${seen === undefined ? "" : ` (${show(seen)})`}\n`);
    return Boolean(ok);
  }

  done(facts = {}) {
    const failed = this.#list.filter(({ ok }) => !ok);
    process.stdout.write(`${JSON.stringify({
      title: this.title, passed: this.#list.length - failed.length, failed: failed.length,
      failures: failed.map(({ what, seen }) => `${what}: ${show(seen)}`), ...facts,
    })}\n`);
    process.exit(failed.length ? 1 : 0);
  }

  /** Runs `body`; what it throws is a failed check, not a stack trace. */
  static async run(title, body) {
    const checks = new Checks(title);
    try {
      checks.done(await body(checks));
    } catch (error) {
      checks.that("runs to its end", false, String(error.message ?? error).split("\n")[0]);
      checks.done();
    }
  }
}

/** Arguments: positional ones, and `--name value` pairs. */
export function args() {
  const given = process.argv.slice(2);
  const named = {};
  const plain = [];
  while (given.length) {
    const next = given.shift();
    if (next.startsWith("--")) named[next.slice(2)] = given.shift();
    else plain.push(next);
  }
  return { plain, named };
}

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Waits until the page plays what is live (or "recorded"); within a minute even
 *  on a busy machine. */
export async function playing(page, state = "live") {
  await page.waitForFunction((state) => window.weir?.state === state && window.weir.playing && window.weir.video.currentTime > 0,
    state, { timeout: 60_000 });
}

/** Position, decoded frames and stalls, with the page's own clock. */
export function sample(page) {
  return page.evaluate(() => {
    const { video, stalls, switches, restarts, latency, errors, state } = window.weir;
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
    return {
      clock: performance.now() / 1000, position: video.currentTime,
      frames: totalVideoFrames, dropped: droppedVideoFrames,
      audio: video.webkitAudioDecodedByteCount ?? 0,
      width: video.videoWidth, height: video.videoHeight,
      stalls, switches, restarts, latency, errors: [...errors], state,
    };
  });
}

function show(value) {
  return typeof value === "number" ? String(Math.round(value * 1000) / 1000)
    : typeof value === "string" ? value : JSON.stringify(value);
}
