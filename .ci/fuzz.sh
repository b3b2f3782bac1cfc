#!/usr/bin/env bash
# Each target of fuzz/ under libFuzzer and AddressSanitizer, for so many seconds each (30, or the first argument);
# it begins with what is kept in fuzz/corpus, and leaves what it finds beside in target/fuzz. Without
# a fuzzer the same targets are tests: `cd fuzz && cargo test`.
# Ends with `N passed, N failed, N skipped`; fails only if something did.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
seconds=${1:-30}
dir=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz")
passed=0 failed=0 skipped=0

finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}
skip() {
  echo "skipped: $1"
  skipped=$((skipped + 1))
  finish
}

command -v rustup >/dev/null || skip "rustup is not installed: no nightly compiler"
rustup run nightly rustc --version 2>/dev/null &&
  rustup component list --toolchain nightly --installed 2>/dev/null | grep -q "^rust-src" ||
  timeout 300 rustup toolchain install nightly --profile minimal --component rust-src >/dev/null 2>&1 ||
  skip "the nightly compiler cannot be installed here"
cargo fuzz --version 2>/dev/null ||
  timeout 900 cargo install -q --locked cargo-fuzz >/dev/null 2>&1 ||
  skip "cargo-fuzz cannot be installed here"
command -v c++ >/dev/null || skip "libFuzzer needs a compiler of C++"
timeout 1800 cargo +nightly fuzz build --features libfuzzer --target-dir "$dir" || {
  echo "FAILED: the targets do not build"
  failed=$((failed + 1))
  finish
}

for file in fuzz/fuzz_targets/*.rs; do
  target=$(basename "$file" .rs)
  echo "== $target, $seconds s"
  mkdir -p "$dir/corpus/$target" "$dir/artifacts" "fuzz/corpus/$target"
  # A failure leaves its input in artifacts/. The limit of memory is for leaks that have no end.
  if timeout $((seconds + 300)) cargo +nightly fuzz run --features libfuzzer --target-dir "$dir" "$target" \
    "$dir/corpus/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=60 \
    -artifact_prefix="$dir/artifacts/$target-" -print_final_stats=1 -verbosity=0; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $target; keep the input in fuzz/corpus/$target, and \`cd fuzz && cargo test\` tells more"
  fi
done
finish
