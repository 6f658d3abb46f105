// The list of recordings below the picture. There is none while a stream has
// no recordings, or while nobody can say which.
"use strict";

const recordings = (() => {
  /** Milliseconds between two looks at the list. */
  const REFRESH = 30000;

  const { name, at, weir, withToken } = player;
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  let list = [];         // as the server tells it, the newest first
  let onAir = null;      // whether the stream is live; null: not known yet
  let readAt = -REFRESH;
  const listeners = [];

  const address = (id) => withToken(`/${name}?vod=${id}`);

  /** The recording that grows, if one does. One that its broadcast has left
   *  stays open for a while too: it may be continued. */
  const growing = () => (onAir && list.length && !list[0].closed ? list[0] : null);

  /** "1:02:03"; "2:03" under an hour, unless the hours are wanted. */
  function clock(seconds, hours = seconds >= 3600) {
    const whole = Math.max(0, Math.floor(seconds));
    const two = (number) => String(number).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return hours ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  }

  const missing = (gaps) => (gaps === 1 ? "1 short part is missing" : `${gaps} short parts are missing`);

  // ---- The page --------------------------------------------------------------

  function make(of, type, className) {
    const made = document.createElement(type);
    made.className = className;
    of.append(made);
    return made;
  }

  function newCard(id) {
    const card = document.createElement("li");
    const link = make(card, "a", "recording");
    link.href = address(id);
    if (String(id) === weir.vod) link.setAttribute("aria-current", "page");
    const when = make(link, "time", "recording-when");
    const date = new Date(id);
    when.dateTime = date.toISOString();
    when.textContent = day.format(date);
    make(link, "span", "recording-length");
    make(link, "span", "badge on-air").textContent = "recording now";
    make(link, "span", "recording-note");
    return card;
  }

  // Cards that stay keep their element, so that focus stays too.
  const cards = new Map();
  function draw() {
    const next = list.map(({ id, duration_ms, gaps }) => {
      const card = cards.get(id) ?? newCard(id);
      cards.set(id, card);
      card.querySelector(".recording-length").textContent = clock(duration_ms / 1000, true);
      card.querySelector(".badge").hidden = growing()?.id !== id;
      card.querySelector(".recording-note").textContent = gaps ? missing(gaps) : "";
      return card;
    });
    for (const id of cards.keys()) if (!list.some((one) => one.id === id)) cards.delete(id);
    const shown = at("recording-list");
    if (next.length !== shown.children.length || next.some((card, i) => card !== shown.children[i])) {
      shown.replaceChildren(...next);
    }
    at("recordings").hidden = list.length === 0;
    for (const listener of listeners) listener();
  }

  // ---- The server --------------------------------------------------------------

  async function refresh() {
    readAt = performance.now();
    try {
      const answer = await fetch(withToken(`/${name}/recordings.json`), { cache: "no-cache", signal: AbortSignal.timeout?.(8000) });
      if (!answer.ok) return;
      // What a date cannot hold was not written by weir.
      list = (await answer.json()).recordings.filter(({ id }) => id <= 8.64e15);
    } catch {
      // The server is away: what is shown stays.
      return;
    }
    draw();
  }

  function onChange(is) {
    if (onAir === is) return;
    onAir = is;
    draw();
    refresh();
  }

  function now() {
    if (!document.hidden && performance.now() - readAt >= REFRESH) refresh();
  }
  setInterval(now, 1000);
  document.addEventListener("visibilitychange", now);

  return {
    address, growing, clock, missing, day,
    onAir: onChange,
    find: (id) => list.find((one) => one.id === id),
    heard: (listener) => listeners.push(listener),
  };
})();
