"""The options of a job, checked and brought into the one form that the rest of the library uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias, cast, get_args

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options.backoff import DEFAULT_BACKOFF, Backoff
from bullrush.options.checks import check_backoff, check_keep, not_available
from bullrush.options.durations import duration_ms, time_ms
from bullrush.options.foreign import JOB_HINTS, unknown_option
from bullrush.options.texts import check_bool, check_choice, check_int, check_job_id, check_text
from bullrush.options.types import OnChildFailure
from bullrush.options.values import Deduplication, JobRef, Keep, Replicas
from bullrush.options.wire import pack_options, unpack_options

MAX_PRIORITY: Final = 2_097_151
# Bytes: what the decoder takes, which has room for name and options beside it.
MAX_SIZE_LIMIT: Final = 64 * 1024 * 1024

# Whoever builds one of these takes its name out here; their values are checked already.
NOT_YET_AVAILABLE: Final[frozenset[str]] = frozenset({"group", "parent", "on_child_failure", "keep_result"})
# Two of the same options never share these, so remembering them would only push others out.
_SINGULAR: Final = frozenset({"job_id", "run_at", "parent", "deduplication"})
# The worker's own value of these wins over the queue's default, not over the job's.
RETENTION: Final = ("remove_on_complete", "remove_on_fail")
_REMEMBERED: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """The options of a job, all valid. Durations and times are ms, None is "not given".

    ``wire`` is the msgpack map of what a worker needs to know, None if that is nothing. ``weak`` names the
    options that only the queue's defaults gave, so that a worker's own may win over them.
    """

    job_id: str | None = None
    delay: int = 0
    run_at: int | None = None
    priority: int = 0
    lifo: bool = False
    attempts: int = 1
    backoff: Backoff | None = None
    timeout: int | None = None
    expires_in: int | None = None
    remove_on_complete: Keep | None = None
    remove_on_fail: Keep | None = None
    keep_result: int | None = None
    deduplication: Deduplication | None = None
    group: str | None = None
    parent: JobRef | None = None
    on_child_failure: str | None = None
    keep_logs: int | None = None
    stack_trace_limit: int | None = None
    size_limit: int | None = None
    durability: Literal["fsync"] | Replicas | None = None
    weak: tuple[str, ...] = ()
    wire: bytes | None = None


Check: TypeAlias = Callable[[object, str], object]

DEFAULT_SETTINGS: Final = JobSettings()


def _duration(value: object, what: str) -> int:
    return duration_ms(value, what)


def _positive_duration(value: object, what: str) -> int:
    return duration_ms(value, what, least=1)


def _run_limit(value: object, what: str) -> int:
    return duration_ms(value, what, least=1, wait=True)


def _count(value: object, what: str) -> int:
    return check_int(value, what, 0)


def _priority(value: object, what: str) -> int:
    return check_int(value, what, 0, MAX_PRIORITY)


def _attempts(value: object, what: str) -> int:
    return check_int(value, what, 1, 1_000_000)


def _size_limit(value: object, what: str) -> int:
    return check_int(value, what, 1, MAX_SIZE_LIMIT)


def _durability(value: object, what: str) -> Literal["fsync"] | Replicas | None:
    """None is memory: what the server does by itself."""
    if isinstance(value, Replicas):
        return value
    if value is not None and not isinstance(value, str):
        raise InvalidOptionType(
            f"{what} is {value!r} ({type(value).__name__}); it must be 'memory', 'fsync', "
            "'replica' or Replicas(n)"
        )
    level = check_choice(value, what, ("memory", "fsync", "replica"))
    return "fsync" if level == "fsync" else Replicas() if level == "replica" else None


def _deduplication(value: object, what: str) -> Deduplication:
    if isinstance(value, Deduplication):
        return value
    raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be a Deduplication")


def _parent(value: object, what: str) -> JobRef:
    ref = value if isinstance(value, JobRef) else getattr(value, "ref", None)
    if isinstance(ref, JobRef):
        return ref
    raise InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be a Job or a JobRef")


def _on_child_failure(value: object, what: str) -> str:
    return check_choice(value, what, get_args(OnChildFailure))


CHECKS: Final[dict[str, Check]] = {
    "job_id": check_job_id,
    "delay": _duration,
    "run_at": time_ms,
    "priority": _priority,
    "lifo": check_bool,
    "attempts": _attempts,
    "backoff": check_backoff,
    "timeout": _run_limit,
    "expires_in": _positive_duration,
    "remove_on_complete": check_keep,
    "remove_on_fail": check_keep,
    "keep_result": _positive_duration,
    "deduplication": _deduplication,
    "group": check_text,
    "parent": _parent,
    "on_child_failure": _on_child_failure,
    "keep_logs": _count,
    "stack_trace_limit": _count,
    "size_limit": _size_limit,
    "durability": _durability,
}
TEMPLATE_REFUSES: Final = frozenset({"job_id", "delay", "run_at", "deduplication", "parent", "durability"})

_remembered: dict[tuple[object, ...], JobSettings] = {}


def job_settings(options: Mapping[str, object], weak: tuple[str, ...] = ()) -> JobSettings:
    """Check the options of a job and return them in their one form.

    ``weak`` names those that come from the queue's defaults alone. Raises InvalidOption (InvalidOptionType
    for a wrong type) naming option and value. The same options return the same object, as long as it is
    remembered; no options return DEFAULT_SETTINGS.
    """
    if not options:
        return DEFAULT_SETTINGS
    if not _SINGULAR.isdisjoint(options):
        return _checked_settings(options, weak)
    # Types belong to the key: True == 1 == 1.0, but they do not mean the same.
    key = (weak, *options.items(), *map(type, options.values()))
    try:
        settings = _remembered.get(key)
    except TypeError:  # a value that cannot be hashed; the check says what is wrong with it
        return _checked_settings(options, weak)
    if settings is None:
        settings = _checked_settings(options, weak)
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        _remembered[key] = settings
    return settings


def template_settings(options: Mapping[str, object]) -> JobSettings:
    """Check the options of a scheduler's template, which are those of a job that can hold for many."""
    for name in TEMPLATE_REFUSES.intersection(options):
        raise InvalidOption(
            f"{name}={options[name]!r} cannot be an option of a scheduler's jobs; leave it out"
        )
    return job_settings(options)


