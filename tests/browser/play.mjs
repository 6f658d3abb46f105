// Plays a watch page through hls.js and switches through its rungs.
//
//   node play.mjs PAGE_URL [SECONDS=20] [--shot FILE.png] [--audio no] [--video no]
//
// Today's Chromium also plays HLS by itself, so the script makes sure that it
// is hls.js which plays.
import { Checks, args, playing, sample, sleep, withPage } from "./browser.mjs";

/** Share of frames Chromium may drop: it decodes in software, next to the
 *  server's encoders, on as few as two cores. */
const DROPPED_MAX = 0.1;
/** Seconds by which the position may be off real time at the end. */
const DRIFT_MAX = 0.5;

const { plain: [address, seconds = "20"], named } = args();
const wantsAudio = named.audio !== "no";
const wantsVideo = named.video !== "no";

await Checks.run("play", (checks) => withPage(address, async (page, console) => {
  checks.that("hls.js is in the binary", await page.evaluate(() => window.weir.engine === "hls.js"));
  await playing(page);
  if (wantsAudio) {
    await page.click("#unmute");
    checks.that("a tap brings the sound", await page.evaluate(() => !window.weir.video.muted));
  }
  await sleep(3);
  const rungs = await page.evaluate(() => window.weir.hls.levels.map(({ height, bitrate }) => ({ height, bitrate })));

  const before = await sample(page);
  await sleep(Number(seconds));
  const after = await sample(page);
  const lasted = after.clock - before.clock;
  const advanced = after.position - before.position;
  const frames = after.frames - before.frames;
  const dropped = after.dropped - before.dropped;
  checks.that("no stall", after.stalls === before.stalls, after.stalls - before.stalls);
  checks.that("no restart", after.restarts === 0, after.errors);
  checks.that("the position advances in real time", Math.abs(advanced - lasted) < DRIFT_MAX, `${advanced.toFixed(2)} of ${lasted.toFixed(2)} s`);
  if (wantsVideo) {
    checks.that("frames are decoded", frames / lasted > 5, `${(frames / lasted).toFixed(1)} fps`);
    checks.that("few frames are dropped", dropped <= DROPPED_MAX * frames, `${dropped} of ${frames}`);
  }
  if (wantsAudio) checks.that("audio is decoded", after.audio > before.audio, after.audio - before.audio);
  checks.that("the latency is known", after.latency > 0 && after.latency < 60, after.latency);
  if (named.shot) {
    // A moving mouse brings the controls.
    await page.mouse.move(500, 400);
    await sleep(0.4);
    await page.screenshot({ path: named.shot });
  }

  // Highest, lowest, and the ones between: every rung is reached by a jump.
  const order = rungs.map((rung, index) => ({ ...rung, index })).sort((a, b) => b.bitrate - a.bitrate);
  if (order.length > 2) order.splice(1, 0, order.pop());
  for (const { index, height } of order) {
    if (order.length < 2) break;
    const seen = await page.evaluate(switchTo, { index, height: wantsVideo ? height : 0 });
    checks.that(`switches to rung ${index}${height ? ` (${height} lines)` : ""}`, seen.ok, seen.what);
  }
  if (order.length > 1) {
    await page.selectOption("#quality", String(order.at(-1).index));
    const manual = await page.evaluate(() => window.weir.hls.manualLevel);
    checks.that("the menu chooses a rung", manual === order.at(-1).index, manual);
    await page.selectOption("#quality", "-1");
    checks.that("the menu goes back to automatic", await page.evaluate(() => window.weir.hls.autoLevelEnabled));
  }
  const end = await sample(page);
  checks.that("no fatal error", !end.errors.some((error) => error.includes("fatal")), end.errors);
  const complaints = console.filter((text) => !/thumb\.jpg|404/.test(text));
  checks.that("the page's console is clean", complaints.length === 0, complaints);
  return { rungs, seconds: lasted, frames, dropped, stalls: after.stalls, latency: after.latency, errors: end.errors };
}));

/** In the page: asks hls.js for a rung, waits for its picture to play on. */
async function switchTo({ index, height }) {
  const { hls, video } = window.weir;
  const until = async (what, condition) => {
    const end = performance.now() + 20_000;
    while (!condition()) {
      if (performance.now() > end) throw what;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  let reached = hls.currentLevel === index;
  hls.on(window.Hls.Events.LEVEL_SWITCHED, (_, data) => { if (data.level === index) reached = true; });
  hls.currentLevel = index;
  try {
    await until("LEVEL_SWITCHED never came", () => reached);
    await until("the picture's height did not follow", () => !height || video.videoHeight === height);
    const from = video.currentTime;
    await until("the picture did not play on", () => video.currentTime > from + 2);
  } catch (what) {
    return { ok: false, what: `${what}; at ${video.videoWidth}x${video.videoHeight}` };
  }
  return { ok: true, what: `${video.videoWidth}x${video.videoHeight}` };
}
