#!/usr/bin/env bash
# Line coverage of the driver's crate by its own tests (of the units, the contract, simulated hosts,
# `Remote`, allocations), and of what is pure in it. Fails below the two figures that CONTRIBUTING.md
# states. Test modules are not counted. The lines that no test reaches stand in target/coverage/missed.
. "$(dirname "$0")/lib.sh"
dir="${CARGO_TARGET_DIR:-target}/coverage"

# In per cent, as in CONTRIBUTING.md.
pure_at_least=95 all_at_least=85

# What makes no system call, in driver/src: for the same bytes it does the same on any machine, so that
# each line can be reached.
pure=(
  address.rs ancillary.rs ancillary/             # what passes as bytes
  sys/address.rs sys/storage.rs sys/ancillary.rs sys/message.rs
  buf/ op.rs op/                                 # what is lent; operations in plain words
  entry.rs error.rs key.rs sink.rs stats.rs wait.rs outlet.rs # what comes back
  list.rs loans.rs local.rs timers.rs exact.rs   # the books
  scope.rs slots.rs                              # the safe layer
  sys/readiness/flights.rs                       # the readiness backend's books
  sim.rs sys/sim/                                # the simulation, whose descriptors alone are real
)

command -v rustup >/dev/null || skip_all "rustup is not installed: no llvm-tools"
rustup component list --installed 2>/dev/null | grep -q "^llvm-tools" ||
  timeout 300 rustup component add llvm-tools >/dev/null 2>&1 ||
  skip_all "llvm-tools cannot be installed here"
cargo llvm-cov --version 2>/dev/null ||
  timeout 900 cargo install -q --locked cargo-llvm-cov >/dev/null 2>&1 ||
  skip_all "cargo-llvm-cov cannot be installed here"

mkdir -p "$dir"
if ! timeout 2400 cargo llvm-cov -p completeio-driver --all-features --tests \
  --lcov --output-path "$dir/lcov.info" -- -q; then
  verdict "the tests" 1
  finish
fi

# Lines of a file: `path covered all`, without its test module, which stands at its end.
awk -v missed="$dir/missed" '
  function end_of(path,  line, n, gated) {
    gated = n = 0
    while ((getline line <path) > 0) {
      n++
      if (line ~ /^#\[cfg\((all\(test|any\(test, fuzzing\)|test\))/) gated = n
      else if (gated && line ~ /^(pub(\(crate\))? )?mod [a-z_]+ \{/) { close(path); return gated }
      else if (line !~ /^(#|    |\))/) gated = 0
    }
    close(path)
    return n + 1
  }
  /^SF:/ { path = substr($0, 4); at = index(path, "driver/src/"); name = substr(path, at + 11)
           counts = at && name !~ /(^|\/)(tests?|model|compile_tests|written)(\.rs|\/)|^(planted|fuzzing)\.rs/
           if (counts) end = end_of(path) }
  /^DA:/ && counts { split(substr($0, 4), da, ","); if (da[1] + 0 < end) {
           all[name]++; if (da[2] > 0) covered[name]++; else print name ":" da[1] >missed } }
  END { for (name in all) print name, covered[name] + 0, all[name] }
' "$dir/lcov.info" | sort >"$dir/files"

floor() { # name, the least in per cent, paths …
  local told
  told=$(awk -v what="$1" -v least="$2" -v paths="${*:3}" '
    BEGIN { n = split(paths, path, " ") }
    { is_meant = n == 0; for (i = 1; i <= n; i++) is_meant += index($1, path[i]) == 1 }
    is_meant { covered += $2; all += $3 }
    END { share = all ? 100 * covered / all : 0
          printf "%s: %.1f %% of %d lines (at least %d %%)\n", what, share, all, least
          exit share < least }
  ' "$dir/files")
  verdict "$told" $?
}
# The worst first: lines that no test reaches, of all.
awk '$3 > $2 { print $3 - $2, $3, $1 }' "$dir/files" | sort -nr | head -20
floor "what is pure" "$pure_at_least" "${pure[@]}"
floor "the crate" "$all_at_least"
finish
