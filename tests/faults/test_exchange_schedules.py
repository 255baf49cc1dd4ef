"""Workers under random faults: every job ends once, none is stuck, none is failed that never ran, two never run one at a time."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import hiredis
import msgpack
import pytest

from bullrush._core.job import JobBase
from bullrush._core.producer import JobFactory
from bullrush.connection.port import make_producer
from bullrush.operations.requests import script_frame
from bullrush.options import job_settings
from bullrush.options.texts import check_text
from bullrush.worker.reaper import max_crashes_of
from tests.faults.schedule_worker import LEASE, MAX_CRASHES, Worker
from tests.faults.schedules import (
    Line,
    Waiter,
    Wire,
    World,
    check_contents,
    read_contents,
    run_schedules,
    schedule_seeds,
)
from tests.servers import Server

FACTORY = JobFactory(JobBase, None, None, check_text, lambda options: None, 1 << 20)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A server of this file's own, since its memory is filled and its scripts are flushed."""
    server = Server("redis")
    server.start()
    wire = Wire(str(server.folder / "socket"))
    yield wire
    wire.close()
    server.discard()


@dataclass
class Truth:
    """What the server has really done, read off the calls that it took."""

    ended: dict[str, str] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    confirmed: set[tuple[str, str]] = field(default_factory=set)  # (number, id) of reported starts
    gone: set[str] = field(default_factory=set)  # numbers that were condemned or retired

    def end(self, id: str, how: str) -> None:
        assert id not in self.ended, f"job {id} {how}, but it had {self.ended[id]} already"
        self.ended[id] = how


