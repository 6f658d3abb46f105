#!/usr/bin/env bash
# Publishes with the real OBS Studio, in a window that nobody sees, and checks
# what comes out: with a good key a ladder and its end; with a bad one, a disabled
# one, and one whose stream is live already, one refusal and no second attempt; with
# one that is replaced while it is live the end of the stream. Not part of the gate:
# OBS draws in software here and wants more than a core of its own.
#
#   scripts/obs.sh [SECONDS]        (30: how long the good key streams)
#   SHOTS=DIR scripts/obs.sh        keeps a picture of OBS's screen for each case
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

"$weir" serve --segment 2 --rtmp 127.0.0.1:0 --http 127.0.0.1:0 --data "$work/data" >"$work/weir.out" 2>"$work/weir.log" &
pids=($!)
until [ -e "$work/data/weir.ports.json" ]; do sleep 0.1; done
address() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$work/data/weir.ports.json"; }
keys() { "$weir" keys "$@" --data "$work/data" | tail -n 1; }

display=:$((100 + RANDOM % 900))
Xvfb "$display" -screen 0 1280x900x24 >/dev/null 2>&1 &
pids=($! "${pids[@]}")
sleep 2

# OBS asks about updates, profiles and scenes unless it finds them answered.
conf=$work/.config/obs-studio
start_obs() { # KEY
    rm -rf "$work/.config"
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
Reconnect=true
RetryDelay=2
MaxRetries=25
[SimpleOutput]
VBitrate=2500
ABitrate=160
StreamEncoder=x264
Preset=veryfast
INI
    cat >"$conf/basic/profiles/weir/service.json" <<JSON
{"type": "rtmp_custom", "settings": {"server": "rtmp://$(address rtmp)/stream", "key": "$1"}}
JSON
    cat >"$conf/basic/scenes/weir.json" <<JSON
{"name": "weir", "current_scene": "S", "current_program_scene": "S", "scene_order": [{"name": "S"}], "sources": [
  {"id": "scene", "name": "S", "settings": {"id_counter": 1, "items": [{"name": "clip", "id": 1, "visible": true}]}},
  {"id": "ffmpeg_source", "name": "clip", "settings": {"local_file": "$PWD/testdata/bbb-720p25-5s.flv", "looping": true}}]}
JSON
    # With job control a child does not begin with SIGINT ignored.
    set -m
    HOME=$work DISPLAY=$display LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb \
        obs --startstreaming --profile weir --collection weir --multi >"$work/obs.log" 2>&1 &
    obs=$!
    set +m
    pids=($obs "${pids[@]}")
}
stop_obs() {
    kill -INT "$obs" 2>/dev/null || true
    for _ in $(seq 40); do kill -0 "$obs" 2>/dev/null || break; sleep 0.25; done
    # It may ask whether it should really stop: then it is a publisher that died.
    { kill -KILL "$obs" && wait "$obs"; } 2>/dev/null || true
}
shot() { [ -z "${SHOTS:-}" ] || DISPLAY=$display import -window root "$SHOTS/obs-$1.png"; }
fail() { echo "FAILED: $*" >&2; tail -n 15 "$work/weir.log" "$work/obs.log" >&2; exit 1; }
count() { grep -c "$1" "$work/weir.log" || true; }

good=$(keys add obs)
echo "OBS streams for $seconds s ..."
start_obs "$good"
sleep "$seconds"
base=http://$(address http)/obs
curl -fsS "$base/live.m3u8" || fail "no stream from OBS"
curl -fsS "$base/720p/index.m3u8" | tail -n 3
shot good
stop_obs
for _ in $(seq 60); do curl -fsS "$base/720p/index.m3u8" | grep -q ENDLIST && break; sleep 0.5; done
curl -fsS "$base/720p/index.m3u8" | grep -q ENDLIST || fail "no ENDLIST after OBS stopped"
grep -E 'publish accepted|broadcast ended' "$work/weir.log"

# Time for several attempts: the first would be after 2 s.
refused() { # CASE KEY
    local before
    before=$(count 'publish refused')
    start_obs "$2"
    sleep 20
    shot "$1"
    local refusals=$(($(count 'publish refused') - before))
    [ "$refusals" = 1 ] || fail "$1: $refusals refusals, not 1"
    grep -E 'Disconnected from|Connection to|Invalid|refused|error' "$work/obs.log" | tail -n 3 || true
    stop_obs
    echo "$1: refused once, and OBS did not try again"
}
refused bad wk_not_a_key_that_anybody_has_been_given
disabled=$(keys add disabled)
keys disable disabled >/dev/null
refused disabled "$disabled"
"$weir" publish --loop testdata/bbb-720p25-5s.flv "rtmp://$(address rtmp)/stream/$good" >/dev/null 2>&1 &
first=$!
pids=($first "${pids[@]}")
sleep 4
refused duplicate "$good"
kill "$first"

replaced=$(keys add replaced)
accepted=$(count 'publish accepted')
before=$(count 'publish refused')
start_obs "$replaced"
for _ in $(seq 60); do [ "$(count 'publish accepted')" -gt "$accepted" ] && break; sleep 0.5; done
sleep 4
keys rotate replaced >/dev/null
sleep 20
shot replaced
grep -q 'the publisher has to go' "$work/weir.log" || fail "replaced: OBS goes on"
[ "$(count 'publish accepted')" = $((accepted + 1)) ] || fail "replaced: OBS was let in again"
stop_obs
# OBS takes the end of a stream for a lost connection and tries again, with growing
# pauses, as often as its settings say; nothing that a server can say keeps it from it.
echo "replaced: ended, and refused $(($(count 'publish refused') - before)) times in 20 s after that"
for key in "$good" "$disabled" "$replaced"; do
    ! grep -q "$key" "$work/weir.log" || fail "a key is in the log"
done
echo "5 passed, 0 failed"
