// The list of live streams: fills in this server's name, keeps the cards and
// their pictures fresh, and hides a picture that is not there yet.
"use strict";

(() => {
  /** Milliseconds between two looks at the list. */
  const REFRESH = 10000;
  const streams = document.getElementById("streams");

  function dress() {
    document.getElementById("host").textContent = location.hostname;
    for (const picture of streams.querySelectorAll("img")) {
      const missing = () => picture.classList.add("is-missing");
      if (picture.complete && !picture.naturalWidth) missing();
      picture.addEventListener("error", missing);
      picture.addEventListener("load", () => picture.classList.remove("is-missing"));
    }
  }

  // Cards that stay keep their element, so that neither focus nor the
  // picture flickers.
  function merge(fresh) {
    const known = new Map([...streams.children].map((card) => [card.textContent, card]));
    const next = [...fresh.children].map((card) => known.get(card.textContent) ?? document.importNode(card, true));
    if (next.length !== streams.children.length || next.some((card, i) => card !== streams.children[i])) {
      streams.replaceChildren(...next);
    }
    for (const picture of streams.querySelectorAll("img")) {
      picture.src = `${picture.getAttribute("src").split("?")[0]}?t=${Date.now()}`;
    }
    dress();
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const answer = await fetch("/", { cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("streams");
      if (fresh) merge(fresh);
    } catch {
      // The server is away: what is shown stays.
    }
  }

  dress();
  setInterval(refresh, REFRESH);
  document.addEventListener("visibilitychange", refresh);
})();
