// Watches a live stream's playlists and holds every snapshot, and every step
// from one snapshot to the next, against the rules of HLS.
//
//   node snapshot.mjs MASTER_URL SECONDS [--ends yes]
//
// npm's hls-parser, in its strict mode, must accept each snapshot; the rules
// it does not know (RFC 8216bis 6.2.1 and 6.2.2 speak of successive
// playlists) are checked here, on the text. With `--ends yes` the script stays
// until every rung says ENDLIST, SECONDS at most, and misses it otherwise.
import HLS from "hls-parser";
import { args, sleep } from "./browser.mjs";

/** Seconds between two looks: a quarter of the shortest segment in use. */
const PERIOD = 0.5;
/** However slow the machine: two steps from one snapshot to the next. */
const FEWEST = 3;
/** Rounding of a PROGRAM-DATE-TIME, which has milliseconds. */
const MILLISECOND = 0.0015;

const { plain: [address, seconds = "20"], named } = args();
HLS.setOptions({ strictMode: true, silent: true });

const violations = new Map();
function rule(name, holds, what) {
  if (holds) return;
  const text = `${name}: ${what}`;
  violations.set(text, (violations.get(text) ?? 0) + 1);
}

// ---- Reading ----------------------------------------------------------------

async function text(url, kind) {
  const answer = await fetch(url, { redirect: "manual" });
  const body = await answer.text();
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}`);
  const type = answer.headers.get("content-type");
  rule("type", type?.startsWith("application/vnd.apple.mpegurl"), `${kind} has the type ${type}`);
  rule("P1", body.startsWith("#EXTM3U\n") || body.startsWith("#EXTM3U\r\n"), `${kind} does not begin with #EXTM3U`);
  const versions = body.match(/^#EXT-X-VERSION:.*/gm) ?? [];
  rule("P1", versions.length === 1, `${kind} has ${versions.length} EXT-X-VERSION tags`);
  rule("P2", versions[0]?.trim() === "#EXT-X-VERSION:3", `${kind} says ${versions[0]}, MPEG-TS with decimal durations needs exactly 3`);
  try {
    HLS.parse(body);
  } catch (error) {
    rule("parser", false, `${kind}: ${error.message}`);
  }
  return body;
}

