"""Names and ids: which texts are allowed where."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullrush.errors import InvalidOption, InvalidOptionType
from bullrush.options import check_job_id, check_name, check_prefix, check_text

NAME_LETTERS = string.ascii_letters + string.digits + "._-"


@given(st.text(NAME_LETTERS, min_size=1, max_size=128))
def test_names_of_these_letters_are_allowed_everywhere(name: str) -> None:
    assert check_name(name, "queue") == name
    assert check_prefix(name) == name
    assert check_prefix(f"{{{name[:126]}}}") == f"{{{name[:126]}}}"


@given(st.text(max_size=140))
def test_other_names_are_refused(name: str) -> None:
    if 1 <= len(name) <= 128 and set(name) <= set(NAME_LETTERS):
        assert check_name(name, "queue") == name
    else:
        with pytest.raises(InvalidOption, match="queue"):
            check_name(name, "queue")


@pytest.mark.parametrize("prefix", ["{shop}", "a{shop}", "{shop}-b", "shop"])
def test_a_prefix_may_mark_its_slot(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix", ["", "{}", "{", "}", "{a", "a}", "{a}{b}", "{{a}}", "a:b", "{" + "a" * 127 + "}"]
)
def test_other_braces_are_refused(prefix: str) -> None:
    with pytest.raises(InvalidOption, match="prefix"):
        check_prefix(prefix)


def test_a_queue_name_has_no_braces() -> None:
    with pytest.raises(InvalidOption):
        check_name("{shop}", "queue")


@given(st.integers())
def test_a_job_id_is_no_integer(number: int) -> None:
    for text in (str(number), f"+{abs(number)}", f"00{abs(number)}"):
        with pytest.raises(InvalidOption, match="job_id"):
            check_job_id(text)


@pytest.mark.parametrize(
    "text", ["order-7", "7a", "1.5", "https://a.b/c?d=e", "a@b.c", "x" * 128, "-", "1_0"]
)
def test_a_job_id_is_printable_ascii(text: str) -> None:
    assert check_job_id(text) == text


@given(st.text(max_size=200))
def test_a_text_has_1_to_255_bytes(text: str) -> None:
    valid = 1 <= len(text.encode(errors="surrogatepass")) <= 255 and "\0" not in text
    valid = valid and not any("\ud800" <= letter <= "\udfff" for letter in text)
    if valid:
        assert check_text(text, "name") == text
    else:
        with pytest.raises(InvalidOption, match="name"):
            check_text(text, "name")


def test_the_length_of_a_text_is_counted_in_bytes() -> None:
    assert check_text("ä" * 127, "name")
    with pytest.raises(InvalidOption, match="256 bytes"):
        check_text("ä" * 128, "name")


@pytest.mark.parametrize("check", [check_name, check_text, check_job_id, check_prefix])
def test_what_is_no_str_is_a_type_error(check) -> None:
    for value in (None, 5, b"a"):
        with pytest.raises(InvalidOptionType):
            check(value, "what")
