#!/usr/bin/env bash
# The selector of macOS and the BSDs, run on Linux: unit tests, the contract suite and the count of
# allocations, with kqueue(2) by libkqueue, a library that stands on epoll. It is found by pkg-config, or in
# the folder that LIBKQUEUE_DIR names (`libkqueue.so`). What it cannot do is left out, by name.
# Ends with `N passed, N failed, N skipped`; fails only if something did.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never COMPLETEIO_BACKEND=
dir="${CARGO_TARGET_DIR:-target}/kqueue"
passed=0 failed=0 skipped=0

finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}
skip() {
  echo "skipped: $1"
  skipped=$((skipped + 1))
}

[ "$(uname -s)" = Linux ] || { skip "the library stands in on Linux only"; finish; }
if [ -z "${LIBKQUEUE_DIR:-}" ]; then
  LIBKQUEUE_DIR=$(pkg-config --variable=libdir libkqueue 2>/dev/null) ||
    { skip "no libkqueue: pkg-config does not know one, and LIBKQUEUE_DIR names none"; finish; }
fi
[ -e "$LIBKQUEUE_DIR/libkqueue.so" ] ||
  { skip "no libkqueue.so in $LIBKQUEUE_DIR"; finish; }
export LIBKQUEUE_DIR
export LD_LIBRARY_PATH="$LIBKQUEUE_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export RUSTFLAGS="--cfg libkqueue${RUSTFLAGS:+ $RUSTFLAGS}"
echo "libkqueue in $LIBKQUEUE_DIR"

# What the library does otherwise than a kernel, and the tests that see it.
excused=()
excuse() { # why, tests …
  local name
  for name in "${@:2}"; do
    skip "$name: $1"
    excused+=(--skip "$name")
  done
}
excuse "the library takes a socket's pending error itself" \
  errors::readiness::a_reset_connection errors::readiness::connecting \
  listeners::readiness::a_connect_that_failed_before message::readiness::nobody_there \
  peers::readiness::a_reset_under_a_send short_reads::readiness::a_reset_after_a_short_read \
  sockets::readiness::an_option_that_fails_leaves_the_socket
excuse "the library's kqueue is the end of a pipe: it never becomes readable" \
  exact::readiness::a_foreign_loop \
  exact::readiness::a_part_that_comes_with_the_cancel_is_the_last \
  wait::readiness::prepared_before_the_notifier_was_made \
  wait::readiness::prepared_for_a_completion wait::readiness::prepared_for_a_notifier \
  wake::readiness::they_coalesce
excuse "no kqueue reports urgent data" polls::readiness::urgent_data

run() { # name, arguments of cargo test …
  local log ok bad
  log=$(mktemp)
  echo "== $1"
  timeout 1800 cargo test -p completeio-driver --no-default-features \
    --features readiness,arrayvec --target-dir "$dir" "${@:2}" 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]}
  # The last line of all that ran: `test result: ok. 76 passed; 0 failed; 14 ignored; …`.
  read -r ok bad < <(
    sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; .*/\1 \2/p' "$log"
    echo 0 0
  )
  rm -f "$log"
  # A test that hangs ends its whole process.
  [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
  [ "$ok" -gt 0 ] || [ "$bad" -gt 0 ] || bad=1
  passed=$((passed + ok)) failed=$((failed + bad))
}
run "the selector" --lib -- sys::readiness::kqueue
run "the contract" --test contract -- --exact "${excused[@]}"
run "allocations" --test allocs
finish
