"""The options of a worker, checked and brought into the one form that the rest of the library uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast, get_args

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options.checks import check_keep, not_available
from bullrush.options.durations import duration_ms, format_duration
from bullrush.options.foreign import WORKER_HINTS, unknown_option
from bullrush.options.texts import check_choice, check_int, check_text
from bullrush.options.types import BackoffFunction, Executor, Lifespan, Middleware, UnknownName
from bullrush.options.values import Keep, RateLimit, Recycle

DEFAULT_LEASE: Final = 30_000
SHORTEST_LEASE: Final = 1_000
HANG_LEASES: Final = 10

# Whoever builds one of these takes its name out here; their values are checked already.
NOT_YET_AVAILABLE_WORKER: Final[frozenset[str]] = frozenset({"group_concurrency", "group_limit", "recycle"})
NOT_YET_AVAILABLE_EXECUTORS: Final[frozenset[str]] = frozenset({"process"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The options of a worker, all valid. Durations are ms, None is "not given"."""

    concurrency: int = 1
    limiter: RateLimit | None = None
    lease: int = DEFAULT_LEASE
    hang_limit: int = HANG_LEASES * DEFAULT_LEASE
    max_crashes: int = 2
    prefetch: int | Literal["auto"] = "auto"
    executor: Executor = "auto"
    backoffs: Mapping[str, BackoffFunction] = field(default_factory=dict[str, BackoffFunction])
    group_concurrency: int | None = None
    group_limit: RateLimit | None = None
    remove_on_complete: Keep | None = None
    remove_on_fail: Keep | None = None
    name: str | None = None
    lifespan: Lifespan | None = None
    middleware: tuple[Middleware, ...] = ()
    never_retry: tuple[type[BaseException], ...] = ()
    unknown: UnknownName = "park"
    recycle: Recycle | None = None


Check: TypeAlias = Callable[[object, str], object]

DEFAULT_WORKER_SETTINGS: Final = WorkerSettings()


def _wrong_type(value: object, what: str, wanted: str) -> InvalidOptionType:
    return InvalidOptionType(f"{what} is {value!r} ({type(value).__name__}); it must be {wanted}")


def _at_least_one(value: object, what: str) -> int:
    return check_int(value, what, 1)


def _lease(value: object, what: str) -> int:
    return duration_ms(value, what, least=SHORTEST_LEASE)


def _prefetch(value: object, what: str) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(value, what, '"auto" or a number of jobs')
    return check_int(value, what, 0)


def _executor(value: object, what: str) -> str:
    return check_choice(value, what, get_args(Executor))


def _unknown(value: object, what: str) -> str:
    return check_choice(value, what, get_args(UnknownName))


def _callable(value: object, what: str) -> object:
    if callable(value):
        return value
    raise _wrong_type(value, what, "callable")


def _lifespan(value: object, what: str) -> object:
    if hasattr(value, "__aenter__"):  # what @asynccontextmanager returns can be called too, as a decorator
        raise _wrong_type(value, what, "the function that makes it, without a call")
    return _callable(value, what)


def _backoffs(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, what, "a mapping of names to functions")
    functions = cast("Mapping[object, object]", value)
    return {
        check_text(name, f"name in {what}"): _callable(function, f"{what}[{name!r}]")
        for name, function in functions.items()
    }


def _middleware(value: object, what: str) -> tuple[object, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong_type(value, what, "a sequence of functions")
    return tuple(_callable(layer, f"each of {what}") for layer in cast("Iterable[object]", value))


def _is_exception_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _never_retry(value: object, what: str) -> tuple[object, ...]:
    classes = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    for cls in classes:
        if not _is_exception_class(cls):
            raise _wrong_type(cls, f"each of {what}", "an exception class")
    return classes


def _rate_limit(value: object, what: str) -> RateLimit:
    if isinstance(value, RateLimit):
        return value
    raise _wrong_type(value, what, "a RateLimit")


def _recycle(value: object, what: str) -> Recycle:
    if isinstance(value, Recycle):
        return value
    raise _wrong_type(value, what, "a Recycle")


CHECKS: Final[dict[str, Check]] = {
    "concurrency": _at_least_one,
    "limiter": _rate_limit,
    "lease": _lease,
    "hang_limit": _lease,
    "max_crashes": _at_least_one,
    "prefetch": _prefetch,
    "executor": _executor,
    "backoffs": _backoffs,
    "group_concurrency": _at_least_one,
    "group_limit": _rate_limit,
    "remove_on_complete": check_keep,
    "remove_on_fail": check_keep,
    "name": check_text,
    "lifespan": _lifespan,
    "middleware": _middleware,
    "never_retry": _never_retry,
    "unknown": _unknown,
    "recycle": _recycle,
}
# What has None as its default may be given it.
NULLABLE: Final = frozenset(
    {
        "limiter",
        "hang_limit",
        "backoffs",
        "group_concurrency",
        "group_limit",
        "remove_on_complete",
        "remove_on_fail",
        "name",
        "lifespan",
        "recycle",
    }
)


def worker_settings(options: Mapping[str, object]) -> WorkerSettings:
    """Check the options of a worker and return them in their one form.

    Raises InvalidOption (InvalidOptionType for a wrong type) naming option and value.
    """
    values = {name: _checked(name, value) for name, value in options.items() if not _is_left_out(name, value)}
    for name in NOT_YET_AVAILABLE_WORKER.intersection(values):
        raise not_available(name, options[name])
    if values.get("executor") in NOT_YET_AVAILABLE_EXECUTORS:
        raise not_available("executor", options["executor"])
    values.setdefault("hang_limit", HANG_LEASES * cast("int", values.get("lease", DEFAULT_LEASE)))
    settings = WorkerSettings(**values)  # type: ignore[arg-type]  # each was made by its check
    if settings.hang_limit < settings.lease:
        raise InvalidOption(
            f"hang_limit is {format_duration(settings.hang_limit)}, which is less than the lease "
            f"of {format_duration(settings.lease)}"
        )
    return settings


def _is_left_out(name: str, value: object) -> bool:
    return value is None and name in NULLABLE


def _checked(name: str, value: object) -> object:
    check = CHECKS.get(name)
    if check is None:
        raise unknown_option(name, value, CHECKS, WORKER_HINTS)
    return check(value, name)
