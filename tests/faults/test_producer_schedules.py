"""Producers under random faults: what was acknowledged is stored, once; what was refused is not; nobody waits for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgpack
import pytest

from bullrush._core.factory import JobFactory
from bullrush._core.frames import encode_command
from bullrush._core.job import JobBase
from bullrush._core.producer import Confirmation, Producer
from bullrush.connection.port import make_producer
from bullrush.errors import ConnectionLost, NotDurable, QueueFull
from bullrush.operations.requests import script_frame
from bullrush.options import job_settings
from bullrush.options.texts import check_text
from tests.faults.schedules import (
    Line,
    World,
    check_contents,
    is_unknown,
    read_contents,
    run_schedules,
    schedule_seeds,
)
from tests.faults.wire import Waiter, Wire, wired

NEVER = 1e12
FACTORY = JobFactory(JobBase, None, None, check_text, lambda options: None, 1 << 20)
CUSTOM_IDS = 4


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A server of this file's own, since its memory is filled and its scripts are flushed."""
    with wired() as wire:
        yield wire


@dataclass
class Added:
    """What one call of add or add_bulk was given, and its future."""

    owner: Line
    jobs: list[JobBase]
    markers: list[int]
    ordered: bool
    custom: bool
    durable: bool
    waiter: Waiter = field(default_factory=Waiter)


