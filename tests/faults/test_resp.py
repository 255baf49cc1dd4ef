"""Frames come out of the proxy's parser whole, whatever pieces they came in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.resp import Frames, NotResp, first_words, is_push

FRAMES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"_\r\n",
    b",1.5\r\n",
    b"#t\r\n",
    b"(123456789012345678901234567890\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$6\r\na\r\nb\r\n\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!5\r\nERR x\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$4\r\nPING\r\n*1\r\n:1\r\n",
    b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
    b"~2\r\n:1\r\n:2\r\n",
    b"|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n",
    b">2\r\n+invalidate\r\n*0\r\n",
]


@given(st.lists(st.sampled_from(FRAMES), min_size=1, max_size=8), st.data())
def test_frames_come_out_whole_however_they_were_cut(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    parser = Frames()
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [frame for piece in pieces for frame in parser.feed(piece)] == frames
    assert parser.rest() == b""


@pytest.mark.parametrize("frame", FRAMES)
def test_a_begun_frame_is_the_rest(frame: bytes) -> None:
    parser = Frames()
    assert list(parser.feed(frame[:-1])) == []
    assert parser.rest() == frame[:-1]


@pytest.mark.parametrize("data", [b"PING\r\n", b"\r\n", b"*x\r\n"])
def test_other_protocols_are_refused(data: bytes) -> None:
    with pytest.raises(NotResp):
        list(Frames().feed(data))


def test_words_stop_at_the_end() -> None:
    assert first_words(b"*3\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n0\r\n", 2) == [b"EVALSHA", b"abc"]
    assert first_words(b"*1\r\n$4\r\nPING\r\n", 2) == [b"PING"]


def test_only_pushes_answer_nothing() -> None:
    assert [frame for frame in FRAMES if is_push(frame)] == [b">2\r\n+invalidate\r\n*0\r\n"]
