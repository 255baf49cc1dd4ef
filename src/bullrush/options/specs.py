"""A job to be added, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

from typing_extensions import TypeVar, Unpack

from bullrush.options.jobs import job_settings
from bullrush.options.texts import check_text
from bullrush.options.types import JobOptions

ResultT_co = TypeVar("ResultT_co", covariant=True, default=Any)


@dataclass(frozen=True, init=False)
class JobSpec(Generic[ResultT_co]):
    """A job for add_bulk and add_stream: its name, its data, its options. ``ResultT_co`` is what it returns.

    Raises InvalidOption or InvalidOptionType for a wrong name or option, here and not when it is added.
    """

    __slots__ = (
        "data",
        "name",
        "options",
    )  # slots=True makes a second class, on which JobSpec[int](...) fails

    name: str
    data: object
    options: Mapping[str, object]

    def __init__(self, name: str, data: object = None, **options: Unpack[JobOptions]) -> None:
        job_settings(options)
        object.__setattr__(self, "name", check_text(name, "name"))
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "options", options)

    def __reduce__(self) -> tuple[object, tuple[str, object, Mapping[str, object]]]:
        return _rebuild, (self.name, self.data, self.options)


def _rebuild(name: str, data: object, options: JobOptions) -> JobSpec:
    return JobSpec(name, data, **options)


JobLike: TypeAlias = JobSpec[Any] | tuple[str, Any] | tuple[str, Any, JobOptions]
