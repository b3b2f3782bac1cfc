#!/usr/bin/env bash
# The selector of macOS and the BSDs, run on Linux: the driver's unit tests, the contract suite, the count of
# allocations, operations from other threads, and the runtime, with kqueue(2) by libkqueue, a library that
# stands on epoll. It is found by pkg-config, or in the folder that LIBKQUEUE_DIR names (`libkqueue.so`). What
# it cannot do is left out, by name.
. "$(dirname "$0")/../.ci/lib.sh"
export COMPLETEIO_BACKEND=
dir="${CARGO_TARGET_DIR:-target}/kqueue"

[ "$(uname -s)" = Linux ] || skip_all "the library stands in on Linux only"
if [ -z "${LIBKQUEUE_DIR:-}" ]; then
  LIBKQUEUE_DIR=$(pkg-config --variable=libdir libkqueue 2>/dev/null) ||
    skip_all "no libkqueue: pkg-config does not know one, and LIBKQUEUE_DIR names none"
fi
[ -e "$LIBKQUEUE_DIR/libkqueue.so" ] || skip_all "no libkqueue.so in $LIBKQUEUE_DIR"
export LIBKQUEUE_DIR
export LD_LIBRARY_PATH="$LIBKQUEUE_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export RUSTFLAGS="--cfg libkqueue${RUSTFLAGS:+ $RUSTFLAGS}"
echo "libkqueue in $LIBKQUEUE_DIR"

# What the library does otherwise than a kernel, and the tests that see it.
excused=()
excuse() { # why, tests …
  local name
  for name in "${@:2}"; do
    skip "$1: $name"
    excused+=(--skip "$name")
  done
}
excuse "the library takes a socket's pending error itself" \
  sys::readiness::tests::sockets::a_connect_is_settled \
  errors::readiness::a_reset_connection errors::readiness::connecting \
  listeners::readiness::a_connect_that_failed_before message::readiness::nobody_there \
  peers::readiness::a_reset_under_a_send short_reads::readiness::a_reset_after_a_short_read \
  sockets::readiness::an_option_that_fails_leaves_the_socket \
  tcp::no_peer
excuse "the library's kqueue is the end of a pipe: it never becomes readable" \
  notify::tests::a_child_does_not_wake_its_parent notify::tests::a_waker_wakes \
  notify::tests::none_is_lost_of_eight_threads notify::tests::none_is_lost_of_one_thread \
  sys::readiness::tests::jobs::a_foreign_loop_hears_of_jobs \
  exact::readiness::a_foreign_loop \
  exact::readiness::a_part_that_comes_with_the_cancel_is_the_last \
  wait::readiness::prepared_before_the_notifier_was_made \
  wait::readiness::prepared_for_a_completion wait::readiness::prepared_for_a_notifier \
  wake::readiness::they_coalesce
excuse "the library's kqueue is more than one descriptor" abandoned::readiness::forgotten
excuse "the library counts what stands before urgent data" \
  short_reads::readiness::urgent_data_that_was_seen_before_a_short_read
excuse "no kqueue reports urgent data" polls::readiness::urgent_data

test=(timeout 1800 cargo test --no-default-features --target-dir "$dir")
driver=(-p completeio-driver --features readiness,arrayvec)
runtime=(-p completeio --features readiness,arrayvec,signal
  --test event --test fs --test io --test net --test pipe --test process --test runtime --test signal
  --test tasks)
tests "the backend" "${test[@]}" "${driver[@]}" --lib -- --exact "${excused[@]}"
tests "the contract" "${test[@]}" "${driver[@]}" --test contract -- --exact "${excused[@]}"
tests "allocations" "${test[@]}" "${driver[@]}" --test allocs
tests "from other threads" "${test[@]}" "${driver[@]}" --test remote -- --exact "${excused[@]}"
tests "the runtime" "${test[@]}" "${runtime[@]}" --no-fail-fast -- --exact "${excused[@]}"

# What is left out is there: a name that nothing has any more excuses nothing.
names=$("${test[@]}" "${driver[@]}" --lib --test contract --test remote -- --list 2>/dev/null
  "${test[@]}" "${runtime[@]}" -- --list 2>/dev/null)
for name in "${excused[@]}"; do
  [ "$name" = --skip ] || grep -qFx "$name: test" <<<"$names" ||
    verdict "there is a test $name" 1
done
finish
