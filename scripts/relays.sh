#!/usr/bin/env bash
# A long run of relays: one publisher, three destinations, every access unit compared.
#
#   scripts/relays.sh
#
# The destinations record: nginx-rtmp, ffmpeg -listen, and nginx-rtmp behind stunnel for rtmps.
# Each recording is held against the source, packet by packet as ffmpeg reads them: how many,
# in which order, their MD5 and their times. Fails when anything is missing, changed, repeated,
# out of order or more than a millisecond off. The report goes to standard output, progress to
# standard error. Needs ffmpeg, stunnel, openssl, nginx and libnginx-mod-rtmp (scripts/setup.sh
# test).
#
#   MINUTES=10           length of the stream
#   CLIP=file.flv        repeat that instead of the bundled clip (1.6 Mbit/s)
#   WEIR=path            test that program
#   KEEP=folder          leave source, recordings and log there
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

die() { printf 'relays: %s\n' "$*" >&2; exit 1; }
say() { printf 'relays: %s\n' "$*" >&2; }

[ $# -eq 0 ] || die "there is no $1 (--help says more)"
minutes=${MINUTES:-10} clip=${CLIP:-testdata/bbb-720p25-5s.flv} keep=${KEEP:-}
weir=${WEIR:-${CARGO_TARGET_DIR:-target}/release/weir}
[ -x "$weir" ] || die "no $weir: cargo build --release --package weir-server first"
for program in ffmpeg ffprobe stunnel openssl nginx curl; do
    command -v "$program" >/dev/null || die "$program is not here: scripts/setup.sh test"
done
# weir has no settings from the environment but those given here.
while IFS= read -r name; do unset "$name"; done < <(compgen -e WEIR_ || true)

work=$(mktemp -d "${TMPDIR:-/tmp}/weir-relays.XXXXXX")
pids=() server= publisher=
leave() {
    local pid
    for pid in $publisher $server "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ -n "$keep" ]; then
        mkdir -p "$keep" && cp -r "$work"/. "$keep"/
    fi
    rm -rf "$work"
}
trap leave EXIT

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
listens() { # PORT NAME PID
    until grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$1") [0-9A-F:]* 0A " /proc/net/tcp; do
        kill -0 "$3" 2>/dev/null || die "$2 does not start: $(cat "$work/$2.log")"
        sleep 0.1
    done
}

# ---- the source and the destinations ----------------------------------------

say "making a source of $minutes minutes"
ffmpeg -v error -stream_loop -1 -i "$clip" -t $((minutes * 60)) -c copy -f flv "$work/source.flv"

rtmp=$(free_port) listen=$(free_port) tls=$(free_port)
mkdir "$work/plain" "$work/secure"
user=
[ "$(id -u)" -ne 0 ] || user='user root;'
cat >"$work/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
$user
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log warn;
events { worker_connections 64; }
rtmp {
    access_log off;
    server {
        listen 127.0.0.1:$rtmp;
        application plain { live on; record all; record_path $work/plain; }
        application secure { live on; record all; record_path $work/secure; }
    }
}
CONF
nginx -p "$work" -e "$work/nginx.log" -c "$work/nginx.conf" 2>>"$work/nginx.log" &
pids+=($!)
listens "$rtmp" nginx $!

ffmpeg -nostdin -v warning -listen 1 -i "rtmp://127.0.0.1:$listen/live/key-of-ffmpeg" -c copy -f flv "$work/ffmpeg.flv" 2>"$work/ffmpeg.log" &
ffmpeg=$!
pids+=("$ffmpeg")
listens "$listen" ffmpeg "$ffmpeg"

# A CA, and a certificate of it: one that signs itself is no server's.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=a CA of relays.sh' -keyout "$work/ca-key.pem" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key.pem" -out "$work/request.pem" 2>/dev/null
openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:localhost) -out "$work/cert.pem" 2>/dev/null
cat >"$work/stunnel.conf" <<CONF
foreground = yes
pid =
[front]
accept = 127.0.0.1:$tls
connect = 127.0.0.1:$rtmp
cert = $work/cert.pem
key = $work/key.pem
CONF
stunnel "$work/stunnel.conf" 2>"$work/stunnel.log" &
pids+=($!)
listens "$tls" stunnel $!

# ---- the run ------------------------------------------------------------------

