"""Errors: one tree, attributes, and that they survive pickling and copying."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from bullrush import errors
from bullrush.errors import (
    AddInterrupted,
    BullrushError,
    ConnectionLost,
    HandlerSignal,
    InvalidOption,
    InvalidOptionType,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotInState,
    NotDurable,
    QueueFull,
    RateLimitError,
    ResultTimeout,
    RetryLater,
    ServerError,
    UnrecoverableError,
    WaitForChildren,
)

ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]


def make(cls: type[Exception]) -> Exception:
    """Return an error of any class of the tree, with every attribute different from its default."""
    if issubclass(cls, JobFailed):
        return cls(
            "m",
            job_id="7",
            reason="r",
            error_type="E",
            stacktrace=["a", "b"],
            attempts_made=3,
            took_effect=False,
        )
    if issubclass(cls, JobNotInState):
        return cls("m", job_id="7", state="active", took_effect=None)
    if issubclass(cls, JobError):
        return cls("m", job_id="7", took_effect=None)
    if issubclass(cls, AddInterrupted):
        return cls(2, ["1", "2"])
    if issubclass(cls, NotDurable):
        return cls("m", ids=["1", "2"])
    if issubclass(cls, RateLimitError):
        return cls("5s", scope="group")
    if issubclass(cls, RetryLater):
        return cls("5s")
    if issubclass(cls, BullrushError):
        return cls("m", took_effect=True)
    return cls("m")


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_pickling_keeps_class_text_and_attributes(cls: type[Exception], protocol: int) -> None:
    error = make(cls)
    error.add_note("note")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.args == error.args
    assert vars(again) == vars(error)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copying_keeps_class_text_and_attributes(cls, copier) -> None:
    error = make(cls)
    again = copier(error)
    assert again is not error
    assert (type(again), str(again), vars(again)) == (cls, str(error), vars(error))


def test_a_subclass_with_another_constructor_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(Refused("shop", 5)))
    assert (str(again), again.limit, again.took_effect) == ("shop is full", 5, False)


class Refused(QueueFull):
    def __init__(self, shop: str, limit: int) -> None:
        super().__init__(f"{shop} is full")
        self.limit = limit


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_the_module_docstring_draws_every_class(cls: type[Exception]) -> None:
    assert f"── {cls.__name__}" in errors.__doc__ or cls in (BullrushError, HandlerSignal)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_class_is_in_exactly_one_tree(cls: type[Exception]) -> None:
    assert issubclass(cls, BullrushError) is not issubclass(cls, HandlerSignal)


def test_builtin_classes_catch_what_they_mean() -> None:
    assert issubclass(InvalidOption, ValueError)
    assert issubclass(InvalidOptionType, InvalidOption)
    assert issubclass(InvalidOptionType, TypeError)
    assert issubclass(ResultTimeout, TimeoutError)
    assert not issubclass(InvalidOption, TypeError)
    assert issubclass(JobCancelled, JobFailed)


def test_what_is_unknown_is_not_called_safe() -> None:
    assert ConnectionLost("gone").took_effect is None
    assert ServerError("ERR").took_effect is None
    assert QueueFull("full").took_effect is False
    assert JobFailed("failed", job_id="1").took_effect is True
    assert ResultTimeout("late", job_id="1").took_effect is True


@pytest.mark.parametrize(("added", "took_effect"), [(0, False), (1, True)])
def test_an_interrupted_add_says_what_was_stored(added: int, took_effect: bool) -> None:
    error = AddInterrupted(added, ["x"] * added)
    assert error.took_effect is took_effect
    assert str(added) in str(error)


def test_a_stacktrace_cannot_be_changed_afterwards() -> None:
    lines = ["a"]
    error = JobFailed("m", job_id="1", stacktrace=lines)
    lines.append("b")
    assert error.stacktrace == ("a",)


def test_signals_carry_milliseconds() -> None:
    assert RateLimitError("5s").duration == 5_000
    assert RateLimitError(50).scope == "auto"
    assert (RetryLater("1m").delay, RetryLater("1m").until) == (60_000, None)
    assert (RetryLater(until=10**12).delay, RetryLater(until=10**12).until) == (None, 10**12)
    assert (RetryLater().delay, RetryLater().until) == (None, None)


@pytest.mark.parametrize(
    "make_signal",
    [
        lambda: RateLimitError(0),
        lambda: RateLimitError("5s", scope="all"),
        lambda: RetryLater("5s", until=10**12),
        lambda: RetryLater(until=5),
        lambda: RetryLater(-1),
    ],
)
def test_a_wrong_signal_is_refused_where_it_is_made(make_signal) -> None:
    with pytest.raises(InvalidOption):
        make_signal()


def test_signals_take_a_reason_or_none() -> None:
    assert str(UnrecoverableError("no such user")) == "no such user"
    assert WaitForChildren().args == ()
    with pytest.raises(InvalidOptionType):
        RateLimitError(0.5)
