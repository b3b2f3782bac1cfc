#!/usr/bin/env bash
# Miri over what is pure, and over whole drivers that stand on a model of a kernel or on a simulated
# host, under both of its models (Stacked Borrows, Tree Borrows). It has neither io_uring nor
# epoll_pwait2, so what makes system calls on either is left out, by the names below.
. "$(dirname "$0")/lib.sh"
dir=$(realpath -m "${CARGO_TARGET_DIR:-target}/miri")

# Parts of the paths of the tests that are run.
pure=(
  address::                      # sockets' addresses, to and from the kernel's form
  buf::                          # every buffer: what is lent, what was filled
  builder::tests::names          # the names of the backends
  clock::                        # arithmetic of instants; reading the clocks
  engine::                       # the raw layer, on the model
  exact::                        # what goes on: its table, and operations told by it
  key::                          # the words that the kernel carries
  list:: loans::                 # lists by indexes, and through operations' heads
  notify::                       # the flag between threads; what polls is ignored under Miri
  op::                           # calls in plain words, timespecs
  remote::tests                  # senders and a server, on the model
  scope::                        # loans, on the model
  slots::                        # owned operations and their keys, on the model
  sys::fork::                    # by process ids; what forks is ignored under Miri
  sys::readiness::flights::      # the operations in flight, and their lists
  sys::readiness::table::tests   # the descriptors' slots
  sys::waker::                   # what polls is ignored under Miri
  timers::                       # the heap against its model
)

command -v rustup >/dev/null || skip_all "rustup is not installed: no Miri"
rustup run nightly cargo miri --version 2>/dev/null ||
  { timeout 300 rustup toolchain install nightly --profile minimal --component miri,rust-src &&
    rustup run nightly cargo miri --version; } >/dev/null 2>&1 ||
  skip_all "Miri cannot be installed here"
cargo +nightly miri setup >/dev/null 2>&1 || skip_all "Miri cannot build its standard library here"

# The clocks and the environment are the host's. An operation is found again by the address of its
# head, which a completion carries: that its provenance is exposed need not be told each time.
miri() { # in which directory, which tests …
  (cd "$1" && MIRIFLAGS=$flags timeout 1200 cargo +nightly miri test --target-dir "$dir/$1" "${@:2}")
}
for model in stacked tree; do
  flags="-Zmiri-disable-isolation -Zmiri-permissive-provenance"
  [ "$model" = tree ] && flags="$flags -Zmiri-tree-borrows"
  tests "$model borrows: what is pure" miri driver --all-features --lib -- "${pure[@]}"
  # Every operation whose buffer, table or address lies in it, on a simulated host. Tree Borrows, which
  # allow more, take longer than it is worth.
  [ "$model" = tree ] && continue
  tests "operations inside" miri driver --all-features --test sim -- inside::
  # Each kind of operation: what has its memory in flight.
  tests "kinds of operations" miri driver --all-features --test contract -- \
    kinds::sim::completes kinds::sim::cancelled_while kinds::sim::dropped
  # Scripts of every family of operations; keys of slots; timeouts; control data with descriptors.
  tests "the fuzz targets" miri fuzz --test plain
done
finish
