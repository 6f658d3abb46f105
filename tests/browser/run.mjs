// The browser tests, whole: starts `weir serve`, has real publishers come and
// go, and runs the scripts beside this one against it.
//
//   node run.mjs [--weir target/release/weir] [--clip testdata/bbb-720p25-5s.flv]
//
// One stream at a time: the server's encoders and Chromium's decoder share
// what may be two cores.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { args, sleep } from "./browser.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const { named } = args();
const weir = resolve(named.weir ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release/weir"));
const clip = resolve(named.clip ?? join(root, "testdata/bbb-720p25-5s.flv"));

let passed = 0;
const failures = [];
function tally(what, ok, seen = "") {
  if (ok) passed += 1;
  else failures.push(`${what}${seen && `: ${seen}`}`);
  process.stdout.write(`${ok ? "ok    " : "FAILED"} ${what}${ok || !seen ? "" : ` (${seen})`}\n`);
}

// ---- Processes ----------------------------------------------------------------

const running = new Set();
function run(command, given, options = {}) {
  const child = spawn(command, given, { stdio: ["ignore", "ignore", "ignore"], ...options });
  child.ended = new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(code ?? signal));
    child.once("error", (error) => resolve(error.message));
  });
  running.add(child);
  child.ended.then(() => running.delete(child));
  return child;
}

async function end(child, signal = "SIGINT", patience = 20) {
  child.kill(signal);
  const code = await Promise.race([child.ended, sleep(patience)]);
  if (code === undefined) child.kill("SIGKILL");
  return code;
}

/** Runs one of the scripts; its summary is the last line of its output. */
async function script(name, given, said = () => {}) {
  const child = run(process.execPath, [join(here, name), ...given], { stdio: ["ignore", "pipe", "inherit"] });
  let summary = "";
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("{")) summary = line;
    else await said(line);
  }
  await child.ended;
  const result = summary ? JSON.parse(summary) : { passed: 0, failed: 1, failures: ["it printed no summary"] };
  passed += result.passed;
  failures.push(...result.failures.map((failure) => `${name}: ${failure}`));
  process.stdout.write(`       ${name}: ${summary}\n`);
  return result;
}

// ---- Publishers -----------------------------------------------------------------

