#!/bin/bash
# Runs pytest on the core in build/sanitize (make test-sanitize builds it); PY is the interpreter, arguments go to pytest.
# A report of a sanitizer ends the process that it is about, and makes this script fail even where a test expected the
# process to die.
set -euo pipefail
cd "$(dirname "$0")/.."

reports=$PWD/build/sanitize/reports
rm -rf "$reports" && mkdir -p "$reports"
runtime=""
for library in libasan.so libubsan.so; do
    path=$(${CC:-gcc} -print-file-name=$library)
    [ -e "$path" ] || { echo "$library is missing: install the sanitizers' runtime of ${CC:-gcc}"; exit 1; }
    runtime+="${runtime:+ }$path"
done

# Leaks are another matter: the interpreter keeps much until its end, and tests/native looks at ours.
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:log_path=$reports/address"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$reports/undefined"
export PYTHONPATH=$PWD/build/sanitize/lib PYTHONMALLOC=malloc BULLRUSH_SANITIZED=1

run() { LD_PRELOAD="$runtime" "$PY" "$@"; }
run -c 'import bullrush._core.codec as core, sys; "build/sanitize" in core.__file__ or sys.exit(f"not the built one: {core}")'

# What cannot run here:
#   tests/typing               mypy and pyright, which have nothing of the core in them
#   test_deep_values_…         measures how deep values fit a small stack; frames are several times larger here
#   test_leaks_*               the sanitizer keeps what was freed for a while, so memory is not what they expect
without=(--ignore=tests/typing --deselect tests/unit/test_walker.py::test_deep_values_fit_the_small_stack_of_a_thread
    --ignore=tests/native/test_leaks_core.py --ignore=tests/native/test_leaks_live.py)
status=0
run -m pytest "${without[@]}" -p no:cacheprovider "$@" || status=$?
for report in "$reports"/*; do
    [ -e "$report" ] || break
    status=1
    sed -n 1,40p "$report"
done
exit $status
