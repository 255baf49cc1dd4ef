"""Keys: one hash tag for all keys of a queue, whatever its prefix."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.keys import NAMES, Keys

WORDS = st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True)


def hash_tag(key: bytes) -> bytes:
    """What decides the slot, by the rule of Redis Cluster: what stands in the first braces, if anything."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


def test_keys_are_spelled_with_prefix_queue_and_name() -> None:
    keys = Keys("bullrush", "emails")
    assert keys["waiting"] == b"{bullrush:emails}:waiting"
    assert keys.held("77") == b"{bullrush:emails}:held:77"


@given(WORDS, WORDS)
def test_all_keys_of_a_queue_live_in_one_slot(prefix: str, queue: str) -> None:
    keys = Keys(prefix, queue)
    assert {hash_tag(key) for key in [*keys.all(), keys.held("1")]} == {f"{prefix}:{queue}".encode()}


@given(WORDS, WORDS)
def test_a_prefix_with_braces_puts_all_its_queues_into_one_slot(first: str, second: str) -> None:
    prefix = "{shop}"
    assert {hash_tag(key) for queue in (first, second) for key in Keys(prefix, queue).all()} == {b"shop"}


@given(st.tuples(WORDS, WORDS), st.tuples(WORDS, WORDS))
def test_two_queues_share_no_key(first: tuple[str, str], second: tuple[str, str]) -> None:
    if first != second:
        assert not set(Keys(*first).all()) & set(Keys(*second).all())


@pytest.mark.parametrize("name", NAMES)
def test_names_are_words(name: str) -> None:
    assert re.fullmatch("[a-z]+", name)


def test_all_is_every_key_but_the_held_sets() -> None:
    keys = Keys("p", "q")
    assert keys.all() == [keys[name] for name in NAMES]
    assert len(set(keys.all())) == len(NAMES)
