// Plays a watch page with Chromium's own HLS, hls.js left aside.
//
//   node native.mjs PAGE_URL [SECONDS=10]
import { Checks, args, playing, sample, sleep, withPage } from "./browser.mjs";

const { plain: [address, seconds = "10"] } = args();
const page = new URL(address);
page.searchParams.set("hls", "native");

await Checks.run("native", (checks) => withPage(page.href, async (page) => {
  checks.that("the browser's own HLS is used", await page.evaluate(() => window.weir.engine === "native" && !window.weir.hls));
  await playing(page);
  await sleep(2);
  const before = await sample(page);
  await sleep(Number(seconds));
  const after = await sample(page);
  const advanced = after.position - before.position;
  const lasted = after.clock - before.clock;
  checks.that("the position advances", advanced > 0.8 * lasted, `${advanced.toFixed(2)} of ${lasted.toFixed(2)} s`);
  checks.that("frames are decoded", after.frames - before.frames > 5 * lasted, after.frames - before.frames);
  checks.that("no restart", after.restarts === 0, after.errors);
  return { seconds: lasted, frames: after.frames - before.frames, stalls: after.stalls };
}));
