#!/bin/bash
# Runs the codec, the parser and both state machines over the fuzzing corpus under valgrind's memcheck (make test-valgrind).
# PY is the interpreter; the argument is how many inputs of each target (40). Python's own allocator would hide errors, so
# memory comes from malloc.
#
# What fails: any read or write where nothing is, and any use of an uninitialised value in a frame of the core. Those in the
# interpreter itself are left out: its int arithmetic reads a digit that is not there and multiplies it by zero, and every
# small int that comes of it counts as uninitialised from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || { echo "valgrind is missing (Debian and Ubuntu: apt-get install valgrind)"; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
PYTHONMALLOC=malloc PYTHONHASHSEED=0 valgrind --leak-check=no --error-limit=no --log-file="$log" \
    "$PY" -m tests.native.replay "${1:-40}"

awk '
    function judge() { if (block && (bad || core)) { printf "%s\n", block; count++ } block = ""; bad = core = frames = 0 }
    { sub(/^==[0-9]+== ?/, "") }
    /^$/ { judge(); next }
    /^(Invalid|Mismatched|Syscall|Source and destination|Process terminating|Jump)/ { bad = 1 }
    /^ +(at|by) 0x/ { if (frames++ == 0 && /bullrush\/_core/) core = 1 }
    { block = block $0 "\n" }
    END { judge(); exit count > 0 }
' "$log" || { echo "valgrind has found errors of the core"; exit 1; }
tail -1 "$log"
echo "no error in the core"
