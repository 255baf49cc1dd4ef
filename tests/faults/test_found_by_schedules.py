"""What random schedules have found, each as the shortest schedule that shows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from bullrush._core.factory import JobFactory
from bullrush._core.job import JobBase
from bullrush._core.producer import Producer
from bullrush._core.session import ReplyError
from bullrush.connection.port import make_producer
from bullrush.operations.requests import script_frame
from bullrush.options.texts import check_text
from tests.faults.schedule_worker import LEASE, Worker
from tests.faults.schedules import Line, World, check_contents, read_contents
from tests.faults.wire import Waiter, Wire, wired

FACTORY = JobFactory(JobBase, None, None, check_text, lambda options: None, 1 << 20)
NEVER = 1e12
_seeds = itertools.count(10**9)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with wired() as wire:
        yield wire


@pytest.fixture
def world(wire: Wire) -> World:
    return World(wire, next(_seeds))


def producer(world: World) -> Line:
    line = Line(world, make_producer(world.keys, "msgpack"), "producer")
    world.lines.append(line)
    line.run_dry()
    return line


def add(line: Line, count: int) -> Waiter:
    """Buffer a chunk and send it; nothing arrives yet."""
    machine, waiter = line.machine, Waiter()
    assert isinstance(machine, Producer)
    machine.push_all([FACTORY.make("send", n, None, 1) for n in range(count)], waiter, NEVER)
    line.pump()
    return waiter


def worker(world: World) -> Worker:
    made = Worker(world, f"worker {len(world.lines)}")
    made.exchange.concurrency, made.exchange.prefetch = 1, 0
    made.reap = lambda number, deadline: None
    made.run_dry()
    world.lines.append(made)
    return made


def reap(world: World, number: str) -> object:
    """Take the jobs of a number whatever its lease says."""
    keys = world.keys
    deadline = world.wire.command("ZSCORE", keys["workers"], number)
    assert isinstance(deadline, bytes)
    frame = script_frame("reap", keys, (keys.held(number),))
    return world.wire.execute(frame.call(number, deadline, 500, 2, 100, -1, by_text=True))


def attempts(world: World, id: str) -> object:
    return world.wire.command("HGET", world.keys["attempts"], id)


def suspect(world: World) -> Worker:
    """A worker whose only job is a suspect with a confirmed start."""
    line = producer(world)
    add(line, 1)
    line.run_dry()
    reap(world, worker(world).number)
    second = worker(world)
    assert [job.id for job in second.exchange.ready] == ["1"]
    assert attempts(world, "1") == b"0 1 0 1"
    return second


def test_more_jobs_than_a_first_block_has_ids_are_sent_again(world: World) -> None:
    line = producer(world)
    waiters = [add(line, 300), add(line, 300)]
    line.run_dry()
    waiters += [add(line, 300), add(line, 300)]
    line.cut(0, late=False)
    line.run_dry()
    assert all(waiter.resolved and waiter.error is None for waiter in waiters)
    contents = read_contents(world)
    check_contents(contents)
    assert len(contents.records) == 1200


def test_an_answer_outlives_the_open_of_another_client(world: World) -> None:
    line, waiter = producer(world), Waiter()
    assert isinstance(line.machine, Producer)
    line.machine.push_script(script_frame("pause", world.keys), (1,), waiter, NEVER)
    line.pump()
    line.deliver_request()
    for _ in range(3):  # by its digest, which the server lacks, then as text
        if world.trace[-1].endswith("-> b'1'"):
            break
        line.deliver_reply()
        line.deliver_request()
    assert world.trace[-1].endswith("-> b'1'"), world.trace
    producer(world)
    line.cut(0, late=False)
    line.run_dry()
    assert waiter.result == b"1"


def test_a_lost_reply_is_not_called_missing_after_the_next_reconnect(world: World) -> None:
    line = producer(world)
    for _ in range(3):
        add(line, 1)
        line.run_dry()
    waiter = add(line, 1)
    line.deliver_request()
    line.cut(0, late=False)
    line.run_dry()
    assert waiter.resolved
    line.cut(0, late=False)
    line.run_dry()
    assert isinstance(line.machine, Producer)
    assert line.machine.missing == 0


def test_reaping_and_retiring_end_well_where_events_and_tokens_are_written(world: World) -> None:
    line = producer(world)
    add(line, 1)
    line.run_dry()
    assert reap(world, worker(world).number) == [0, b"1"]
    world.wire.command("DEL", world.keys["wake"])
    second = worker(world)
    frame = script_frame("retire", world.keys, (world.keys.held(second.number),))
    assert world.wire.execute(frame.call(second.number, by_text=True)) == 1
    assert world.wire.command("LLEN", world.keys["wake"]) == 1


def test_a_suspect_given_back_is_not_charged_before_its_start_is_reported_again(world: World) -> None:
    first = suspect(world)
    first.exchange.claiming = False
    first.give_back()
    first.run_dry()
    assert attempts(world, "1") == b"0 1 0 2"


def test_a_suspect_that_is_put_off_is_none_any_more(world: World) -> None:
    first = suspect(world)
    first.delays = (5_000,)
    first.exchange.claiming = False
    assert first.start()
    first.finish("later")
    first.run_dry()
    assert attempts(world, "1") == b"0 1 0 0"


def test_a_late_registration_does_not_revive_a_reaped_number(world: World) -> None:
    line = producer(world)
    lost = Worker(world, "lost")
    lost.pump()
    lost.cut(0, late=True)
    lost.run_dry()
    add(line, 1)
    line.run_dry()
    lost.ask()
    lost.run_dry()
    assert len(lost.exchange.ready) == 1
    number = lost.number
    assert reap(world, number) == [0, b"1"]
    world.deliver_late()
    assert world.wire.command("ZSCORE", world.keys["workers"], number) is None
    lost.ask()
    lost.deliver_request()
    assert isinstance(lost.down[-1].content, ReplyError)


def test_a_job_that_ran_on_from_a_lost_lease_is_taken_up_when_it_is_held_anew(world: World) -> None:
    line = producer(world)
    add(line, 1)
    line.run_dry()
    first = worker(world)
    first.exchange.concurrency = 2
    assert first.start()
    reap(world, first.number)
    first.lose_lease()
    first.deliver_request()
    first.deliver_reply()
    first.deliver_request()  # claims the job under the new number, and the reply is lost
    assert "b'1'" in world.trace[-1]
    first.cut(0, late=False)
    first.run_dry()
    assert first.believed() == {"1"}
    assert first.world.now < first.exchange.renewed_at + LEASE / 1000