class Model:
    """One queue, its producer and its workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.truth = Truth()
        self.truth_of_copy = Truth()
        self.failures: set[str] = set()  # ids that a worker has settled as failed
        self.names = 0
        world.executed = self.executed
        self.waiters: list[Waiter] = []
        self.producer = make_producer(world.keys, "msgpack")
        world.lines.append(Line(world, self.producer, "producer"))
        for _ in range(world.rng.randint(2, 3)):
            self.hire()

    @property
    def workers(self) -> list[Worker]:
        return [line for line in self.world.lines if isinstance(line, Worker)]

    def hire(self) -> None:
        self.names += 1
        worker = Worker(self.world, f"worker {self.names}")
        worker.model = self
        self.world.lines.append(worker)
        worker.pump()

    def bury(self, worker: Worker) -> None:
        """A process dies: its socket's bytes may still arrive, its jobs are not run by anybody."""
        self.world.note(f"{worker.name} dies")
        self.world.cut(worker)
        self.world.lines.remove(worker)
        self.hire()

    def retire(self, worker: Worker) -> None:
        """A worker leaves in order, if it has nothing left."""
        exchange = worker.exchange
        if worker.running or not exchange.settled or exchange.state != 2:
            return
        frame = script_frame("retire", self.world.keys, (self.world.keys.held(worker.number),))
        reply = self.world.execute(frame.call(worker.number, by_text=True), worker)
        assert isinstance(reply, int), f"retiring failed: {reply!r}"
        self.truth.gone.add(worker.number)
        self.world.lines.remove(worker)
        self.hire()

    def add(self) -> None:
        rng = self.world.rng
        options: dict[str, object] = {}
        if rng.random() < 0.4:
            options["attempts"] = rng.randint(2, 3)
        kind = rng.random()
        if kind < 0.15:
            options["priority"] = 1
        elif kind < 0.25:
            options["lifo"] = True
        elif kind < 0.35:
            options["delay"] = 5_000
        self.waiters.append(waiter := Waiter())
        job = FACTORY.make("send", len(self.waiters), job_settings(options) if options else None, 1)
        self.producer.push(job, waiter, 1e12)
        self.world.lines[0].pump()

    # The truth.

    def executed(self, frame: bytes, reply: object, line: Line) -> None:
        """Follow what an exchange did."""
        if not isinstance(reply, list) or len(reply) not in (8, 9):
            return
        reader = hiredis.Reader()
        reader.feed(frame)
        words = reader.gets()
        arguments = words[3 + int(words[2]) :]
        if len(reply) == 8:
            if (
                arguments[7] == b"1"
            ):  # a number may register again if its first registration was reaped unseen
                self.truth.gone.discard(arguments[6].decode())
            return
        number = arguments[2].decode()
        assert number not in self.truth.gone, (
            f"an exchange of {number} was accepted, though its lease is lost"
        )
        refused = {id.decode() for id in reply[6]}
        completed, others = int(arguments[10]), int(arguments[11])
        for i in range(completed):
            id = arguments[13 + 2 * i].decode()
            if id not in refused:
                self.truth.end(id, "completed")
        at = 13 + 2 * completed
        for i in range(others):
            kind, id = arguments[at + 5 * i].decode(), arguments[at + 5 * i + 1].decode()
            if id not in refused:
                self._outcome(number, kind, id)
        for id in filter(None, reply[3].decode().split(" ")):
            assert id not in self.truth.ended, f"job {id} was claimed after it had {self.truth.ended[id]}"
            self.truth.confirmed.discard((number, id))

    def _outcome(self, number: str, kind: str, id: str) -> None:
        if kind == "s":
            self.truth.confirmed.add((number, id))
        elif kind not in "pg":
            self.truth.confirmed.discard((number, id))
        assert kind != "f" or id in self.failures, f"job {id} failed, though no worker said so"
        if kind in "cf":
            self.truth.end(id, "completed" if kind == "c" else "failed")
        self.truth.retries[id] += kind == "r"

    def reap(self, worker: Worker, number: bytes, deadline: bytes) -> None:
        world, keys, name = self.world, self.world.keys, number.decode()
        frame = script_frame("reap", keys, (keys.held(name),))
        left = 1
        while left > 0:
            limit = max_crashes_of(world.wire.command("HGET", keys["hosts"], number))  # type: ignore[arg-type]
            before = self._attempts(name)
            reply = world.execute(frame.call(number, deadline, 2, limit, 10_000, -1, by_text=True), worker)
            assert isinstance(reply, list), f"reaping failed: {reply!r}"
            left = reply[0]
            if left >= 0:
                self.truth.gone.add(name)
                self._check_charges(name, before)
            if world.rng.random() < 0.2:
                world.note(f"{worker.name} stops reaping half-way")
                return

    def _attempts(self, number: str) -> dict[str, list[int]]:
        """The counts of all jobs that a number holds: made, lost, crashes, suspicion."""
        keys = self.world.keys
        ids = self.world.wire.command("SMEMBERS", keys.held(number))
        assert isinstance(ids, list)
        if not ids:
            return {}
        found = self.world.wire.command("HMGET", keys["attempts"], *ids)
        assert isinstance(found, list)
        return {
            id.decode(): [int(part) for part in (text or b"0 0 0 0").split()]
            for id, text in zip(ids, found, strict=True)
        }

    def _check_charges(self, number: str, before: dict[str, list[int]]) -> None:
        keys, still = self.world.keys, self._attempts(number)
        for id, (made, lost, crashes, _) in before.items():
            if id in still:
                continue
            failed = self.world.wire.command("ZSCORE", keys["failed"], id) is not None
            text = self.world.wire.command("HGET", keys["attempts"], id)
            charged = failed
            if isinstance(text, bytes):
                after = [int(part) for part in text.split()]
                assert after[:2] == [made, lost + 1], (
                    f"job {id} had {before[id]}, after reaping it has {after}"
                )
                charged = after[2] > crashes
            started = (number, id) in self.truth.confirmed
            assert charged == started, f"job {id} was {'' if charged else 'not '}charged, {started=}"
            if failed:
                assert crashes + 1 >= MAX_CRASHES, f"job {id} failed at its crash no. {crashes + 1}"
                self.truth.end(id, "crashed")

    # Faults that concern the truth.

    def take_copy(self) -> None:
        self.world.take_copy()
        self.truth_of_copy = copy.deepcopy(self.truth)

    def fail_over(self) -> None:
        self.world.fail_over(hidden=self.world.rng.random() < 0.5)
        self.truth = copy.deepcopy(self.truth_of_copy)
        for line in self.world.lines:
            line.pump()

    def obliterate(self) -> None:
        self.world.obliterate()
        self.truth = Truth()

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        for worker in self.workers:
            worker.time_passed(seconds)

    def fill(self) -> None:
        self.world.fill(not self.world.full)

    # Checks.

    def check_holders(self) -> None:
        """No job is believed to be held by two workers whose leases are valid."""
        if self.world.failovers or self.world.obliterated:
            return
        seen: dict[str, str] = {}
        for worker in self.workers:
            for id in worker.believed():
                assert id not in seen, f"{seen[id]} and {worker.name} both hold job {id}"
                seen[id] = worker.name

    def check_counts(self) -> None:
        """The counter of held jobs is their number, and a worker at rest knows how many it holds."""
        keys = self.world.keys
        cards = self.world.wire.commands(
            *[("SCARD", keys.held(number.decode())) for number in self.world.numbers]
        )
        counter = self.world.wire.command("HGET", keys["meta"], "held") or b"0"
        assert isinstance(counter, bytes)
        assert int(counter) == sum(cards), f"meta.held is {counter!r}, the sets hold {cards}"  # type: ignore[arg-type]
        by_number = dict(zip(self.world.numbers, cards, strict=True))
        for worker in self.workers:
            exchange = worker.exchange
            if exchange.settled and exchange.state == 2:
                held = by_number[exchange.number]
                assert exchange.server_held == held, (
                    f"{worker.name} thinks {exchange.server_held} are held, it is {held}"
                )
                jobs = (
                    *exchange.ready,
                    *exchange.unconfirmed,
                    *(job for job, number in worker.running if number == exchange.number),
                )
                suspects = sum(job._is_suspect for job in jobs)
                assert exchange.suspects == suspects, (
                    f"{worker.name} counts {exchange.suspects} suspects, it has {suspects}"
                )
                known = len(worker.believed())
                assert known == held or (known > held and self.world.failovers), (
                    f"{worker.name} knows {known} of {held} jobs"
                )

    def drain(self) -> None:
        """Heal everything, let the workers run what is left, and see that the queue gets empty."""
        world = self.world
        world.note("heal and drain")
        world.fill(False)
        while world.late:
            world.deliver_late()
        self._rest()
        self.check_counts()
        for _ in range(40):
            for _ in range(60):
                self._rest()
                busy = [worker.start() or worker.finish("complete") for worker in self.workers]
                if not any(busy):
                    break
            self._rest()
            if self._empty():
                return
            self.pass_time(LEASE / 4000)
        raise AssertionError(
            f"jobs are stuck: {read_contents(world).places}, workers {[w.number for w in self.workers]}"
        )

    def recover(self) -> None:
        """Let the dead be found: two looks, half a lease apart, by some of the workers; the others are frozen meanwhile."""
        awake = [worker for worker in self.workers if self.world.rng.random() < 0.8]
        for seconds in (31.0, 16.0):
            self.pass_time(seconds)
            for worker in awake:
                worker.ask()
            while any([worker.run_dry() for worker in awake]):
                self.check_holders()

    def _rest(self) -> None:
        """Let everybody ask once, and everything arrive."""
        for worker in self.workers:
            worker.ask()
        while any([line.run_dry() for line in self.world.lines]):
            self.check_holders()
        self.world.now += 0.1

    def _empty(self) -> bool:
        if self.producer.busy:
            return False
        places = {name for name, _ in read_contents(self.world).places}
        return places <= {"completed", "failed"} and all(worker.exchange.settled for worker in self.workers)

    def check(self) -> None:
        contents = read_contents(self.world)
        check_contents(contents)
        self.check_counts()
        assert all(waiter.done() for waiter in self.waiters)
        outcomes = self.world.wire.command("HGETALL", self.world.keys["outcomes"])
        assert isinstance(outcomes, list)
        by_id = {
            id.decode(): msgpack.unpackb(raw, strict_map_key=False) if raw[0] != 0x97 else list(_fields(raw))
            for id, raw in zip(outcomes[::2], outcomes[1::2], strict=True)
        }
        for place, id in contents.places:
            how = self.truth.ended.get(id)
            assert how is not None, f"job {id} is {place}, though no call ended it"
            assert (how == "completed") == (place == "completed"), f"job {id} {how}, and it stands in {place}"
            self._check_attempts(id, how, by_id[id], contents.records[id])
        if not self.world.failovers and not self.world.obliterated:
            stored = [waiter for waiter in self.waiters if waiter.error is None]
            assert len(contents.records) == len(stored), "jobs were lost"

    def _check_attempts(self, id: str, how: str, outcome: list[object], record: bytes) -> None:
        made, retries = outcome[3], self.truth.retries[id]
        options = msgpack.unpackb(record)[2] or {}
        if how == "failed":
            assert made == retries + 1 == options.get("attempts", 1), (
                f"job {id} failed with {made} attempts, {retries} retries"
            )
        else:
            assert made == retries, (
                f"job {id} {how} with {made} failed attempts, {retries} retries were stored"
            )