class Model:
    """The clients' side of the truth."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.added: list[Added] = []
        self.toggles: list[Waiter] = []
        self.space: list[Waiter] = []
        self.taken: set[int] = set()
        self.sessions_at_copy: list[object] = []
        self.told_missing = 0
        self.markers = 0
        self.pause = script_frame("pause", world.keys)
        self.switch = f"confirms:{world.seed}"
        self.confirmation = Confirmation(
            "'test'", encode_command("EXISTS", self.switch), lambda reply: reply == 1
        )
        self.confirming = False
        self.unconfirmable: list[Added] = []  # added since the server has stopped to confirm
        for i in range(world.rng.randint(1, 3)):
            self._new_producer(f"producer {i}")

    def _new_producer(self, name: str) -> None:
        producer = make_producer(self.world.keys, "msgpack")
        producer.on_missing = self._missing
        if self.world.rng.random() < 0.3:
            producer.max_jobs = 5
        self.world.lines.append(Line(self.world, producer, name))

    def _missing(self, count: int) -> None:
        self.told_missing += count
        self.world.note(f"    a producer misses {count}")

    # What clients do.

    def step_add(self, line: Line, count: int = 1) -> None:
        producer = producer_of(line)
        if producer.full:
            self.space.append(waiter := Waiter())
            producer.wait_for_space(waiter)
            return
        rng = self.world.rng
        kinds = [
            rng.choice(
                ("plain", "plain", "plain", "large", "custom", "custom", "delayed", "prioritized", "lifo")
            )
        ]
        kinds = (
            kinds * count
            if count > 20 or rng.random() < 0.5
            else [rng.choice(("plain", "large", "custom")) for _ in range(count)]
        )
        markers = list(range(self.markers, self.markers + count))
        self.markers += count
        jobs = [self._make(kind, marker) for kind, marker in zip(kinds, markers, strict=True)]
        durable = rng.random() < 0.3
        unit = Added(line, jobs, markers, set(kinds) == {"plain"}, "custom" in kinds, durable)
        self.added.append(unit)
        if durable and not self.confirming:
            self.unconfirmable.append(unit)
        confirmation = self.confirmation if durable else None
        deadline = NEVER if rng.random() < 0.8 else self.world.now + rng.random() / 2
        self.world.note(f"{line.name} adds {markers[0]}..{markers[-1]} {kinds[0]} until {deadline:g}")
        if count == 1:
            producer.push(jobs[0], unit.waiter, deadline, confirmation)
        else:
            producer.push_all(jobs, unit.waiter, deadline, confirmation)
        line.pump()

    def _make(self, kind: str, marker: int) -> JobBase:
        rng, data = self.world.rng, [marker]
        if kind == "large":
            return FACTORY.make("send", [marker, "x" * 5000], None, 1)
        options: dict[str, object] = {}
        if kind == "custom":
            options["job_id"] = f"own-{rng.randrange(CUSTOM_IDS)}"
        elif kind == "delayed":
            options["delay"] = 3_600_000
        elif kind == "prioritized":
            options["priority"] = rng.randint(1, 3)
        elif kind == "lifo":
            options["lifo"] = True
        return FACTORY.make("send", data, job_settings(options) if options else None, 1)

    def step_confirm(self, confirming: bool) -> None:
        """From now on the server says that what was written is durable, or that it is not."""
        self.world.note(f"    the server {'confirms' if confirming else 'confirms no more'}")
        early = [u.markers for u in self.unconfirmable if u.waiter.resolved and u.waiter.error is None]
        assert not early, f"{early} are done and were never confirmed"
        self.unconfirmable.clear()
        self.confirming = confirming
        self.world.wire.command(*(("SET", self.switch, 1) if confirming else ("DEL", self.switch)))

    def step_toggle(self, line: Line) -> None:
        """Pause or resume: a call whose answer must survive a lost reply."""
        self.toggles.append(waiter := Waiter())
        paused = self.world.rng.randint(0, 1)
        self.world.note(f"{line.name} {'pauses' if paused else 'resumes'}")
        producer_of(line).push_script(self.pause, (paused,), waiter, NEVER)
        line.pump()

    def step_cancel(self) -> None:
        waiting = [unit for unit in self.added if not unit.waiter.done()]
        if waiting:
            unit = self.world.rng.choice(waiting)
            self.world.note(f"the waiter of {unit.markers[0]} is cancelled")
            unit.waiter.cancelled = True

    def step_expire(self, line: Line) -> None:
        self.world.now += 0.3
        self.expire(line)

    def expire(self, line: Line) -> None:
        if producer_of(line).expire(self.world.now):
            self.world.note(f"{line.name} gave up waiting for a reply")
            self.world.cut(line)

    # What happens to the server.

    def step_fill(self) -> None:
        self.world.fill(not self.world.full)

    def step_copy(self) -> None:
        self.world.take_copy()
        self.sessions_at_copy = [line.machine.id for line in self.world.lines]

    def step_fail_over(self) -> None:
        if self.world.copy is None:
            return
        before = self._stored()
        sessions = [(line.machine.id, line.machine.state) for line in self.world.lines]
        self.same_session = [
            line for line, id, (now, state) in zip(self.world.lines, self.sessions_at_copy, sessions, strict=True)
            if id is now and state == 2
        ]  # fmt: skip
        self.world.fail_over(hidden=self.world.rng.random() < 0.5)
        self.taken |= before - self._stored()
        for line in self.world.lines:
            line.pump()

    def step_obliterate(self) -> None:
        before = self._stored()
        self.world.obliterate()
        self.taken |= before

    def _stored(self) -> set[int]:
        return {marker_of(record) for record in read_contents(self.world).records.values()}

    # The end.

    def drain(self) -> None:
        """Heal everything and let it come to rest; each producer speaks once more, so that it learns of a failover."""
        world = self.world
        world.note("heal and drain")
        world.fill(False)
        self.step_confirm(True)
        while world.late:
            world.deliver_late()
        for line in world.lines:
            producer_of(line).max_jobs = 20_000
            self.step_add(line)
        for _ in range(100):
            moved = [line.run_dry() for line in world.lines]
            for line in world.lines:
                self.expire(line)
            if not any(moved) and not any(producer_of(line).busy for line in world.lines):
                return
            world.now += 0.2
        busy = [line.name for line in world.lines if producer_of(line).busy]
        raise AssertionError(f"does not come to rest: {busy}")

    def check(self) -> None:
        contents = read_contents(self.world)
        check_contents(contents)
        self._check_waiters()
        copies: dict[int, int] = {}
        for record in contents.records.values():
            copies[marker_of(record)] = copies.get(marker_of(record), 0) + 1
        for unit in self.added:
            self._check_unit(unit, copies, contents.records)
        self._check_order(contents.places, contents.records)
        self._check_missing(copies)
        if not self.world.failovers and not self.world.obliterated:
            self._check_events(contents.records)

    def _check_waiters(self) -> None:
        assert all(unit.waiter.done() for unit in self.added), "an add waits for ever"
        assert all(waiter.done() for waiter in self.space), "a wait for space lasts for ever"
        assert all(waiter.done() for waiter in self.toggles), "a pause waits for ever"

    def _check_unit(self, unit: Added, copies: dict[int, int], records: dict[str, bytes]) -> None:
        stored = [copies.get(marker, 0) for marker in unit.markers]
        assert max(stored) < 2, f"{unit.markers} stored {stored} times"
        error = unit.waiter.error
        if (unit.waiter.resolved and error is None) or isinstance(error, NotDurable):
            for job, marker, count in zip(unit.jobs, unit.markers, stored, strict=True):
                self._check_acknowledged(job, marker, count, records)
        elif isinstance(error, QueueFull) or (
            isinstance(error, ConnectionLost) and error.took_effect is False
        ):
            seen = [marker for marker in unit.markers if copies.get(marker)]
            assert not seen, f"{error!r}, but {seen} was stored"
        else:
            assert unit.waiter.cancelled or is_unknown(error), f"unexpected {error!r}"
            if not unit.custom and not self.taken:
                assert len(set(stored)) == 1, f"a chunk was stored in part: {unit.markers} {stored}"

    def _check_acknowledged(self, job: JobBase, marker: int, count: int, records: dict[str, bytes]) -> None:
        if marker in self.taken and not count:
            return
        if job.duplicate:
            assert count == 0, f"{marker} counts as a duplicate of {job.id}, but it was stored"
            assert job.id in records or self.taken, (
                f"{marker} counts as a duplicate of {job.id}, which is not there"
            )
        else:
            assert count == 1, f"{marker} was acknowledged and is not there"
            assert marker_of(records[job.id]) == marker, f"{marker} was told the wrong id {job.id}"

    def _check_order(self, places: list[tuple[str, str]], records: dict[str, bytes]) -> None:
        rank = {
            marker_of(records[id]): -position
            for position, (name, id) in enumerate(places)
            if name == "waiting"
        }
        for line in self.world.lines:
            units = [unit for unit in self.added if unit.owner is line and unit.ordered]
            ranks = [rank[marker] for unit in units for marker in unit.markers if marker in rank]
            assert ranks == sorted(ranks), f"the adds of {line.name} are out of order: {ranks}"

    def _check_missing(self, copies: dict[int, int]) -> None:
        told = sum(producer_of(line).missing for line in self.world.lines)
        assert told == self.told_missing
        if not self.world.failovers and not self.world.obliterated:
            assert told == 0, f"{told} jobs were called missing, nothing was lost"
        if self.world.failovers != 1 or self.world.obliterated:
            return
        for line in self.same_session:
            acknowledged = [
                u for u in self.added if u.owner is line and u.waiter.resolved and not u.waiter.error
            ]
            pairs = [pair for unit in acknowledged for pair in zip(unit.markers, unit.jobs, strict=True)]
            lost = [m for m, job in pairs if m in self.taken and not copies.get(m) and not job.duplicate]
            assert producer_of(line).missing >= len(lost), (
                f"{line.name} lost {lost} and was told {producer_of(line).missing}"
            )

    def _check_events(self, records: dict[str, bytes]) -> None:
        """Each stored job was told of once."""
        told: list[str] = []
        changes = 0
        entries = self.world.wire.command("XRANGE", self.world.keys["events"], "-", "+")
        assert isinstance(entries, list)
        for _, fields in entries:
            entry = dict(zip(fields[::2], fields[1::2], strict=True))
            ranges = [part.split("-") for part in entry.get(b"added", b"").decode().split()]
            told += [str(n) for first, last in ranges for n in range(int(first), int(last) + 1)]
            told += entry.get(b"added_ids", b"").decode().split()
            changes += b"paused" in entry or b"resumed" in entry
        assert sorted(told) == sorted(records), "the events tell another story than the records"
        answers = [int(waiter.result) for waiter in self.toggles]  # type: ignore[call-overload]
        assert sum(answers) == changes, f"{answers} were answered, {changes} pauses and resumes took place"


def producer_of(line: Line) -> Producer:
    assert isinstance(line.machine, Producer)
    return line.machine


def marker_of(record: bytes) -> int:
    """The number in a job's data that says which add it came from."""
    data = msgpack.unpackb(record)[3]
    return int(data[0])


