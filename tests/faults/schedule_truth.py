"""What the server has really done to the jobs of a random schedule, read off the calls that it took."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import hiredis
import msgpack

from bullrush.operations.requests import script_frame
from bullrush.worker.reaper import max_crashes_of
from tests.faults.schedule_worker import MAX_CRASHES, Worker
from tests.faults.schedules import Contents, World


@dataclass
class Truth:
    """The fate of every job, and the numbers whose lease is over. It goes back with a failover, as the data does."""

    ended: dict[str, str] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    confirmed: set[tuple[str, str]] = field(default_factory=set)  # (number, id) of reported starts
    gone: set[str] = field(default_factory=set)  # numbers that were condemned or retired
    failures: set[str] = field(default_factory=set)  # ids that a worker has settled as failed
    strict: bool = True  # False: a script has failed half-way, only the end is judged

    def end(self, id: str, how: str) -> None:
        assert id not in self.ended, f"job {id} {how}, but it had {self.ended[id]} already"
        self.ended[id] = how

    def executed(self, frame: bytes, reply: object) -> None:
        """Follow what an exchange did."""
        if not self.strict or not isinstance(reply, list) or len(reply) != 9:
            return
        reader = hiredis.Reader()
        reader.feed(frame)
        words = reader.gets()
        self._exchanged(words[3 + int(words[2]) :], reply)

    def _exchanged(self, arguments: list[bytes], reply: list[Any]) -> None:
        number = arguments[2].decode()
        assert number not in self.gone, f"an exchange of {number} was accepted, its lease is lost"
        refused = {id.decode() for id in reply[6]}
        completed, others = int(arguments[12]), int(arguments[13])
        for i in range(completed):
            id = arguments[15 + 2 * i].decode()
            if id not in refused:
                self.end(id, "completed")
        at = 15 + 2 * completed
        for i in range(others):
            kind, id = arguments[at + 5 * i].decode(), arguments[at + 5 * i + 1].decode()
            if id not in refused:
                self._outcome(number, kind, id)
        for id in filter(None, reply[3].decode().split(" ")):
            assert id not in self.ended, f"job {id} was claimed after it had {self.ended[id]}"
            self.confirmed.discard((number, id))

    def _outcome(self, number: str, kind: str, id: str) -> None:
        if kind == "s":
            self.confirmed.add((number, id))
        elif kind not in "pg":
            self.confirmed.discard((number, id))
        assert kind != "f" or id in self.failures, f"job {id} failed, though no worker said so"
        if kind in "cf":
            self.end(id, "completed" if kind == "c" else "failed")
        self.retries[id] += kind == "r"

    # Reaping, as reaper.py does it.

    def reap(self, worker: Worker, number: bytes, deadline: bytes) -> None:
        """Take the jobs of a dead number, and see that only reported starts are charged; it may end half-way."""
        world, keys, name = worker.world, worker.world.keys, number.decode()
        frame = script_frame("reap", keys, (keys.held(name),))
        left = 1
        while left > 0:
            limit = max_crashes_of(world.wire.command("HGET", keys["hosts"], number))  # type: ignore[arg-type]
            before = _attempts(world, name)
            reply = world.execute(frame.call(number, deadline, 2, limit, 10_000, -1, by_text=True), worker)
            assert isinstance(reply, list), f"reaping failed: {reply!r}"
            left = reply[0]
            if left >= 0 and self.strict:
                self.gone.add(name)
                self._check_charges(world, name, before)
            if world.rng.random() < 0.2:
                world.note(f"{worker.name} stops reaping")
                return

    def _check_charges(self, world: World, number: str, before: dict[str, list[int]]) -> None:
        keys, still = world.keys, _attempts(world, number)
        for id, (made, lost, crashes, _) in before.items():
            if id in still:
                continue
            failed = charged = world.wire.command("ZSCORE", keys["failed"], id) is not None
            text = world.wire.command("HGET", keys["attempts"], id)
            if isinstance(text, bytes):
                after = [int(part) for part in text.split()]
                assert after[:2] == [made, lost + 1], f"job {id} had {before[id]}, reaping made it {after}"
                charged = after[2] > crashes
            started = (number, id) in self.confirmed
            assert charged == started, f"job {id} was {'' if charged else 'not '}charged, {started=}"
            if failed:
                assert crashes + 1 >= MAX_CRASHES, f"job {id} failed at its crash no. {crashes + 1}"
                self.end(id, "crashed")

    # The end.

    def check(self, contents: Contents, outcomes: dict[str, bytes]) -> None:
        """Compare what a queue holds with what was done."""
        for place, id in contents.places if self.strict else ():
            how = self.ended.get(id)
            assert how is not None, f"job {id} is {place}, though no call ended it"
            assert (how == "completed") == (place == "completed"), f"job {id} {how}, and it stands in {place}"
            made, retries = msgpack.unpackb(outcomes[id])[3], self.retries[id]
            limit = (msgpack.unpackb(contents.records[id])[2] or {}).get("attempts", 1)
            if how == "failed":
                assert made == retries + 1 == limit, (
                    f"job {id} failed with {made} attempts, {retries} retries"
                )
            else:
                assert made == retries, f"job {id} {how} with {made} failed attempts, {retries} retries"


def _attempts(world: World, number: str) -> dict[str, list[int]]:
    """The counts of all jobs that a number holds: made, lost, crashes, suspicion."""
    ids = world.wire.command("SMEMBERS", world.keys.held(number))
    assert isinstance(ids, list)
    if not ids:
        return {}
    found = world.wire.command("HMGET", world.keys["attempts"], *ids)
    assert isinstance(found, list)
    texts = [text or b"0 0 0 0" for text in found]
    return {id.decode(): [int(part) for part in text.split()] for id, text in zip(ids, texts, strict=True)}