HOWS = ("complete", "complete", "attempt fails", "attempt fails", "later", "release")


def schedule(world: World) -> None:
    """Run one random schedule, drain it, and compare."""
    model, rng = Model(world), world.rng
    failing, obliterating, flushing, filling = (rng.random() < p for p in (0.15, 0.05, 0.2, 0.1))
    deadly = rng.choice((0, 0, 0.08, 0.2))
    for _ in range(rng.randint(2, 8)):
        model.add()
    model.world.lines[0].run_dry()
    for _ in range(rng.randint(20, 60)):
        if rng.random() < deadly:
            rng.choice((model.recover, lambda: model.bury(rng.choice(model.workers))))()
        else:
            step(model, rng.random(), failing, obliterating, flushing, filling)
        model.check_holders()
    model.drain()
    model.check()


def step(
    model: Model, choice: float, failing: bool, obliterating: bool, flushing: bool, filling: bool
) -> None:
    """Take one step of a schedule."""
    world, rng = model.world, model.world.rng
    line, worker = rng.choice(world.lines), rng.choice(model.workers)
    world.now += rng.random() * 0.05
    if choice < 0.25:
        line.deliver_request()
    elif choice < 0.47:
        line.deliver_reply()
    elif choice < 0.58:
        worker.start()
    elif choice < 0.70:
        worker.finish(rng.choice(HOWS))
    elif choice < 0.73:
        worker.ask()
    elif choice < 0.77:
        world.cut(line)
    elif choice < 0.80:
        world.deliver_late()
    elif choice < 0.82:
        rng.choice((worker.give_back, worker.give_back_last))()
    elif choice < 0.88:
        model.pass_time(rng.choice((2.0, 10.0, 16.0, 31.0)))
    elif choice < 0.90:
        worker.renew()
    elif choice < 0.92:
        model.bury(worker)
    elif choice < 0.93:
        model.retire(worker)
    elif choice < 0.95:
        model.add()
    elif choice < 0.96:
        if filling:
            model.fill()
    elif choice < 0.98:
        if flushing:
            world.flush_scripts() if rng.random() < 0.5 else world.load_scripts()
    elif failing:
        model.take_copy() if world.copy is None else model.fail_over()
    elif obliterating:
        model.obliterate()


def test_every_job_ends_once(wire: Wire) -> None:
    run_schedules(wire, schedule_seeds(300, 1), schedule)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_workers_in_many_schedules(wire: Wire) -> None:
    count = int(os.environ.get("BULLRUSH_SCHEDULES", "60000"))
    assert run_schedules(wire, iter(range(1_000_000, 1_000_000 + count)), schedule) == count
