// Plays a recording and seeks in it, with hls.js and with Chromium's own HLS.
//
//   node recording.mjs MASTER_URL [--live yes]
//
// With `--live yes` it is still growing, and is played from its start. Both
// playlists go through hls-parser in its strict mode first.
import HLS from "hls-parser";
import { Checks, args, sleep, withPage } from "./browser.mjs";

const { plain: [address], named } = args();
const live = named.live === "yes";
/** Seconds by which a duration in the browser may be off for each part with a clock of
 *  its own: sound and pictures do not end together, and the playlist tells of the
 *  pictures. */
const OFF_MAX = 0.15;

async function parsed(url) {
  const answer = await fetch(url, { redirect: "manual" });
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}`);
  return HLS.parse(await answer.text());
}

await Checks.run(live ? "event" : "vod", async (checks) => {
  HLS.setOptions({ strictMode: true, silent: true });
  const master = await parsed(address);
  checks.that("hls-parser takes the multivariant playlist", master.isMasterPlaylist && master.variants.length === 1);
  const [variant] = master.variants;
  checks.that("it says codecs, rates and size", variant.codecs && variant.bandwidth >= variant.averageBandwidth && variant.resolution, variant.codecs);
  const media = await parsed(new URL(variant.uri, address));
  const duration = media.segments.reduce((sum, segment) => sum + segment.duration, 0);
  const off = OFF_MAX * (1 + media.segments.slice(1).filter(({ discontinuity }) => discontinuity).length);
  checks.that("hls-parser takes the media playlist", media.segments.length > 0 && media.playlistType === (live ? "EVENT" : "VOD"), media.playlistType);
  checks.that(live ? "it is open" : "it is closed", media.endlist === !live);

  // The watch page of a stream that is not: its rules for scripts and media are
  // those that a page with recordings has.
  await withPage(new URL("/nobody", address).href, async (page) => {
    for (const engine of ["hls.js", "native"]) {
      const of = (what) => `${engine}: ${what}`;
      await page.evaluate(open, { engine, address });
      const is = (what, condition, given) => page.waitForFunction(condition, given, { timeout: 30_000, polling: 50 })
        .then(() => checks.that(of(what), true), (error) => { checks.that(of(what), false, String(error.message).split("\n")[0]); throw error; });
      await is("plays from its start", () => window.vod.currentTime > 1 && window.vod.currentTime < 8 && !window.vod.paused);
      const known = await page.evaluate(() => {
        const { duration, seekable, videoHeight: height } = window.vod;
        return { duration, height, ...(seekable.length ? { from: seekable.start(0), to: seekable.end(0) } : {}) };
      });
      checks.that(of("has pictures"), known.height === variant.resolution.height, known.height);
      // Chromium itself seeks in nothing that grows.
      if (live && engine === "native") continue;
      if (live) checks.that(of("the start can be sought"), known.from < 1 && known.to > known.from + 4, known);
      else checks.that(of("the duration is the playlist's"), Math.abs(known.duration - duration) <= off, `${known.duration} for ${duration}`);
      const end = live ? known.to - 3 : duration;
      for (const to of [0.7 * end, 0.2 * end, 0.5 * end]) {
        await page.evaluate(seek, to);
        await is(`plays on from ${to.toFixed(1)} s`, (to) => !window.vod.seeking && window.vod.currentTime > to + 1 && window.vod.currentTime < to + 6
          && window.vod.getVideoPlaybackQuality().totalVideoFrames > window.shown + 10, to);
      }
      if (!live) {
        await page.evaluate(seek, duration - 1);
        await is("comes to its end", () => window.vod.ended);
        const at = await page.evaluate(() => window.vod.currentTime);
        checks.that(of("the end is where it should be"), Math.abs(at - duration) <= off, `${at} of ${duration}`);
      }
      const errors = await page.evaluate(() => window.wrong);
      checks.that(of("nothing went wrong"), errors.length === 0, errors);
      await page.evaluate(() => { window.hls?.destroy(); window.vod.remove(); });
      await sleep(0.5);
    }
  });
  return { segments: media.segments.length, duration };
});

/** In the page: a player of its own. */
function open({ engine, address }) {
  const video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  [window.vod, window.wrong, window.hls, window.shown] = [video, [], null, 0];
  video.addEventListener("error", () => window.wrong.push(video.error.message));
  if (engine === "hls.js") {
    const hls = new window.Hls({ startPosition: 0 });
    hls.on(window.Hls.Events.ERROR, (_, { fatal, details }) => { if (fatal) window.wrong.push(details); });
    hls.loadSource(address);
    hls.attachMedia(video);
    window.hls = hls;
  } else {
    video.src = address;
    video.addEventListener("loadedmetadata", () => { video.currentTime = 0; }, { once: true });
  }
  video.play().catch((error) => window.wrong.push(String(error)));
}

/** In the page. */
function seek(to) {
  window.shown = window.vod.getVideoPlaybackQuality().totalVideoFrames;
  window.vod.currentTime = to;
  if (window.vod.paused) window.vod.play();
}
