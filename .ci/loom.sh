#!/usr/bin/env bash
# I14: loom goes through the interleavings of wakers and the driver (driver/src/notify.rs). The
# models that must lose a wake-up are among the tests.
. "$(dirname "$0")/lib.sh"
export RUSTFLAGS="--cfg loom"
tests "loom" timeout 900 cargo test -p completeio-driver --release --lib \
  --target-dir "${CARGO_TARGET_DIR:-target}/loom" loom_
finish
