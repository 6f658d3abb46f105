// The watch page: waits for the stream, plays it, and goes back to waiting
// when it ends. hls.js does the playing where Media Source Extensions exist;
// elsewhere (older iPhones, or a build without node, whose hls.js is empty)
// the browser's own HLS does. `?hls=native` forces the latter.
"use strict";

(() => {
  /** Milliseconds between two looks for a stream that is not live. */
  const POLL = 3000;
  /** Milliseconds between two looks for a picture while there is sound alone. */
  const PICTURE_POLL = 6000;
  /** Longest pause between restarts after errors, in milliseconds. */
  const RESTART_MAX = 10000;
  /** Seconds without progress after which playback is started afresh: two
   *  default segments, so that a publisher's short hiccup is waited out. */
  const FROZEN = 12;
  /** Seconds without a pointer until the controls leave the picture. */
  const IDLE = 3;

  const name = document.body.dataset.stream;
  const master = `/${name}/live.m3u8`;
  const at = (id) => document.getElementById(id);
  const stage = at("stage");
  const video = at("video");

  const forced = new URLSearchParams(location.search).get("hls");
  const Hls = window.Hls;
  const engine =
    forced !== "native" && Hls && Hls.isSupported() ? "hls.js"
      : video.canPlayType("application/vnd.apple.mpegurl") ? "native"
        : "none";

  /** What tests and the curious may look at. */
  const weir = {
    name, engine, video,
    state: "checking",   // checking, waiting, live, ended, unreachable
    hls: null,           // the hls.js instance while one plays
    stalls: 0,           // times the picture stopped for want of data
    switches: 0,         // changes of rung
    restarts: 0,         // times playback was started afresh after an error
    errors: [],          // the last 20 of hls.js's or the browser's, as text
    latency: null,       // seconds behind the publisher, when known
    playing: false,      // a picture (or sound) has come since the last start
  };
  window.weir = weir;

  let pollTimer = 0;
  let idleTimer = 0;
  let clockSkew = 0;     // milliseconds to add to our clock to get the server's
  let mediaRetries = [];
  let startedAt = 0;
  let failures = 0;      // restarts in a row, each within 30 s of its start
  let progress = { at: 0, time: -1 };
  let lastNumber = -1;    // the highest segment number listed so far

  // ---- What the page says -------------------------------------------------

  const COVERS = {
    checking: [`Looking for ${name}…`, ""],
    waiting: [`${name} is not live right now`, "This page starts by itself when it is."],
    ended: ["The stream has ended", `This page starts again by itself when ${name} is back.`],
    unreachable: ["The server can't be reached", "Trying again every few seconds."],
    unsupported: ["This browser can't play live video", "Any current Chrome, Edge, Firefox or Safari can."],
  };

  function show(state) {
    if (weir.state === state) return;
    weir.state = state;
    stage.dataset.state = state;
    const live = state === "live";
    at("badge").textContent = live ? "Live" : state === "ended" ? "Ended" : "Offline";
    at("badge").classList.toggle("on-air", live);
    document.title = live ? `● ${name} · weir` : `${name} · weir`;
    at("facts").textContent = "";
    if (live) return;
    at("start").hidden = at("unmute").hidden = at("sound-only").hidden = true;
    [at("cover-title").textContent, at("cover-text").textContent] = COVERS[state];
  }

  function note(text) {
    weir.errors.push(text);
    if (weir.errors.length > 20) weir.errors.shift();
  }

  // ---- Is anyone live? ----------------------------------------------------

  async function load(address) {
    // "reload" refreshes the cached copy that the player reads next.
    const answer = await fetch(address, { cache: "reload", signal: AbortSignal.timeout?.(8000) });
    return { answer, body: answer.ok ? await answer.text() : "" };
  }

  /** "live", "ended" (still listed, for a while), "waiting" or "unreachable". */
  async function look() {
    try {
      const asked = Date.now();
      const { answer, body } = await load(master);
      learnClock(answer, asked);
      if (answer.status === 404) return "waiting";
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

  async function poll() {
    clearTimeout(pollTimer);
    pollTimer = 0;
    const found = await look();
    if (weir.state === "live" || pollTimer) return;
    if (found === "live") return start();
    show(found);
    pollTimer = setTimeout(poll, POLL);
  }

  // ---- Playing ------------------------------------------------------------

  function start() {
    stop();
    if (engine === "none") return show("unsupported");
    show("live");
    stage.classList.add("is-waiting");
    startedAt = performance.now();
    progress = { at: startedAt, time: -1 };
    thumb.src = `/${name}/thumb.jpg?t=${Date.now()}`;
    if (engine === "hls.js") startHls();
    else video.src = master;
    play();
    wake();
  }

  function stop() {
    weir.playing = false;
    weir.latency = null;
    lastNumber = -1;
    weir.hls?.destroy();
    weir.hls = null;
    video.removeAttribute("src");
    video.removeAttribute("poster");
    video.load();
  }

  /** After an end or an error: shows why, and looks again. */
  function leave(state, delay) {
    stop();
    show(state);
    clearTimeout(pollTimer);
    pollTimer = setTimeout(poll, delay);
  }

  function restart(why) {
    note(why);
    weir.restarts += 1;
    failures = performance.now() - startedAt > 30000 ? 0 : failures + 1;
    leave("checking", Math.min(RESTART_MAX, 500 * 2 ** failures));
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
  setInterval(lookForPicture, PICTURE_POLL);

  async function play() {
    try {
      await video.play();
    } catch (error) {
      // Power saving on phones refuses even muted autoplay.
      if (error.name === "NotAllowedError") at("start").hidden = false;
    }
  }

  function startHls() {
    const hls = new Hls({
      capLevelToPlayerSize: true,
      backBufferLength: 30,
      liveDurationInfinity: true,
      startFragPrefetch: true,
      // Start with a picture that is neither mud nor a gamble; measured after
      // the first segment.
      abrEwmaDefaultEstimate: 2_000_000,
    });
    weir.hls = hls;
    const { Events } = Hls;
    hls.on(Events.MANIFEST_PARSED, listLevels);
    hls.on(Events.LEVEL_SWITCHED, () => { weir.switches += 1; labelAuto(); });
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => {
      // Numbers that do not touch the last ones: another broadcast took the
      // name, or this page slept through a whole window.
      // All rungs share their numbers, so that one which was not looked at for
      // a while is no jump.
      const last = lastNumber;
      lastNumber = Math.max(last, details.endSN);
      if (details.live && last >= 0 && details.startSN > last + 1) {
        // Not from inside hls.js: it goes on with the level after this event.
        setTimeout(() => { if (weir.hls === hls) restart("the playlist jumped"); });
      }
    });
    hls.on(Events.BUFFER_CODECS, (_, tracks) => {
      stage.classList.toggle("is-silent", !tracks.audio && !tracks.audiovideo);
    });
    hls.on(Events.ERROR, (_, data) => {
      note(`${data.type}: ${data.details}${data.fatal ? " (fatal)" : ""}`);
      if (data.fatal) recover(hls, data);
    });
    hls.loadSource(master);
    hls.attachMedia(video);
  }

  function recover(hls, data) {
    if (data.type !== Hls.ErrorTypes.MEDIA_ERROR) return restart(data.details);
    const now = performance.now();
    mediaRetries = mediaRetries.filter((then) => now - then < 10000);
    mediaRetries.push(now);
    if (mediaRetries.length > 2) return restart(data.details);
    if (mediaRetries.length === 2) hls.swapAudioCodec();
    hls.recoverMediaError();
    play();
  }

  function goLive() {
    const edge = weir.hls ? weir.hls.liveSyncPosition
      : video.seekable.length ? video.seekable.end(video.seekable.length - 1) - 6 : null;
    if (edge !== null && edge > video.currentTime) video.currentTime = edge;
    play();
  }

  // ---- Once a second: how far behind, and does it move? --------------------

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

  function tick() {
    if (weir.state !== "live") return;
    const now = performance.now();
    if (video.currentTime !== progress.time || video.paused) {
      progress = { at: now, time: video.currentTime };
    } else if (now - progress.at > FROZEN * 1000 && !document.hidden) {
      return restart("the picture stood still");
    }
    if (!weir.playing) return;
    weir.latency = measure();
    const sync = weir.hls?.liveSyncPosition;
    const drift = sync ? sync - video.currentTime : (weir.latency ?? 0) - 12;
    const edge = drift < 8 && !video.paused;
    const seconds = weir.latency === null ? "" : `${Math.max(1, Math.round(weir.latency))} s`;
    at("live").classList.toggle("is-edge", edge);
    at("live-text").textContent = edge ? "Live" : "Go live";
    const size = video.videoHeight ? `${video.videoWidth} × ${video.videoHeight}` : "";
    at("facts").textContent = [seconds && `${seconds} behind the camera`, size].filter(Boolean).join(" · ");
    labelAuto();
  }

  // ---- Quality ------------------------------------------------------------

  function rungName(level) {
    const path = /([^/]+)\/[^/]*$/.exec(new URL(level.url[0], location.href).pathname);
    return path?.[1] || (level.height ? `${level.height}p` : `${Math.round(level.bitrate / 1000)} kbit/s`);
  }

  function listLevels() {
    const levels = weir.hls.levels.map((level, index) => ({ level, index }));
    levels.sort((a, b) => b.level.bitrate - a.level.bitrate);
    at("quality").replaceChildren(new Option("Auto", "-1"),
      ...levels.map(({ level, index }) => new Option(rungName(level), String(index))));
    at("quality").disabled = levels.length < 2;
    labelAuto();
  }

  function labelAuto() {
    const { hls } = weir;
    const shown = hls ? hls.levels[hls.currentLevel] && rungName(hls.levels[hls.currentLevel])
      : video.videoHeight ? `${video.videoHeight}p` : "";
    const select = at("quality");
    if (!hls) select.disabled = true;
    const text = shown ? `Auto · ${shown}` : "Auto";
    const [auto] = select.options;
    if (auto.textContent !== text) auto.textContent = text;
    const chosen = hls && !hls.autoLevelEnabled ? String(hls.manualLevel) : "-1";
    if (select.value !== chosen) select.value = chosen;
  }

  at("quality").addEventListener("change", (event) => {
    if (weir.hls) weir.hls.nextLevel = Number(event.target.value);
    labelAuto();
  });

  // ---- The video element --------------------------------------------------

  const on = (type, react) => video.addEventListener(type, react);
  const waiting = (is) => stage.classList.toggle("is-waiting", is);

  on("playing", () => {
    waiting(false);
    at("start").hidden = true;
    if (!weir.playing) {
      weir.playing = true;
      at("unmute").hidden = !video.muted;
      at("sound-only").hidden = video.videoHeight > 0;
    }
    tick();
  });
  on("waiting", () => {
    if (weir.state !== "live") return;
    waiting(true);
    if (weir.playing && !video.seeking && !video.ended) weir.stalls += 1;
  });
  on("timeupdate", () => { if (!video.seeking && video.readyState > 2) waiting(false); });
  on("play", () => {
    stage.classList.remove("is-paused");
    at("play").setAttribute("aria-label", "Pause");
    // After a long pause the place may have left the window.
    const details = weir.hls?.latestLevelDetails;
    if (details?.live && weir.hls.latency > 0.8 * details.totalduration) goLive();
    wake();
  });
  on("pause", () => {
    stage.classList.add("is-paused");
    at("play").setAttribute("aria-label", "Play");
    wake();
  });
  function showVolume() {
    const quiet = video.muted || video.volume === 0;
    stage.classList.toggle("is-muted", quiet);
    at("mute").setAttribute("aria-label", quiet ? "Sound on" : "Sound off");
    at("volume").value = video.muted ? 0 : video.volume;
    if (!quiet) at("unmute").hidden = true;
  }
  on("volumechange", showVolume);
  on("resize", () => {
    if (!video.videoHeight) return;
    at("sound-only").hidden = true;
    stage.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
  });
  on("ended", () => { if (weir.state === "live") leave("ended", POLL); });
  on("error", () => {
    // hls.js reports what happens to its own source.
    if (weir.state === "live" && engine === "native" && video.error) {
      restart(`the browser's player: ${video.error.message || video.error.code}`);
    }
  });

  // ---- Controls -----------------------------------------------------------

  function togglePlay() {
    if (video.paused) play();
    else video.pause();
  }

  function toggleSound() {
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 1;
  }

  async function toggleFull() {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (stage.requestFullscreen) await stage.requestFullscreen();
      else video.webkitEnterFullscreen?.();
    } catch {
      // Refused, for instance inside a frame that does not allow it.
    }
  }

  function wake() {
    stage.classList.remove("is-idle");
    clearTimeout(idleTimer);
    idleTimer = setTimeout(() => stage.classList.toggle("is-idle", !video.paused), IDLE * 1000);
  }

  const click = (id, react) => at(id).addEventListener("click", react);
  click("play", togglePlay);
  click("start", play);
  click("mute", toggleSound);
  click("unmute", () => { video.muted = false; play(); });
  click("live", goLive);
  click("full", toggleFull);
  at("volume").addEventListener("input", (event) => {
    video.volume = Number(event.target.value);
    video.muted = video.volume === 0;
  });

  // A mouse on the picture plays and pauses; a finger only calls the controls.
  video.addEventListener("pointerup", (event) => {
    if (weir.state !== "live") return;
    if (event.pointerType === "mouse") return event.button === 0 && togglePlay();
    if (stage.classList.contains("is-idle")) wake();
    else stage.classList.toggle("is-idle", !video.paused);
  });
  video.addEventListener("dblclick", toggleFull);
  stage.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") wake(); });
  stage.addEventListener("focusin", wake);
  document.addEventListener("keydown", (event) => {
    if (weir.state !== "live" || event.ctrlKey || event.metaKey || event.altKey) return;
    const onControl = event.target.closest("button, select, input, a");
    if (event.key === "m") toggleSound();
    else if (event.key === "f") toggleFull();
    else if (event.key === "k" || (event.key === " " && !onControl)) togglePlay();
    else return;
    event.preventDefault();
    wake();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && pollTimer) poll();
  });

  // The last frame of the stream under the controls, until the first picture.
  const thumb = new Image();
  thumb.onload = () => { if (!weir.playing) video.poster = thumb.src; };

  // ---- Go -----------------------------------------------------------------

  stage.classList.add("is-paused");
  showVolume();
  setInterval(tick, 1000);
  poll();
})();
