#!/usr/bin/env bash
# Builds weir, starts it, publishes the bundled clip in a loop, and says where
# to watch. Ctrl-C ends all of it.
#
# HTTP_PORT and RTMP_PORT choose other ports than 8000 and 1935, DATA another
# folder than a temporary one.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

http_port=${HTTP_PORT:-8000}
rtmp_port=${RTMP_PORT:-1935}
clip=testdata/bbb-720p25-5s.flv
weir=${CARGO_TARGET_DIR:-target}/release/weir
server=
publisher=
temporary=

die() { printf '\n%s\n' "$*" >&2; exit 1; }

leave() {
    trap - EXIT INT TERM HUP
    # The publisher first: its goodbye ends the playlists properly.
    local child
    for child in $publisher $server; do
        kill -INT "$child" 2>/dev/null || continue
        wait "$child" 2>/dev/null || true
    done
    [ -z "$temporary" ] || rm -rf "$temporary"
}
trap leave EXIT
trap 'printf "\nLeaving.\n"; exit 0' INT TERM HUP

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free() { # PORT NAME
    ! taken "$1" || die "Port $1 is taken by another program. Choose another: make demo $2=$(($1 + 1))"
}

scripts/setup.sh build
scripts/npm.sh server/web
free "$http_port" HTTP_PORT
free "$rtmp_port" RTMP_PORT
echo "Building weir (some minutes the first time) ..."
cargo build --release --locked --package weir-server

data=${DATA:-}
if [ -z "$data" ]; then
    data=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX")
    temporary=$data
fi
mkdir -p "$data"
log=$data/weir.log

# Job control gives a child its own process group, so that Ctrl-C reaches this
# script alone and the order of leaving is its own.
in_background() { # LOG COMMAND...: leaves the process id in $!
    set -m
    "${@:2}" >>"$1" 2>&1 </dev/null &
    set +m
}
# Anyone who can reach the RTMP port may publish without a key: this machine only.
in_background "$log" "$weir" serve --auth open --segment 2 --data "$data" \
    --rtmp "127.0.0.1:$rtmp_port" --http "0.0.0.0:$http_port"
server=$!

alive() { # PID WHAT
    kill -0 "$1" 2>/dev/null && return
    tail -n 20 "$log" >&2
    die "$2 has ended; its last words are above."
}
wait_for() { # SECONDS WHAT COMMAND...: until the command succeeds
    local tries=$(($1 * 5)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        alive "$server" "weir serve"
        [ -z "$publisher" ] || alive "$publisher" "weir publish"
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { tail -n 20 "$log" >&2; die "$what did not happen; the log's end is above."; }
        sleep 0.2
    done
}
port_of() { sed -n "s/.*\"$1\": *\"[^\"]*:\([0-9]*\)\".*/\1/p" "$data/weir.ports.json"; }

wait_for 30 "The server's start" test -s "$data/weir.ports.json"
rtmp_port=$(port_of rtmp)
http_port=$(port_of http)
in_background "$log" "$weir" publish "$clip" "rtmp://127.0.0.1:$rtmp_port/stream/demo" --loop
publisher=$!
wait_for 60 "The first picture" curl --fail --silent "http://127.0.0.1:$http_port/demo/live.m3u8"

# The address others on this network can use, where there is one.
lan=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m1 '^[0-9.]*$' || true)
rule=$(printf '━%.0s' {1..64})
line() { printf '┃ %-62s ┃\n' "$*"; }
printf '\n┏%s┓\n' "$rule"
line ""
line "weir is live. Watch it here:"
line ""
line "   http://localhost:$http_port/demo"
[ -z "$lan" ] || line "   http://$lan:$http_port/demo   (on your phone)"
line ""
line "Your own picture, from OBS on this machine:"
line "   Server      rtmp://localhost:$rtmp_port/stream"
line "   Stream key  any name; watch at http://localhost:$http_port/NAME"
line ""
line "Ctrl-C ends it."
line ""
printf '┗%s┛\n' "$rule"
echo "Log: $log"

while sleep 1; do
    alive "$server" "weir serve"
    alive "$publisher" "weir publish"
done