function attributes(line) {
  return Object.fromEntries([...line.matchAll(/([A-Z0-9-]+)=("[^"]*"|[^,]*)/g)].map(([, key, value]) => [key, value.replace(/^"|"$/g, "")]));
}

function readMaster(body) {
  const lines = body.split(/\r?\n/);
  const variants = lines.flatMap((line, at) => line.startsWith("#EXT-X-STREAM-INF:")
    ? [{ ...attributes(line.slice(18)), uri: lines[at + 1] }] : []);
  rule("M1", variants.length > 0, "master lists no variant");
  for (const variant of variants) {
    const has = (key, form) => rule("M1", form.test(variant[key] ?? ""), `${variant.uri} has ${key}=${variant[key]}`);
    has("BANDWIDTH", /^[1-9]\d*$/);
    has("AVERAGE-BANDWIDTH", /^[1-9]\d*$/);
    has("CODECS", /^(avc1\.[0-9a-f]{6}|mp4a\.40\.\d+)(,mp4a\.40\.\d+)?$/i);
    if (variant.CODECS?.includes("avc1")) {
      has("RESOLUTION", /^[1-9]\d*x[1-9]\d*$/);
      has("FRAME-RATE", /^\d+\.\d{3}$/);
    }
    rule("M2", Number(variant["AVERAGE-BANDWIDTH"]) <= Number(variant.BANDWIDTH), `${variant.uri} has an average above its peak`);
    rule("uri", variant.uri && !/^(\/|\w+:)/.test(variant.uri), `${variant.uri} is not relative`);
  }
  return { variants, independent: /^#EXT-X-INDEPENDENT-SEGMENTS/m.test(body) };
}

function readMedia(body, rung) {
  const media = { segments: [], ended: false, independent: false };
  let next = {};
  let time = null;
  const head = (tag, value) => {
    rule(tag === "SEQ" ? "P6" : "P7", media.segments.length === 0 && next.duration === undefined, `${rung}: a sequence tag stands after a segment`);
    return Number(value);
  };
  for (const line of body.split(/\r?\n/)) {
    const [, tag, value = ""] = /^#(EXT[A-Z0-9-]*):?(.*)$/.exec(line) ?? [];
    if (tag === "EXT-X-TARGETDURATION") {
      rule("P3", /^[1-9]\d*$/.test(value), `${rung}: TARGETDURATION is ${value}`);
      media.target = Number(value);
    } else if (tag === "EXT-X-MEDIA-SEQUENCE") media.first = head("SEQ", value);
    else if (tag === "EXT-X-DISCONTINUITY-SEQUENCE") {
      rule("P7", !next.discontinuity, `${rung}: DISCONTINUITY-SEQUENCE after a DISCONTINUITY`);
      media.discontinuities = head("DSN", value);
    } else if (tag === "EXT-X-INDEPENDENT-SEGMENTS") media.independent = true;
    else if (tag === "EXT-X-PLAYLIST-TYPE") rule("P11", false, `${rung}: a live playlist has a PLAYLIST-TYPE`);
    else if (tag === "EXT-X-ENDLIST") media.ended = true;
    else if (tag === "EXT-X-DISCONTINUITY") next.discontinuity = true;
    else if (tag === "EXT-X-PROGRAM-DATE-TIME") {
      rule("P10", /\.\d{3,}(Z|[+-]\d\d:?\d\d)$/.test(value), `${rung}: PROGRAM-DATE-TIME ${value} lacks milliseconds or zone`);
      next.date = Date.parse(value) / 1000;
    } else if (tag === "EXTINF") {
      const [duration] = value.split(",");
      rule("P4", /^\d+\.\d{3,}$/.test(duration), `${rung}: EXTINF ${duration} has fewer than 3 decimals`);
      next.duration = Number(duration);
    } else if (line && !line.startsWith("#")) {
      const number = media.first + media.segments.length;
      // A segment without a date of its own continues the one before.
      const before = media.segments.at(-1);
      time = next.date ?? (before && time !== null ? time + before.duration : null);
      rule("P10", time !== null, `${rung}: segment ${number} has no PROGRAM-DATE-TIME to go by`);
      rule("name", line === `${number}.ts`, `${rung}: segment ${number} is called ${line}`);
      media.segments.push({ number, uri: line, duration: next.duration, time, discontinuity: Boolean(next.discontinuity) });
      next = {};
    }
  }
  return media;
}

// ---- One rung over time -----------------------------------------------------

/** Start times and discontinuities by segment number, as the first rung that
 *  listed the segment gave them: the others must agree. */
const across = new Map();
let target = null;

class Rung {
  segments = new Map();
  last = null;
  snapshots = 0;
  peak = 0;
  grown = performance.now();
  slowest = 0;

  constructor(variant, base) {
    this.name = variant.uri;
    this.url = new URL(variant.uri, base);
    this.variant = variant;
    // Dates and durations may differ by one frame; sound alone has no
    // frames of its own here and gets those of 25 fps.
    this.frame = 1 / (Number(variant["FRAME-RATE"]) || 25);
  }

  async look() {
    const media = readMedia(await text(this.url, this.name), this.name);
    this.snapshots += 1;
    const { name, last } = this;
    target ??= media.target;
    rule("P3", media.target === target, `${name}: TARGETDURATION ${media.target}, elsewhere or before ${target}`);
    rule("P6", Number.isInteger(media.first), `${name}: no MEDIA-SEQUENCE`);
    rule("P7", Number.isInteger(media.discontinuities), `${name}: no DISCONTINUITY-SEQUENCE`);
    for (const [index, segment] of media.segments.entries()) this.hold(media, index, segment);
    if (last) this.step(last, media);
    const fresh = media.segments.filter(({ number }) => !this.segments.has(number));
    for (const segment of fresh) this.segments.set(segment.number, segment);
    if (fresh.length) {
      if (last) this.slowest = Math.max(this.slowest, (performance.now() - this.grown) / 1000);
      this.grown = performance.now();
    }
    this.last = media;
    await Promise.all(fresh.map((segment) => this.fetch(segment)));
  }

  /** One segment of one snapshot. */
  hold(media, index, segment) {
    const { name } = this;
    rule("P3", Math.ceil(segment.duration) <= media.target, `${name}: segment ${segment.number} lasts ${segment.duration}, above TARGETDURATION`);
    const before = media.segments[index - 1];
    if (before && !segment.discontinuity) {
      const step = segment.time - before.time;
      rule("P10", Math.abs(step - before.duration) <= this.frame, `${name}: date of ${segment.number} is ${step.toFixed(3)} after the one before, which lasts ${before.duration}`);
    }
    const known = this.segments.get(segment.number);
    rule("P6", !known || known.duration === segment.duration, `${name}: duration of segment ${segment.number} changed`);
    rule("P12", !known || known.discontinuity === segment.discontinuity, `${name}: discontinuity of segment ${segment.number} changed`);
    const other = across.get(segment.number);
    if (!other) across.set(segment.number, segment);
    else {
      rule("P10", Math.abs(other.time - segment.time) <= MILLISECOND, `${name}: date of ${segment.number} differs from another rung's, or from before`);
      rule("P9", other.discontinuity === segment.discontinuity, `${name}: discontinuity at ${segment.number} differs from another rung's`);
    }
  }

  /** From one snapshot to the next. */
  step(last, media) {
    const { name } = this;
    const end = (list) => list.first + list.segments.length;
    rule("P6", media.first >= last.first, `${name}: MEDIA-SEQUENCE fell from ${last.first} to ${media.first}`);
    rule("P12", media.first <= end(last), `${name}: segments between ${end(last)} and ${media.first} were never listed`);
    rule("P12", end(media) >= end(last), `${name}: the tail lost segments`);
    const left = last.segments.filter(({ number, discontinuity }) => number < media.first && discontinuity).length;
    rule("P7", media.discontinuities === last.discontinuities + left, `${name}: DISCONTINUITY-SEQUENCE went from ${last.discontinuities} to ${media.discontinuities} while ${left} left`);
    rule("P12", !last.ended || (media.ended && end(media) === end(last)), `${name}: changed after ENDLIST`);
    if (media.first > last.first && !media.ended) {
      const listed = media.segments.reduce((sum, { duration }) => sum + duration, 0);
      rule("P15", listed >= 3 * media.target && media.segments.length >= 6, `${name}: removed a segment and lists only ${listed.toFixed(1)} s in ${media.segments.length}`);
    }
  }

  /** A listed segment is there, whole, at first sight. */
  async fetch({ number, uri, duration }) {
    const answer = await fetch(new URL(uri, this.url), { redirect: "manual" });
    const bytes = (await answer.arrayBuffer()).byteLength;
    rule("P14", answer.status === 200, `${this.name}: segment ${number} answered ${answer.status} when first listed`);
    rule("P14", Number(answer.headers.get("content-length")) === bytes, `${this.name}: segment ${number} has no true Content-Length`);
    rule("type", answer.headers.get("content-type") === "video/mp2t", `${this.name}: segment ${number} has the type ${answer.headers.get("content-type")}`);
    rule("TS", bytes > 0 && bytes % 188 === 0, `${this.name}: segment ${number} is not a whole number of packets`);
    if (duration >= target / 2) this.peak = Math.max(this.peak, (bytes * 8) / duration);
  }
}

// ---- The watch --------------------------------------------------------------

const until = performance.now() + Number(seconds) * 1000;
let rungs = [];
let snapshots = 0;
try {
  let master = readMaster(await text(address, "master"));
  rungs = master.variants.map((variant) => new Rung(variant, address));
  while ((snapshots < FEWEST || performance.now() < until) && !(rungs.length && rungs.every(({ last }) => last?.ended))) {
    await Promise.all(rungs.map((rung) => rung.look()));
    master = readMaster(await text(address, "master"));
    rule("master", master.variants.map(({ uri }) => uri).join() === rungs.map(({ name }) => name).join(), "the list of variants changed");
    rule("M4", master.independent || rungs.every(({ last }) => last.independent), "INDEPENDENT-SEGMENTS is neither in the master nor in every media playlist");
    rungs.forEach((rung, index) => { rung.variant = master.variants[index] ?? rung.variant; });
    snapshots += 1;
    await sleep(PERIOD);
  }
  for (const { name, variant, peak, last, segments } of rungs) {
    rule("M3", peak <= 1.25 * Number(variant.BANDWIDTH), `${name}: peak of ${Math.round(peak)} bit/s is above 125 % of BANDWIDTH=${variant.BANDWIDTH}`);
    rule("P17", named.ends !== "yes" || last?.ended, `${name}: no ENDLIST after ${seconds} s`);
    rule("watch", segments.size > 0, `${name}: no segment was ever listed`);
  }
} catch (error) {
  rule("watch", false, `${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
}

for (const [what, times] of violations) process.stderr.write(`FAILED snapshot: ${what}${times > 1 ? ` (${times} times)` : ""}\n`);
if (!violations.size) process.stderr.write(`ok     snapshot: ${snapshots} snapshots of ${rungs.length} rungs hold every rule\n`);
process.stdout.write(`${JSON.stringify({
  title: "snapshot", passed: violations.size ? 0 : 1, failed: violations.size, failures: [...violations.keys()], snapshots, target,
  rungs: rungs.map(({ name, segments, peak, variant, slowest, last }) => ({
    name, segments: segments.size, peak: Math.round(peak), bandwidth: Number(variant.BANDWIDTH), slowest: Number(slowest.toFixed(2)), ended: Boolean(last?.ended),
  })),
})}\n`);
process.exit(violations.size ? 1 : 0);
