// Opens a watch page while nobody is live, and sees it start, and end, by itself.
//
//   node waiting.mjs PAGE_URL
//
// Says "start" on standard output when it wants a publisher and "stop" when
// the publisher should leave; the summary is the last line.
import { Checks, args, playing, sample, withPage } from "./browser.mjs";

const { plain: [address] } = args();

await Checks.run("waiting", (checks) => withPage(address, async (page, console) => {
  const title = () => page.textContent("#cover-title");
  const state = (wanted) => page.waitForFunction((wanted) => window.weir.state === wanted, wanted, { timeout: 90_000 });
  const name = await page.evaluate(() => window.weir.name);

  await state("waiting");
  checks.that("says who is not live", (await title()) === `${name} is not live right now`, await title());
  checks.that("the message is on screen", await page.isVisible("#cover-title"));
  checks.that("no controls while there is nothing to control", !(await page.isVisible("#controls")));
  await page.evaluate(() => { window.sameDocument = true; });

  process.stdout.write("start\n");
  await playing(page);
  checks.that("plays once someone is live, without a reload", await page.evaluate(() => window.sameDocument === true));
  const { restarts, errors } = await sample(page);
  checks.that("the very first segments play", restarts === 0, errors);
  checks.that("the message is gone", !(await page.isVisible("#cover-title")));
  checks.that("sound is one tap away", await page.isVisible("#unmute"));

  process.stdout.write("stop\n");
  await state("ended");
  checks.that("says that the stream has ended", (await title()) === "The stream has ended", await title());

  process.stdout.write("start\n");
  await playing(page);
  checks.that("plays the next broadcast as well", await page.evaluate(() => window.sameDocument === true));
  const complaints = console.filter((text) => !/404/.test(text));
  checks.that("the page's console is clean", complaints.length === 0, complaints);
}));
