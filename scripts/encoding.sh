#!/usr/bin/env bash
# What the encoder makes of a clip, rung by rung: rate, decoder buffer, VMAF and
# VMAF-NEG, CPU seconds; x264 veryfast beside it, given the very same pictures.
#
#   scripts/encoding.sh [CLIP ...]    names of scripts/clips.sh; default: bbb720
#   scripts/encoding.sh check         do the edits of scripts/variants.txt still apply?
#
#   PRESETS="fast balanced quality"   weir's presets to try; "" for none
#   RUNGS="360 480 720"
#   X264=0                            leave x264 out
#   VARIANTS="cavlc finest-14"        other encoders, made of this one by the edits of
#                                     scripts/variants.txt, preset balanced; "all" for all of them
#
# Markdown on standard output. scripts/compare.sh clips fetches the ffmpeg and the clips.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

list=scripts/variants.txt
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { echo "encoding: $*" >&2; exit 1; }

names() { sed 's/ |.*//; /^#/d; /^$/d' "$list" | awk '!seen[$0]++'; }

# change NAME: makes its edits in the copy of the sources
change() {
    local name file edit found=
    while IFS='|' read -r name file edit; do
        [ "${name% }" = "$1" ] || continue
        found=1 file=$copy/${file// /}
        cp "$file" "$work/before"
        perl -0pi -e "$edit" "$file"
        ! cmp -s "$file" "$work/before" || die "an edit of the variant $1 changes nothing in ${file#"$copy/"}: mend $list"
    done < <(grep -v '^#' "$list")
    [ "$found" ] || die "no variant $1 in $list"
}

# The sources that variants are made of, as they are here.
sources() {
    copy=$1
    mkdir -p "$copy"
    git ls-files -z -- Cargo.toml Cargo.lock .cargo crates codec packager server benches | xargs -0 cp --parents --update --target-directory="$copy"
}
fresh() { git ls-files -z -- codec | xargs -0 cp --parents --target-directory="$copy"; }

if [ "${1:-}" = check ]; then
    sources "$work/sources"
    for name in $(names); do
        fresh
        change "$name"
    done
    exit
fi

[ $# -gt 0 ] || set -- bbb720
for clip; do
    [ -e "$clip" ] || [ -e "$target/compare/clips/$clip.flv" ] || die "no clip $clip: scripts/clips.sh makes it"
done
ffmpeg=${WEIR_FFMPEG:-$(find "$target/tools" -path '*imageio_ffmpeg*' -name 'ffmpeg-linux*' 2>/dev/null | head -n1)}
for rung in ${RUNGS:-}; do
    case $rung in 360 | 480 | 720) ;; *) die "no rung $rung: 360 480 720" ;; esac
done
[ -x "$ffmpeg" ] || die "no ffmpeg with libvmaf: scripts/compare.sh clips fetches one, or set WEIR_FFMPEG"

cargo build --release --locked --quiet --package weir-codec --example scale --example encode >&2
tools=$target/release/examples
raw=(-f rawvideo -pix_fmt yuv420p)
variants=${VARIANTS:-}
[ "$variants" != all ] || variants=$(names)
if [ -n "$variants" ]; then
    sources "$target/variants/sources"
    for name in $variants; do
        echo "encoding: building $name" >&2
        fresh
        change "$name"
        # Nobody compares their speed: the quickest to build will do.
        (cd "$copy" && CARGO_INCREMENTAL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 cargo build --release --locked --quiet --package weir-codec --example encode --target-dir "$target/variants/build" 2>"$work/log") ||
            { cat "$work/log" >&2; die "the variant $name does not build: mend $list"; }
        cp "$target/variants/build/release/examples/encode" "$work/encode-$name"
    done
fi

