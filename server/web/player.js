// The player of the watch page: the video element, its controls, and what
// plays in it. hls.js does the playing where Media Source Extensions exist;
// elsewhere (older iPhones, or a build without node, whose hls.js is empty)
// the browser's own HLS does. `?hls=native` forces the latter.
//
// `?token=` is passed on with everything that is asked of the server.
//
// What is played, and what to do when it ends, one of two rooms knows: live.js,
// or vod.js where the address says `?vod=ID`.
"use strict";

const player = (() => {
  /** Milliseconds between two looks for what cannot be played yet. */
  const POLL = 3000;
  /** Longest pause between restarts after errors, in milliseconds. */
  const RESTART_MAX = 10000;
  /** Seconds without progress after which playback is started afresh: two
   *  default segments, so that a publisher's short hiccup is waited out. */
  const FROZEN = 12;
  /** Seconds without a pointer until the controls leave the picture. */
  const IDLE = 3;

  const name = document.body.dataset.stream;
  const at = (id) => document.getElementById(id);
  const stage = at("stage");
  const video = at("video");

  const asked = new URLSearchParams(location.search);
  /** What lets this viewer in, where the server asks for it. */
  const token = asked.get("token");
  /** `address` with it; what a playlist lists has it already. */
  function withToken(address) {
    if (token === null) return address;
    return `${address}${address.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
  }
  const Hls = window.Hls;
  const engine =
    asked.get("hls") !== "native" && Hls && Hls.isSupported() ? "hls.js"
      : video.canPlayType("application/vnd.apple.mpegurl") ? "native"
        : "none";

  /** What tests and the curious may look at. */
  const weir = {
    name, engine, video,
    vod: asked.get("vod"), // the recording that the address asks for
    state: "checking",   // live.js and vod.js name the others
    hls: null,           // the hls.js instance while one plays
    stalls: 0,           // times the picture stopped for want of data
    switches: 0,         // changes of rung
    restarts: 0,         // times playback was started afresh after an error
    errors: [],          // the last 20 of hls.js's or the browser's, as text
    latency: null,       // seconds behind the publisher, when known
    playing: false,      // a picture (or sound) has come since the last start
  };
  window.weir = weir;

  /** live.js or vod.js, once it has entered. It says:
   *  - `master`: the address of what is played;
   *  - `playing`: the name of the state in which it is;
   *  - `covers`: title and text of each other state;
   *  - `final`: the states that nothing ends by itself;
   *  - `look()`: the state that it is in now, as far as the server tells;
   *  - `ended()`, `tick()` once a second while it plays, and, if it likes:
   *    `shown(state)`, `opening()`, `updated(details)`, `resumed()`,
   *    `failed(data)` of hls.js's errors, `key(event)`; the last two say
   *    whether it was dealt with.
   *  - `hls`: settings of hls.js. */
  let room = null;
  let pollTimer = 0;
  let idleTimer = 0;
  let mediaRetries = [];
  let startedAt = 0;
  let failures = 0;      // restarts in a row, each within 30 s of its start
  let progress = { at: 0, time: -1 };

  const isOpen = () => room !== null && weir.state === room.playing;

  // ---- What the page says -------------------------------------------------

  function show(state) {
    if (weir.state === state) return;
    weir.state = state;
    stage.dataset.state = state;
    stage.classList.toggle("is-open", isOpen());
    if (!isOpen()) {
      for (const id of ["start", "again", "unmute", "sound-only"]) at(id).hidden = true;
      cover();
    }
    room.shown?.(state);
  }

  function cover() {
    const unsupported = ["This browser can't play this video", "Any current Chrome, Edge, Firefox or Safari can."];
    [at("cover-title").textContent, at("cover-text").textContent] =
      weir.state === "unsupported" ? unsupported : room.covers[weir.state];
  }

  function note(text) {
    weir.errors.push(text);
    if (weir.errors.length > 20) weir.errors.shift();
  }

  // ---- Is there anything to play? -----------------------------------------

  async function load(address) {
    // "reload" refreshes the cached copy that the player reads next.
    const answer = await fetch(address, { cache: "reload", signal: AbortSignal.timeout?.(8000) });
    return { answer, body: answer.ok ? await answer.text() : "" };
  }

  async function look() {
    clearTimeout(pollTimer);
    pollTimer = 0;
    const found = await room.look();
    if (isOpen() || pollTimer) return;
    if (found === room.playing) return open();
    show(found);
    if (!room.final?.includes(found)) pollTimer = setTimeout(look, POLL);
  }

  function enter(newRoom) {
    room = newRoom;
    cover();
    look();
  }

  // ---- Playing ------------------------------------------------------------

  function open() {
    close();
    if (engine === "none") return show("unsupported");
    show(room.playing);
    stage.classList.add("is-waiting");
    startedAt = performance.now();
    progress = { at: startedAt, time: -1 };
    room.opening?.();
    if (engine === "hls.js") startHls();
    else video.src = room.master;
    play();
    wake();
  }

  function close() {
    weir.playing = false;
    weir.latency = null;
    weir.hls?.destroy();
    weir.hls = null;
    video.removeAttribute("src");
    video.removeAttribute("poster");
    video.load();
  }

  /** After an end or an error: shows why, and looks again. */
  function leave(state, delay = POLL) {
    close();
    show(state);
    clearTimeout(pollTimer);
    pollTimer = setTimeout(look, delay);
  }

  function restart(why) {
    note(why);
    weir.restarts += 1;
    failures = performance.now() - startedAt > 30000 ? 0 : failures + 1;
    leave("checking", Math.min(RESTART_MAX, 500 * 2 ** failures));
  }

  async function play() {
    try {
      await video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return;
      if (!video.muted) {
        video.muted = true;
        return play();
      }
      // Power saving on phones refuses even muted autoplay.
      at("start").hidden = false;
    }
  }

  function startHls() {
    const hls = new Hls({ capLevelToPlayerSize: true, backBufferLength: 30, startFragPrefetch: true, ...room.hls });
    weir.hls = hls;
    const { Events } = Hls;
    hls.on(Events.MANIFEST_PARSED, listLevels);
    hls.on(Events.LEVEL_SWITCHED, () => { weir.switches += 1; labelAuto(); });
    hls.on(Events.LEVEL_UPDATED, (_, { details }) => room.updated?.(details));
    hls.on(Events.BUFFER_CODECS, (_, tracks) => {
      stage.classList.toggle("is-silent", !tracks.audio && !tracks.audiovideo);
    });
    hls.on(Events.ERROR, (_, data) => {
      note(`${data.type}: ${data.details}${data.fatal ? " (fatal)" : ""}`);
      if (!room.failed?.(data) && data.fatal) recover(hls, data);
    });
    hls.loadSource(room.master);
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

  // ---- Once a second: does it move? ----------------------------------------

  function tick() {
    if (!isOpen()) return;
    const now = performance.now();
    if (video.currentTime !== progress.time || video.paused) {
      progress = { at: now, time: video.currentTime };
    } else if (now - progress.at > FROZEN * 1000 && !document.hidden) {
      return restart("the picture stood still");
    }
    if (!weir.playing) return;
    room.tick();
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
    // A recording has one, and the path of its playlist does not name it.
    at("quality-box").hidden = weir.vod !== null && levels.length < 2;
    labelAuto();
  }

  const narrow = matchMedia("(max-width: 640px)");
  function labelAuto() {
    const { hls } = weir;
    const shown = hls ? hls.levels[hls.currentLevel] && rungName(hls.levels[hls.currentLevel])
      : video.videoHeight ? `${video.videoHeight}p` : "";
    const select = at("quality");
    if (!hls) select.disabled = true;
    // A phone's bar has no place for more.
    const text = shown && !narrow.matches ? `Auto · ${shown}` : "Auto";
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
    if (!isOpen()) return;
    waiting(true);
    if (weir.playing && !video.seeking && !video.ended) weir.stalls += 1;
  });
  on("timeupdate", () => { if (!video.seeking && video.readyState > 2) waiting(false); });
  on("play", () => {
    stage.classList.remove("is-paused");
    at("play").setAttribute("aria-label", "Pause");
    room?.resumed?.();
    wake();
  });
  on("pause", () => {
    stage.classList.add("is-paused");
    at("play").setAttribute("aria-label", "Play");
    wake();
  });
  // From the live picture to its recording and back the sound stays on, where
  // the browser lets it.
  const SOUND = "weir.sound";
  function keepSound() {
    try {
      if (!video.muted) sessionStorage.setItem(SOUND, "on");
      else if (weir.playing) sessionStorage.removeItem(SOUND);
    } catch { /* no storage: it begins muted */ }
  }
  try {
    video.muted = sessionStorage.getItem(SOUND) !== "on";
  } catch { /* likewise */ }
  on("volumechange", keepSound);
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
  on("ended", () => { if (isOpen()) room.ended(); });
  on("error", () => {
    // hls.js reports what happens to its own source.
    if (isOpen() && engine === "native" && video.error) {
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
  click("full", toggleFull);
  at("volume").addEventListener("input", (event) => {
    video.volume = Number(event.target.value);
    video.muted = video.volume === 0;
  });

  // A mouse on the picture plays and pauses; a finger only calls the controls.
  video.addEventListener("pointerup", (event) => {
    if (!isOpen()) return;
    if (event.pointerType === "mouse") return event.button === 0 && togglePlay();
    if (stage.classList.contains("is-idle")) wake();
    else stage.classList.toggle("is-idle", !video.paused);
  });
  video.addEventListener("dblclick", toggleFull);
  stage.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") wake(); });
  stage.addEventListener("focusin", wake);
  document.addEventListener("keydown", (event) => {
    if (!isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
    // A slider has no use for a space.
    const onControl = event.target.closest("button, select, a");
    if (event.key === "m") toggleSound();
    else if (event.key === "f") toggleFull();
    else if (event.key === "k" || (event.key === " " && !onControl)) togglePlay();
    else if (!room.key?.(event)) return;
    event.preventDefault();
    wake();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && pollTimer) look();
  });

  stage.classList.add("is-paused");
  showVolume();
  setInterval(tick, 1000);

  return { name, at, stage, video, weir, isOpen, withToken, load, enter, play, leave, restart, waiting, on, click };
})();
