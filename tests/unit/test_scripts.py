"""Scripts: what is sent is built from the header of each file, which is the only place that names keys."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from bullrush.keys import NAMES, Keys
from bullrush.scripts import Script, load

FOLDER = files("bullrush").joinpath("lua")
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in FOLDER.iterdir() if path.name.endswith(".lua"))
KEYS = Keys("p", "q")
every_script = pytest.mark.parametrize("name", SCRIPTS)


@every_script
def test_keys_are_named_by_their_place_in_the_header(name: str) -> None:
    script = load(name)
    source = script.source.decode()
    for number, key in enumerate(script.keys, 1):
        assert f"local {key}_key = KEYS[{number}]\n" in source


@every_script
def test_only_keys_of_the_queue_are_declared(name: str) -> None:
    assert set(load(name).keys) <= {*NAMES, "held", "signals"}


@every_script
def test_includes_are_pasted_and_comments_stay_at_home(name: str) -> None:
    source = load(name).source.decode()
    lines = source.splitlines()
    assert lines[0].startswith("#!lua")
    assert not [line for line in lines[1:] if line.lstrip().startswith("--")]


@every_script
def test_every_key_that_is_used_is_declared(name: str) -> None:
    script = load(name)
    used = set(re.findall(r"\b(\w+)_key\b", script.source.decode()))
    allowed = {"finished", "line", "state"}  # functions get these from their caller
    if name == "retire":
        allowed.add("delayed")  # `place_delayed` comes with its include and is never called
    assert used - allowed <= set(script.keys)


@every_script
def test_the_digest_is_that_of_what_is_sent(name: str) -> None:
    script = load(name)
    assert script.sha == hashlib.sha1(script.source, usedforsecurity=False).hexdigest()


def test_scripts_are_read_once() -> None:
    assert load("add") is load("add")


def test_an_include_is_pasted_once() -> None:
    source = load("exchange").source.decode()
    assert source.count("local function place_tail(") == 1


def test_keys_are_given_in_the_order_of_the_header() -> None:
    script = load("renew")
    assert script.names(KEYS) == [KEYS["meta"], KEYS["workers"]]


def test_the_held_set_takes_the_place_of_its_name() -> None:
    script = load("exchange")
    names = script.names(KEYS, (b"the held set",))
    assert names[script.keys.index("held")] == b"the held set"
    assert len(names) == len(script.keys)


def test_a_producer_opens_without_a_held_set() -> None:
    script = load("open")
    assert script.names(KEYS) == [KEYS[name] for name in script.keys if name != "held"]


def test_any_number_of_held_sets_follow_where_a_star_stands() -> None:
    script = load("state")
    assert script.variadic
    assert script.names(KEYS, (b"one", b"two"))[-2:] == [b"one", b"two"]
    assert script.names(KEYS) == [KEYS[name] for name in script.keys]


def test_a_script_without_keys_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="script x has no KEYS line"):
        Script("x", "#!lua\n-- Does nothing.\nreturn 1\n")


def test_a_shebang_stays_the_first_line() -> None:
    script = Script("x", "#!lua flags=no-writes\n-- Reads.\n--\n-- KEYS   meta held* (behind it)\nreturn 1\n")
    assert script.source == b"#!lua flags=no-writes\nlocal meta_key = KEYS[1]\nreturn 1\n"
    assert (script.keys, script.variadic) == (("meta",), True)
