"""One half of the machine: producers that add, workers that come, work, die and leave, and what goes wrong between."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bullrush._core.session import ReplyError
from bullrush.operations.requests import script_frame
from tests.faults.wire import Wire
from tests.state.changes import QueueModel
from tests.state.check import equal
from tests.state.driver import Driver, Session
from tests.state.hand import Claimed, Hand
from tests.state.pieces import Outcome, Spec

HOUR = 3_600_000
LAPSED = 1_000_000  # a deadline in 1970
IDS = ("a", "b", "c")
ACTIONS = (
    *("complete", "complete", "complete with options", "fail", "retry", "retry later", "start", "release"),
    *("expire", "later", "soon", "at once", "hold", "progress", "log"),
)
_names = itertools.count(1)

place = st.integers(0, 5)
settlements = st.lists(st.tuples(place, st.sampled_from(ACTIONS)), min_size=1, max_size=4)
keeps = st.sampled_from([1000, 1000, 2, 1, 0, -1])
ages = st.sampled_from([-1, -1, HOUR // 2])
dates = st.sampled_from([{}, {}, {"delay": 2 * HOUR}, {"delay": HOUR}, {"delay": 1}, {"run_at": LAPSED}])
owners = st.one_of(st.just({}), st.sampled_from(IDS).map(lambda id: {"id": id, "own": True}))
lines = st.sampled_from([{}, {"priority": 1}, {"priority": 5}, {"lifo": True}, {"large": True}])
keys = st.one_of(
    st.just({}),
    st.tuples(st.sampled_from("strdk"), st.sampled_from([0, HOUR // 2]), st.sampled_from("xy")).map(
        lambda drawn: {"mode": drawn[0], "ttl": drawn[1], "key": drawn[2]}
    ),
)
specials = st.tuples(owners, lines, dates, keys).map(
    lambda parts: {k: v for part in parts for k, v in part.items()}
)


class Workshop(RuleBasedStateMachine):
    """One queue with its producer and its workers."""

    wire: Wire  # set by the test
    model: QueueModel

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.hands: list[Hand] = []
        self.entry = 0

    @initialize(
        searchable=st.sampled_from([10_000, 2, 0]),
        events=st.sampled_from(["", "", "outcomes", "off"]),
        max_crashes=st.integers(1, 2),
    )
    def begin(self, searchable: int, events: str, max_crashes: int) -> None:
        self.model = QueueModel(searchable)
        self.driver = Driver(self.wire, f"machine{next(_names)}", searchable)
        self.events, self.max_crashes = events, max_crashes
        self._reopen("")
        self.join()
        self.join()
        self._add([{}, {}, {"priority": 1}])

    def _reopen(self, previous: str) -> None:
        session = self.driver.open(previous=previous, events=self.events)
        assert isinstance(session, Session)
        self.driver.producer = session

    # Adding.

    @rule(count=st.integers(1, 4))
    def add_plain(self, count: int) -> None:
        self._add([{} for _ in range(count)])

    @rule(drawn=st.lists(specials, min_size=1, max_size=3))
    def add_special(self, drawn: list[dict[str, Any]]) -> None:
        self._add(drawn)

    def _add(self, drawn: list[dict[str, Any]]) -> None:
        specs = sorted((self._spec(dict(one)) for one in drawn), key=lambda spec: not spec.plain)
        reply = self.driver.add(specs)
        assert not isinstance(reply, ReplyError), reply
        refused = reply[2].decode() if len(reply) > 2 else ""
        equal(refused, self.model.add(specs, reply[0]), "refused of an add")
        self.driver.await_moment(reply[0] + 1)

    def _spec(self, drawn: dict[str, Any]) -> Spec:
        number = next(self.numbers)
        record = b"record%d" % number + b"." * (5000 if drawn.pop("large", False) else 0)
        if drawn.get("mode") in ("t", "d"):
            drawn["ttl"] = drawn["ttl"] or HOUR // 2
        if drawn.get("mode") == "d" and "run_at" not in drawn:
            drawn.setdefault("delay", HOUR)
        return Spec(**{"id": str(number), "record": record, **drawn})

    # Working.

    @precondition(lambda self: len(self.model.workers) < 3)
    @rule()
    def join_another(self) -> None:
        self.join()

    def join(self) -> None:
        number = str(1000 + next(self.numbers))
        session = self.driver.open(number=number)
        assert isinstance(session, Session), session
        self.model.workers[number] = "alive"
        self.hands.append(Hand(number, session))

    def _hand(self, at: int) -> Hand:
        return self.hands[at % len(self.hands)]

    @precondition(lambda self: self.hands)
    @rule(
        at=place,
        want=st.integers(1, 4),
        free=st.sampled_from([4, 4, 4, 1, 0]),
        suspects=st.sampled_from([2, 2, 1, 0]),
        alone=st.sampled_from([True, True, False]),
    )
    def claim(self, at: int, want: int, free: int, suspects: int, alone: bool) -> None:
        self._exchange(self._hand(at), [], want=want, free=free, suspects=suspects, alone=alone)

    @precondition(lambda self: any(hand.known for hand in self.hands))
    @rule(
        at=place,
        chosen=settlements,
        want=st.sampled_from([0, 0, 2]),
        keep=keeps,
        age=ages,
        look=st.booleans(),
    )
    def settle(
        self, at: int, chosen: list[tuple[int, str]], want: int, keep: int, age: int, look: bool
    ) -> None:
        """Outcomes of jobs that this worker was given; some of them may be another's by now."""
        hands = [hand for hand in self.hands if hand.known]
        self._settle(
            hands[at % len(hands)], chosen, keep, age, want=want, free=want, suspects=want, look=look
        )

    @precondition(lambda self: self.hands)
    @rule(at=place, chosen=settlements, keep=keeps, age=ages)
    def work(self, at: int, chosen: list[tuple[int, str]], keep: int, age: int) -> None:
        """Claim, and settle in the next call."""
        hand = self._hand(at)
        self._exchange(hand, [], want=3, free=3, suspects=2)
        if hand in self.hands:
            self._settle(hand, chosen, keep, age, want=1, free=1, suspects=1)

    def _settle(self, hand: Hand, chosen: list[tuple[int, str]], keep: int, age: int, **asked: Any) -> None:
        outcomes: list[tuple[str, bytes] | Outcome] = []
        left = sorted(hand.known)
        for index, action in chosen:
            if not left:
                break
            id = left[index % len(left)]
            outcomes.append(hand.outcome(id, action, keep, age))
            if isinstance(outcomes[-1], Outcome) and outcomes[-1].kind in "spg":
                continue
            left.remove(id)
        self._exchange(hand, outcomes, keep=keep, age=age, **asked)

    @precondition(lambda self: self.hands and self.model.jobs)
    @rule(at=place, other=place, action=st.sampled_from(ACTIONS))
    def settle_what_is_not_held(self, at: int, other: int, action: str) -> None:
        """An outcome from a worker that never had the job is refused."""
        hand = self._hand(at)
        foreign = [id for id in sorted(self.model.jobs) if self.model.jobs[id].worker != hand.number]
        if foreign:
            id = foreign[other % len(foreign)]
            hand.known.pop(id, None)
            self._exchange(hand, [hand.outcome(id, action, 1000, -1)])

    def _exchange(
        self,
        hand: Hand,
        outcomes: list[tuple[str, bytes] | Outcome],
        *,
        want: int = 0,
        free: int = 0,
        suspects: int = 0,
        alone: bool = True,
        look: bool = False,
        keep: int = 1000,
        age: int = -1,
    ) -> None:
        model, driver = self.model, self.driver
        for outcome in outcomes:
            hand.forget(outcome)
        plain = [outcome for outcome in outcomes if not isinstance(outcome, Outcome)]
        others = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
        alive = model.workers.get(hand.number, "condemned") != "condemned"
        before = {} if alive else driver.dump()
        if self.events == "off":
            driver.await_millisecond()
        if want and alive:
            self.wire.command("RPOP", driver.keys["wake"])
        free = min(free, want)
        asked = {"want": want, "free": free, "suspects": suspects, "alone": alone}
        reply = driver.exchange(
            hand.session, hand.number, plain, others, look=look, keep=keep, age=age, **asked
        )
        if not alive:
            self._gone(hand, reply, before)
            return
        assert not isinstance(reply, ReplyError), reply
        now, flags, _, listed, records, extras, refused, expired, _ = reply
        equal(
            [id.decode() for id in refused],
            model.settle(hand.number, plain, others, keep, age, now),
            "refused",
        )
        model.workers[hand.number] = "alive"
        model.promote(now)
        claimed = model.claim(hand.number, now=now, **asked)
        ids = listed.decode().split()
        equal(ids, [id for id, _ in claimed], "claimed")
        equal(records, [model.jobs[id].record for id in ids], "records of a claim")
        hand.learn(ids, records, extras)
        equal(
            [hand.known[id].suspect for id in ids], [suspect for _, suspect in claimed], "suspects of a claim"
        )
        self._check_claimed([hand.known[id] for id in ids])
        self._check_flags(flags, now)
        if look:
            dead = {number for number, state in model.workers.items() if state != "alive"}
            equal({number.decode() for number in expired[::2]}, dead, "workers that seem dead")
        if model.limited <= now:
            model.limited = 0
        driver.await_moment(now + 1)

    def _gone(self, hand: Hand, reply: object, before: dict[bytes, object]) -> None:
        """A worker that is taken for dead is refused, and nothing has changed."""
        assert isinstance(reply, ReplyError) and str(reply).startswith(("LEASE", "SESSION")), reply
        equal(self.driver.dump(), before, "keys after a refused call")
        self.hands.remove(hand)

    def _check_claimed(self, claimed: list[Claimed]) -> None:
        for known in claimed:
            job = self.model.jobs[known.id]
            equal(known.attempts, job.attempts, f"attempts of {job.id} in its claim")
            assert job.planned <= (known.plan is not None), f"{job.id} was claimed without its plan"

    def _check_flags(self, flags: int, now: int) -> None:
        model = self.model
        left = model.allowance(now)
        more = bool(model.line or model.prioritized())
        equal(bool(flags & 1), model.paused, "flag paused")
        equal(bool(flags & 2), more and not model.paused and left != 0, "flag more")
        equal(bool(flags & 64), left is not None, "flag limited")
        equal(bool(flags & 128), left == 0, "flag closed")

    def renew(self, at: int) -> None:
        number = self._hand(at).number
        reply = self.driver.renew(number)
        alive = self.model.workers.get(number, "condemned") != "condemned"
        equal(not isinstance(reply, ReplyError), alive, "renewed")
        if alive:
            self.model.workers[number] = "alive"

    def reconnect_worker(self, at: int) -> None:
        """A worker that lost its connection learns what it still holds."""
        hand = self._hand(at)
        known = self.model.workers.get(hand.number, "condemned") != "condemned"
        session = self.driver.open(previous=hand.session.name, number=hand.number, register=False)
        equal(isinstance(session, Session), known, "reconnected")
        if isinstance(session, Session):
            hand.session = session
            self.model.workers[hand.number] = "alive"
        else:
            self.hands.remove(hand)

    @precondition(lambda self: self.hands)
    @rule(at=place)
    def retire(self, at: int) -> None:
        hand = self._hand(at)
        if self.model.workers.get(hand.number) in ("alive", "lapsed"):
            equal(self.driver.retire(hand.number), self.model.retire(hand.number), "jobs given back")

    @precondition(lambda self: self.model.workers)
    @rule(at=place)
    def lapse(self, at: int) -> None:
        number = list(self.model.workers)[at % len(self.model.workers)]
        if self.model.workers[number] == "alive":
            self.driver.lapse(number, LAPSED)
            self.model.workers[number] = "lapsed"

    @precondition(lambda self: self.model.workers)
    @rule(at=place)
    def crash(self, at: int) -> None:
        """A worker dies, and its jobs are taken back."""
        number = list(self.model.workers)[at % len(self.model.workers)]
        self.lapse(at)
        while number in self.model.workers:
            self.reap(list(self.model.workers).index(number), 2, LAPSED, 1000, -1)
        self.join()

    @precondition(lambda self: self.model.workers)
    @rule(
        at=place,
        page=st.integers(1, 3),
        seen=st.sampled_from([LAPSED, LAPSED, LAPSED, LAPSED + 1]),
        keep=keeps,
        age=ages,
    )
    def reap(self, at: int, page: int, seen: int, keep: int, age: int) -> None:
        model = self.model
        number = list(model.workers)[at % len(model.workers)]
        state = model.workers[number]
        dead = state == "condemned" or (state == "lapsed" and seen == LAPSED)
        self.driver.await_millisecond()
        before = {} if dead else self.driver.dump()
        left, stalled = self.driver.reap(number, seen, page, self.max_crashes, keep, age)
        if dead:
            expected = model.reap(number, page, self.max_crashes, keep, age, self.driver.now())
            equal((left, stalled.decode().split()), expected, "reaped")
        else:
            equal((left, stalled, self.driver.dump()), (-1, b"", before), "reaped of a worker that lives")

    # Faults.

    @rule(fault=st.sampled_from(["flush_scripts", "repeat_the_last_call", "reconnect_producer"]))
    def fault(self, fault: str) -> None:
        getattr(self, fault)()

    @precondition(lambda self: self.hands)
    @rule(sign=st.sampled_from(["renew", "reconnect_worker"]), at=place)
    def live(self, sign: str, at: int) -> None:
        getattr(self, sign)(at)

    def flush_scripts(self) -> None:
        self.wire.command("SCRIPT", "FLUSH")

    def repeat_the_last_call(self) -> None:
        """The reply was lost: the same bytes come again, and are refused."""
        last = self.driver.last
        if last is None:
            return
        before = self.driver.dump()
        reply = self.driver.run(last.frame, *last.arguments)
        assert isinstance(reply, ReplyError) and str(reply).startswith(("ORDER", "SESSION", "LEASE")), reply
        equal(self.driver.dump(), before, "keys after a repeated call")

    def reconnect_producer(self) -> None:
        """A new session closes the one before it; bytes of that one that arrive late are refused."""
        old = self.driver.producer
        self._reopen(old.name)
        reply = self.driver.numbered(Session(old.name, old.number), *self._late_add())
        equal(str(reply), "SESSION closed", "an add of a closed session")

    def _late_add(self) -> tuple[Any, ...]:
        return script_frame("add", self.driver.keys), 1, "", "late", b"late"
