"""Log lines cannot be forged by names, ids or errors that somebody else has made up."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bullrush

logger = logging.getLogger("bullrush")


def test_the_librarys_logger_escapes() -> None:
    assert bullrush.__name__ == "bullrush"
    assert [type(found).__name__ for found in logger.filters].count("OneLine") == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("7\nERROR all is lost", r"7\x0aERROR all is lost"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("line\u2028break", r"line\u2028break"),
        (ValueError("two\nlines"), r"two\x0alines"),
        ("größe 日本", "größe 日本"),
    ],
)
def test_values_are_shown_on_one_line(value: object, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="bullrush"):
        logger.warning("job %s is odd", value)
    assert caplog.messages == [f"job {shown} is odd"]


def test_long_values_are_cut_and_numbers_stay_numbers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="bullrush"):
        logger.warning("%s after %.1f s, %d times", "x" * 5000, 1.25, 3)
    assert caplog.messages == ["x" * 1000 + "… (5,000 characters) after 1.2 s, 3 times"]


@given(st.text())
def test_no_text_makes_a_second_line(text: str) -> None:
    record = logging.LogRecord("bullrush", logging.WARNING, "", 1, "job %s", (text,), None)
    assert logger.filter(record)
    assert len(record.getMessage().splitlines()) == 1
