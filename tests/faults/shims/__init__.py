"""Small C libraries that are preloaded into servers and workers and bend what the machine does for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent


class ShimMissing(Exception):
    """A shim cannot be built or preloaded here; the text says why."""


def build(name: str, folder: Path) -> Path:
    """Compile `<name>.c` into the folder, unless it stands there already, and return the library."""
    library = folder / f"{name}.so"
    if library.exists():
        return library
    if sys.platform != "linux":
        raise ShimMissing(f"{name}.c is preloaded with LD_PRELOAD, which {sys.platform} does not have")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ShimMissing(f"{name}.c needs a C compiler: gcc or cc on PATH")
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread"]
    subprocess.run(
        [*command, "-o", str(library), str(SOURCES / f"{name}.c"), "-ldl"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return library
