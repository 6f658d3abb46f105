// A recording, `?vod=ID`: plays it from its start, at any place, also while it
// still grows.
"use strict";

(() => {
  /** Milliseconds between two looks for the live stream. */
  const LIVE_POLL = 30000;
  /** Seconds that an arrow key moves. */
  const STEP = 10;
  /** Seconds behind the end of a recording that grows within which a picture
   *  that waits may be the last one. */
  const EDGE = 3;

  const { name, at, video, weir, withToken, load } = player;
  if (weir.vod === null) return;
  const id = /^(0|[1-9]\d{0,14})$/.test(weir.vod) ? Number(weir.vod) : null;
  const seek = at("seek");
  const master = withToken(`/${name}/vod-${id}-master.m3u8`);

  let resume = 0;        // where to go on after an error, in seconds
  let dragged = null;    // where a finger or a mouse holds the bar
  let onAir = false;
  let parked = false;    // at the end of what may still be continued

  async function look() {
    if (id === null) return "missing";
    try {
      const { answer } = await load(master);
      if (answer.status === 404) return "missing";
      if (answer.status === 403) return "forbidden";
      if (answer.status === 503) return "away";
      return answer.ok ? "recorded" : "unreachable";
    } catch {
      return "unreachable";
    }
  }

  async function lookForLive() {
    const found = await live.look();
    onAir = found === "live";
    at("to-live").hidden = at("on-now").hidden = !onAir;
    recordings.onAir(onAir);
    tell();
  }

  // ---- Places --------------------------------------------------------------

  const grows = () => (weir.hls ? Boolean(weir.hls.latestLevelDetails?.live) : video.duration === Infinity);

  function length() {
    if (Number.isFinite(video.duration)) return video.duration;
    const { seekable } = video;
    return seekable.length ? seekable.end(seekable.length - 1) : 0;
  }

  function goTo(seconds) {
    // Close to the end of one that grows there is nothing to play on with yet.
    const last = grows() ? weir.hls?.liveSyncPosition ?? length() - 6 : length();
    const wasOver = !at("again").hidden;
    video.currentTime = Math.min(Math.max(0, seconds), Math.max(0, last));
    if (wasOver) player.play();
    draw();
  }

  /** The first place from `seconds` on that is not missing. (hls.js sets `gap`
   *  for reasons of its own too.) */
  function behindGaps(seconds) {
    let place = seconds;
    for (const { start, end, tagList } of weir.hls.latestLevelDetails?.fragments ?? []) {
      if (start <= place + 0.5 && place < end && tagList.some(([tag]) => tag === "GAP")) place = end;
    }
    return place;
  }

  /** hls.js leaps over a short gap that lies ahead, but it waits for ever in one
   *  that it begins in, was sent to, or cannot look beyond. */
  function leap() {
    const { hls } = weir;
    if (!hls || !player.isOpen() || video.readyState > 2 || !at("again").hidden) return;
    const from = video.readyState > 0 ? video.currentTime : resume;
    const to = behindGaps(from);
    if (to === from) return;
    if (to >= length() - 0.1 && !grows()) return over();
    if (video.readyState > 0) video.currentTime = to;
    else hls.startLoad(resume = to);
  }

  function draw() {
    const total = length();
    const place = dragged ?? video.currentTime;
    const { buffered } = video;
    let loaded = 0;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= place + 0.5) loaded = Math.max(loaded, buffered.end(i));
    }
    const share = (of) => String(total > 0 ? Math.min(1, of / total) : 0);
    const hours = total >= 3600;
    seek.max = String(total);
    seek.value = String(place);
    seek.style.setProperty("--played", share(place));
    seek.style.setProperty("--loaded", share(Math.max(place, loaded)));
    seek.setAttribute("aria-valuetext", `${recordings.clock(place, hours)} of ${recordings.clock(total, hours)}`);
    at("elapsed").textContent = recordings.clock(place, hours);
    at("total").textContent = recordings.clock(total, hours);
  }

  /** Below the picture: when it was, and what of it is missing. */
  function tell() {
    const known = recordings.find(id);
    const growing = recordings.growing()?.id === id;
    at("badge").textContent = growing ? "Recording now" : "Recording";
    at("badge").classList.toggle("on-air", growing);
    at("badge").hidden = weir.state === "missing";
    if (weir.state !== "recorded") return void (at("facts").textContent = "");
    const size = video.videoHeight ? `${video.videoWidth} × ${video.videoHeight}` : "";
    at("facts").textContent = [recordings.day.format(new Date(id)), size, known?.gaps ? recordings.missing(known.gaps) : ""]
      .filter(Boolean).join(" · ");
  }

  function over() {
    video.pause();
    player.waiting(false);
    at("again").hidden = false;
  }

  // ---- What the player asks --------------------------------------------------

  const room = {
    master,
    playing: "recorded",
    covers: {
      checking: ["Looking for the recording…", ""],
      missing: ["There is no such recording", "It may have been deleted."],
      forbidden: ["You can't watch this here", "The link is incomplete or has expired. A new one is where you found it."],
      away: ["The recording can't be read right now", "The place where recordings are kept does not answer. Trying again every few seconds."],
      unreachable: ["The server can't be reached", "Trying again every few seconds."],
    },
    final: ["missing", "forbidden"],
    get hls() {
      return { startPosition: resume };
    },
    look,
    shown: tell,

    tick() {
      draw();
      tell();
    },

    failed({ frag, response }) {
      // A segment that was lost after it was listed is a gap like others.
      if (response?.code !== 404 || !frag) return false;
      frag.gap = true;
      frag.tagList.push(["GAP"]);
      return true;
    },

    ended: over,

    key(event) {
      const forwards = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
      if (!forwards || event.target === at("volume") || event.target === at("quality")) return false;
      goTo(video.currentTime + forwards);
      return true;
    },
  };

  // ---- The video element and the bar ------------------------------------------

  player.on("timeupdate", () => {
    if (!player.isOpen() || !weir.playing) return;
    resume = video.currentTime;
    draw();
  });
  for (const type of ["durationchange", "progress", "seeking"]) {
    player.on(type, () => { if (player.isOpen()) draw(); });
  }
  for (const type of ["seeking", "playing"]) {
    player.on(type, () => {
      at("again").hidden = true;
      parked = false;
    });
  }
  player.on("durationchange", () => {
    if (parked && length() - video.currentTime > EDGE) player.play();
  });
  player.on("loadedmetadata", () => {
    // The browser's own HLS takes what grows for live, and begins at its end.
    if (!weir.hls && Math.abs(video.currentTime - resume) > 0.5) video.currentTime = resume;
  });
  // What ended a moment ago stays open for a while, and no more may come.
  player.on("waiting", async () => {
    if (!player.isOpen() || !grows() || length() - video.currentTime > EDGE) return;
    await lookForLive();
    parked = !onAir && grows() && video.readyState < 3 && length() - video.currentTime <= EDGE;
    if (parked) over();
  });

  seek.addEventListener("input", () => {
    dragged = Number(seek.value);
    draw();
  });
  // Back where it was taken up there is no change.
  for (const type of ["change", "pointerup", "pointercancel", "blur"]) {
    seek.addEventListener(type, () => {
      if (dragged === null) return;
      const to = dragged;
      dragged = null;
      goTo(to);
    });
  }
  player.click("again", () => {
    at("again").hidden = true;
    if (length() - video.currentTime <= EDGE) video.currentTime = 0;
    player.play();
  });

  // ---- Go -----------------------------------------------------------------

  seek.hidden = at("time").hidden = false;
  for (const link of ["to-live", "on-now"]) at(link).href = withToken(`/${name}`);
  at("quality-box").hidden = true;
  const date = id === null ? null : recordings.day.format(new Date(id));
  document.title = date ? `${date} · ${name} · weir` : `${name} · weir`;
  video.setAttribute("aria-label", `Recording of ${name}${date ? `, ${date}` : ""}`);
  recordings.heard(tell);
  setInterval(() => { if (!document.hidden) lookForLive(); }, LIVE_POLL);
  setInterval(leap, 500);
  lookForLive();
  tell();
  player.enter(room);
})();
