#!/usr/bin/env bash
# What players and publishers cost a server: weir beside nginx-rtmp.
#
#   scripts/players.sh [run]    CPU and memory with PLAYERS players over RTMP, over HTTP-FLV, and
#                               with PUBLISHERS publishers that nobody watches
#   scripts/players.sh soak     ten minutes of PLAYERS players: memory and CPU every 30 s
#   scripts/players.sh stopped  50 players that stop reading for STOPPED seconds
#
# The report goes to standard output, progress to standard error. Needs ffmpeg, and for
# nginx-rtmp the packages nginx and libnginx-mod-rtmp.
#
#   CONTESTANTS="nginx weir"     nginx: one worker, for more would push each stream to each other;
#                                nginx-64k: with chunks of 64 KiB instead of 4 KiB; weir;
#                                weir-20ms, weir-0s, ...: with that rtmp.merge; weir-other: the
#                                program WEIR_OTHER
#   KINDS="rtmp flv ingest"      what is measured (nginx-rtmp has no HTTP-FLV)
#   PLAYERS=200 PUBLISHERS=100   how many
#   SECONDS_LIVE=60              length of each measurement
#   RUNS=3                       rounds; contestants take turns, medians are reported
#   STOPPED=300                  seconds for which players read nothing (stopped), 50 of them
#   CLIP=file.flv                publish that instead of 1 Mbit/s made from the bundled clip
#   WEIR=path WEIR_OTHER=path    measure those programs
#   DOCS=1                       put the report into docs/performance.md as well
#
# Everybody gets the same stream from `weir publish --loop` and has the same players, `weir
# play`, which count what comes: a server that sends less is not cheaper. Counted is the server
# alone, all its processes: user and system time, proportional set size. Players, publishers and
# server share the machine, so leave it alone and compare ratios.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

die() { printf 'players: %s\n' "$*" >&2; exit 1; }
say() { printf 'players: %s\n' "$*" >&2; }

command=${1:-run}
case $command in run | soak | stopped) ;; *) die "there is no $command: run, soak or stopped (--help says more)" ;; esac

players=${PLAYERS:-200} publishers=${PUBLISHERS:-100} seconds=${SECONDS_LIVE:-60} runs=${RUNS:-3}
kinds=${KINDS:-rtmp flv ingest} stopped=${STOPPED:-300}
contestants=${CONTESTANTS:-nginx weir} other=${WEIR_OTHER:-}
# weir knows its own variables and refuses others.
unset WEIR_OTHER
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/players"
target=$(cd "$target" && pwd)
weir=${WEIR:-$target/release/weir}
[ -x "$weir" ] || die "no $weir: cargo build --release --package weir-server first"
hz=$(getconf CLK_TCK)
ulimit -n "$(ulimit -Hn)"

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-players.XXXXXX")
server= publisher= audience=
end() { # PID...: SIGINT, and wait for it
    local pid
    for pid; do kill -CONT "$pid" 2>/dev/null && kill -INT "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
}
leave() {
    end $audience $publisher
    [ -z "$server" ] || { kill -TERM "$server"; kill -TERM "$server"; wait "$server"; } 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT

# A clip of 1 Mbit/s, sound included, with a key picture every two seconds.
clip=${CLIP:-$target/players/1mbit.flv}
if [ ! -e "$clip" ]; then
    say "making the clip"
    ffmpeg -v error -stream_loop -1 -i testdata/bbb-720p25-5s.flv -t 20 -vf scale=640:360 -c:v libx264 -preset veryfast \
        -b:v 868k -minrate 868k -maxrate 868k -bufsize 868k -nal-hrd cbr -g 50 -keyint_min 50 -sc_threshold 0 -pix_fmt yuv420p \
        -c:a aac -ac 2 -ar 44100 -b:a 128k -f flv "$target/players/making.flv"
    mv "$target/players/making.flv" "$clip"
fi
hashes() { # INPUT [STREAM]: digests of a stream's packets, on one line
    timeout 60 ffmpeg -v error -i "$1" -map 0:"${2:-v}":0 -c copy "${@:3}" -f framehash -hash md5 - | awk -F, '!/^#/ { printf "%s ", $6 }' | tr -s ' '
}
source_video=$(hashes "$clip" v)
source_audio=$(hashes "$clip" a)

# ---- servers ---------------------------------------------------------------

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

start() { # CONTESTANT: sets server, rtmp and http
    local settings=()
    case $1 in
        nginx*)
            command -v nginx >/dev/null || die "nginx is not here: apt-get install nginx libnginx-mod-rtmp"
            local port chunk=4096
            port=$(free_port)
            case $1 in nginx) ;; nginx-64k) chunk=65536 ;; *) die "there is no $1" ;; esac
            cat >"$work/nginx.conf" <<CONF
