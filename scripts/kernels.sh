#!/usr/bin/env bash
# What the scaler's kernels are worth: VMAF, VMAF-NEG and PSNR of scaled pictures,
# coded by x264 veryfast at the ladder's rates, scaled up again and compared with
# the clip. ffmpeg's own scaling stands beside them.
#
#   scripts/kernels.sh [CLIP ...]    default: bbb1080 and bbb720 of scripts/clips.sh
#
#   FRAMES=300      pictures of each clip, from its 5th second on
#   CASES="Lanczos3 Lanczos3+0.4 Lanczos3-steps ffmpeg-bicubic"
#                   kernels with a strength of sharpening, or by way of the larger
#                   rungs, and ffmpeg's flags
#
# Markdown on standard output. Needs an ffmpeg with libvmaf and libx264:
# scripts/compare.sh fetches one, WEIR_FFMPEG=path names another.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
ffmpeg=${WEIR_FFMPEG:-$(find "$target/tools" -path '*imageio_ffmpeg*' -name 'ffmpeg-linux*' 2>/dev/null | head -n1)}
[ -x "$ffmpeg" ] || { echo "kernels: no ffmpeg with libvmaf: scripts/compare.sh clips fetches one, or set WEIR_FFMPEG" >&2; exit 1; }
if [ $# -eq 0 ]; then
    set -- "$target/compare/clips/bbb1080.flv" "$target/compare/clips/bbb720.flv"
fi
frames=${FRAMES:-300}
cases=${CASES:-CatmullRom Lanczos2 Cubic75 Lanczos3 Lanczos3-steps Lanczos3+0.4 ffmpeg-bicubic ffmpeg-lanczos}

cargo build --release --locked --quiet --package weir-codec --example scale >&2
scale=$target/release/examples/scale
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# scaled FROM TO CASE: pictures of one size to pictures of another
scaled() {
    local from=$1 to=$2 name=${3%-steps} strength=0 rung
    case $name in *+*) strength=${name#*+} name=${name%+*} ;; esac
    if [ "${3%-steps}" != "$3" ]; then
        for rung in 1280x720 854x480; do
            # The next one in between, and from there on.
            if [ "${rung%x*}" -lt "${from%x*}" ] && [ "${rung%x*}" -gt "${to%x*}" ]; then
                "$scale" "$from" "$rung" "$name" 0 | scaled "$rung" "$to" "$3"
                return
            fi
        done
    fi
    "$scale" "$from" "$to" "$name" "$strength"
}

# judge CLIP SIZE WxH KBPS CASE: one row of the table
judge() {
    local clip=$1 from=$2 to=$3 kbps=$4 case=$5
    # Neither ffmpeg may drop or double a picture, or they would not be pairs.
    local read=(-ss 5 -i "$clip" -frames:v "$frames" -fps_mode passthrough) raw=(-f rawvideo -pix_fmt yuv420p)
    if [ "${case#ffmpeg-}" != "$case" ]; then
        "$ffmpeg" -v error -y "${read[@]}" -vf "scale=${to/x/:}:flags=${case#ffmpeg-}" "${raw[@]}" "$work/scaled.yuv"
    else
        "$ffmpeg" -v error "${read[@]}" "${raw[@]}" - | scaled "$from" "$to" "$case" >"$work/scaled.yuv"
    fi
    "$ffmpeg" -v error -y "${raw[@]}" -s "$to" -r 30 -i "$work/scaled.yuv" -c:v libx264 -preset veryfast -g 60 \
        -b:v "${kbps}k" -maxrate "$((kbps * 107 / 100))k" -bufsize "$((kbps * 3 / 2))k" "$work/coded.mp4"
    local models="version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=neg" file
    for file in scaled coded; do
        local input=(-i "$work/coded.mp4")
        [ $file = coded ] || input=("${raw[@]}" -s "$to" -r 30 -i "$work/scaled.yuv")
        "$ffmpeg" -v error "${input[@]}" "${read[@]}" -lavfi "[0:v]scale=${from/x/:}:flags=bicubic,settb=1/30,setpts=N[a];
            [1:v]settb=1/30,setpts=N[b];
            [a][b]libvmaf=model='$models':feature=name=psnr:n_subsample=5:log_fmt=json:log_path=$work/$file.json" -f null -
    done
    python3 - "$work" "$(basename "$clip" .flv)" "$to" "$case" <<'PYTHON'
import json, os, sys
work, *names = sys.argv[1:]
def figures(file):
    mean = {key: value["mean"] for key, value in json.load(open(f"{work}/{file}.json"))["pooled_metrics"].items()}
    return f"{mean['vmaf']:.2f} / {mean['neg']:.2f} / {mean['psnr_y']:.2f}"
kib = os.path.getsize(f"{work}/coded.mp4") / 1024
print("|", " | ".join([*names, figures("scaled"), figures("coded"), f"{kib:.0f}"]), "|", flush=True)
PYTHON
}

echo "| clip | to | scaled by | VMAF / NEG / PSNR-Y, scaled | coded | KiB |"
echo "|---|---|---|---|---|---|"
for clip in "$@"; do
    # Without an output ffmpeg says what the clip is and fails.
    from=$({ "$ffmpeg" -hide_banner -i "$clip" 2>&1 || true; } | sed -n 's/.*Video:.* \([0-9]\{2,\}x[0-9]\{2,\}\).*/\1/p' | head -n1)
    for rung in 640x360:800 854x480:1400 1280x720:2800; do
        [ "${rung%:*}" != "$from" ] || continue
        for case in $cases; do
            judge "$clip" "$from" "${rung%:*}" "${rung#*:}" "$case"
        done
    done
done
