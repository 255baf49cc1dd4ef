"""Workers under random faults: every job ends once, none is stuck, none is failed that never ran, two never run one at a time."""

from __future__ import annotations

import copy
import dataclasses
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bullrush._core.factory import JobFactory
from bullrush._core.job import JobBase
from bullrush.connection.port import make_producer
from bullrush.operations.requests import script_frame
from bullrush.options import job_settings
from bullrush.options.texts import check_text
from tests.faults.schedule_truth import Truth
from tests.faults.schedule_worker import LEASE, Worker
from tests.faults.schedules import (
    Line,
    World,
    check_contents,
    read_contents,
    run_schedules,
    schedule_seeds,
)
from tests.faults.wire import Waiter, Wire, wired

FACTORY = JobFactory(JobBase, None, None, check_text, lambda options: None, 1 << 20)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A server of this file's own, since its memory is filled and its scripts are flushed."""
    with wired() as wire:
        yield wire


class Model:
    """One queue, its producer and its workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.truth = Truth()
        self.truth_of_copy = Truth()
        self.weather: Weather
        self.delays: tuple[int, ...] = (0, 0, 5_000)
        self.names = 0
        world.executed = lambda frame, reply: self.truth.executed(frame, reply)
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
        worker.reap = lambda number, deadline: self.truth.reap(worker, number, deadline)
        worker.on_failed = lambda id: self.truth.failures.add(id)
        worker.delays = self.delays
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

    def poison(self) -> None:
        """Somebody spoils the plan of a held job: whatever puts it back in line makes the script fail."""
        held = [job for worker in self.workers for job, _ in worker.running]
        if held and not self.world.full:
            job = self.world.rng.choice(held)
            self.world.note(f"the plan of {job.id} is spoilt")
            self.world.wire.command("HSET", self.world.keys["plans"], job.id, "pspoilt")
            self.truth.strict = False
            # A spoilt plan of a delayed job would make every exchange fail, so nothing is put off.
            self.delays = (0,)
            for worker in self.workers:
                worker.delays = self.delays

    # Faults that concern the truth.

    def take_copy(self) -> None:
        self.world.take_copy()
        self.truth_of_copy = copy.deepcopy(self.truth)

    def fail_over(self) -> None:
        self.world.fail_over(hidden=self.world.rng.random() < 0.5)
        self.truth = self._back_to(copy.deepcopy(self.truth_of_copy))
        for line in self.world.lines:
            line.pump()

    def obliterate(self) -> None:
        self.world.obliterate()
        self.truth = self._back_to(Truth())

    def _back_to(self, truth: Truth) -> Truth:
        """What workers have decided goes back with no data."""
        return dataclasses.replace(truth, strict=self.truth.strict, failures=self.truth.failures)

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        for worker in self.workers:
            worker.time_passed(seconds)

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
        assert not self.truth.strict or int(counter) == sum(cards), (
            f"meta.held is {counter!r}, the sets hold {cards}"
        )  # type: ignore[arg-type]
        excused = self.world.failovers or self.world.obliterated  # what they run on is held by nobody
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
                assert known == held or (known > held and excused), (
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
        by_id = {id.decode(): raw for id, raw in zip(outcomes[::2], outcomes[1::2], strict=True)}
        self.truth.check(contents, by_id)
        if not self.world.failovers and not self.world.obliterated:
            stored = [waiter for waiter in self.waiters if waiter.error is None]
            assert len(contents.records) == len(stored), "jobs were lost"


HOWS = ("complete", "complete", "attempt fails", "attempt fails", "later", "release")


@dataclass
class Weather:
    """Which faults a schedule may have; most have few, so that each is seen without the others."""

    failing: bool
    obliterating: bool
    flushing: bool
    filling: bool
    poisonous: bool
    deadly: float


def draw_weather(rng: random.Random) -> Weather:
    chances = (0.15, 0.05, 0.2, 0.1, 0.05)
    return Weather(*(rng.random() < chance for chance in chances), deadly=rng.choice((0, 0, 0.08, 0.2)))


def schedule(world: World) -> None:
    """Run one random schedule, drain it, and compare."""
    model, rng = Model(world), world.rng
    model.weather = weather = draw_weather(rng)
    for _ in range(rng.randint(2, 8)):
        model.add()
    model.world.lines[0].run_dry()
    for _ in range(rng.randint(20, 60)):
        if rng.random() < weather.deadly:
            rng.choice((model.recover, lambda: model.bury(rng.choice(model.workers))))()
        else:
            step(model, rng.random())
        model.check_holders()
    model.drain()
    model.check()


def step(model: Model, choice: float) -> None:
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
    elif choice < 0.93:
        model.add()
    else:
        rare_step(model, worker, choice)


def rare_step(model: Model, worker: Worker, choice: float) -> None:
    """Take a step that changes more than one call, if the weather allows it."""
    world, weather, rng = model.world, model.weather, model.world.rng
    if choice < 0.945:
        model.bury(worker)
    elif choice < 0.95:
        if not weather.poisonous:
            model.retire(worker)
    elif choice < 0.96:
        if weather.filling:
            world.fill(not world.full)
    elif choice < 0.975:
        if weather.flushing:
            world.flush_scripts() if rng.random() < 0.5 else world.load_scripts()
    elif choice < 0.985:
        if weather.poisonous:
            model.poison()
    elif weather.failing:
        model.take_copy() if world.copy is None else model.fail_over()
    elif weather.obliterating:
        model.obliterate()


def test_every_job_ends_once(wire: Wire) -> None:
    run_schedules(wire, schedule_seeds(300, 1), schedule)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_workers_in_many_schedules(wire: Wire) -> None:
    count = int(os.environ.get("BULLRUSH_SCHEDULES", "60000"))
    assert run_schedules(wire, iter(range(1_000_000, 1_000_000 + count)), schedule) == count
