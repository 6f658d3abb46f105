#!/usr/bin/env bash
# Figures of a running server, measured on this machine:
#
#   scripts/measure.sh first            time from the first picture to the first playable segments
#   scripts/measure.sh soak [SECONDS]   1080p30 in real time (600): lag, CPU and memory every 10 s
#   scripts/measure.sh guesses [SECONDS] 10,000 wrong keys a minute beside a live stream, and as long (120) without
#
# CLIP names another source than the generated one. Machines differ and are
# noisy: compare ratios, and run alone.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

weir=$PWD/${CARGO_TARGET_DIR:-target}/release/weir
[[ ${CARGO_TARGET_DIR:-} != /* ]] || weir=$CARGO_TARGET_DIR/release/weir
[ -x "$weir" ] || { echo "no $weir: cargo build --release first" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-measure.XXXXXX")
server= publisher=
leave() {
    for pid in $publisher $server; do kill -INT "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap leave EXIT

serve() {
    "$weir" serve --auth "${auth:-open}" --rtmp 127.0.0.1:0 --http 127.0.0.1:0 --data "$work/data" "$@" >"$work/out" 2>"$work/log" &
    server=$!
    until [ -e "$work/data/weir.ports.json" ]; do sleep 0.05; done
    rtmp=$(sed -E 's/.*"rtmp":"([^"]*)".*/\1/' "$work/data/weir.ports.json")
    http=$(sed -E 's/.*"http":"([^"]*)".*/\1/' "$work/data/weir.ports.json")
}

now() { date +%s%3N; }

first() {
    serve --segment 2
    ffmpeg -v error -re -stream_loop -1 -i "${CLIP:-testdata/bbb-720p25-5s.flv}" -t 12 -c copy -f flv "rtmp://$rtmp/stream/demo" &
    publisher=$!
    until grep -q 'publish accepted' "$work/log"; do sleep 0.01; done
    local start; start=$(now)
    until curl -fso "$work/master" "http://$http/demo/live.m3u8"; do sleep 0.02; done
    echo "live.m3u8 after $(($(now) - start)) ms"
    local rung number
    for rung in $(sed -n 's|/index.m3u8$||p' "$work/master"); do
        number=$(curl -fs "http://$http/demo/$rung/index.m3u8" | grep -m1 '\.ts$')
        curl -fso /dev/null "http://$http/demo/$rung/$number"
        echo "$rung/$number after $(($(now) - start)) ms"
    done
}

soak() {
    local seconds=${1:-600} clip=${CLIP:-$work/clip.flv}
    if [ -z "${CLIP:-}" ]; then
        echo "making 30 s of 1080p30, 6 Mbit/s, High with 2 B-frames ..."
        ffmpeg -v error -stream_loop -1 -i testdata/bbb-720p25-5s.flv -t 30 -vf "fps=30,scale=1920:1080:flags=lanczos" \
            -c:v libx264 -preset veryfast -profile:v high -b:v 6000k -maxrate 6000k -bufsize 12000k -g 60 -bf 2 -pix_fmt yuv420p \
            -c:a aac -ac 2 -ar 44100 -b:a 160k "$clip"
    fi
    serve
    ffmpeg -v error -re -stream_loop -1 -i "$clip" -t "$seconds" -c copy -f flv "rtmp://$rtmp/stream/hd" &
    publisher=$!
    printf '%6s %9s %9s %6s %8s %6s\n' "s" "RSS MB" "segm. MB" "lag s" "CPU s" "lost"
    local at metrics
    for ((at = 10; at < seconds; at += 10)); do
        sleep 10
        metrics=$(curl -s "http://$http/metrics")
        value() { awk -v name="$1" 'index($1, name) == 1 { print $2 }' <<<"$metrics"; }
        printf '%6d %9.1f %9.1f %6.2f %8.1f %6d\n' "$at" \
            "$(awk '/VmRSS/ { print $2 / 1024 }' "/proc/$server/status")" \
            "$(value weir_segment_bytes | awk '{ print $1 / 1048576 }')" \
            "$(value weir_ladder_lag_seconds)" \
            "$(awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$server/stat")" \
            "$(value weir_reader_lagged_total)"
    done | tee "$work/rows"
    awk 'NR > 14 { n++; x += $1; y += $2; xy += $1 * $2; xx += $1 * $1 } $2 > peak { peak = $2 } $4 > lag { lag = $4 } { cpu = $5; at = $1 }
        END { printf "peak %.0f MB, highest lag %.2f s, %.2f cores", peak, lag, cpu / at
              if (n > 1) printf ", trend after 140 s, when segments leave as they come, %+.2f MB a minute", 60 * (n * xy - x * y) / (n * xx - x * x)
              print "" }' "$work/rows"
}

