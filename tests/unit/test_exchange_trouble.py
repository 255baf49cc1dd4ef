"""Trouble between a worker and its server: lost replies, suspects, lost leases, outcomes it cannot take."""

from __future__ import annotations

from typing import Any

from bullrush._core.codec import encode
from bullrush._core.exchange import Exchange
from bullrush._core.job import JobBase
from bullrush.codec import Values
from bullrush.operations.outcomes import read_outcome
from tests.unit.machines import (
    SUSPECTS_LEFT,
    claim,
    exchange_reply,
    exchanges,
    open_exchange,
    open_reply,
    poll,
    read_exchange,
    record,
    refused,
    start,
)

RECORD = record()
UNCHARGED, CHARGED = b"0 1 0 2", b"0 2 1 2"


def reopen(exchange: Exchange, *, known: int, held: list[bytes], now: float = 0.0) -> None:
    """Lose the socket and open on a new one."""
    exchange.lost()
    assert [sent.script for sent in poll(exchange, now)] == ["open"]
    exchange.receive(open_reply(known=known, held=held), now)


def suspect(exchange: Exchange, id: str = "1", attempts: bytes = UNCHARGED) -> None:
    """Claim one suspect."""
    claim(exchange, {id: RECORD}, extras=[0, attempts, b"", b"1"])


def running(count: int) -> tuple[Exchange, list[JobBase[Any, Any]]]:
    exchange = open_exchange(concurrency=100)
    claim(exchange, {str(id): RECORD for id in range(1, count + 1)})
    return exchange, exchange.take_ready(count)


# Lost replies.


def test_outcomes_that_were_not_applied_leave_again_and_claim_nothing() -> None:
    exchange, [job] = running(1)
    exchange.complete_with(job, "v")
    [before] = exchanges(exchange)
    reopen(exchange, known=2, held=[b"1"])
    [again] = exchanges(exchange)
    assert again.completed == before.completed
    assert (again.sent.number, again.want) == (1, 0)


def test_outcomes_that_were_applied_do_not_leave_again() -> None:
    exchange, [job] = running(1)
    exchange.complete_with(job, "v")
    [before] = exchanges(exchange)
    reopen(exchange, known=before.sent.number, held=[])
    assert all(call.completed == {} for call in exchanges(exchange))
    assert exchange.settled_total == 1


def test_ready_jobs_that_the_server_no_longer_holds_here_are_forgotten() -> None:
    exchange = open_exchange()
    claim(exchange, {"1": RECORD, "2": RECORD})
    reopen(exchange, known=2, held=[b"2"])
    assert [job.id for job in exchange.ready] == ["2"]


def test_jobs_whose_claim_nobody_saw_are_adopted_in_order_and_nothing_else_is_claimed_before() -> None:
    exchange = open_exchange()
    exchange.asked = True
    [lost] = exchanges(exchange)
    reopen(exchange, known=lost.sent.number, held=[b"10", b"9", b"100"])
    assert exchange.unseen == ["9", "10", "100"]
    assert all(call.want == 0 for call in exchanges(exchange))
    exchange.adopt(["9", "10"], [record("a"), record("b", attempts=3)], [None, b"1 0 0 0"], [None, b"h"])
    assert exchange.unseen == ["100"]
    exchange.adopt(["100"], [None], [None], [None])
    assert exchange.unseen == []
    assert [(job.id, job.name, job.attempts_made) for job in exchange.ready] == [
        ("9", "a", 0),
        ("10", "b", 1),
    ]


def test_an_adopted_suspect_is_still_one() -> None:
    exchange = open_exchange()
    exchange.asked = True
    [lost] = exchanges(exchange)
    reopen(exchange, known=lost.sent.number, held=[b"1"])
    exchange.adopt(["1"], [RECORD], [UNCHARGED], [None])
    assert ([job.id for job in exchange.unconfirmed], list(exchange.ready)) == (["1"], [])


def test_what_runs_waits_or_flies_here_is_not_unseen() -> None:
    exchange, jobs = running(4)
    exchange.complete_with(jobs[0], None)
    exchanges(exchange)  # its outcome is in flight
    exchange.complete_with(jobs[1], None)  # this one's waits
    reopen(exchange, known=2, held=[b"1", b"2", b"3", b"4"])
    assert exchange.unseen == []


# Suspects.


def test_a_suspect_starts_only_after_its_report_was_answered() -> None:
    exchange = open_exchange()
    suspect(exchange)
    assert (list(exchange.ready), [job.id for job in exchange.unconfirmed]) == ([], ["1"])
    [call] = exchanges(exchange)
    assert call.others == [(b"s", b"1", b"0 1 0 1", b"", b"")]
    exchange.receive(exchange_reply(), 0.0)
    assert ([job.id for job in exchange.ready], exchange.unconfirmed) == (["1"], [])


def test_a_report_that_was_applied_and_not_answered_counts() -> None:
    exchange = open_exchange()
    suspect(exchange)
    [call] = exchanges(exchange)
    reopen(exchange, known=call.sent.number, held=[b"1"])
    assert [job.id for job in exchange.ready] == ["1"]


def test_a_report_that_was_lost_is_made_again() -> None:
    exchange = open_exchange()
    suspect(exchange)
    [call] = exchanges(exchange)
    reopen(exchange, known=call.sent.number - 1, held=[b"1"])
    [again] = exchanges(exchange)
    assert again.others == call.others
    exchange.receive(exchange_reply(), 0.0)
    assert [job.id for job in exchange.ready] == ["1"]