const publishers = {
  ffmpeg: (url) => run("ffmpeg", ["-v", "error", "-re", "-stream_loop", "-1", "-i", clip, "-c", "copy", "-f", "flv", url]),
  weir: (url) => run(weir, ["publish", clip, url, "--loop"]),
  gstreamer: (url) => run("gst-launch-1.0", ("-e -q flvmux name=mux streamable=true ! rtmp2sink location=" + url +
    " videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=60" +
    " ! video/x-h264,profile=main ! h264parse ! queue ! mux." +
    " audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=44100,channels=2 ! voaacenc ! aacparse ! queue ! mux.").split(" ")),
};
const has = (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0
  || spawnSync(command, ["-version"], { stdio: "ignore" }).status === 0;

async function live(master, patience) {
  const until = performance.now() + patience * 1000;
  while (performance.now() < until) {
    const answer = await fetch(master).catch(() => null);
    if (answer?.status === 200) return true;
    await sleep(0.2);
  }
  return false;
}

async function closed(list, patience) {
  const until = performance.now() + patience * 1000;
  while (performance.now() < until) {
    const { recordings } = await (await fetch(list)).json();
    if (recordings[0]?.closed) return true;
    await sleep(0.2);
  }
  return false;
}

// ---- The server -----------------------------------------------------------------

for (const file of [weir, clip]) {
  if (!existsSync(file)) {
    process.stderr.write(`${file} is not there\n`);
    process.exit(1);
  }
}
const data = mkdtempSync(join(tmpdir(), "weir-browser-"));
const log = join(data, "serve.log");
const out = createWriteStream(log);
await once(out, "open");
function serve(folder, settings = {}) {
  return run(weir, ["serve", "--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--auth", "open", "--segment", "2", "--data", folder,
    "--record", `file://${join(folder, "store")}`],
    { stdio: ["ignore", out, out], env: { ...process.env, WEIR_RECORD_MERGE: "2s", ...settings } });
}
const server = serve(data);

let leaving = false;

async function ports(folder) {
  const file = join(folder, "weir.ports.json");
  for (let tries = 0; tries < 300; tries += 1) {
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8"));
    await sleep(0.1);
  }
  throw new Error("weir serve did not announce its ports");
}

async function everything() {
  const { rtmp, http } = await ports(data);
  const page = (name) => `http://${http}/${name}`;
  const target = (name) => `rtmp://${rtmp}/stream/${name}`;

  // From nobody, to ffmpeg, to nobody, to ffmpeg again.
  let publisher = null;
  await script("waiting.mjs", [page("first")], async (line) => {
    if (line === "start") publisher = publishers.ffmpeg(target("first"));
    else if (line === "stop" && publisher) await end(publisher);
  });
  if (publisher) await end(publisher);

  // One broadcast, watched in every way, its playlists from start to ENDLIST.
  publisher = publishers.weir(target("demo"));
  tally("weir publish goes live", await live(`${page("demo")}/live.m3u8`, 20));
  const watch = script("snapshot.mjs", [`${page("demo")}/live.m3u8`, "300", "--ends", "yes"]);
  const shot = named.shot ? ["--shot", resolve(named.shot)] : [];
  await script("play.mjs", [page("demo"), "20", ...shot]);
  await script("native.mjs", [page("demo"), "10"]);
  await script("list.mjs", [`http://${http}/`, "demo"]);
  await script("rewind.mjs", [page("demo")]);

  // Its recording in players of their own, while it grows and when it is closed; then
  // on the page.
  const { recordings: [{ url }] } = await (await fetch(`${page("demo")}/recordings.json`)).json();
  await script("recording.mjs", [`${page("demo")}/${url}`, "--live", "yes"]);
  await end(publisher);
  await watch;
  tally("the recording is closed", await closed(`${page("demo")}/recordings.json`, 30));
  await script("recording.mjs", [`${page("demo")}/${url}`]);
  const still = named["vod-shot"] ? ["--shot", resolve(named["vod-shot"])] : [];
  await script("vod.mjs", [page("demo"), ...still]);

  // A publisher that comes back in time: one recording of two clocks.
  publisher = publishers.weir(target("parts"));
  tally("the first part goes live", await live(`${page("parts")}/live.m3u8`, 20));
  await sleep(10);
  await end(publisher);
  publisher = publishers.weir(target("parts"));
  await sleep(14);
  await end(publisher);
  tally("the recording of both is closed", await closed(`${page("parts")}/recordings.json`, 30));
  const { recordings: both } = await (await fetch(`${page("parts")}/recordings.json`)).json();
  const playlist = await (await fetch(`${page("parts")}/vod-${both[0].id}.m3u8`)).text();
  tally("it is one", both.length === 1 && playlist.split("#EXT-X-DISCONTINUITY\n").length === 2, playlist);
  await script("recording.mjs", [`${page("parts")}/${both[0].url}`]);

  // A second RTMP stack.
  if (has("gst-launch-1.0")) {
    publisher = publishers.gstreamer(target("gst"));
    tally("GStreamer's rtmp2sink goes live", await live(`${page("gst")}/live.m3u8`, 30));
    await script("play.mjs", [page("gst"), "5"]);
    const end_seen = script("snapshot.mjs", [`${page("gst")}/live.m3u8`, "60", "--ends", "yes"]);
    await sleep(6);
    await end(publisher);
    await end_seen;
  } else tally("GStreamer is installed (scripts/setup.sh test)", false);

  await locked();

  leaving = true;
  const code = await end(server, "SIGTERM");
  tally("the server leaves at a SIGTERM", code === 0, `exit code ${code}`);
}

/** The pages of a server that asks for tokens. */
async function locked() {
  const folder = join(data, "locked");
  const settings = { WEIR_AUTH_PLAY: "token", WEIR_AUTH_PLAY_SECRET: "a-secret-of-the-browser-tests-alone" };
  const server = serve(folder, settings);
  const { rtmp, http } = await ports(folder);
  const publisher = publishers.weir(`rtmp://${rtmp}/stream/demo`);
  const page = (...given) => {
    const made = spawnSync(weir, ["play-token", ...given], { env: { ...process.env, ...settings }, encoding: "utf8" });
    return `http://${http}/demo?token=${made.stdout.trim()}`;
  };
  const address = page("demo");
  const master = new URL(address);
  master.pathname += "/live.m3u8";
  tally("a stream with tokens goes live", await live(master.href, 20));
  await script("play.mjs", [address, "6"]);
  await script("native.mjs", [address, "6"]);
  // The last one is made when it is its turn: it is good for a few seconds.
  await script("token.mjs", [address, page("other"), page("demo", "--expires", "30s")]);
  await end(publisher);
  tally("the server with tokens leaves at a SIGTERM", await end(server, "SIGTERM") === 0);
}

const leave = () => { for (const child of running) child.kill("SIGKILL"); };
process.once("SIGINT", () => { leave(); process.exit(130); });
process.once("SIGTERM", () => { leave(); process.exit(143); });
// Without its server no script has anything more to find out.
const gone = server.ended.then((code) => {
  if (!leaving) throw new Error(`the server ended by itself: ${code}`);
  return new Promise(() => {});
});
try {
  await Promise.race([everything(), gone]);
} catch (error) {
  tally("the tests run to their end", false, error.message);
}
leave();
for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`);
if (failures.length) {
  const lines = readFileSync(log, "utf8").trimEnd().split("\n");
  process.stdout.write(`---- the server's last ${Math.min(lines.length, 60)} lines\n${lines.slice(-60).join("\n")}\n----\n`);
}
rmSync(data, { recursive: true, force: true });
process.stdout.write(`${passed} passed, ${failures.length} failed\n`);
process.exit(failures.length ? 1 : 0);
