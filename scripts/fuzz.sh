#!/usr/bin/env bash
# Builds every fuzz target and runs each one.
#
#   scripts/fuzz.sh [SECONDS=30] [TARGET]...
#
# Seeds come from fuzz/seeds/TARGET where that exists; what the fuzzer finds
# worth keeping goes to fuzz/corpus, inputs that break something to
# fuzz/artifacts.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

seconds=${1:-30}
[ $# -eq 0 ] || shift
# shellcheck source=scripts/tools.sh
source scripts/tools.sh
tool cargo-fuzz 0.13.2
# Sanitizers are an unstable flag; the installed stable toolchain has them too.
export RUSTC_BOOTSTRAP=1

if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no targets found" >&2; exit 1; }

cargo fuzz build
for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s"
    mkdir -p "fuzz/corpus/$target"
    folders=("fuzz/corpus/$target")
    [ ! -d "fuzz/seeds/$target" ] || folders+=("fuzz/seeds/$target")
    cargo fuzz run "$target" "${folders[@]}" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
echo "fuzz: ${#targets[@]} targets ran clean"
