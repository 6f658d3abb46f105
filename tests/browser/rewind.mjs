// From a live page to the start of its recording, which still grows, and back.
//
//   node rewind.mjs PAGE_URL
import { Checks, args, playing, sample, sleep, withPage } from "./browser.mjs";

const { plain: [address] } = args();

await Checks.run("rewind", (checks) => withPage(address, async (page, console) => {
  await playing(page);
  await page.waitForSelector("#recording-list a", { timeout: 30_000 });
  checks.that("the list has the recording that grows", await page.isVisible("#recording-list li:first-child .badge"),
    await page.textContent("#recording-list li:first-child"));
  const link = await page.getAttribute("#recording-list li:first-child a", "href");
  checks.that("it is an ordinary link", /^\/[^/]+\?vod=\d+$/.test(link), link);
  const rewind = await page.getAttribute("#rewind", "href");
  checks.that("the player leads to the same one", rewind === link && (await page.isVisible("#rewind")), rewind);
  checks.that("a live stream has no bar", !(await page.isVisible("#seek")));

  await page.mouse.move(500, 400);
  await page.click("#rewind");
  await playing(page, "recorded");
  const first = await sample(page);
  const grown = () => page.evaluate(() => window.weir.video.duration);
  const before = await grown();
  checks.that("plays from the start", first.position < 5, first.position);
  checks.that("and knows how much there is", before > 20, before);
  checks.that("says that it is recording now", (await page.textContent("#badge")) === "Recording now", await page.textContent("#badge"));
  await sleep(6);
  const after = await sample(page);
  const lasted = after.clock - first.clock;
  checks.that("the position advances", after.position - first.position > 0.8 * lasted, `${(after.position - first.position).toFixed(2)} of ${lasted.toFixed(2)} s`);
  checks.that("frames are decoded", after.frames - first.frames > 5 * lasted, after.frames - first.frames);
  await page.waitForFunction((before) => window.weir.video.duration > before + 2, before, { timeout: 30_000 });
  checks.that("it grows", (await grown()) > before, await grown());

  // As far as there is something to play on with.
  await page.focus("#seek");
  await page.keyboard.press("End");
  await page.waitForFunction(() => !window.weir.video.seeking && window.weir.video.readyState > 2, undefined, { timeout: 30_000 });
  const edge = await sample(page);
  checks.that("goes to its newest part", (await grown()) - edge.position < 12, `${edge.position.toFixed(1)} of ${(await grown()).toFixed(1)} s`);
  await sleep(5);
  const followed = await sample(page);
  checks.that("and follows it there", followed.position - edge.position > 2.5, followed.position - edge.position);

  await page.mouse.move(520, 420);
  checks.that("the live picture is one click away", await page.isVisible("#to-live"));
  await page.click("#to-live");
  await playing(page);
  checks.that("which plays", (await page.evaluate(() => window.weir.vod)) === null);
  checks.that("no restart", followed.restarts === 0, followed.errors);
  checks.that("the page's console is clean", console.filter((text) => !/thumb\.jpg|404/.test(text)).length === 0, console);
  return { seconds: await page.evaluate(() => performance.now() / 1000), errors: followed.errors };
}));