{
    printf '[hls]\nenabled = false\n[relay]\nallow_private = true\nca = "%s"\n' "$work/ca.pem"
    for target in "nginx rtmp://127.0.0.1:$rtmp/plain" "ffmpeg rtmp://127.0.0.1:$listen/live" "tls rtmps://localhost:$tls/secure"; do
        printf '[[relay.target]]\nname = "%s"\nurl = "%s"\nkey = "key-of-%s"\n' \
            "${target% *}" "${target#* }" "${target% *}"
    done
} >"$work/weir.toml"
"$weir" serve --auth open --config "$work/weir.toml" --rtmp 127.0.0.1:0 --http 127.0.0.1:0 --data "$work/data" 2>"$work/weir.log" &
server=$!
until [ -e "$work/data/weir.ports.json" ]; do
    kill -0 "$server" 2>/dev/null || die "weir does not start: $(cat "$work/weir.log")"
    sleep 0.05
done
address() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/" "$work/data/weir.ports.json"; }

say "publishing for $minutes minutes"
"$weir" publish "$work/source.flv" "rtmp://$(address rtmp)/stream/demo" 2>"$work/publish.log" &
publisher=$!
while kill -0 "$publisher" 2>/dev/null; do
    # The last look before the end is what is reported.
    curl -s "http://$(address http)/metrics" | grep '^weir_relay_' >"$work/looked" || true
    [ ! -s "$work/looked" ] || mv "$work/looked" "$work/metrics"
    sleep 1
done
wait "$publisher" || die "the publisher failed: $(cat "$work/publish.log")"
publisher=
wait "$ffmpeg" || die "ffmpeg failed: $(tail -n 3 "$work/ffmpeg.log")"
kill -TERM "$server"
wait "$server" || die "weir ended with $?: $(tail -n 3 "$work/weir.log")"
server=
sleep 1

# ---- what came of it ----------------------------------------------------------

packets() { # FILE STREAM: dts, pts and MD5 of each, in milliseconds
    ffmpeg -v error -i "$1" -map 0:"$2":0 -c copy -f framehash -hash md5 - | awk -F', *' '!/^#/ { print $2, $3, $6 }'
}
figure() { awk -v head="$1{stream=\"demo\",target=\"$2\"}" '$1 == head { print $2 }' "$work/metrics"; }

shopt -s nullglob
nginx=("$work"/plain/*.flv) secure=("$work"/secure/*.flv)
recordings=("nginx ${nginx[*]}" "ffmpeg $work/ffmpeg.flv" "tls ${secure[*]}")
for stream in v a; do packets "$work/source.flv" $stream >"$work/source.$stream"; done

echo "A stream of $minutes minutes from $(basename "$clip")."
echo
echo "| destination | track | of the source | recorded | missing | not of it | in order, MD5 equal | times that fall | ms off at most | retries | units missed |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
failed=
for recording in "${recordings[@]}"; do
    name=${recording%% *} file=${recording#* }
    for stream in v a; do
        if [ ! -f "$file" ]; then
            echo "| $name | $stream | ${file:-nothing} is not one recording | | | | | | | | |"
            failed=1
            continue
        fi
        packets "$file" $stream >"$work/got"
        cut -d' ' -f3 "$work/source.$stream" >"$work/wanted.md5"
        cut -d' ' -f3 "$work/got" >"$work/got.md5"
        diff "$work/wanted.md5" "$work/got.md5" >"$work/diff" || true
        missing=$(grep -c '^<' "$work/diff" || true) more=$(grep -c '^>' "$work/diff" || true)
        equal=yes
        cmp -s "$work/wanted.md5" "$work/got.md5" || equal=no
        falls=$(awk 'NR > 1 && $1 < last { n++ } { last = $1 } END { print n + 0 }' "$work/got")
        off=-
        [ $equal = no ] || off=$(paste -d' ' "$work/source.$stream" "$work/got" | awk '
            function far(a, b) { return a > b ? a - b : b - a }
            { d = far($1, $4); p = far($2, $5); if (d > most) most = d; if (p > most) most = p } END { print most + 0 }')
        echo "| $name | $stream | $(wc -l <"$work/wanted.md5") | $(wc -l <"$work/got.md5") | $missing | $more | $equal | $falls | $off | $(figure weir_relay_retries_total "$name") | $(figure weir_relay_missed_units_total "$name") |"
        [ $equal = yes ] && [ "$falls" = 0 ] && [ "$off" -le 1 ] || failed=1
    done
done
[ -z "$failed" ] || die "something was lost or changed on the way (KEEP=folder leaves everything there)"
