#!/usr/bin/env bash
# The gate: everything that must hold before a change is accepted, the same
# here and in CI. Sets up what it needs, stops at the first step that fails,
# and names it.
#
# FUZZ_SECONDS is the time for each fuzz target (30). STEPS="clippy tests" runs
# those steps alone.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")/.."

# shellcheck source=scripts/tools.sh
source scripts/tools.sh
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
target=${CARGO_TARGET_DIR:-target}
transcript=$(mktemp "${TMPDIR:-/tmp}/weir-test.XXXXXX")
trap 'rm -f "$transcript"' EXIT

step_setup() {
    scripts/setup.sh build test
    tool cargo-deny 0.20.2
    tool cargo-fuzz 0.13.2
}

step_npm() { scripts/npm.sh server/web tests/browser; }

step_fmt() {
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
}

step_scripts() {
    local file
    for file in scripts/*.sh .ci/run; do bash -n "$file"; done
    for file in server/web/*.js tests/browser/*.mjs; do node --check "$file"; done
    node --test tests/browser/snapshot.test.mjs
    scripts/encoding.sh check
}

step_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

# The pages are for those who work on weir: links to private items are wanted.
step_docs() { RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked; }

step_deny() {
    # The advisory database is a git repository, out of reach for some builders.
    local checks=(bans licenses sources)
    if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
        checks+=(advisories)
    else
        echo "the advisory database cannot be fetched here: bans, licences and sources only"
    fi
    # Rooms are named for crates that are still to come.
    cargo deny --locked --workspace check --allow unused-wrapper "${checks[@]}"
}

step_build() { cargo build --release --locked --package weir-server; }

step_tests() { cargo test --workspace --locked; }

step_browser() { node tests/browser/run.mjs --weir "$target/release/weir"; }

step_fuzz() { scripts/fuzz.sh "${FUZZ_SECONDS:-30}"; }

step_benches() { cargo bench --workspace --no-run --locked; }

steps=(setup npm fmt scripts deny clippy docs build tests browser fuzz benches)
all=${steps[*]}
[ -z "${STEPS:-}" ] || read -ra steps <<<"$STEPS"
for name in "${steps[@]}"; do
    [[ " $all " == *" $name "* ]] || { echo "test: there is no step $name; the steps are: $all" >&2; exit 2; }
done

total=$SECONDS
times=()
for index in "${!steps[@]}"; do
    name=${steps[index]}
    number="$((index + 1))/${#steps[@]}"
    printf '\n==> [%s] %s\n' "$number" "$name"
    start=$SECONDS
    # A shell of its own: errexit is off inside a condition.
    set +e
    (set -e; "step_$name") 2>&1 | tee -a "$transcript"
    status=${PIPESTATUS[0]}
    set -e
    if [ "$status" -ne 0 ]; then
        printf '\n==> FAILED at step %s: %s, after %s s (again, alone: STEPS=%s make test)\n' \
            "$number" "$name" $((SECONDS - start)) "$name" >&2
        exit 1
    fi
    times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
done

# The closing lines of every test runner, and their sum.
printf '\n==> every step passed in %s s\n' $((SECONDS - total))
printf '%s\n' "${times[@]}"
echo
sed 's/\x1b\[[0-9;]*m//g' "$transcript" | awk '
    /^test result: ok\. [0-9]+ passed/ { print; passed += $4; failed += $6; ignored += $8 }
    /^(#|ℹ) pass [0-9]+/ { print "node --test: " $3 " passed"; passed += $3 }
    /^[0-9]+ passed, [0-9]+ failed$/ { print "browser: " $0; passed += $1; failed += $3 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }'
