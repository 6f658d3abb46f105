// Live: waits for the stream, plays it, and goes back to waiting when it ends.
"use strict";

const live = (() => {
  /** Milliseconds between two looks for a picture while there is sound alone. */
  const PICTURE_POLL = 6000;

  const { name, at, video, weir, withToken, load, restart } = player;
  const master = withToken(`/${name}/live.m3u8`);

  let clockSkew = 0;     // milliseconds to add to our clock to get the server's
  let lastNumber = -1;   // the highest segment number listed so far

  // ---- Is anyone live? ----------------------------------------------------

  /** "live", "ended" (still listed, for a while), "waiting", "forbidden" or "unreachable". */
  async function look() {
    try {
      const asked = Date.now();
      const { answer, body } = await load(master);
      learnClock(answer, asked);
      if (answer.status === 404) return "waiting";
      if (answer.status === 403) return "forbidden";
      const rung = body.split(/\r?\n/).find((line) => line && !line.startsWith("#"));
      if (!answer.ok || !rung) return answer.ok ? "waiting" : "unreachable";
      const media = await load(new URL(rung, new URL(master, location.href)));
      if (media.answer.status === 404) return "waiting";
      if (!media.answer.ok) return "unreachable";
      return /^#EXT-X-ENDLIST/m.test(media.body) ? "ended" : "live";
    } catch {
      return "unreachable";
    }
  }

  // A viewer's clock may be minutes off; the server's own, which stamps the
  // segments, is in every answer to the second.
  function learnClock(answer, asked) {
    const date = Date.parse(answer.headers.get("date") ?? "");
    if (Number.isNaN(date)) return;
    const skew = date + 500 - (asked + Date.now()) / 2;
    clockSkew = Math.abs(skew) > 1500 ? skew : 0;
  }

  /** Players read the list of rungs once: one that began with sound alone
   *  learns here that a picture has come. */
  async function lookForPicture() {
    if (!weir.playing || video.videoHeight > 0) return;
    try {
      const { answer, body } = await load(master);
      if (answer.ok && /RESOLUTION=/.test(body) && weir.playing && video.videoHeight === 0) {
        restart("a picture has come");
      }
    } catch { /* the player itself finds out */ }
  }

  // ---- The place in the stream ---------------------------------------------

  function goLive() {
    const edge = weir.hls ? weir.hls.liveSyncPosition
      : video.seekable.length ? video.seekable.end(video.seekable.length - 1) - 6 : null;
    if (edge !== null && edge > video.currentTime) video.currentTime = edge;
    player.play();
  }

  /** How far behind, in seconds. */
  function measure() {
    const { hls } = weir;
    const shown = hls ? hls.playingDate
      : video.getStartDate && new Date(video.getStartDate().getTime() + video.currentTime * 1000);
    const byClock = shown ? (Date.now() + clockSkew - shown.getTime()) / 1000 : NaN;
    if (byClock > 0 && byClock < 600) return byClock;
    if (hls) return hls.latency || null;
    const { seekable } = video;
    return seekable.length ? seekable.end(seekable.length - 1) - video.currentTime : null;
  }

  // The last frame of the stream under the controls, until the first picture.
  const thumb = new Image();
  thumb.onload = () => { if (!weir.playing) video.poster = thumb.src; };

  // ---- What the player asks --------------------------------------------------

  const room = {
    master,
    playing: "live",
    covers: {
      checking: [`Looking for ${name}…`, ""],
      waiting: [`${name} is not live right now`, "This page starts by itself when it is."],
      ended: ["The stream has ended", `This page starts again by itself when ${name} is back.`],
      forbidden: ["You can't watch this here", "The link is incomplete or has expired. A new one is where you found it."],
      unreachable: ["The server can't be reached", "Trying again every few seconds."],
    },
    final: ["forbidden"],
    hls: {
      liveDurationInfinity: true,
      // Start with a picture that is neither mud nor a gamble; measured after
      // the first segment.
      abrEwmaDefaultEstimate: 2_000_000,
    },
    look,

    shown(state) {
      const isLive = state === "live";
      at("badge").textContent = isLive ? "Live" : state === "ended" ? "Ended" : "Offline";
      at("badge").classList.toggle("on-air", isLive);
      document.title = isLive ? `● ${name} · weir` : `${name} · weir`;
      at("facts").textContent = "";
      if (state !== "checking") recordings.onAir(isLive);
    },

    opening() {
      lastNumber = -1;
      thumb.src = withToken(`/${name}/thumb.jpg?t=${Date.now()}`);
    },

    updated(details) {
      // Numbers that do not touch the last ones: another broadcast took the
      // name, or this page slept through a whole window.
      // All rungs share their numbers, so that one which was not looked at for
      // a while is no jump.
      const last = lastNumber;
      lastNumber = Math.max(last, details.endSN);
      if (details.live && last >= 0 && details.startSN > last + 1) {
        // Not from inside hls.js: it goes on with the level after this event.
        const { hls } = weir;
        setTimeout(() => { if (weir.hls === hls) restart("the playlist jumped"); });
      }
    },

    resumed() {
      // After a long pause the place may have left the window.
      const details = weir.hls?.latestLevelDetails;
      if (details?.live && weir.hls.latency > 0.8 * details.totalduration) goLive();
    },

    tick() {
      weir.latency = measure();
      const sync = weir.hls?.liveSyncPosition;
      const drift = sync ? sync - video.currentTime : (weir.latency ?? 0) - 12;
      const edge = drift < 8 && !video.paused;
      const seconds = weir.latency === null ? "" : `${Math.max(1, Math.round(weir.latency))} s`;
      at("live").classList.toggle("is-edge", edge);
      at("live-text").textContent = edge ? "Live" : "Go live";
      const size = video.videoHeight ? `${video.videoWidth} × ${video.videoHeight}` : "";
      at("facts").textContent = [seconds && `${seconds} behind the camera`, size].filter(Boolean).join(" · ");
    },

    ended: () => player.leave("ended"),
  };

  if (weir.vod === null) {
    at("live").hidden = false;
    player.click("live", goLive);
    recordings.heard(() => {
      const one = recordings.growing();
      at("rewind").hidden = !one;
      if (one) at("rewind").href = recordings.address(one.id);
    });
    setInterval(lookForPicture, PICTURE_POLL);
    player.enter(room);
  }
  return { look };
})();
