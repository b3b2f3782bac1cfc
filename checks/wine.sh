#!/usr/bin/env bash
# Windows, on Linux: both crates are linted with warnings denied, built for x86_64-pc-windows-gnu, and the driver's
# unit tests, its contract and its other tests, the runtime's tests and examples are run by Wine. With an argument only tests whose names have it
# in them. Debian's packages wine, wine64 and gcc-mingw-w64-x86-64 are installed if they are missing and that
# is allowed; the standard library is had from rustup. What cannot be had is skipped, and said.
. "$(dirname "$0")/../.ci/lib.sh"
export RUST_BACKTRACE=0 # One of them opens handles, which the tests count.
target=x86_64-pc-windows-gnu
dir="${CARGO_TARGET_DIR:-$PWD/target}/wine"
filter=("$@")
has() { command -v "$1" >/dev/null; }

linker=x86_64-w64-mingw32-gcc
if ! has wine || ! has $linker; then
  timeout 900 apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends \
    wine wine64 gcc-mingw-w64-x86-64 >/dev/null 2>&1
fi
has wine || skip_all "wine is not installed: Debian's packages wine and wine64"
has $linker || skip_all "$linker is not installed: Debian's package gcc-mingw-w64-x86-64"
has rustup && timeout 300 rustup target add $target >/dev/null 2>&1 ||
  skip_all "rustup has no standard library for $target"

# Wine 8 has no bcryptprimitives.dll, of which every Rust program imports one function.
mkdir -p "$dir"
shim=$dir/bcryptprimitives
cat >"$shim.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID to, ULONG len); /* of advapi32.dll */
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T left)
{
    while (left > 0) {
        ULONG len = left < (1 << 20) ? (ULONG)left : 1 << 20;
        if (!SystemFunction036(to, len))
            return FALSE;
        to += len;
        left -= len;
    }
    return TRUE;
}
C
$linker -shared -O2 -o "$shim.dll" "$shim.c" -ladvapi32 || { verdict "the shim" 1; finish; }
export WINEPREFIX=$dir/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" WINEPATH=$dir
unset DISPLAY
if [ ! -d "$WINEPREFIX" ]; then
  timeout 300 wineboot -i >/dev/null 2>&1 || { verdict "a prefix of Wine's" 1; finish; }
fi
cp "$shim.dll" "$WINEPREFIX/drive_c/windows/system32/" || { verdict "the shim" 1; finish; }
echo "$(wine --version)"

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$linker
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
on=(--target $target --target-dir "$dir")
runtime=(-p completeio --features futures-io,hyper,signal)
if [ ${#filter[@]} -eq 0 ]; then
  timeout 1200 cargo clippy -q "${on[@]}" -p completeio-driver --all-targets --features bytes,socket2 -- -D warnings
  verdict "clippy of the driver" $?
  timeout 1200 cargo clippy -q "${on[@]}" "${runtime[@]}" --all-targets -- -D warnings
  verdict "clippy of the runtime" $?
fi

# What Wine does otherwise than Windows, and the tests that see it.
excused=()
excuse() { # why, tests …
  local name
  for name in "${@:2}"; do
    skip "$1: $name"
    excused+=(--skip "$name")
  done
}

excuse "Wine touches all of a transfer's room before it begins, gigabytes here" \
  lengths::iocp::huge_reads_end_with_the_file lengths::iocp::huge_receives_take_what_is_there \
  lengths::iocp::huge_sends_make_progress lengths::iocp::huge_writes_are_clamped \
  exact::iocp::more_than_one_call_moves
excuse "Wine waits for connections to a socket that does not listen, and for what one that listens receives" \
  slots::iocp::a_key_dropped_with_an_error errors::iocp::an_accept_where_nothing_listens \
  errors::iocp::a_listener_has_no_peer
excuse "Wine ends a connection before it resets it" \
  errors::iocp::a_reset_connection peers::iocp::a_close_that_resets peers::iocp::a_reset_under_a_send \
  short_reads::iocp::a_reset_after_a_short_read
excuse "Wine tells Linux's error of a socket" \
  errors::iocp::a_send_before_the_connect listeners::iocp::a_connect_that_failed_before \
  message::iocp::where_nothing_can_be_sent
excuse "Wine takes a socket's pending error itself" tcp::reset_by_the_peer udp::connected_to_nobody \
  message::iocp::nobody_there
excuse "Wine has a receive that is to wait for all take the first bytes" message::iocp::all_of_a_stream
excuse "Wine sets no times of keeping a connection alive" sockets::iocp::times_of_keeping_alive
excuse "Wine sends no control messages" windows::iocp::a_datagram_with_a_source_arrives udp::what_a_header_says
excuse "Wine's DisconnectEx leaves no socket to connect again, and tells no end where success is told by its return" \
  windows::iocp::a_socket_is_connected_anew

part() { # name, arguments of cargo test …
  tests "$1" timeout 1800 cargo test "${on[@]}" "${@:2}" ${filter[@]+"${filter[@]}"} ${excused[@]+"${excused[@]}"}
}
part "unit tests" -p completeio-driver --lib --features socket2 --
part "what values show" -p completeio-driver --test shown --
part "the contract" -p completeio-driver --test contract --
part "a driver on another thread" -p completeio-driver --test remote --
part "allocations" -p completeio-driver --test allocs_windows --

echo "== examples"
timeout 900 cargo build -q "${on[@]}" "${runtime[@]}" --examples
verdict "the examples are built" $?
for name in charter compat event examples fs io net pipe process races runtime signal_windows tasks; do
  part "the runtime's tests: $name" "${runtime[@]}" --test "$name" --
done

if [ ${#filter[@]} -eq 0 ]; then
  echo "== other examples"
  bin=$dir/$target/debug/examples
  timeout 60 wine "$bin/cat.exe" README.md 2>/dev/null | cmp -s - README.md
  verdict "cat" $?
  rm -f "$dir/copy"
  timeout 60 wine "$bin/cp.exe" --block 4096 README.md "$dir/copy" >/dev/null 2>&1 && cmp -s README.md "$dir/copy"
  verdict "cp" $?
  timeout 120 wine "$bin/echo.exe" --connections 8 --seconds 1 >/dev/null 2>&1
  verdict "echo" $?
  timeout 60 wine "$bin/timer.exe" >/dev/null 2>&1
  verdict "timer" $?
  timeout 60 wine "$bin/doctor.exe" 2>/dev/null | grep 'backend: iocp' >/dev/null
  verdict "doctor" $?
fi
finish
