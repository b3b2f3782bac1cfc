#!/usr/bin/env bash
# I3, I5, I17: AddressSanitizer and LeakSanitizer over the driver's unit and contract tests, and over
# those of `Remote` and of the runtime. S5: ThreadSanitizer over `Remote` and tasks, with a standard library
# that is built for it.
# First they must find planted defects. Nightly, with an explicit target so that build scripts and
# macros stay as they are.
. "$(dirname "$0")/lib.sh"
export COMPLETEIO_BACKEND=
# The default detects leaks on Linux; an abort shows which test it was.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
target=x86_64-unknown-linux-gnu
dir="${CARGO_TARGET_DIR:-target}/sanitizers"

[ "$(uname -sm)" = "Linux x86_64" ] || skip_all "the sanitizers are run on Linux x86_64 only"
command -v rustup >/dev/null || skip_all "rustup is not installed: no nightly compiler"
rustup run nightly rustc --version 2>/dev/null ||
  timeout 300 rustup toolchain install nightly --profile minimal >/dev/null 2>&1 ||
  skip_all "the nightly compiler cannot be installed here"
rustup target list --toolchain nightly --installed 2>/dev/null | grep -qx "$target" ||
  timeout 120 rustup target add --toolchain nightly "$target" >/dev/null 2>&1 ||
  skip_all "$target cannot be installed here"

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
    -o "$planted/$name" "$planted/$name.rs" || skip_all "the nightly compiler has no sanitizer here"
  { "$planted/$name"; } >"$planted/$name.log" 2>&1
  grep -q "$says" "$planted/$name.log"
  verdict "the planted $name is found" $?
done

# What the tests lose on purpose is made by a function of this name.
printf 'leak:kit::leaking\n' >"$planted/lost"
export LSAN_OPTIONS="suppressions=$planted/lost:print_suppressions=0"

sanitized() { # package, arguments of cargo test …
  RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" \
    timeout 900 cargo +nightly test -p "$1" --all-features --target "$target" \
    --target-dir "$dir" "${@:2}"
}
tests "unit tests under AddressSanitizer and LeakSanitizer" sanitized completeio-driver --lib
tests "contract tests under AddressSanitizer and LeakSanitizer" \
  sanitized completeio-driver --test contract
tests "tests of Remote under AddressSanitizer and LeakSanitizer" \
  sanitized completeio-driver --test remote
tests "tests of the runtime under AddressSanitizer and LeakSanitizer" sanitized completeio \
  --test runtime --test tasks --test races --test fs --test net --test net_sim --test io --test pipe \
  --test pipe_sim --test process --test time --test event --test signal --test compat

# What the kernel writes is not seen, and is no race: a result is read after the ring's barrier. The
# standard library is built too, or its own synchronisation would not be seen either.
racing() { # arguments of cargo …
  RUSTFLAGS="-Zsanitizer=thread" TSAN_OPTIONS=halt_on_error=1 COMPLETEIO_REMOTE_FEW=1 \
    timeout 900 cargo +nightly "$@" -Zbuild-std --target "$target" --target-dir "$dir/thread"
}
races() {
  local source="$planted/race/src/main.rs" log="$planted/race.log"
  rustup component list --toolchain nightly --installed 2>/dev/null | grep -q "^rust-src" ||
    timeout 300 rustup component add --toolchain nightly rust-src >/dev/null 2>&1 ||
    { skip "no ThreadSanitizer: rust-src cannot be installed here"; return 1; }
  mkdir -p "$planted/race/src"
  printf '[package]\nname = "race"\nedition = "2024"\n[workspace]\n' >"$planted/race/Cargo.toml"
  cat >"$source" <<'RUST'
use std::sync::atomic::{AtomicBool, Ordering};
static READY: AtomicBool = AtomicBool::new(false);
static mut SHARED: u64 = 0;
fn main() {
    let other = std::thread::spawn(|| {
        unsafe { (&raw mut SHARED).write(7) };
        READY.store(true, ORDERING);
    });
    while !READY.load(ORDERING) {}
    println!("{}", unsafe { (&raw const SHARED).read() });
    other.join().unwrap();
}
RUST
  # The same program without its defect is left alone; it shows, too, whether they can be built.
  sed -i 's/READY.store(true, ORDERING)/READY.store(true, Ordering::Release)/
    s/READY.load(ORDERING)/READY.load(Ordering::Acquire)/' "$source"
  racing build -q --manifest-path "$planted/race/Cargo.toml" >"$log" 2>&1 ||
    { tail -5 "$log"; skip "no ThreadSanitizer: -Zbuild-std does not work here"; return 1; }
  racing run -q --manifest-path "$planted/race/Cargo.toml" >"$log" 2>&1
  verdict "ThreadSanitizer finds nothing where nothing is" $?
  sed -i 's/Ordering::\(Release\|Acquire\))/Ordering::Relaxed)/' "$source"
  racing run -q --manifest-path "$planted/race/Cargo.toml" >"$log" 2>&1
  grep -q "ThreadSanitizer: data race" "$log"
  verdict "the planted race is found" $?
}
if races; then
  tests "tests of Remote under ThreadSanitizer" racing test -p completeio-driver --test remote
  tests "tests of tasks under ThreadSanitizer" racing test -p completeio --test tasks
fi
finish
