#!/usr/bin/env bash
# Installs what this machine lacks for building and testing weir.
#
#   scripts/setup.sh [build|test|compare|obs]...
#
# build   what `cargo build` and `make demo` need (the default)
# test    also what `make test` needs: publishers and players we did not write
# compare what `make compare` needs: ffmpeg, and the means to fetch clips and a newer one
# obs     OBS Studio without a screen, to publish as streamers do
#
# Says what it installs, asks nothing, and does nothing when nothing is missing.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac

# The first Rust with everything the workspace uses (rust-version in Cargo.toml).
rust_needed=1.95

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

missing=()
components=()
moto=
want() { # COMMAND PACKAGE...: the packages, unless the command is there
    has "$1" || missing+=("${@:2}")
}
want_package() { # PACKAGE...: things that are no commands
    local package
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
}

group_build() {
    want nasm nasm
    want g++ g++
    want cc gcc
    want make make
    want pkg-config pkg-config
    want curl curl ca-certificates
    want node nodejs
    want npm npm
}

group_test() {
    group_build
    components=(rustfmt clippy)
    want ffmpeg ffmpeg
    want gst-launch-1.0 gstreamer1.0-tools
    want_package gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
        gstreamer1.0-plugins-ugly gstreamer1.0-libav
    want chromium chromium fonts-dejavu-core
    want rtmpdump rtmpdump
    want mpv mpv
    want nginx nginx
    want stunnel stunnel4
    want openssl openssl
    # Packets that go nowhere.
    want nft nftables
    [ "$(uname -m)" != x86_64 ] || want qemu-x86_64 qemu-user
    want_package libnginx-mod-rtmp
    # An S3 server, once there is a Python that can make room for it.
    want python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    moto=yes
}

group_compare() {
    want ffmpeg ffmpeg
    want pip3 python3-pip
    want unzip unzip
    # Not bash's own word of that name.
    want_package time fonts-dejavu-core
}

group_obs() {
    want obs obs-studio
    want Xvfb xvfb
    want xauth xauth
    want import imagemagick
}

check_rust() {
    local version
    if ! has cargo || ! has rustc; then
        die "Rust is not here. Install it from https://rustup.rs (weir needs Rust $rust_needed or newer), then run this again."
    fi
    version=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$rust_needed" "$version" | sort -V | head -n1)" != "$rust_needed" ]; then
        die "Rust $version is too old: weir needs $rust_needed or newer (rustup update stable)."
    fi
    local component
    for component in "${components[@]}"; do
        has "cargo-${component/rustfmt/fmt}" && continue
        has rustup || die "$component is not here; it comes with Rust from https://rustup.rs"
        say "installing with rustup: $component"
        rustup component add "$component"
    done
}

install() {
    local root=()
    has apt-get || die "this machine lacks: ${missing[*]} (Debian's names). Only Debian and its relatives are set up automatically; install these and run again."
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "installing ${missing[*]} takes root, and there is no sudo"
        root=(sudo)
    fi
    say "installing with apt-get: ${missing[*]}"
    local quiet=(-qq -o Dpkg::Use-Pty=0)
    "${root[@]}" apt-get "${quiet[@]}" update
    # RUNLEVEL=1 keeps Debian from starting services, nginx on port 80 among them.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get "${quiet[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
    say "done"
}

# Below the target folder, as all that is no package of the system's.
install_moto() {
    local here=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/tools/moto wanted
    wanted=$(dirname "$0")/moto.txt
    ! cmp -s "$wanted" "$here/installed" || return 0
    say "installing moto, an S3 server for the tests, from the Python package index"
    rm -rf "$here"
    mkdir -p "$(dirname "$here")"
    if ! python3 -m venv "$here" || ! "$here/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement "$wanted" >&2; then
        die "moto cannot be installed: is the Python package index in reach?"
    fi
    cp "$wanted" "$here/installed"
}

[ $# -gt 0 ] || set -- build
for group; do
    case $group in
        build | test | compare | obs) "group_$group" ;;
        *) die "no group called $group: build, test, compare or obs" ;;
    esac
done
# Rust first: without it the packages would be of no use.
check_rust
if [ ${#missing[@]} -gt 0 ]; then
    install
fi
[ -z "$moto" ] || install_moto
