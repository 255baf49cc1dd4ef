"""What the factory makes of names, data and options, and what it refuses before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bullrush._core.factory import JobFactory
from bullrush._core.job import JobBase
from bullrush.errors import CodecError, InvalidOption, InvalidOptionType, PayloadTooLarge
from bullrush.options import Deduplication, JobSettings, JobSpec, job_settings
from bullrush.options.texts import check_text

NOW = 1_700_000_000_000


class Owner:
    name = "q"
    codec = None


class Sealer:
    """An envelope that shows what it was given."""

    name = "shown"
    overhead = 5

    def prepare(self, value: object) -> bytes:
        return str(value).encode()

    def restore(self, prepared: bytes) -> object:
        return prepared.decode()

    def seal(self, prepared: bytes, context: bytes) -> bytes:
        return b"12345" + prepared

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        return sealed[5:]


def settings_of(options: Mapping[str, object]) -> JobSettings | None:
    return job_settings(options) if options else None


def factory(limit: int = 1 << 20) -> JobFactory:
    return JobFactory(JobBase, Owner(), None, check_text, settings_of, limit)


def test_a_job_shows_what_it_was_made_of() -> None:
    job = factory().make("work", {"a": 1}, job_settings({"attempts": 3}), NOW)
    assert (job.name, job.timestamp, job.data, job.attempts) == ("work", NOW, {"a": 1}, 3)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256, 7, None, b"work"])
def test_a_name_that_cannot_be_is_refused_the_second_time_as_well(name: str) -> None:
    made = factory()
    for _ in range(2):
        with pytest.raises(InvalidOption, match="job name"):
            made.make(name, None, None, NOW)


def test_the_size_of_the_whole_record_counts() -> None:
    made = factory(limit=100)
    made.make("work", "x" * 60, None, NOW)
    with pytest.raises(PayloadTooLarge, match="the limit is 100"):
        made.make("work", "x" * 90, None, NOW)
    made.make("work", "x" * 900, job_settings({"size_limit": 1000}), NOW)


def test_data_that_cannot_be_encoded_is_named() -> None:
    with pytest.raises(CodecError, match=r"data\.a\[1\]"):
        factory().make("work", {"a": [1, object()]}, None, NOW)


def test_jobs_are_taken_from_tuples_and_specs_and_own_options_win() -> None:
    given = [("a", 1), ("b", 2, {"priority": 5}), JobSpec("c", 3, lifo=True)]
    made = factory().make_all(given, {"priority": 7}, NOW)
    assert [(job.name, job.data, job.priority) for job in made] == [("a", 1, 7), ("b", 2, 5), ("c", 3, 7)]


@pytest.mark.parametrize("wrong", [[1], [("a",)], [("a", 1, 2)], [["a", 1]], ["ab"], 5])
def test_anything_else_is_refused_with_its_place(wrong: list[tuple[str, object]]) -> None:
    with pytest.raises(InvalidOptionType):
        factory().make_all(wrong, {}, NOW)


def test_a_durability_of_one_job_alone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="job 1 has a durability of its own"):
        factory().make_all([("a", 1), ("b", 2, {"durability": "fsync"})], {}, NOW)
    assert len(factory().make_all([("b", 2, {"durability": "fsync"})], {"durability": "fsync"}, NOW)) == 1


def test_sealed_data_has_its_final_size_before_it_is_sealed() -> None:
    owner = Owner()
    owner.codec = Sealer()  # type: ignore[assignment]
    made = JobFactory(JobBase, owner, owner.codec, check_text, settings_of, 1 << 20)
    job = made.make("work", "text", None, NOW)
    assert job._size == factory().make("work", bytes(9), None, NOW)._size
    assert job.data == "text"
    assert made.make("work", None, None, NOW).data is None


def test_a_users_id_is_the_jobs_id_at_once() -> None:
    assert factory().make("work", None, job_settings({"job_id": "mine"}), NOW).id == "mine"
    assert factory().make("work", None, job_settings({"deduplication": Deduplication("k")}), NOW).id == ""
    assert factory().named("9").id == "9"
