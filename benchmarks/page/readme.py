"""The README's table and chart, between two markers."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.charts.specs import charts_of
from benchmarks.page import words
from benchmarks.page.results import FLOOR, NODE, OURS, Measured, role
from benchmarks.page.sections import picture, setting

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# What is compared: in words, the case, and the figure (none: the one that decides it).
ROWS = (
    ("process, concurrency 1, jobs/s", "process/1", "rate"),
    ("… concurrency 10", "process/10", "rate"),
    ("… concurrency 100", "process/100", "rate"),
    ("… concurrency 1,000", "process/1000", "rate"),
    ("… `def` handlers in threads", "process_threads/10", "rate"),
    ("producer and worker at once, jobs/s", "produce_and_process/100", "rate"),
    ("add in chunks of 1,000, jobs/s", "add_bulk/1", "rate"),
    ("… two chunks at a time", "add_bulk/2", "rate"),
    ("add from 1,000 tasks, jobs/s", "add_concurrent", "rate"),
    ("add one by one, × a bare PING", "add_sequential", "times_ping"),
    ("Redis CPU a job, batches of 100, µs", "redis_cpu/100", "redis_us"),
    ("server bytes of a waiting job beyond its payload", "memory", "overhead_bytes"),
    ("idle: add to handler start, p50 ms", "latency_idle", "p50_ms"),
    ("… p99 ms", "latency_idle", "p99_ms"),
    ("half load: add to handler start, p99 ms", "latency_load", "p99_ms"),
)


def with_section(readme: str, measured: Measured) -> str:
    """The README with its section written anew. Raises ValueError when it has no markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN} … {END}; the page was not written")
    return "\n".join([before + begin, *_section(measured), end + after])


def _section(measured: Measured) -> Iterator[str]:
    for chart in charts_of(measured):
        if chart.name == "processed":
            yield from picture(chart, "docs/charts")
    yield setting(measured)
    yield "Medians. ✕: thrown away, other programs used the machine. °: it waited for round trips, so it is no limit."
    yield ""
    yield from _table(measured)
    yield ""
    yield (
        "By hand: plain redis-py pipelines of 1,000, no queue: no retries, events, leases or retention. All contenders, "
        "the method, where others win, and what was missed are in [docs/benchmarks.md](docs/benchmarks.md)."
    )


def _table(measured: Measured) -> list[str]:
    python = [name for name in measured.others if role(name) == "rest"]
    head = ["", measured.label(OURS), "BullMQ, Node", "best other in Python", "by hand", "× Node"]
    rows = []
    for text, wanted, key in ROWS:
        case = measured.case(wanted)
        if measured.row(case, OURS) is None or not any(measured.usable(case, n) for n in measured.contenders):
            continue
        cells = [_cell(measured, case, key, OURS), _cell(measured, case, key, NODE)]
        cells += [_best(measured, case, key, python), _cell(measured, case, key, FLOOR)]
        rows.append([text, f"**{cells[0]}**", *cells[1:], _times_node(measured, case, key)])
    return words.table(head, rows)


def _cell(measured: Measured, case: str, key: str, contender: str) -> str:
    if measured.row(case, contender) is None:
        return words.NOTHING
    value = measured.value(case, contender, key)
    return words.THROWN_AWAY if value is None else words.figure(value, key) + measured.mark(case, contender)


def _best(measured: Measured, case: str, key: str, names: list[str]) -> str:
    values = {name: value for name in names if (value := measured.value(case, name, key)) is not None}
    if not values:
        return words.THROWN_AWAY if any(measured.row(case, name) for name in names) else words.NOTHING
    first = (max if key == "rate" else min)(values, key=values.__getitem__)
    return f"{words.figure(values[first], key)}{measured.mark(case, first)} {measured.label(first)}"


def _times_node(measured: Measured, case: str, key: str) -> str:
    ours, node = measured.claim(case, OURS, key), measured.value(case, NODE, key)
    if not ours or not node or key == "times_ping":
        return ""
    return words.ratio(ours / node if key == "rate" else node / ours)
