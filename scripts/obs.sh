#!/usr/bin/env bash
# Publishes with the real OBS Studio, in a window that nobody sees, and checks
# what comes out. Not part of the gate: OBS draws in software here and wants
# more than a core of its own.
#
#   scripts/obs.sh [SECONDS]        (30)
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

seconds=${1:-30}
weir=${CARGO_TARGET_DIR:-target}/release/weir
scripts/setup.sh build test obs
cargo build --release --locked --package weir-server

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-obs.XXXXXX")
pids=()
leave() {
    for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap leave EXIT

"$weir" serve --auth open --segment 2 --rtmp 127.0.0.1:0 --http 127.0.0.1:0 --data "$work/data" 2>"$work/weir.log" &
pids=($!)
until [ -e "$work/data/weir.ports.json" ]; do sleep 0.1; done
address() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$work/data/weir.ports.json"; }

# OBS asks about updates, profiles and scenes unless it finds them answered.
conf=$work/.config/obs-studio
mkdir -p "$conf/basic/profiles/weir" "$conf/basic/scenes"
printf '[General]\nFirstRun=true\nLastVersion=486539266\nEnableAutoUpdates=false\n[Basic]\nProfile=weir\nProfileDir=weir\nSceneCollection=weir\nSceneCollectionFile=weir\n' >"$conf/global.ini"
cat >"$conf/basic/profiles/weir/basic.ini" <<'INI'
[General]
Name=weir
[Video]
BaseCX=1280
BaseCY=720
OutputCX=1280
OutputCY=720
FPSCommon=30
[Output]
Mode=Simple
[SimpleOutput]
VBitrate=2500
ABitrate=160
StreamEncoder=x264
Preset=veryfast
INI
cat >"$conf/basic/profiles/weir/service.json" <<JSON
{"type": "rtmp_custom", "settings": {"server": "rtmp://$(address rtmp)/stream", "key": "obs"}}
JSON
cat >"$conf/basic/scenes/weir.json" <<JSON
{"name": "weir", "current_scene": "S", "current_program_scene": "S", "scene_order": [{"name": "S"}], "sources": [
  {"id": "scene", "name": "S", "settings": {"id_counter": 1, "items": [{"name": "clip", "id": 1, "visible": true}]}},
  {"id": "ffmpeg_source", "name": "clip", "settings": {"local_file": "$PWD/testdata/bbb-720p25-5s.flv", "looping": true}}]}
JSON

display=:$((100 + RANDOM % 900))
Xvfb "$display" -screen 0 1280x900x24 >/dev/null 2>&1 &
pids=($! "${pids[@]}")
sleep 2
# With job control a child does not begin with SIGINT ignored.
set -m
HOME=$work DISPLAY=$display LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb \
    obs --startstreaming --profile weir --collection weir --multi >"$work/obs.log" 2>&1 &
obs=$!
set +m
pids=($obs "${pids[@]}")
echo "OBS streams for $seconds s ..."
sleep "$seconds"

base=http://$(address http)/obs
fail() { echo "FAILED: $*" >&2; tail -n 15 "$work/weir.log" "$work/obs.log" >&2; exit 1; }
curl -fsS "$base/live.m3u8" || fail "no stream from OBS"
curl -fsS "$base/720p/index.m3u8" | tail -n 3
kill -INT "$obs"
for _ in $(seq 40); do kill -0 "$obs" 2>/dev/null || break; sleep 0.25; done
# It may ask whether it should really stop: then it is a publisher that died.
{ kill -KILL "$obs" && wait "$obs"; } 2>/dev/null || true
sleep 3
curl -fsS "$base/720p/index.m3u8" | grep -q ENDLIST || fail "no ENDLIST after OBS stopped"
grep -E 'publish accepted|broadcast ended' "$work/weir.log"
echo "1 passed, 0 failed"