@lru_cache(maxsize=_REMEMBERED)
def settings_from_wire(wire: bytes) -> JobSettings:
    """Return the settings in the options of a job record; what only a newer version knows is skipped.

    Raises CodecError when the bytes are no such options.
    """
    return _make_settings(unpack_options(wire), wire)


def merge_options(defaults: Mapping[str, object], options: Mapping[str, object]) -> Mapping[str, object]:
    """Return ``defaults`` with ``options`` over them; a delay replaces a default run_at, and the reverse."""
    if not defaults:
        return options
    if not options:
        return defaults
    merged = {**defaults, **options}
    if "delay" in options and "run_at" not in options:
        merged.pop("run_at", None)
    elif "run_at" in options and "delay" not in options:
        merged.pop("delay", None)
    return merged


def weak_options(defaults: Mapping[str, object], options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of retention options that only the defaults give."""
    return tuple(name for name in RETENTION if name in defaults and name not in options)


def _checked_settings(options: Mapping[str, object], weak: tuple[str, ...]) -> JobSettings:
    values = {name: _checked(name, value, options) for name, value in options.items()}
    if "delay" in values and "run_at" in values:
        raise InvalidOption(
            f"delay={options['delay']!r} and run_at={options['run_at']!r} exclude each other; give one"
        )
    for name in NOT_YET_AVAILABLE.intersection(options):
        raise not_available(name, options[name])
    dedup = cast("Deduplication | None", values.get("deduplication"))
    if dedup is not None and dedup.mode == "debounce" and not (values.get("delay") or "run_at" in values):
        raise InvalidOption(
            f"deduplication={dedup!r} debounces, so the job needs a delay: each add replaces the one before"
        )
    if weak:
        values["weak"] = weak
    return _make_settings(values, pack_options(values))


def _checked(name: str, value: object, options: Mapping[str, object]) -> object:
    check = CHECKS.get(name)
    if check is None:
        raise unknown_option(name, value, CHECKS, JOB_HINTS)
    return check(value, name)


def _make_settings(values: dict[str, object], wire: bytes | None) -> JobSettings:
    if cast("int", values.get("attempts", 1)) > 1:
        values.setdefault("backoff", DEFAULT_BACKOFF)
    return JobSettings(**values, wire=wire)  # type: ignore[arg-type]  # each was made by its check