load_module modules/ngx_rtmp_module.so;
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log warn;
events { worker_connections 4096; }
rtmp {
    access_log off;
    server {
        listen 127.0.0.1:$port;
        chunk_size $chunk;
        application stream { live on; wait_key on; wait_video on; }
    }
}
CONF
            nginx -p /usr/share/nginx -c "$work/nginx.conf" 2>>"$work/nginx.err" &
            server=$! rtmp=127.0.0.1:$port http=
            until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
                kill -0 "$server" 2>/dev/null || die "nginx does not start: $(cat "$work/nginx.err")"
                sleep 0.1
            done
            return
            ;;
        weir) program=$weir ;;
        weir-other) program=$other; [ -x "$program" ] || die "WEIR_OTHER=$program is no program" ;;
        weir-*) program=$weir settings=("WEIR_RTMP_MERGE=${1#weir-}") ;;
        *) die "there is no $1" ;;
    esac
    env WEIR_HLS_ENABLED=false "${settings[@]}" "$program" serve --auth open --rtmp 127.0.0.1:0 --http 127.0.0.1:0 \
        --data "$work/data" 2>"$work/log" &
    server=$!
    until [ -e "$work/data/weir.ports.json" ]; do
        kill -0 "$server" 2>/dev/null || die "weir does not start: $(cat "$work/log")"
        sleep 0.05
    done
    rtmp=$(sed -E 's/.*"rtmp":"([^"]*)".*/\1/' "$work/data/weir.ports.json")
    http=$(sed -E 's/.*"http":"([^"]*)".*/\1/' "$work/data/weir.ports.json")
}

stop() {
    end $audience $publisher
    audience= publisher=
    kill -TERM "$server"; sleep 0.2; kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
    rm -rf "$work/data"
}

processes() { echo "$server"; pgrep -P "$server" || true; }
cpu() { # CPU seconds of the server so far
    local pid
    for pid in $(processes); do cat "/proc/$pid/stat"; done | sed 's/.*) //' | awk -v hz="$hz" '{ sum += $12 + $13 } END { printf "%.2f", sum / hz }'
}
memory() { # its proportional set size in KiB
    local pid
    for pid in $(processes); do cat "/proc/$pid/smaps_rollup"; done | awk '/^Pss:/ { sum += $2 } END { print sum }'
}
publish() { # ARGUMENTS...
    "$weir" publish "$clip" "rtmp://$rtmp/stream/load" --loop "$@" 2>>"$work/publish.log" &
    publisher=$!
}
play() { # KIND COPIES SECONDS FILE: the audience; its summary goes to FILE
    local url=rtmp://$rtmp/stream/load
    [ "$1" = rtmp ] || url=http://$http/stream/load.flv
    "$weir" play "$url" --copies "$2" --seconds "$3" >"$4" 2>>"$work/play.log" &
    audience="$audience $!"
}
minus() { awk -v a="$1" -v b="$2" 'BEGIN { print a - b }'; }

# A player of others records some seconds: packets of the source, all of them, in order.
whole() { # URL
    local stream all got
    for stream in v a; do
        [ $stream = v ] && all=$source_video || all=$source_audio
        got=$(hashes "$1" $stream -t 5)
        [ "$(wc -w <<<"$got")" -ge 100 ] || die "$1: ffmpeg got $(wc -w <<<"$got") packets of $stream in 5 s"
        case "$all$all" in *"$got"*) ;; *) die "$1: what ffmpeg got is no piece of the source ($stream)" ;; esac
    done
}

# ---- run -------------------------------------------------------------------

# A line: kind, contestant, round, CPU s, KiB before, KiB with all, pictures, sounds, gaps, MB of all players
measure() { # KIND CONTESTANT ROUND
    local before most from to took file=$work/summary count
    say "round $3: $2, $1"
    start "$2"
    if [ "$1" = ingest ]; then
        before=$(memory)
        publish --copies "$publishers"
        sleep 5
        from=$(cpu); sleep "$seconds"; to=$(cpu)
        most=$(memory)
        kill -0 "$publisher" || die "the publishers have ended: $(tail -3 "$work/publish.log")"
        count="0 0 0 0"
    else
        publish
        sleep 5
        [ "$3" -gt 1 ] || { [ "$1" = rtmp ] && whole "rtmp://$rtmp/stream/load" || whole "http://$http/stream/load.flv"; }
        before=$(memory)
        play "$1" "$players" $((seconds + 10)) "$file"
        sleep 5
        from=$(cpu); sleep "$seconds"; to=$(cpu)
        most=$(memory)
        wait "${audience# }" || die "players failed: $(tail -3 "$work/play.log")"
        audience=
        count=$(sed -E 's/.*: ([0-9]+) pictures, ([0-9]+) sounds, ([0-9]+) gaps, ([0-9.]+) MB.*/\1 \2 \3 \4/' "$file")
    fi
    took=$(minus "$to" "$from")
    echo "$1 $2 $3 $took $before $most $count" | tee -a "$work/rows" >&2
    stop
}

