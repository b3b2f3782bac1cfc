#!/usr/bin/env bash
# Other systems, from Linux: `cargo check`, clippy with warnings denied, and test binaries that are
# linked and not run, of the driver and of the root, with all their features. Without arguments for macOS
# and FreeBSD; or for the targets that are named:
#   aarch64-apple-darwin x86_64-unknown-freebsd x86_64-unknown-netbsd x86_64-unknown-openbsd
#   aarch64-linux-android x86_64-unknown-linux-musl
# A target's standard library is had from rustup. Where that has none, it is built (`-Zbuild-std`): by a
# nightly toolchain with rust-src, or by Debian's compiler, of the packages rustc-web, cargo-web, rust-web-src
# and rust-web-clippy, which root installs. The linker for macOS and the BSDs is `zig cc`, of the package
# ziglang on PyPI. What cannot be had is skipped, and said.
. "$(dirname "$0")/../.ci/lib.sh"
dir="${CARGO_TARGET_DIR:-target}/cross"
[ $# -gt 0 ] || set -- aarch64-apple-darwin x86_64-unknown-freebsd

# How cargo is called for a target: sets `cargo` and `std`, and says which way it is; or fails.
way_to() {
  cargo=(cargo) std=()
  if command -v rustup >/dev/null; then
    if timeout 300 rustup target add "$1" >/dev/null 2>&1; then
      echo "way: rustup target add"
      return
    fi
    if rustup component list --toolchain nightly --installed 2>/dev/null | grep -q '^rust-src'; then
      cargo=(cargo +nightly) std=(-Zbuild-std)
      echo "way: -Zbuild-std with $(rustc +nightly --version)"
      return
    fi
  fi
  local debian=(rustc-web cargo-web rust-web-src rust-web-clippy)
  if [ ! -x /usr/bin/cargo ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -q && timeout 600 apt-get install -qy --no-install-recommends "${debian[@]}"; } \
      >/dev/null 2>&1
  fi
  if [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ]; then
    # Both matter: clippy is found through PATH.
    cargo=(env -u RUSTUP_TOOLCHAIN PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
      /usr/bin/cargo)
    std=(-Zbuild-std)
    echo "way: -Zbuild-std with $(/usr/bin/rustc --version)"
    return
  fi
  return 1
}

# A linker for a target: sets `linker`, or fails. Libraries that zig has no stub for are left out.
linker_for() {
  local zig=$1 drop='-lNONE' python=$dir/zig/bin/python
  case $1 in
  aarch64-apple-darwin) zig=aarch64-macos drop='-liconv|-lc|-lm' ;;
  x86_64-unknown-freebsd) zig=x86_64-freebsd drop='-lkvm|-lmemstat|-lprocstat|-ldevstat' ;;
  x86_64-unknown-netbsd) zig=x86_64-netbsd ;;
  x86_64-unknown-openbsd) zig=x86_64-openbsd ;;
  x86_64-unknown-linux-musl) linker=rust-lld; return ;;
  *) return 1 ;;
  esac
  if [ ! -x "$python" ] || ! "$python" -m ziglang version >/dev/null 2>&1; then
    { python3 -m venv "$dir/zig" && timeout 600 "$python" -m pip -q install ziglang==0.17.1; } \
      >/dev/null 2>&1 || return 1
  fi
  linker=$PWD/$dir/$1.ld
  [ "${dir#/}" = "$dir" ] || linker=$dir/$1.ld
  cat >"$linker" <<SH
#!/usr/bin/env bash
args=()
for arg in "\$@"; do
  case "\$arg" in $drop) ;; *) args+=("\$arg") ;; esac
done
exec "$(realpath -s "$python")" -m ziglang cc -target $zig "\${args[@]}"
SH
  chmod +x "$linker"
}

packages=(-p completeio -p completeio-driver)
# There are no simulated hosts elsewhere, and no tests of theirs.
no_hosts=(--features completeio/signal,completeio/futures-io,completeio/hyper,completeio/bytes)
for target in "$@"; do
  echo "== $target"
  mkdir -p "$dir"
  if ! way_to "$target"; then
    skip "nobody here has the standard library of $target"
    continue
  fi
  on=("${packages[@]}" --target "$target" --target-dir "$dir" ${std[@]+"${std[@]}"})
  case $target in
  *-linux-musl) features=(--all-features) ;;
  *) features=("${no_hosts[@]}") ;;
  esac
  timeout 900 "${cargo[@]}" check -q "${on[@]}" --all-features
  verdict "$target: check" $?
  if "${cargo[@]}" clippy --version >/dev/null 2>&1; then
    # OpenBSD's thread-locals hide from this lint that they are const.
    timeout 900 "${cargo[@]}" clippy -q "${on[@]}" "${features[@]}" --all-targets -- -D warnings \
      ${std[@]+-A clippy::missing_const_for_thread_local}
    verdict "$target: clippy" $?
  else
    skip "there is no clippy for $target"
  fi
  if linker_for "$target"; then
    export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=$linker"
    timeout 1800 "${cargo[@]}" test -q --no-run "${on[@]}" "${features[@]}"
    verdict "$target: test binaries are linked" $?
  else
    skip "there is no linker for $target"
  fi
done
finish
