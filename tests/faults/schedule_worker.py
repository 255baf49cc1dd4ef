"""A worker in a random schedule: the Exchange with the driver that the worker package is, without handlers."""

from __future__ import annotations

import json
from collections.abc import Callable

from bullrush._core.codec import encode
from bullrush._core.exchange import Exchange
from bullrush._core.frames import ScriptFrame, encode_command
from bullrush._core.job import JobBase
from bullrush._core.session import ReplyError
from bullrush.operations.requests import script_frame
from bullrush.scripts import load
from tests.faults.schedules import Line, World

LEASE = 30_000
MAX_CRASHES = 2


class Owner:
    """What a worker's jobs ask of their queue."""

    name = "q"
    codec = None


OWNER = Owner()


class Worker(Line):
    """An Exchange with the driver that worker.py is, without handlers: the schedule says when a job starts and ends."""

    def __init__(self, world: World, name: str) -> None:
        rng = world.rng
        self.reap: Callable[[bytes, bytes], None]
        self.on_failed: Callable[[str], None]
        self.delays: tuple[int, ...] = (0, 0, 5_000)
        number = self._new_number(world)
        self.running: list[tuple[JobBase, bytes]] = []
        self.seen: dict[bytes, tuple[bytes, float]] = {}
        self.adopting = False
        self.differences = 0
        self.exchange = Exchange(
            *frames_of(world, number),
            OWNER,
            None,
            number=number,
            host=host(),
            codec_name=b"msgpack",
            kind=JobBase,
            kinds={},
            concurrency=rng.choice((1, 2, 3, 40)),
            prefetch=rng.choice((0, 0, 2, 5)),
            lease=LEASE,
            keep=-1,
            age=-1,
        )
        super().__init__(world, self.exchange, name)
        self.exchange.gather = rng.choice((1, 2, 250))

    def _new_number(self, world: World) -> bytes:
        number = str(world.rng.getrandbits(40)).encode()
        world.numbers.append(number)
        return number

    @property
    def number(self) -> str:
        return self.exchange.number.decode()

    def believed(self) -> set[str]:
        """The ids that this worker thinks it holds and may run, as long as its lease is valid by its own clock."""
        exchange = self.exchange
        if self.world.now >= exchange.renewed_at + LEASE / 1000 or exchange.lease_lost:
            return set()
        own = [job for job, number in self.running if number == exchange.number]
        return {job.id for job in (*exchange.ready, *exchange.unconfirmed, *own)}

    # After replies: worker.py's `after_replies` and `notice`.

    def after_reply(self) -> None:
        exchange = self.exchange
        assert exchange.fatal is None, f"{self.name} died: {exchange.fatal!r}"
        if exchange.lease_lost:
            self.lose_lease()
            return
        late = exchange.take_refused()
        if late:
            self.world.note(f"    {self.name}: outcomes of {late} came too late")
        expired = exchange.take_expired()
        if expired:
            self._notice(expired)
        if exchange.unseen and not self.adopting:
            self._adopt()

    def lose_lease(self) -> None:
        number = self._new_number(self.world)
        self.world.note(f"    {self.name} lost its lease, now it is {number.decode()}")
        self.exchange.start_over(number, host())
        self.exchange.rebind(*frames_of(self.world, number))
        self.cut(0, late=False)

    def _adopt(self) -> None:
        """Fetch a page of what a lost reply brought."""
        ids, keys = self.exchange.unseen[:2], self.world.keys
        self.adopting = True
        answers: list[list[bytes | None]] = []

        def receive(reply: object, now: float) -> None:
            assert isinstance(reply, list)
            answers.append(reply)
            if len(answers) == 3:
                self.adopting = False
                self.exchange.adopt(ids, *answers)

        for name in ("jobs", "attempts", "plans"):
            self.send(encode_command("HMGET", keys[name], *ids), receive)

    def cut(self, arrived: int, late: bool) -> None:
        self.adopting = False
        super().cut(arrived, late)

    # Reaping: reaper.py.

    def _notice(self, expired: list[tuple[bytes, bytes]]) -> None:
        seen: dict[bytes, tuple[bytes, float]] = {}
        for number, deadline in expired:
            if number == self.exchange.number:
                continue
            before = self.seen.get(number)
            if before is None or before[0] != deadline:
                seen[number] = (deadline, self.world.now)
            elif self.world.now - before[1] >= LEASE / 2000:
                self.reap(number, deadline)
            else:
                seen[number] = before
        self.seen = seen

    def time_passed(self, seconds: float) -> None:
        """The dates that were seen move as the server's do."""
        moved = int(seconds * 1000)
        self.seen = {
            number: (str(int(deadline) - moved).encode() if int(deadline) else deadline, at)
            for number, (deadline, at) in self.seen.items()
        }

    # Jobs.

    def start(self) -> bool:
        exchange = self.exchange
        if not exchange.ready or exchange.running >= exchange.concurrency or not self.may_start():
            return False
        job = exchange.ready.popleft()
        exchange.running += 1
        exchange.running_jobs.add(job)
        self.running.append((job, exchange.number))
        self.world.note(f"{self.name} starts {job.id}")
        return True

    def may_start(self) -> bool:
        return self.world.now < self.exchange.renewed_at + 0.0009 * LEASE

    def finish(self, how: str) -> bool:
        if not self.running:
            return False
        exchange, rng = self.exchange, self.world.rng
        job, number = self.running.pop(rng.randrange(len(self.running)))
        exchange.running -= 1
        exchange.running_jobs.discard(job)
        self.world.note(
            f"{self.name}: {job.id} ends: {how}{'' if number == exchange.number else ' (too late)'}"
        )
        if rng.random() < 0.2:
            exchange.progress(job, encode(1))
        delay = rng.choice(self.delays)
        if how == "complete":
            exchange.complete_with(job, rng.choice((None, {"a": 1})))
        elif how == "later":
            exchange.later(job, delay)
        elif how == "release":
            exchange.release(job)
        elif job.is_last_attempt:
            self.on_failed(job.id)
            exchange.fail(job, encode("no"), encode("ValueError"), encode(""), None, -1, -1)
        else:
            exchange.retry(job, encode("no"), encode("ValueError"), encode(""), delay)
        self.pump()
        return True

    def give_back(self) -> None:
        """What pause and close do with what has not started."""
        exchange = self.exchange
        if exchange.inflight:
            return
        self.world.note(f"{self.name} gives back what has not started")
        for job in [*exchange.ready, *exchange.unconfirmed][::-1]:
            exchange.release(job)
        exchange.ready.clear()
        exchange.unconfirmed.clear()
        self.pump()

    def give_back_last(self) -> None:
        """What a slow job does to those behind it."""
        if self.exchange.ready:
            job = self.exchange.ready.pop()
            self.world.note(f"{self.name} gives back {job.id}")
            self.exchange.release(job)
            self.pump()

    def ask(self) -> None:
        self.exchange.asked = self.exchange.look = True
        self.pump()

    # The lease keeper.

    def renew(self) -> None:
        script, number = load("renew"), self.exchange.number
        keys = script.names(self.world.keys)
        reply = self.world.wire.execute(
            encode_command("EVAL", script.source, len(keys), *keys, number, LEASE)
        )
        self.world.note(f"{self.name} renews: {reply!r}")
        if not isinstance(reply, ReplyError):
            self.exchange.renewed(self.world.now, number)
            self._compare()
        elif str(reply).startswith("LEASE"):
            self.lose_lease()

    def _compare(self) -> None:
        if self.exchange.inflight:
            return
        held = self.world.wire.command("SCARD", self.world.keys.held(self.number))
        self.differences = self.differences + 1 if held != self.exchange.server_held else 0
        if self.differences >= 2:
            self.differences = 0
            self.world.note(
                f"{self.name} thinks {self.exchange.server_held} are held, the server {held}: it opens anew"
            )
            self.cut(0, late=False)


def host() -> bytes:
    return json.dumps({"max_crashes": MAX_CRASHES}).encode()


def frames_of(world: World, number: bytes) -> tuple[ScriptFrame, ScriptFrame]:
    held = (world.keys.held(number.decode()),)
    return script_frame("open", world.keys, held), script_frame("exchange", world.keys, held)