def test_a_charged_suspect_runs_alone() -> None:
    exchange = open_exchange()
    suspect(exchange, attempts=CHARGED)
    exchange.receive(exchange_reply(), 0.0) if exchanges(exchange) else None
    job = start(exchange)
    assert (exchange.charged, job.crashes) == (True, 1)
    exchange.asked = True
    [call] = exchanges(exchange)
    assert (call.want_suspects, call.alone) == (0, False)
    exchange.receive(exchange_reply(), 0.0)
    exchange.complete_with(job, None)
    assert (exchange.charged, exchange.suspects) == (False, 0)


def test_suspects_are_asked_for_a_sixteenth_of_the_slots_at_a_time() -> None:
    exchange = open_exchange(concurrency=64)
    exchange.asked = True
    [call] = exchanges(exchange)
    assert (call.want, call.want_suspects) == (64, 4)
    exchange.receive(
        exchange_reply({"1": RECORD, "2": RECORD}, extras=[0, UNCHARGED, b"", b"1", 1, UNCHARGED, b"", b"1"]),
        0.0,
    )
    [call] = exchanges(exchange)
    assert (call.want_suspects, call.alone) == (2, False)


def test_a_suspect_given_back_takes_its_place_among_them() -> None:
    exchange = open_exchange()
    suspect(exchange)
    exchange.release(exchange.unconfirmed[0])
    [call] = exchanges(exchange)
    assert call.others[-1][:3] == (b"q", b"1", b"\x011")


def test_a_worker_without_suspects_looks_again_when_some_are_left() -> None:
    exchange = open_exchange()
    claim(exchange, {}, flags=SUSPECTS_LEFT)
    assert len(exchanges(exchange)) == 1


# The lease.


def test_a_lost_lease_ends_all_calls_until_a_new_number_is_taken() -> None:
    exchange, [job] = running(1)
    exchange.complete_with(job, None)
    exchanges(exchange)
    exchange.receive(refused("LEASE lost"), 0.0)
    assert exchange.lease_lost
    exchange.asked = True
    assert poll(exchange) == []
    exchange.start_over(b"78", b"{}")
    assert (exchange.lease_lost, exchange.number, exchange.gathered) == (False, b"78", 0)
    [sent] = poll(exchange)
    assert sent.arguments[6:8] == [b"78", b"1"]


def test_the_lease_counts_from_when_the_answered_call_was_sent() -> None:
    exchange = open_exchange(now=100.0)
    assert exchange.renewed_at == 100.0
    exchange.asked = True
    assert len(exchanges(exchange, 105.0)) == 1
    exchange.receive(exchange_reply(), 109.0)
    assert exchange.renewed_at == 105.0
    exchange.renewed(103.0, exchange.number)
    assert exchange.renewed_at == 105.0
    exchange.renewed(107.0, exchange.number)
    assert exchange.renewed_at == 107.0
    exchange.renewed(109.0, b"another")
    assert exchange.renewed_at == 107.0


# Outcomes that the server cannot take.


def test_a_full_server_gets_the_same_outcomes_again() -> None:
    exchange, [job] = running(1)
    exchange.complete_with(job, "v")
    [before] = exchanges(exchange)
    exchange.receive(refused("OOM command not allowed"), 0.0)
    [again] = exchanges(exchange, 2.0)
    assert (again.completed, again.sent.number) == (before.completed, before.sent.number)


def test_the_one_outcome_that_breaks_the_script_is_found_and_its_job_fails() -> None:
    exchange, jobs = running(8)
    for job in jobs:
        exchange.complete_with(job, f"value of {job.id}")
    completed: dict[bytes, bytes] = {}
    others: list[tuple[bytes, ...]] = []
    applied, now = 2, 0.0
    for _ in range(60):
        now += 2.0
        calls = poll(exchange, now)
        if any(sent.script == "open" for sent in calls):
            held = [str(id).encode() for id in range(1, 9) if str(id).encode() not in completed]
            exchange.receive(open_reply(known=applied, held=held), now)
            applied = 0
            continue
        for call in map(read_exchange, calls):
            if call.sent.number != applied + 1:
                exchange.receive(refused(f"ORDER {applied}"), now)
            elif b"5" in call.completed:
                exchange.receive(refused("ERR user_script: boom"), now)
            else:
                applied = call.sent.number
                completed.update(call.completed)
                others += call.others
                exchange.receive(exchange_reply(), now)
        if exchange.want_reconnect:
            exchange.lost()
        if exchange.settled and others:
            break
    assert sorted(completed) == [b"1", b"2", b"3", b"4", b"6", b"7", b"8"]
    [(kind, id, packed, _, _)] = others
    assert (kind, id) == (b"f", b"5")
    reason = read_outcome(packed, Values(None, "q"), "1").reason
    assert reason is not None
    assert "boom" in reason
    assert exchange.fatal is None


def test_progress_of_a_job_does_not_survive_its_outcome() -> None:
    exchange, [job] = running(1)
    exchange.progress(job, encode(1))
    exchange.complete_with(job, None)
    [call] = exchanges(exchange)
    assert ([other[0] for other in call.others], list(call.completed)) == ([b"p"], [b"1"])
