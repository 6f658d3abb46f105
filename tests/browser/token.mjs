// Watch pages of a server that asks for tokens: with one, without, with one for
// another stream, and with one that expires.
//
//   node token.mjs PAGE_URL_WITH_TOKEN PAGE_URL_WITH_ANOTHER_STREAMS PAGE_URL_THAT_EXPIRES
import { Checks, args, playing, withPage } from "./browser.mjs";

const { plain: [good, other, brief] } = args();
const query = new URL(good).search;
const bare = good.slice(0, -query.length);

await Checks.run("token", async (checks) => {
  // First, while it is good: its clock runs.
  await withPage(brief, async (page) => {
    await playing(page);
    checks.that("plays until it expires", await page.evaluate(() => window.weir.state === "live"));
    await page.waitForFunction(() => window.weir.state === "forbidden", null, { timeout: 90_000 });
    checks.that("says that it has expired", /expired/.test(await page.textContent("#cover-text")));
  });
  for (const [what, address] of [["none", bare], ["another stream's", other]]) {
    await withPage(address, async (page) => {
      await page.waitForFunction(() => window.weir.state === "forbidden", null, { timeout: 20_000 });
      checks.that(`${what}: says so`, await page.isVisible("#cover-title"));
      checks.that(`${what}: plays nothing`, await page.evaluate(() => !window.weir.playing && !window.weir.video.currentSrc));
    });
  }
  await withPage(good, async (page, console) => {
    const referrers = [];
    page.on("request", (request) => { if (request.headers().referer) referrers.push(request.url()); });
    await playing(page);
    await page.waitForSelector("#recording-list a", { timeout: 60_000 });
    const links = await page.evaluate(() => [...document.querySelectorAll("#recording-list a, #rewind")].map((link) => link.href));
    checks.that("links to recordings have the token", links.length > 1 && links.every((link) => link.endsWith(`&${query.slice(1)}`)), links.length);
    checks.that("nobody is told where one came from", referrers.length === 0, referrers.length);
    await page.goto(links[0], { waitUntil: "load" });
    await page.waitForFunction(() => window.weir.state === "recorded" && window.weir.playing, null, { timeout: 30_000 });
    checks.that("a recording plays", true);
    const back = await page.evaluate(() => document.getElementById("to-live").href);
    checks.that("the way back has the token", back === good);
    checks.that("the page's console is clean", console.length === 0, console);
  });
  await withPage(new URL("/", good).href, async (page) => {
    await page.waitForSelector('#streams a[href="/demo"]', { timeout: 30_000 });
    await page.waitForSelector("#streams img.is-missing", { state: "attached", timeout: 20_000 });
    checks.that("the list shows no picture", true);
  });
});
