"""The header of a script is its contract: servers load what is made of it, and no other key is touched."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import redis

from bullrush.keys import Keys
from bullrush.scripts import load
from tests.lua.script_calls import NUMBER, ScriptQueue

FOLDER = files("bullrush").joinpath("lua")
SCRIPTS = sorted(path.name.removesuffix(".lua") for path in FOLDER.iterdir() if path.name.endswith(".lua"))
every_script = pytest.mark.parametrize("name", SCRIPTS)
READING = {"state", "finished", "heads", "survey", "inspect", "balance", "allowed"}
# A whole record: the name "r", a time, no options, no data.
FULL = b"\x94\xa1r\xcf" + (1_700_000_000_000).to_bytes(8, "big") + b"\xc0\xc0"
CALL = re.compile(r'redis\.call\("(\w+)"(?:, ([^,)]+))?')
KEY = re.compile(
    r"\w+_key|KEYS\[i\]|KEYS\[i \+ workers\]|TYPES\[i\]|zsets\[state\]"
)  # the last two are tables of such


@every_script
def test_a_server_loads_it_under_our_digest(redis_client: redis.Redis, name: str) -> None:
    script = load(name)
    assert redis_client.script_load(script.source.decode()) == script.sha.encode() or (
        redis_client.script_exists(script.sha) == [True]
    )


@every_script
def test_every_command_names_a_declared_key(name: str) -> None:
    calls = CALL.findall(load(name).source.decode())
    assert calls or name == "allowed"  # which runs nothing
    assert [call for call in calls if call[0] != "TIME" and not KEY.fullmatch(call[1])] == []


@every_script
def test_only_add_obeys_a_full_server(name: str) -> None:
    shebang = load(name).source.decode().splitlines()[0]
    assert ("allow-oom" in shebang) is (name not in ("add", "add_special"))


@every_script
def test_only_looking_is_allowed_on_replicas(name: str) -> None:
    assert ("no-writes" in load(name).source.decode().splitlines()[0]) is (name in READING)


@every_script
def test_nothing_is_freed_while_the_server_waits(name: str) -> None:
    assert '"DEL"' not in load(name).source.decode()


def test_a_day_of_a_queue_touches_declared_keys_alone(queue: ScriptQueue) -> None:
    """Every command of every script, as the server saw it."""
    with queue.client.monitor() as monitor:
        whole_life(queue)
        queue.client.echo("the end")
        seen = []
        for command in monitor.listen():
            if command["command"].startswith("ECHO"):
                break
            if command["client_type"] == "lua":
                seen.append(command["command"].split())
    own = {key.decode() for key in [*queue.keys.all(), queue.keys.held(NUMBER), queue.keys.signals(NUMBER)]}
    assert {words[1] for words in seen if words[0] not in ("TIME", "ACL")} <= own
    assert len(seen) > 50


def whole_life(queue: ScriptQueue) -> None:
    """Call every script at least once."""
    queue.open()
    queue.next("reserve", 10)
    queue.add([("1", b"r"), ("2", b"r")])
    queue.add([("3", b"r")], [("4", b"r", "p", 3), ("5", b"r", "dw", "1 ")])
    queue.next("pause", 1)
    queue.next("pause", 0)
    queue.register("s2")
    queue.claim(10)
    queue.exchange(
        completed=[("1", b"o")], others=[("f", "2", b"o", 5, -1), ("r", "3", "1 0 0 0", 0, b"o")], look=1
    )
    queue.run("measure", "285:1", "5:2")
    queue.run("renew", NUMBER, 30_000)
    queue.run("listen", 1_000)
    queue.run("state", "1", held=queue.held)
    queue.run("finished", "1", "2", "4")
    queue.run("heads", 10, "1", "4")
    manage(queue)
    examine(queue)
    queue.next("remove", "2", held=queue.held)
    queue.claim(10)
    queue.next("cancel", "4", "why", held=[*queue.held, queue.keys.signals(NUMBER)])
    queue.run("signal", NUMBER, "", held=queue.held)
    deadline = queue.client.zscore(queue.keys["workers"], NUMBER)
    assert deadline is not None
    queue.run("reap", NUMBER, f"{deadline:.0f}", 500, 2, 100, -1, held=queue.held)
    queue.run("retire", NUMBER, held=queue.held)
    obliterate(queue)


def manage(queue: ScriptQueue) -> None:
    """Call the scripts of management at least once."""
    queue.next("limit", "concurrency", 50)
    queue.next("limit", "limited", "")
    queue.next("retry", "failed", "", 500, 0, "")
    queue.next("promote", 500, "")
    queue.add([], [(str(n), FULL, "dw" if n < 13 else "w", 60_000) for n in range(10, 20)])
    queue.next("delay", "10", "d", 120_000)
    queue.next("prioritize", "11", 3, 0, held=queue.held)
    queue.next("prioritize", "13", 3, 1, held=queue.held)
    queue.next("rewrite", "14", FULL * 500)
    queue.next("report", "14", "p", b"\xc0", "")
    queue.next("report", "14", "g", "a line", 5)
    queue.next("trim_logs", "14", 0)
    queue.next("announce", b"\xa1k\xc0")
    queue.next("free", "key")
    for state in ("completed", "delayed", "prioritized", "waiting"):
        queue.next("clean", state, 0, "", 1, "")
    queue.next("drain", 500, 1)
    queue.add([("20", b"r")], [("21", b"r", "p", 3)])


def examine(queue: ScriptQueue) -> None:
    """Look at every key, and repair what no real queue has."""
    for what in (
        "jobs",
        "waiting",
        "suspects",
        "completed",
        "prioritized",
        "plans",
        "outcomes",
        "logs",
        "dedup",
    ):
        queue.run("survey", what, 0, 10, held=queue.held)
    queue.run("survey", "held", 0, 10, held=queue.held)
    queue.run("inspect", "4", "20", held=queue.held)
    queue.run("balance", held=queue.held)
    assert queue.run("allowed", "HSET", "BLPOP", "XREAD", "CONFIG", "EVALSHA", "SCAN", "nonsense") == []
    for kind in (
        "lost",
        "twice",
        "corrupt",
        "ghost",
        "orphan",
        "rank",
        "attempts",
        "held",
        "key",
        "follower",
    ):
        queue.run("mend", kind, "4", "nobody", held=queue.held)
    for kind, about in (("events", "number"), ("special", "special"), ("ids", 9), ("count", "held")):
        queue.run("mend", kind, about, held=queue.held)


def obliterate(queue: ScriptQueue) -> None:
    script, keys = load("obliterate"), queue.keys
    rest = [key for key in keys.all() if key not in (keys["meta"], keys["workers"])]
    everything = [keys["meta"], keys["workers"], *rest]
    assert queue.client.execute_command("EVAL", script.source, len(everything), *everything, 1, 0) == b"ok"


def test_that_life_calls_every_script(monkeypatch: pytest.MonkeyPatch, queue: ScriptQueue) -> None:
    called: list[str] = []
    run = ScriptQueue.run

    def note(self: ScriptQueue, name: str, *arguments: bytes | str | int, held: object = ()) -> object:
        called.append(name)
        return run(self, name, *arguments, held=held)  # type: ignore[arg-type]

    monkeypatch.setattr(ScriptQueue, "run", note)
    whole_life(queue)
    assert {*called, "obliterate"} == set(SCRIPTS)


def test_the_queues_keys_are_all_that_is_left(queue: ScriptQueue) -> None:
    whole_life(queue)
    assert queue.client.keys() == []
    assert Keys("a", "b").all()
