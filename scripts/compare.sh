#!/usr/bin/env bash
# weir and ffmpeg side by side: what a ladder costs, and what it is worth.
#
#   scripts/compare.sh [run]            CPU, memory, rate and VMAF for every clip and contestant
#   scripts/compare.sh cost             cores and memory per stream, for 1, 2 and 4 streams at once
#   scripts/compare.sh equal            the rate at which x264 veryfast looks like weir
#   scripts/compare.sh profile          the release profile against fat LTO with one codegen unit
#   scripts/compare.sh rates DIR [CFG]  judge the rates of a ladder that is there already
#   scripts/compare.sh clips            make the clips alone
#
# The report goes to standard output and to target/compare/REPORT.md, progress to
# standard error. The first time downloads some 350 MB (scripts/clips.sh).
#
#   CLIPS="bbb720 camera"        those clips alone (scripts/clips.sh lists them)
#   CONTESTANTS="original weir"  original x264 openh264 weir weir-fast weir-quality
#                                weir-passthrough weir-sound weir-other
#   RUNS=3                       rounds; contestants take turns, medians are reported
#   VMAF=0                       leave out VMAF, by far the longest part
#   SECONDS_LIVE=30              length of each measurement of a live server (cost)
#   WEIR=path                    measure that program instead of building this one
#   WEIR_OTHER=path              a second weir, contestant "weir-other"
#   WEIR_FFMPEG=path             use that ffmpeg
#
#   DOCS=1                       put the report into docs/performance.md as well
#
# Machines differ and are noisy: compare ratios, and leave the machine alone.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

die() { printf 'compare: %s\n' "$*" >&2; exit 1; }
say() { printf 'compare: %s\n' "$*" >&2; }

command=${1:-run}
case $command in
    run | cost | equal | profile | rates | clips) shift || true ;;
    *) die "there is no $command: run, cost, equal, profile, rates or clips (--help says more)" ;;
esac

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/compare" "$target/tools"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR=$target
scripts/setup.sh build compare >&2

# ffmpeg 9 with libvmaf, libx264 and libopenh264 comes in a Python wheel.
wheel=imageio_ffmpeg-0.8.1-py3-none-manylinux_2_28_x86_64.whl
wheel_sum=050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda
fetch_ffmpeg() {
    [ "$(uname -m)" = x86_64 ] || return 1
    local folder=$target/tools/$wheel.d
    ffmpeg=$folder/imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2
    [ ! -x "$ffmpeg" ] || return 0
    say "fetching ffmpeg 9.0.2 (68 MB, once)"
    pip3 download --quiet --no-deps --only-binary :all: --dest "$target/tools" imageio-ffmpeg==0.8.1 >&2 || return 1
    echo "$wheel_sum  $target/tools/$wheel" | sha256sum --check --quiet >&2 || die "$wheel is not the one that was measured with"
    unzip -q -o "$target/tools/$wheel" -d "$folder"
    chmod +x "$ffmpeg"
    rm "$target/tools/$wheel"
}
if [ -n "${WEIR_FFMPEG:-}" ]; then
    ffmpeg=$WEIR_FFMPEG
    "$ffmpeg" -hide_banner -version >/dev/null 2>&1 || die "WEIR_FFMPEG=$ffmpeg does not run"
elif ! fetch_ffmpeg; then
    ffmpeg=$(command -v ffmpeg)
    say "no package index in reach (or no x86-64): $("$ffmpeg" -version | head -n1 | cut -d' ' -f1-3) stands in; what it lacks (VMAF, libopenh264) is left out"
fi
# Not under WEIR_: weir knows its own variables and refuses others.
export COMPARE_FFMPEG=$ffmpeg COMPARE_CLIPS=$target/compare/clips COMPARE_WORK=$target/compare/work COMPARE_OTHER=${WEIR_OTHER:-}
unset WEIR_FFMPEG WEIR_OTHER

if [ "$command" = rates ]; then
    [ $# -ge 1 ] || die "rates: which folder?"
    set -- "$(realpath "$1")" ${2:+"$(realpath "$2")"}
fi
if [ "$command" = clips ]; then
    exec scripts/clips.sh ${CLIPS:-}
fi

if [ -z "${WEIR:-}" ]; then
    say "building weir"
    cargo build --release --locked --quiet --package weir-server >&2
    WEIR=$target/release/weir
fi
[ -x "$WEIR" ] || die "WEIR=$WEIR is no program"
export WEIR=$(realpath "$WEIR")

if [ -n "${DOCS:-}" ]; then export COMPARE_SECTION=$command; fi
if [ "$command" = profile ]; then
    other=$target/compare/fat
    ours() { cargo build --release --locked --quiet --package weir-server >&2; }
    fat() {
        CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
            cargo build --release --locked --quiet --package weir-server --target-dir "$other" >&2
    }
    # CPU seconds of building again after a change in the server.
    again() { # COMMAND
        "$1"
        touch server/src/lib.rs
        local before after
        before=$(awk '{ print $16 + $17 }' /proc/$$/stat)
        "$1"
        after=$(awk '{ print $16 + $17 }' /proc/$$/stat)
        echo $(((after - before) / $(getconf CLK_TCK)))
    }
    say "building both"
    # In this shell, which waits for its children and so is told their times.
    again ours >"$target/compare/again-ours"
    again fat >"$target/compare/again-fat"
    COMPARE_NOTE="Building again after a change in the server takes $(cat "$target/compare/again-ours") CPU seconds as configured, $(cat "$target/compare/again-fat") with fat LTO and one codegen unit; the programs have $(stat -c %s "$WEIR") and $(stat -c %s "$other/release/weir") bytes."
    export COMPARE_NOTE COMPARE_OTHER=$other/release/weir
    export CONTESTANTS="weir weir-other" CLIPS=${CLIPS:-"bbb1080 bbb720"} VMAF=0 RUNS=${RUNS:-7}
    command=run
fi

# A program of its own, not linked with weir: unoptimised is fast enough.
cargo build --quiet --locked --package weir-benches --bin compare >&2
exec "$target/debug/compare" "$command" "$@"
