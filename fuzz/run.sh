#!/bin/sh
# The long form of tests/bad_input.rs: libFuzzer over every target, so many seconds each, from the kept corpus.
#
#   FUZZ_SECONDS=60          per target
#   FUZZ_TARGETS="config …"  only these
#
# Stops at the first input that does not hold and says how it is kept. What libFuzzer found worth keeping on the way stays
# in .cache/fuzz/, so that the next run begins there. Needs a nightly toolchain and a C++ compiler.
set -eu
cd "$(dirname -- "$0")/.."

seconds=${FUZZ_SECONDS:-60}
work=$PWD/.cache/fuzz
built=${FUZZ_TARGET_DIR:-$work/target}

rustup run nightly rustc --version >/dev/null 2>&1 || {
    echo "fuzz: a nightly toolchain is missing: rustup toolchain install nightly --profile minimal" >&2
    exit 1
}
command -v c++ >/dev/null || { echo "fuzz: a C++ compiler is missing: apt-get install g++" >&2; exit 1; }
mkdir -p "$work/finds"

# What `cargo fuzz build --sanitizer none` does: coverage for libFuzzer, and no sanitizer, as the code has no `unsafe`:
# what they look for cannot be in it. Panics, overflows and the limits below end a run all the same.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares" \
    CARGO_TARGET_DIR=$built RUSTUP_TOOLCHAIN=nightly cargo build --locked --release --manifest-path fuzz/Cargo.toml \
    --target "$(rustc -vV | sed -n 's/^host: //p')"
program=$(find "$built" -path '*/release/bad_input' -type f | head -n 1)

targets=${FUZZ_TARGETS:-$(ls tests/corpus)}
for target in $targets; do
    found=$work/corpus/$target
    mkdir -p "$found"
    # One input: at most 20 s, of which a night has many virtual hours; at most 2 GB for the process.
    STERNWAY_FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=32768 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="$work/finds/$target-" "$found" "tests/corpus/$target" \
        >"$work/$target.log" 2>&1 || {
        tail -n 40 "$work/$target.log" >&2
        echo "fuzz: $target does not stand an input. Keep it: cp $work/finds/$target-* tests/corpus/$target/" >&2
        exit 1
    }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$work/$target.log")
    printf '%-16s %9s inputs in %s s, %s MB at most, 0 finds\n' "$target" "$runs" "$seconds" "$peak"
done
