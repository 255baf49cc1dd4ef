"""What fuzzing has found worth keeping goes through the same functions again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import codec, options, replies, values

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": codec.one_input,
    "options": options.one_input,
    "replies": replies.one_input,
    "values": values.one_input,
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_passes(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs, "an empty corpus tests nothing"
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            error.add_note(f"input {path}")
            raise


def test_decoding_takes_bounded_memory() -> None:
    for path in sorted((CORPUS / "codec").iterdir()):
        codec.bounded(path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < 300_000
