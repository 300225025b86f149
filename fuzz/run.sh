#!/usr/bin/env bash
# Builds every fuzz target and runs each for some seconds: fuzz/run.sh [SECONDS]. Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
if ! rustup toolchain list | grep -q nightly; then
    echo "fuzzing needs a nightly toolchain: rustup toolchain install nightly" >&2
    exit 1
fi
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --quiet
cargo +nightly fuzz build
for target in $(cargo +nightly fuzz list); do
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- -max_total_time="$seconds" -max_len=8192 -timeout=10 -print_final_stats=0 -verbosity=0
done
