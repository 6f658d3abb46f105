// The checker of playlists, checked: a server that keeps every rule, then one
// that breaks exactly one of them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("snapshot.mjs", import.meta.url));
const FIRST = 1_700_000_000_000;
const RUNGS = { "720p": 2_800_000, "360p": 800_000 };

/** A live window of eight segments that moves on with every look at a rung. */
function playlists({ master = (text) => text, media = (text) => text, segment = () => ({}) } = {}) {
  const looks = {};
  return (path) => {
    if (path === "/live.m3u8") {
      return { body: master(`#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n${Object.entries(RUNGS).map(([rung, rate]) =>
        `#EXT-X-STREAM-INF:BANDWIDTH=${rate},AVERAGE-BANDWIDTH=${rate - 1000},CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=25.000\n${rung}/index.m3u8\n`).join("")}`) };
    }
    const [, rung, file] = path.split("/");
    if (file !== "index.m3u8") return { type: "video/mp2t", body: Buffer.alloc(188), ...segment(rung, Number.parseInt(file)) };
    const look = looks[rung] = (looks[rung] ?? -1) + 1;
    const lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", `#EXT-X-MEDIA-SEQUENCE:${FIRST + look}`, "#EXT-X-DISCONTINUITY-SEQUENCE:0"];
    for (let at = look; at < look + 8; at += 1) {
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(1_700_000_000_000 + at * 2000).toISOString()}`, "#EXTINF:2.000000,", `${FIRST + at}.ts`);
    }
    return { body: media(`${lines.join("\n")}\n`, look, rung) };
  };
}

async function verdict(answer, given = []) {
  const server = createServer((request, response) => {
    const { status = 200, type = "application/vnd.apple.mpegurl", body } = answer(request.url);
    response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const master = `http://127.0.0.1:${server.address().port}/live.m3u8`;
  const [code, output] = await new Promise((ended) => {
    execFile(process.execPath, [SCRIPT, master, "1.2", ...given], (error, stdout) => ended([error?.code ?? 0, stdout]));
  });
  server.close();
  const { failures } = JSON.parse(output);
  assert.equal(code, failures.length ? 1 : 0);
  return failures;
}

const later = (change) => ({ media: (text, look) => (look > 0 ? change(text) : text) });
const BROKEN = {
  "P1: two version tags": ["P1", { media: (text) => text.replace("#EXT-X-TARGET", "#EXT-X-VERSION:3\n#EXT-X-TARGET") }],
  "P2: a version above what is needed": ["P2", { media: (text) => text.replace("VERSION:3", "VERSION:6") }],
  "P3: a target duration that changes": ["P3", later((text) => text.replace("TARGETDURATION:2", "TARGETDURATION:3"))],
  "P3: a segment above the target duration": ["P3", { media: (text) => text.replace("#EXTINF:2.000000", "#EXTINF:2.040000") }],
  "P4: durations without decimals": ["P4", { media: (text) => text.replaceAll("2.000000", "2") }],
  "P6: a number that gets another duration": ["P6", later((text) => text.replace("2.000000", "1.960000"))],
  "P6: a media sequence that falls": ["P6", later((text) => text.replace(/MEDIA-SEQUENCE:\d+/, `MEDIA-SEQUENCE:${FIRST - 5}`))],
  "P7: no discontinuity sequence": ["P7", { media: (text) => text.replace(/#EXT-X-DISC.*\n/, "") }],
  "P7: a discontinuity sequence that grows for nothing": ["P7", later((text) => text.replace("DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"))],
  "P9: a discontinuity on one rung alone": ["P9", { media: (text, look, rung) => (rung === "360p" ? text.replace(`#EXTINF:2.000000,\n${FIRST + 3}`, `#EXT-X-DISCONTINUITY\n$&`) : text) }],
  "P10: no dates": ["P10", { media: (text) => text.replace(/#EXT-X-PROGRAM.*\n/g, "") }],
  "P10: dates that run faster than the media": ["P10", { media: (text) => text.replace(/(:\d\d)\.000Z/g, (all, s) => `${s}.${String((Number(s.slice(1)) * 97) % 1000).padStart(3, "0")}Z`) }],
  "P10: dates that differ between rungs": ["P10", { media: (text, look, rung) => (rung === "360p" ? text.replaceAll(".000Z", ".020Z") : text) }],
  "P11: a playlist type while live": ["P11", { media: (text) => text.replace("#EXT-X-TARGET", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-TARGET") }],
  "P12: segments that were never listed": ["P12", { media: (text, look) => text.replaceAll(/17000000000(\d\d)/g, (all, at) => String(1_700_000_000_000 + Number(at) + look * 20)) }],
  "P12: a change after the end": ["P12", { media: (text, look, rung) => (rung === "360p" && look === 0 ? `${text}#EXT-X-ENDLIST\n` : text) }],
  "P14: a segment that is not there yet": ["P14", { segment: (rung, number) => (number === FIRST + 8 ? { status: 404 } : {}) }],
  "P17: no end": ["P17", {}, ["--ends", "yes"]],
  "M1: no codecs": ["M1", { master: (text) => text.replace(/CODECS="[^"]*",/, "") }],
  "M1: a frame rate without three decimals": ["M1", { master: (text) => text.replace("25.000", "25") }],
  "M3: a peak far above the bandwidth": ["M3", { segment: () => ({ body: Buffer.alloc(188 * 8000) }) }],
  "M4: segments not said to be independent": ["M4", { master: (text) => text.replace("#EXT-X-INDEPENDENT-SEGMENTS\n", "") }],
};

// Each waits most of its time.
describe("the checker of playlists", { concurrency: 4 }, () => {
  test("passes a server that keeps the rules", async () => {
    assert.deepEqual(await verdict(playlists()), []);
  });
  for (const [what, [name, fault, given]] of Object.entries(BROKEN)) {
    test(`finds ${what}`, async () => {
      const failures = await verdict(playlists(fault), given);
      assert.ok(failures.some((failure) => failure.startsWith(`${name}:`)), `found only ${JSON.stringify(failures)}`);
    });
  }
});
