// A recording that is closed: the list leads to it, it plays anywhere, and where
// it cannot, the page says why.
//
//   node vod.mjs PAGE_URL [--shot FILE.png]
import { Checks, args, playing, sample, sleep, withPage } from "./browser.mjs";

const { plain: [address], named } = args();
const END = { timeout: 30_000 };

await Checks.run("vod", (checks) => withPage(address, async (page, console) => {
  // ---- The list ------------------------------------------------------------
  await page.waitForFunction(async () => {
    const { recordings } = await (await fetch(`${location.pathname}/recordings.json`)).json();
    return recordings.length > 0 && recordings.every(({ closed }) => closed);
  }, undefined, { ...END, polling: 500 });
  await page.reload();
  await page.waitForSelector("#recording-list a", END);
  const [newest] = await page.evaluate(async () => (await (await fetch(`${location.pathname}/recordings.json`)).json()).recordings);
  const told = await page.textContent("#recording-list li:first-child .recording-length");
  const clock = new Date(newest.duration_ms).toISOString().slice(12, 19);
  checks.that("the list tells how long it is", told === clock, `${told} for ${newest.duration_ms} ms`);
  checks.that("nothing is recording now", !(await page.isVisible("#recording-list .badge")));
  checks.that("and the player leads nowhere", !(await page.isVisible("#rewind")));

  // ---- Playing -------------------------------------------------------------
  await page.click("#recording-list li:first-child a");
  await playing(page, "recorded");
  const { duration, vod } = await page.evaluate(() => ({ duration: window.weir.video.duration, vod: window.weir.vod }));
  checks.that("leads to it", vod === String(newest.id), vod);
  checks.that("it is as long as the list says", Math.abs(duration - newest.duration_ms / 1000) < 1, duration);
  checks.that("begins at its start", (await sample(page)).position < 5);
  checks.that("one quality is no choice", !(await page.isVisible("#quality-box")));
  checks.that("nothing is live", !(await page.isVisible("#to-live")) && !(await page.isVisible("#live")));

  const seek = async (what, to) => {
    await page.locator("#seek").fill(String(to));
    await page.waitForFunction((to) => !window.weir.video.seeking && window.weir.video.currentTime > to, to, END);
    const before = await sample(page);
    await sleep(1.5);
    const after = await sample(page);
    checks.that(`plays from ${what}`, before.position - to < 3 && after.position > before.position + 0.7 && after.frames > before.frames,
      `${to.toFixed(1)} s asked for, ${before.position.toFixed(1)} to ${after.position.toFixed(1)} s, ${after.frames - before.frames} frames`);
  };
  /** Where nothing is, it plays on behind it. */
  const lands = async (to, from, until) => {
    const before = (await sample(page)).frames;
    await page.locator("#seek").fill(String(to));
    const there = await page.waitForFunction(({ from, until, before }) => {
      const { video } = window.weir;
      const is = !video.seeking && !video.paused && video.currentTime >= from + 0.2 && video.currentTime < until
        && video.getVideoPlaybackQuality().totalVideoFrames > before + 5;
      return is && video.currentTime;
    }, { from, until, before }, { ...END, polling: 50 }).then((is) => is.jsonValue(), () => null);
    checks.that(`plays on when it is sent to ${to} s`, there !== null, there ?? await sample(page));
  };
  await seek("the middle", Math.round(duration / 2));
  if (named.shot) {
    await page.mouse.move(500, 400);
    await page.click("#unmute");
    await sleep(0.4);
    await page.screenshot({ path: named.shot });
  }

  // ---- The keyboard ----------------------------------------------------------
  await page.keyboard.press("Space");
  checks.that("a space halts it", await page.evaluate(() => window.weir.video.paused));
  const at = () => page.evaluate(() => window.weir.video.currentTime);
  const halted = await at();
  await page.keyboard.press("ArrowRight");
  checks.that("an arrow goes 10 s on", Math.abs((await at()) - halted - 10) < 0.1, (await at()) - halted);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  checks.that("and 10 s back", Math.abs((await at()) - halted + 10) < 0.1, (await at()) - halted);
  const spoken = await page.getAttribute("#seek", "aria-valuetext");
  checks.that("the bar says where it is", /^\d+:\d\d of \d+:\d\d$/.test(spoken), spoken);
  await page.keyboard.press("Space");

  // ---- The end -----------------------------------------------------------------
  await seek("near the end", Math.floor(duration) - 5);
  await page.waitForSelector("#again", END);
  checks.that("at the end it can be played again", await page.evaluate(() => window.weir.video.paused));
  await page.click("#again");
  await page.waitForFunction(() => window.weir.video.currentTime > 0.5 && window.weir.video.currentTime < 10, undefined, END);
  checks.that("from its start", !(await page.isVisible("#again")), await at());
  const end = await sample(page);
  checks.that("no restart", end.restarts === 0, end.errors);
  const complaints = console.filter((text) => !/404/.test(text));
  checks.that("the page's console is clean", complaints.length === 0, complaints);

  // ---- Lost parts ----------------------------------------------------------------
  const url = page.url();
  await page.route(/vod-\d+\.m3u8/, async (route) => {
    const answer = await route.fetch();
    let segment = 0;
    const body = (await answer.text()).replace(/#EXTINF/g, (tag) => {
      segment += 1;
      return segment < 3 || (segment > 6 && segment < 26) ? `#EXT-X-GAP\n${tag}` : tag;
    });
    await route.fulfill({ response: answer, body });
  });
  await page.route("**/recordings.json", (route) => route.fulfill({ json: { recordings: [{ ...newest, gaps: 21 }] } }));
  await page.goto(url);
  await playing(page, "recorded");
  checks.that("begins behind what is missing at its start", (await at()) >= 3.5, await at());
  await page.waitForFunction(() => window.weir.video.currentTime > 49, undefined, END);
  checks.that("goes on behind what is missing in the middle", (await sample(page)).restarts === 0, (await sample(page)).errors);
  await page.locator("#seek").fill("30");
  await page.waitForFunction(() => !window.weir.video.seeking && window.weir.video.currentTime > 49 && window.weir.video.readyState > 2, undefined, END);
  checks.that("and when it is sent there", (await at()) < 60, await at());
  const long = () => page.evaluate(() => window.weir.video.duration);
  checks.that("it is as long as it is without what is missing", Math.abs((await long()) - newest.duration_ms / 1000) < 1, await long());
  // From its two sides, into it, and back from behind it.
  for (const [to, from, until] of [[5, 5, 11], [58, 58, 64], [8, 8, 12], [30, 49, 58], [6, 6, 12], [16, 49, 58]]) {
    await lands(to, from, until);
  }
  await lands(9, 9, 12);
  await page.waitForFunction(() => window.weir.video.currentTime > 50.5, undefined, END);
  checks.that("leaps each time", (await at()) < 60, await at());
  await page.waitForFunction(() => /21 short parts are missing/.test(document.getElementById("facts").textContent), undefined, END);
  checks.that("says so", /21 short parts are missing/.test(await page.textContent("#recording-list")), await page.textContent("#recording-list"));
  await page.unrouteAll();

  // ---- Parts with clocks of their own ------------------------------------------------
  // Two broadcasts are one recording: the second begins where the first one's clock did,
  // and the last that the first had is lost.
  let parts = 0;
  await page.route(/vod-\d+\.m3u8/, async (route) => {
    const answer = await route.fetch();
    const lines = (await answer.text()).trimEnd().split("\n");
    const begin = lines.findIndex((line) => line.startsWith("#EXTINF"));
    const head = lines.slice(0, begin).filter((line) => !line.startsWith("#EXT-X-PROGRAM-DATE-TIME"));
    const segments = lines.slice(begin).filter((line) => !line.startsWith("#EXT-X")).join("\n").split(/\n(?=#EXTINF)/);
    const first = segments.slice(0, 8);
    const second = segments.slice(1, 9);
    parts = [...first, ...second].reduce((sum, one) => sum + parseFloat(one.slice("#EXTINF:".length)), 0);
    const body = [...head, ...first.slice(0, 7), "#EXT-X-GAP", first[7], "#EXT-X-DISCONTINUITY", ...second, "#EXT-X-ENDLIST", ""].join("\n");
    await route.fulfill({ response: answer, body });
  });
  await page.goto(url);
  await playing(page, "recorded");
  checks.that("two parts are as long as both", Math.abs((await long()) - parts) < 0.3, `${await long()} of ${parts}`);
  for (const [to, from, until] of [[24, 24, 30], [4, 4, 10], [14, 15.8, 21], [20, 20, 26], [9, 9, 13]]) await lands(to, from, until);
  await page.waitForFunction(() => window.weir.video.currentTime > 18, undefined, END);
  checks.that("goes on from one into the other", (await at()) < 24 && (await sample(page)).restarts === 0, (await sample(page)).errors);
  await page.locator("#seek").fill(String(Math.floor(parts) - 3));
  await page.waitForSelector("#again", END);
  checks.that("and ends where both do", Math.abs((await at()) - parts) < 0.5, `${await at()} of ${parts}`);
  await page.unrouteAll();

  // ---- No recording -----------------------------------------------------------
  const cover = () => page.textContent("#cover-title");
  await page.goto(url.replace(vod, "17"));
  await page.waitForFunction(() => window.weir.state === "missing", undefined, END);
  checks.that("says that there is none", (await cover()) === "There is no such recording" && (await page.isVisible("#cover-title")), await cover());
  await page.goto(url.replace(vod, "nonsense"));
  await page.waitForFunction(() => window.weir.state === "missing", undefined, END);
  checks.that("also of what cannot be one", (await cover()) === "There is no such recording", await cover());

  const away = (route) => route.fulfill({ status: 503, body: "the store does not answer" });
  await page.route(/vod-\d+-master\.m3u8/, away);
  await page.route("**/recordings.json", away);
  await page.goto(url);
  await page.waitForFunction(() => window.weir.state === "away", undefined, END);
  checks.that("says that the store is out of reach", (await cover()) === "The recording can't be read right now", await cover());
  await sleep(1.5);
  checks.that("a list that cannot be read is not there", !(await page.isVisible("#recordings")));
  await page.unrouteAll();
  await playing(page, "recorded");
  checks.that("and plays by itself once it is back", (await sample(page)).restarts === 0);
  return { duration, errors: end.errors };
}));
