#!/usr/bin/env bash
# Each target of fuzz/ under libFuzzer and AddressSanitizer, for so many seconds each (30, or the first argument);
# it begins with what is kept in fuzz/corpus, and leaves what it finds beside in target/fuzz. Without
# a fuzzer the same targets are tests: `cd fuzz && cargo test`.
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}
dir=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz")

command -v rustup >/dev/null || skip_all "rustup is not installed: no nightly compiler"
rustup run nightly rustc --version 2>/dev/null &&
  rustup component list --toolchain nightly --installed 2>/dev/null | grep -q "^rust-src" ||
  timeout 300 rustup toolchain install nightly --profile minimal --component rust-src >/dev/null 2>&1 ||
  skip_all "the nightly compiler cannot be installed here"
cargo fuzz --version 2>/dev/null ||
  timeout 900 cargo install -q --locked cargo-fuzz >/dev/null 2>&1 ||
  skip_all "cargo-fuzz cannot be installed here"
command -v c++ >/dev/null || skip_all "libFuzzer needs a compiler of C++"
timeout 1800 cargo +nightly fuzz build --features libfuzzer --target-dir "$dir" || {
  verdict "the targets are built" 1
  finish
}

for file in fuzz/fuzz_targets/*.rs; do
  target=$(basename "$file" .rs)
  echo "== $target, $seconds s"
  mkdir -p "$dir/corpus/$target" "$dir/artifacts" "fuzz/corpus/$target"
  # What fails leaves its input in artifacts/: kept in fuzz/corpus/, it is one of `cd fuzz && cargo test`.
  timeout $((seconds + 300)) cargo +nightly fuzz run --features libfuzzer --target-dir "$dir" "$target" \
    "$dir/corpus/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=60 \
    -artifact_prefix="$dir/artifacts/$target-" -print_final_stats=1 -verbosity=0
  verdict "$target" $?
done
finish
