# What the scripts share that source this: they run where the project is, end with
# `N passed, N failed, N skipped`, and fail only if something did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never
passed=0 failed=0 skipped=0

finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}
skip() { # why
  echo "skipped: $1"
  skipped=$((skipped + 1))
}
skip_all() { # why
  skip "$1"
  finish
}
verdict() { # name, 0 if good
  if [ "$2" -eq 0 ]; then
    passed=$((passed + 1)); echo "ok: $1"
  else
    failed=$((failed + 1)); echo "FAILED: $1"
  fi
}
tests() { # name, command: each of the tests that it runs counts
  local log status ok bad ignored
  log=$(mktemp)
  echo "== $1"
  "${@:2}" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  # `test result: ok. 76 passed; 0 failed; 14 ignored; …` of each program.
  read -r ok bad ignored < <(awk '
    /^test result: / { ok += $4; bad += $6; ignored += $8 }
    END { print ok + 0, bad + 0, ignored + 0 }' "$log")
  rm "$log"
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + ignored))
  # Who hangs, or whom Miri ends, has no result: that is the test named last. Nor is no test at all good,
  # unless the array `filter` asks for some by name.
  if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$ok${filter-}" = 0 ]; }; then
    verdict "$1: status $status after $ok tests" 1
  fi
}
