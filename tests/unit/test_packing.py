"""What cannot be encoded is refused, with its path and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import msgpack
import pytest

from bullrush._core.codec import encode
from bullrush.errors import CodecError
from tests.unit.test_walker import nested


@dataclass(frozen=True)
class Widget:
    """Something that the codec does not know."""

    size: int = 1


class Shrinking(tzinfo):
    """A time zone that changes the data while it is encoded."""

    def __init__(self, target: list[object] | dict[str, object]) -> None:
        self.target = target

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        self.target.clear()
        return timedelta(0)

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Widget(), "data"),
        ({"user": {"birthday": Widget()}}, "data.user.birthday"),
        ({"rows": [1, {"x": (2, Widget())}]}, "data.rows[1].x[1]"),
        ({"first name": Widget()}, "data['first name']"),
        ({7: Widget()}, "data[7]"),
        ([{"tags": {Widget()}}], "data[0].tags{member}"),
        ({"a": {frozenset({Widget()})}}, "data.a{member}{member}"),
    ],
)
def test_an_unsupported_type_is_named_with_its_path(value: object, path: str) -> None:
    with pytest.raises(CodecError) as caught:
        encode(value)
    assert str(caught.value).startswith(f"{path}: Widget is not supported")
    assert caught.value.took_effect is False


@pytest.mark.parametrize("value", [object, 1j, range(3), iter([]), Ellipsis, {}.keys(), NotImplemented])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(CodecError, match=r"^data\.x: .* is not supported"):
        encode({"x": value})


@pytest.mark.parametrize("key", [None, True, 1.5, b"a", (1,), frozenset(), Widget()])
def test_keys_that_are_not_str_or_int_are_refused(key: object) -> None:
    with pytest.raises(
        CodecError, match=rf"^data\.a\S*: a key of type {type(key).__name__} is not supported"
    ):
        encode({"a": {key: 1}})


@pytest.mark.parametrize(("value", "path"), [("a\ud800", "data"), ({"a": ["\udfff"]}, r"data\.a\[0\]")])
def test_lone_surrogates_are_refused(value: object, path: str) -> None:
    with pytest.raises(CodecError, match=rf"^{path}: the lone surrogate '\\u[d].*' at index \d"):
        encode(value)


def test_a_lone_surrogate_in_a_key_is_refused() -> None:
    with pytest.raises(CodecError, match=r"^data\['\\ud800'\]: the lone surrogate"):
        encode({"\ud800": 1})


@pytest.mark.parametrize("code", range(10))
def test_the_librarys_own_extension_codes_are_not_for_users(code: int) -> None:
    with pytest.raises(CodecError, match=rf"^data: extension code {code} is the library's own"):
        encode(msgpack.ExtType(code, b"x"))


def test_a_long_path_is_cut() -> None:
    with pytest.raises(CodecError) as caught:
        encode(nested(300, Widget()))
    assert str(caught.value).startswith("data[0].a[0].a[0].a...: Widget")


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["children"] = [loop]
    with pytest.raises(CodecError, match=r"^data\.children\[0\]\.children.*must not contain itself"):
        encode(loop)


@pytest.mark.parametrize("target", [list[object](), dict[str, object]()])
def test_data_that_changes_while_it_is_encoded_is_refused(target: list[object] | dict[str, object]) -> None:
    moment = datetime(2026, 1, 1, tzinfo=Shrinking(target))
    if isinstance(target, dict):
        target.update(a=moment, b=2, c=3)
    else:
        target.extend([moment, 2, 3])
    with pytest.raises(CodecError, match=r"while it was encoded|changed size"):
        encode(target)
