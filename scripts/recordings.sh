#!/usr/bin/env bash
# Recordings at length: what is too long for the test suite.
#
#   scripts/recordings.sh [outages|kills|simulate]...
#
# outages   a store (moto) that is down, answers 503, resets connections, is slow (1 KB/s) or silent,
#           each for MINUTES (5) in the middle of a broadcast: what viewers noticed, how far
#           the store fell behind, and that nothing is lost
# kills     kill -9 of weir at KILLS (20) random moments of a broadcast, the store being down
#           in half of them; every playlist in the store is held against what is there
# simulate  8 hours at speed, in segments of 2 s and of 6 s of the thinnest media there is:
#           requests and bytes, and memory and CPU at 1, 2, 4 and 8 hours
#
# Without a word, all three. Prints figures, and fails when anything is lost that need not be.
# Needs what scripts/setup.sh test brings.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

die() { printf 'recordings: %s\n' "$*" >&2; exit 1; }

# One test that is not part of the suite; what it prints, without the runner's own lines.
long() { # TARGET... NAME
    local name=${*: -1} log
    log=$(mktemp "${TMPDIR:-/tmp}/weir-recordings.XXXXXX")
    if ! cargo test --locked --quiet --package weir-server "${@:1:$#-1}" -- \
        --ignored --exact --nocapture "$name" >"$log" 2>&1 || ! grep -q '^test result: ok. 1 passed' "$log"; then
        cat "$log" >&2
        rm -f "$log"
        die "$name failed"
    fi
    grep -E '^(\||[0-9])' "$log"
    rm -f "$log"
    echo
}

[ $# -gt 0 ] || set -- outages kills simulate
for what; do
    case $what in
        outages) long --test e2e recordings_survive::long_outages ;;
        kills) long --test e2e recordings_survive::many_kills ;;
        simulate) long --lib record::tests::hours::eight_hours ;;
        *) die "there is no $what: outages, kills or simulate" ;;
    esac
done
