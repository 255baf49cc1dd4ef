#!/bin/sh
# Print a Python that can build and run bullrush: 3.11 or newer, able to make a venv.
#
#   tools/find_python.sh          the first that fits
#   tools/find_python.sh --all    one line "X.Y path" for every minor version that is here (for make test-matrix)
set -u

fits() { # a pyenv shim of a version that is not switched on exists and fails, so each is asked
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

itself() { # the interpreter behind a shim or an alias
    "$1" -c 'import sys; print(sys.executable)'
}

has_headers() { # without Python.h the core can't be compiled
    "$1" -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
}

candidates() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        IFS=:
        for folder in $PATH; do
            [ -x "$folder/$name" ] && echo "$folder/$name"
        done
        unset IFS
    done
    for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        [ -x "$found" ] && echo "$found"
    done
}

usable() { # those with headers first, so that a bare system Python doesn't win over a complete one
    without=""
    for python in $(candidates); do
        fits "$python" || continue
        if has_headers "$python"; then echo "$python"; else without="$without $python"; fi
    done
    for python in $without; do echo "$python"; done
}

if [ "${1:-}" = "--all" ]; then
    usable | while read -r python; do echo "$(version "$python") $(itself "$python")"; done |
        sort -s -t. -k1,1n -k2,2n | awk '!seen[$1]++'
    exit
fi

python=$(usable | head -n 1)
if [ -z "$python" ]; then
    echo "bullrush needs Python 3.11 or newer with the venv module; none was found on PATH or in ~/.pyenv/versions." >&2
    echo "Debian and Ubuntu: apt-get install python3-venv python3-dev. Or name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! has_headers "$python"; then
    echo "$python has no Python.h, so the compiled core can't be built. Debian and Ubuntu: apt-get install python3-dev" >&2
    exit 1
fi
itself "$python"