median() { sort -g | awk '{ a[NR] = $1 } END { if (NR) print (NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2) }'; }

run() {
    local round kind contestant base list
    : >"$work/rows"
    for ((round = 1; round <= runs; round++)); do
        # Who goes first changes: a machine is seldom the same for a whole round.
        list=$contestants
        ((round % 2)) || list=$(tr ' ' '\n' <<<"$contestants" | tac | tr '\n' ' ')
        for kind in $kinds; do
            for contestant in $list; do
                [ "$kind" = flv ] && [[ $contestant = nginx* ]] && continue
                measure "$kind" "$contestant" "$round"
            done
        done
    done
    base=nginx
    [[ " $contestants " = *" nginx "* ]] || base=${contestants%% *}
    machine
    echo "A stream of $(rate) Mbit/s; medians of $runs rounds of $seconds s."
    for kind in $kinds; do
        echo
        case $kind in
            rtmp) echo "**One publisher, $players players over RTMP**" ;;
            flv) echo "**One publisher, $players players over HTTP-FLV** (beside $base over RTMP)" ;;
            ingest) echo "**$publishers publishers, no players**" ;;
        esac
        echo
        if [ "$kind" = ingest ]; then
            echo "| server | cores | cores per 100 | / $base | KiB per publisher |"
            echo "|---|---|---|---|---|"
        else
            echo "| server | cores | cores per 100 players | / $base | KiB per player | / $base | pictures, sounds per player | gaps | MB per player |"
            echo "|---|---|---|---|---|---|---|---|---|"
        fi
        for contestant in $contestants; do
            grep -q "^$kind $contestant " "$work/rows" || continue
            table_row "$kind" "$contestant" "$base"
        done
    done
}

column() { awk -v k="$1" -v c="$2" "\$1 == k && \$2 == c { print $3 }" "$work/rows" | median; }
ratio() { # KIND CONTESTANT BASE EXPRESSION: median of the ratios within rounds
    local beside=$1
    [ "$1" = flv ] && beside=rtmp
    awk -v k="$1" -v c="$2" -v bk="$beside" -v b="$3" "
        { v = $4 } \$1 == k && \$2 == c { a[\$3] = v } \$1 == bk && \$2 == b { o[\$3] = v }
        END { for (r in a) if (o[r] > 0) print a[r] / o[r] }" "$work/rows" | median | awk '{ printf "%.2f", $1 }'
}
table_row() { # KIND CONTESTANT BASE
    local many=$players each='($6 - $5) / many'
    [ "$1" = ingest ] && many=$publishers
    each=${each//many/$many}
    local cores name=$2
    cores=$(column "$1" "$2" "\$4 / $seconds")
    [[ $2 = weir ]] && name="**weir**"
    if [ "$1" = ingest ]; then
        awk -v n="$name" -v c="$cores" -v m="$many" -v r="$(ratio "$1" "$2" "$3" '$4')" -v k="$(column "$1" "$2" "$each")" \
            'BEGIN { printf "| %s | %.3f | %.4f | %s | %.0f |\n", n, c, c * 100 / m, r, k }'
    else
        awk -v n="$name" -v c="$cores" -v m="$many" -v r="$(ratio "$1" "$2" "$3" '$4')" -v k="$(column "$1" "$2" "$each")" \
            -v kr="$(ratio "$1" "$2" "$3" "$each")" -v p="$(column "$1" "$2" '$7')" -v s="$(column "$1" "$2" '$8')" \
            -v g="$(column "$1" "$2" '$9')" -v b="$(column "$1" "$2" '$10')" \
            'BEGIN { printf "| %s | %.3f | %.4f | %s | %.1f | %s | %.0f, %.0f | %d | %.2f |\n", n, c, c * 100 / m, r, k, kr, p / m, s / m, g, b / m }'
    fi
}
machine() {
    local model
    model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n1)
    echo "Measured on ${model:-$(uname -m)}, $(nproc) CPUs, Linux $(uname -r | cut -d. -f1,2)$(command -v nginx >/dev/null && echo ", $(nginx -v 2>&1 | sed 's/.*: //') with libnginx-mod-rtmp $(dpkg-query -W -f '${Version}' libnginx-mod-rtmp 2>/dev/null || echo '?')")."
}
rate() {
    local length
    length=$(ffprobe -v error -show_entries format=duration -of csv=p=0 "$clip")
    awk -v b="$(stat -c %s "$clip")" -v s="$length" 'BEGIN { printf "%.2f", b * 8 / s / 1e6 }'
}

