#!/bin/bash
# Runs the codec, the parser and both state machines over the fuzzing corpus under valgrind's memcheck (make test-valgrind).
# PY is the interpreter; the argument is how many inputs of each target (40). Python's own allocator would hide errors, so
# memory comes from malloc.
#
# Reads and writes where nothing is, and wrong frees, are errors. Uninitialised values are not looked at: the interpreter's
# int arithmetic reads a digit that is not there and multiplies it by zero, and every small int that comes of it would count
# as uninitialised from then on, in the core as well.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || { echo "valgrind is missing (Debian and Ubuntu: apt-get install valgrind)"; exit 1; }
PYTHONMALLOC=malloc PYTHONHASHSEED=0 valgrind --quiet --leak-check=no --undef-value-errors=no --error-exitcode=9 \
    "$PY" -m tests.native.replay "${1:-40}"