guesses() {
    local seconds=${1:-120} auth=keys phase
    serve --segment 2
    local key; key=$("$weir" keys add demo --data "$work/data" | tail -n 1)
    ffmpeg -v error -re -stream_loop -1 -i "${CLIP:-testdata/bbb-720p25-5s.flv}" -c copy -f flv "rtmp://$rtmp/stream/$key" &
    publisher=$!
    # Until as many segments leave as come.
    sleep 60
    for phase in quiet guessed; do
        local guesser= before after at
        if [ $phase = guessed ]; then
            python3 -c "$GUESSER" "$rtmp" "$seconds" &
            guesser=$!
        fi
        before=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
        for ((at = 0; at < seconds; at++)); do
            sleep 1
            printf '%s %s\n' "$(curl -s "http://$http/metrics" | awk 'index($1, "weir_ladder_lag_seconds") == 1 { print $2 }')" \
                "$(awk '/VmRSS/ { print $2 / 1024 }' "/proc/$server/status")"
        done >"$work/$phase"
        after=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
        [ -z "$guesser" ] || wait "$guesser"
        sort -n "$work/$phase" | awk -v phase=$phase -v cpu=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" \
            '{ lag[NR] = $1 } END { printf "%-8s lag median %.3f s, highest %.3f s; %.2f cores; ", phase, lag[int((NR + 1) / 2)], lag[NR], cpu / hz / s }'
        awk 'NR == 1 { printf "resident %.1f MB, ", $2 } { last = $2; n++; x += NR; y += $2; xy += NR * $2; xx += NR * NR }
            END { printf "then %.1f MB (%+.2f MB a minute)\n", last, 60 * (n * xy - x * y) / (n * xx - x * x) }' "$work/$phase"
    done
    curl -s "http://$http/metrics" | grep -E '^weir_(publish_refused|reader_lagged)_total|^weir_panics' | grep -v ' 0$' || true
    echo "log: $(wc -l <"$work/log") lines"
}

# Asks to publish with a wrong key, 10,000 times a minute, and counts what it is told.
GUESSER='
import asyncio, os, struct, sys
(host, port), seconds = sys.argv[1].rsplit(":", 1), float(sys.argv[2])
text = lambda s: b"\x02" + struct.pack(">H", len(s)) + s.encode()
field = lambda name, s: struct.pack(">H", len(name)) + name.encode() + text(s)
number = lambda n: b"\x00" + struct.pack(">d", n)
def message(stream, body):
    head = b"\x03\0\0\0" + struct.pack(">I", len(body))[1:] + b"\x14" + struct.pack("<I", stream)
    return head + b"\xc3".join(body[i:i + 128] for i in range(0, len(body), 128))
connect = message(0, text("connect") + number(1) + b"\x03" + field("app", "stream") + b"\0\0\x09")
create = message(0, text("createStream") + number(2) + b"\x05")
told = {}
async def guess(n):
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        hello = bytes(8) + os.urandom(1528)
        writer.write(b"\x03" + hello)
        answer = await reader.readexactly(1 + 2 * 1536)
        key = "wk_guess%027d" % n
        writer.write(answer[1:1537] + connect + create + message(1, text("publish") + number(3) + b"\x05" + text(key) + text("live")))
        said = await asyncio.wait_for(reader.read(-1), 30)
        what = "refused" if b"BadName" in said else "closed"
        writer.close()
    except Exception as error:
        what = type(error).__name__
    told[what] = told.get(what, 0) + 1
async def main():
    loop, tasks, n = asyncio.get_running_loop(), set(), 0
    begin = loop.time()
    while (now := loop.time() - begin) < seconds:
        while n < now * 10000 / 60:
            task = asyncio.create_task(guess(n)); tasks.add(task); task.add_done_callback(tasks.discard); n += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    print("guesses:", told)
asyncio.run(main())
'

case ${1:-} in
    first) first ;;
    guesses) guesses "${2:-}" ;;
    soak) soak "${2:-}" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
