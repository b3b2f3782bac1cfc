#!/usr/bin/env bash
# I14: loom goes through the interleavings of wakers and the driver (driver/src/notify.rs). The
# models that must lose a wake-up are among the tests. Ends with `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
dir="${CARGO_TARGET_DIR:-target}/loom"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

RUSTFLAGS="--cfg loom" timeout 900 cargo test -p completeio-driver --release --lib \
  --target-dir "$dir" loom_ 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
passed=$(grep -c '^test .*loom_.* \.\.\. ok$' "$log")
failed=$(grep -c '^test .*loom_.* \.\.\. FAILED$' "$log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
  echo "FAILED: the models do not build, or do not end"
  failed=1
elif [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
  echo "FAILED: there is no model of that name"
  failed=1
fi
# A test that should panic is printed with that remark.
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
