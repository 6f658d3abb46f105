# Sourced by scripts that need cargo subcommands: `tool NAME VERSION` builds one that
# this machine lacks, into the target folder and not into the user's own
# ~/.cargo/bin. Unoptimised: that halves the wait, and they run for seconds.
# shellcheck shell=bash

tools=${CARGO_TARGET_DIR:-target}/tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
PATH=$PATH:$tools/bin

tool() {
    command -v "$1" >/dev/null && return
    echo "building $1 $2 (once, some minutes)"
    # A version of its own: the newest may want a newer Rust than this project.
    CARGO_TARGET_DIR=$tools/build cargo install --locked --debug --quiet --root "$tools" --version "$2" "$1"
    rm -rf "$tools/build"
}
