#!/bin/bash
# Fuzzes one target (make fuzz TARGET=codec SECONDS=600) on a core built with clang, coverage and sanitizers, in build/fuzz
# and a venv of its own. PY is the interpreter that the venv is made with; arguments go to libFuzzer.
# Copy what is worth keeping from build/fuzz/found into fuzz/corpus: make test replays it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?which target: codec, values, replies or options}
seconds=${2:?how many seconds}
shift 2
work=$PWD/build/fuzz
venv=$work/venv

for compiler in ${CC:-clang clang-19 clang-16 clang-14}; do
    command -v "$compiler" >/dev/null && break
    compiler=""
done
[ -n "$compiler" ] || { echo "fuzzing needs clang (Debian and Ubuntu: apt-get install clang libclang-rt-dev), or CC=/path"; exit 1; }

if [ ! -e "$venv/.installed" ]; then
    echo "→ installing atheris and what the core needs into $venv"
    "$PY" -m venv "$venv"
    "$venv/bin/python" -m pip install -q atheris "setuptools>=80" "cython>=3.3,<3.4" "redis>=5.3.1,<9" "hiredis>=3.2" "msgpack>=1.1" "typing-extensions>=4.12"
    touch "$venv/.installed"
fi
if [ -z "$(find "$work/lib" -name 'codec.*.so' 2>/dev/null)" ] || [ -n "$(find ext src setup.py -name '*.p*' -newer "$work/built")" ]; then
    echo "→ compiling the core for fuzzing with $compiler (minutes)"
    touch "$work/begun"
    CC=$compiler LDSHARED="$compiler -shared" BULLRUSH_SANITIZE=address,undefined,fuzzer-no-link \
        "$venv/bin/python" setup.py -q build --build-base "$work" --build-lib "$work/lib" >"$work/build.log" 2>&1 \
        || { cat "$work/build.log"; exit 1; }
    mv "$work/begun" "$work/built"
fi

runtime=$(echo "$venv"/lib/python3*/site-packages/asan_with_fuzzer.so)
export PYTHONPATH=$work/lib:$PWD PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=32 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
run() { LD_PRELOAD=$runtime nice "$venv/bin/python" -m fuzz "$target" "$@"; }

run -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=256 -print_final_stats=1 "$@"
