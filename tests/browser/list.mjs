// The list of live streams: one card per stream, with its picture, that leads
// to the watch page.
//
//   node list.mjs SERVER_URL NAME
import { Checks, args, withPage } from "./browser.mjs";

const { plain: [address, name] } = args();

await Checks.run("list", (checks) => withPage(address, async (page, console) => {
  const card = `#streams a[href="/${name}"]`;
  await page.waitForSelector(card, { timeout: 30_000 });
  checks.that("lists who is live", await page.isVisible(card));
  checks.that("does not say that nobody is", !(await page.isVisible(".empty")));
  await page.waitForFunction((card) => document.querySelector(`${card} img`)?.naturalWidth > 0, card, { timeout: 20_000 });
  checks.that("shows its picture", await page.isVisible(`${card} img`));
  await page.click(card);
  await page.waitForFunction(() => window.weir?.name);
  checks.that("leads to the watch page", (await page.evaluate(() => window.weir.name)) === name);
  checks.that("the page's console is clean", console.length === 0, console);
}));
