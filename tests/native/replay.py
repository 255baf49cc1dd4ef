"""A program: the corpus of every fuzz target once, for tools that watch the memory of a whole process.

Run as `python -m tests.native.replay COUNT`; at most COUNT inputs of each target.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz import codec, options, replies, values

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
TARGETS = {
    "codec": codec.look,
    "options": options.one_input,
    "replies": replies.one_input,
    "values": values.one_input,
}


def main(most: int) -> None:
    for name, target in TARGETS.items():
        inputs = sorted((CORPUS / name).iterdir())[:most]
        for path in inputs:
            target(path.read_bytes())
        print(f"{name}: {len(inputs)} inputs")


if __name__ == "__main__":
    main(int(sys.argv[1]))
