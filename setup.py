"""Build the compiled core: every ext/**/*.pyx becomes the module that its path names."""

import os
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path("ext")
DEBUG = bool(os.environ.get("BULLRUSH_DEBUG"))
SANITIZE = os.environ.get("BULLRUSH_SANITIZE", "")  # as in "address,undefined"


def compile_args() -> list[str]:
    """What the compiler is told: fast, or made for looking closely."""
    if SANITIZE:
        kept = ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={SANITIZE}"]
        return [*kept, "-fno-sanitize-recover=undefined"] if "undefined" in SANITIZE else kept
    return ["-O0", "-g"] if DEBUG else ["-O3", "-g0"]


def extension(source: Path) -> Extension:
    """One module a source, rebuilt when any header changes."""
    return Extension(
        ".".join(source.relative_to(ROOT).with_suffix("").parts),
        [str(source)],
        depends=[str(header) for header in sorted(ROOT.rglob("*.pxd"))],
        define_macros=[("CYTHON_TRACE_NOGIL", "1")] if DEBUG else [],
        extra_compile_args=compile_args(),
        extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
    )


setup(
    ext_modules=[extension(source) for source in sorted(ROOT.rglob("*.pyx"))],
    options={
        "build_ext": {
            "cython_include_dirs": [str(ROOT)],
            "cython_c_in_temp": True,
            "parallel": os.cpu_count() or 1,
            "cython_directives": {
                "language_level": 3,
                "embedsignature": True,
                "boundscheck": DEBUG,
                "wraparound": False,
                "initializedcheck": False,
                "cdivision": True,
                "linetrace": DEBUG,
            },
        }
    },
)
