#!/usr/bin/env bash
# I3, I5, I17: AddressSanitizer and LeakSanitizer over the driver's unit and contract tests. First
# they must find two planted defects. Nightly, with an explicit target so that build scripts and
# macros stay as they are. Ends with `N passed, N failed, N skipped`; fails only if something did.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never COMPLETEIO_BACKEND=
# The default detects leaks on Linux; an abort shows which test it was.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
target=x86_64-unknown-linux-gnu
dir="${CARGO_TARGET_DIR:-target}/sanitizers"
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
verdict() { # name, 0 if good
  if [ "$2" -eq 0 ]; then
    passed=$((passed + 1)); echo "ok: $1"
  else
    failed=$((failed + 1)); echo "FAILED: $1"
  fi
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the sanitizers are run on Linux x86_64 only"
command -v rustup >/dev/null || skip "rustup is not installed: no nightly compiler"
rustup run nightly rustc --version 2>/dev/null ||
  timeout 300 rustup toolchain install nightly --profile minimal >/dev/null 2>&1 ||
  skip "the nightly compiler cannot be installed here"
rustup target list --toolchain nightly --installed 2>/dev/null | grep -qx "$target" ||
  timeout 120 rustup target add --toolchain nightly "$target" >/dev/null 2>&1 ||
  skip "$target cannot be installed here"

# They work here: a leak and a use after free are found.
planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
cat >"$planted/leak.rs" <<'RUST'
fn main() {
    std::hint::black_box(Box::into_raw(Box::new([7_u8; 64])));
}
RUST
cat >"$planted/use_after_free.rs" <<'RUST'
fn main() {
    let gone = std::hint::black_box(Box::into_raw(Box::new(7_u8)));
    drop(unsafe { Box::from_raw(gone) });
    std::process::exit(unsafe { gone.read_volatile() }.into());
}
RUST
for plant in leak:LeakSanitizer use_after_free:heap-use-after-free; do
  name=${plant%%:*} says=${plant##*:}
  rustc +nightly --edition 2024 -O -Zsanitizer=address --target "$target" \
    -o "$planted/$name" "$planted/$name.rs" || skip "the nightly compiler has no sanitizer here"
  { "$planted/$name"; } >"$planted/$name.log" 2>&1
  grep -q "$says" "$planted/$name.log"
  verdict "the planted $name is found" $?
done

run() { # name, arguments of cargo test …
  echo "== $1"
  RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" \
    timeout 900 cargo +nightly test -q -p completeio-driver --all-features --target "$target" \
    --target-dir "$dir" "${@:2}"
  verdict "$1" $?
}
run "unit tests under AddressSanitizer and LeakSanitizer" --lib
run "contract tests under AddressSanitizer and LeakSanitizer" --test contract
finish