# ---- soak ------------------------------------------------------------------

soak() {
    local at every=30 length=600 contestant kind
    machine
    for kind in $kinds; do
        [ "$kind" != ingest ] || continue
        for contestant in $contestants; do
            [ "$kind" = flv ] && [[ $contestant = nginx* ]] && continue
            say "$contestant, $kind"
            start "$contestant"
            publish
            sleep 5
            : >"$work/soak"
            local from
            play "$kind" "$players" $((length + 5)) "$work/summary"
            for ((at = every; at <= length; at += every)); do
                from=$(cpu)
                sleep "$every"
                echo "$at $(memory) $(minus "$(cpu)" "$from")" | tee -a "$work/soak" >&2
            done
            wait "${audience# }" || die "players failed: $(tail -3 "$work/play.log")"
            audience=
            printf '\n**%s, %s players (%s)**, every %d s\n\n' "$contestant" "$players" "$kind" "$every"
            awk -v s="$every" '
                { m = m sprintf(" %.1f", $2 / 1024); c = c sprintf(" %.3f", $3 / s) }
                NR > 4 { n++; x += $1; y += $2; xy += $1 * $2; xx += $1 * $1 }
                END { printf "* MB:%s\n* cores:%s\n* trend of the memory after two minutes: %+.3f MB a minute\n", m, c, 60 * (n * xy - x * y) / (n * xx - x * x) / 1024 }' "$work/soak"
            printf '* received: %s\n' "$(cat "$work/summary")"
            stop
        done
    done
}

# ---- stopped ---------------------------------------------------------------

stopped() {
    local kind contestant before most now at file=$work/normal
    machine
    printf '\n50 players play for 5 s, read nothing for %d s and leave; one more plays all the time.\n\n' "$stopped"
    echo "| server | kind | MB before them | at most | when they are gone | 30 s later | the one that played |"
    echo "|---|---|---|---|---|---|---|"
    for kind in $kinds; do
        [ "$kind" != ingest ] || continue
        for contestant in $contestants; do
            [ "$kind" = flv ] && [[ $contestant = nginx* ]] && continue
            say "$contestant, $kind"
            start "$contestant"
            publish
            sleep 5
            play "$kind" 1 $((stopped + 70)) "$file"
            local one=${audience# } crowd
            # So long that what the ring and the kernel keep of the stream does not count as growth.
            sleep 25
            before=$(memory) most=0
            audience=
            play "$kind" 50 $((stopped + 600)) "$work/summary"
            crowd=${audience# } audience="$one $crowd"
            sleep 5
            kill -STOP "$crowd"
            for ((at = 0; at < stopped; at += 5)); do
                sleep 5
                now=$(memory)
                ((now > most)) && most=$now
            done
            kill -KILL "$crowd"; wait "$crowd" 2>/dev/null || true
            audience=$one
            sleep 2
            now=$(memory)
            sleep 30
            local later; later=$(memory)
            wait "$one" || die "the one that played failed: $(tail -3 "$work/play.log")"
            audience=
            awk -v n="$contestant" -v k="$kind" -v b="$before" -v m="$most" -v g="$now" -v l="$later" -v s="$(sed 's/.*: //' "$file")" \
                'BEGIN { printf "| %s | %s | %.1f | %.1f | %.1f | %.1f | %s |\n", n, k, b / 1024, m / 1024, g / 1024, l / 1024, s }'
            stop
        done
    done
}

"$command" >"$work/report"
cat "$work/report"
if [ -n "${DOCS:-}" ]; then
    section=players
    [ "$command" = run ] || section=players-$command
    awk -v mark="$section" -v report="$work/report" '
        $0 == "<!-- " mark " -->" { print; print ""; while ((getline line < report) > 0) print line; print ""; skip = 1; found = 1 }
        $0 == "<!-- /" mark " -->" { skip = 0 }
        !skip
        END { exit !found }' docs/performance.md >"$work/page" || die "docs/performance.md has no place for $section"
    cat "$work/page" >docs/performance.md
fi
