"""A server made of dicts that follows the rules of sessions, for producers and for a worker."""

from __future__ import annotations

from collections.abc import Mapping

from bullrush._core.codec import decode, decode_record
from tests.unit import machines as m


class ModelServer:
    """What `open`, `reserve`, `add` and `exchange` do, and all that was stored and settled."""

    def __init__(self, waiting: Mapping[str, bytes] | None = None) -> None:
        self.stored: list[tuple[str, object]] = []
        self.outcomes: list[str] = []
        self._waiting = dict(waiting or {})
        self._held: dict[str, bytes] = {}
        self._sessions: dict[bytes, int] = {}
        self._closed: set[bytes] = set()
        self._answers: dict[bytes, bytes] = {}
        self._last_id = 0

    def run(self, call: m.Sent) -> object:
        if call.script == "open":
            return self._open(call.arguments)
        if call.session in self._closed or call.session not in self._sessions:
            return m.refused("SESSION closed")
        if call.number != self._sessions[call.session] + 1:
            return m.refused(f"ORDER {self._sessions[call.session]}")
        self._sessions[call.session] = call.number
        if call.script == "reserve":
            self._last_id += int(call.arguments[2])
            return self._last_id
        return self._exchange(call) if call.script == "exchange" else self._add(call)

    def claims(self, ids: list[str]) -> tuple[list[str], list[bytes], list[None], list[None]]:
        """What is known of jobs that are held, as it is read after a claim's reply was lost."""
        return list(ids), [self._held[id] for id in ids], [None] * len(ids), [None] * len(ids)

    def _open(self, arguments: list[bytes]) -> object:
        session, previous = arguments[0], arguments[1]
        known = self._sessions.get(previous)
        self._closed.add(previous)
        self._sessions[session] = 0
        self._last_id += int(arguments[2])
        return m.open_reply(
            known=known,
            answer=self._answers.get(previous),
            last_id=self._last_id,
            held=[id.encode() for id in self._held],
        )

    def _add(self, call: m.Sent) -> object:
        plain, others = m.add_counts(call)
        start = 5 if call.script == "add_special" else 4
        assert len(call.arguments) == start + 2 * plain + 3 * others, "a garbled add"
        pairs = call.arguments[start : start + 2 * plain]
        rest = call.arguments[start + 2 * plain :]
        for id, record in [
            *zip(pairs[::2], pairs[1::2], strict=True),
            *zip(rest[::3], rest[1::3], strict=True),
        ]:
            self.stored.append((id.decode(), decode(decode_record(record)[3])))
        self._answers[call.session] = b"%d " % call.number
        return m.add_reply()

    def _exchange(self, call: m.Sent) -> object:
        sent = m.read_exchange(call)
        refused = []
        for id in [*(id.decode() for id in sent.completed), *(other[1].decode() for other in sent.others)]:
            if self._held.pop(id, None) is None:
                refused.append(id.encode())
            else:
                self.outcomes.append(id)
        claimed = {id: self._waiting.pop(id) for id in list(self._waiting)[: sent.want]}
        self._held.update(claimed)
        return m.exchange_reply(claimed, refused=refused, flags=m.MORE if self._waiting else 0)