def schedule(world: World) -> None:
    """Run one random schedule, drain it, and compare."""
    model, rng = Model(world), world.rng
    failing, obliterating, bulky = rng.random() < 0.3, rng.random() < 0.1, rng.random() < 0.08
    fill = rng.random() < 0.3
    flush = rng.random() < 0.3
    for _ in range(rng.randint(10, 40)):
        line = rng.choice(world.lines)
        world.now += rng.random() * 0.1
        choice = rng.random()
        if choice < 0.22:
            model.step_add(line)
        elif choice < 0.30:
            model.step_add(line, rng.randint(2, 5) if not bulky else rng.randint(60, 300))
        elif choice < 0.55:
            line.deliver_request()
        elif choice < 0.78:
            line.deliver_reply()
        elif choice < 0.83:
            world.cut(line)
        elif choice < 0.86:
            world.deliver_late()
        elif choice < 0.88:
            model.step_cancel()
        elif choice < 0.90:
            model.step_expire(line)
        elif choice < 0.905:
            model.step_toggle(line)
        elif choice < 0.91:
            if not world.full:
                model.step_confirm(not model.confirming)
        elif choice < 0.93:
            if fill:
                model.step_fill()
        elif choice < 0.96:
            if flush:
                world.flush_scripts() if rng.random() < 0.5 else world.load_scripts()
        elif choice < 0.98:
            if failing:
                model.step_copy() if world.copy is None else model.step_fail_over()
        elif obliterating:
            model.step_obliterate()
    model.drain()
    model.check()


def test_producers_lose_nothing_and_store_nothing_twice(wire: Wire) -> None:
    run_schedules(wire, schedule_seeds(500, 1), schedule)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_producers_in_many_schedules(wire: Wire) -> None:
    count = int(os.environ.get("BULLRUSH_SCHEDULES", "60000"))
    assert run_schedules(wire, iter(range(1_000_000, 1_000_000 + count)), schedule) == count