# vmaf FPS CODED FROM: VMAF / NEG of what is coded, scaled up, against the clip
vmaf() {
    local models="version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=neg"
    "$ffmpeg" -v error -r "$1" -i "$2" "${raw[@]}" -s "$3" -r "$1" -i "$work/source.yuv" -lavfi "[0:v]scale=${3/x/:}:flags=bicubic[a];
        [a][1:v]libvmaf=model='$models':n_subsample=3:n_threads=2:log_fmt=json:log_path=$work/vmaf.json" -f null -
    python3 -c 'import json, sys
mean = {key: value["mean"] for key, value in json.load(open(sys.argv[1]))["pooled_metrics"].items()}
print("%.2f / %.2f" % (mean["vmaf"], mean["neg"]))' "$work/vmaf.json"
}

echo "| clip | rung | encoder | kbit/s | VMAF / NEG | fullest buffer | left out | key pictures | CPU s |"
echo "|---|---|---|---|---|---|---|---|---|"
for clip; do
    file=$clip
    [ -e "$file" ] || file=$target/compare/clips/$clip.flv
    told=$({ "$ffmpeg" -hide_banner -i "$file" 2>&1 || true; } | grep 'Video:' | head -n1)
    from=$(grep -o '[0-9]\{2,\}x[0-9]\{2,\}' <<<"$told" | head -n1)
    fps=$(sed -n 's/.* \([0-9.]*\) fps.*/\1/p' <<<"$told")
    "$ffmpeg" -v error -y -i "$file" -fps_mode passthrough "${raw[@]}" "$work/source.yuv"
    # What the source's own encoder spent on each picture, in bits.
    export SOURCE_SIZES=$work/sizes
    ffprobe -v error -select_streams v:0 -show_entries packet=pts,size -of csv=p=0 "$file" | sort -t, -k1n | awk -F, '{ print $2 * 8 }' >"$SOURCE_SIZES"
    larger=$from scaled=$work/source.yuv
    for rung in 720 480 360; do
        case $rung in
            360) to=640x360 kbps=800 ;;
            480) to=854x480 kbps=1400 ;;
            720) to=1280x720 kbps=2800 ;;
        esac
        if [ "$larger" != "$to" ]; then
            "$tools/scale" "$larger" "$to" Lanczos3 0.0 <"$scaled" >"$work/$to.yuv"
            # As weir does: the next rung is made of this one.
            larger=$to scaled=$work/$to.yuv
        fi
        [[ " ${RUNGS:-360 480 720} " = *" $rung "* ]] || continue
        row() { echo "| $(basename "$clip" .flv) | ${rung}p | $1 | $2 | $(vmaf "$fps" "$work/coded.h264" "$from") | $3 |"; }
        weir() { # PROGRAM PRESET NAME
            read -r rate fullest out keys cpu < <("$1" "$to" "$fps" "$kbps" "$2" "$work/coded.h264" <"$scaled")
            row "$3" "$rate" "$fullest | $out | $keys | $cpu"
        }
        for preset in ${PRESETS-fast balanced quality}; do
            weir "$tools/encode" "$preset" "$preset"
        done
        for name in $variants; do
            weir "$work/encode-$name" balanced "$name"
        done
        [ "${X264:-1}" != 0 ] || continue
        TIMEFORMAT=%2U
        cpu=$( { time "$ffmpeg" -v error -y "${raw[@]}" -s "$to" -r "$fps" -i "$scaled" -c:v libx264 -preset veryfast -threads 1 \
            -g "$(awk "BEGIN { print int($fps * 2 + 0.5) }")" -b:v "${kbps}k" -maxrate "$((kbps * 107 / 100))k" -bufsize "$((kbps * 3 / 2))k" \
            "$work/coded.h264"; } 2>&1)
        pictures=$(($(stat -c %s "$scaled") / (${to%x*} * ${to#*x} * 3 / 2)))
        rate=$(awk "BEGIN { printf \"%.0f\", $(stat -c %s "$work/coded.h264") * 8 / 1000 * $fps / $pictures }")
        row "x264 veryfast" "$rate" "| | | $cpu"
    done
done
