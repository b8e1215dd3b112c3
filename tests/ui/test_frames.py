"""Frames: what is encoded is decoded, and all other bytes are refused as such."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdb.ui.server import frames
from kdb.ui.server.frames import BUFFERS, HEADER, Malformed, decoded, encoded

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=20)
CONTENTS = st.dictionaries(st.text(), VALUES)
BYTES = st.lists(st.binary(max_size=40), max_size=BUFFERS)


def framed(header: object, rest: bytes = b"") -> bytes:
    """A frame with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + bytes(-(4 + len(text)) % 8) + rest


@given(content=CONTENTS, buffers=BYTES)
def test_what_is_encoded_is_decoded(content: dict[str, object], buffers: list[bytes]) -> None:
    frame = encoded(content, [memoryview(each) for each in buffers])
    got, views = decoded(frame)
    assert got == content and [bytes(each) for each in views] == buffers
    assert len(frame) % 8 == 0


@given(buffers=BYTES)
def test_buffers_begin_at_multiples_of_eight(buffers: list[bytes]) -> None:
    frame = encoded({"kind": "map"}, buffers)
    start = -(-(4 + int.from_bytes(frame[:4], "little")) // 8) * 8
    for each in buffers:
        assert frame[start : start + len(each)] == each
        start += -(-len(each) // 8) * 8
    assert start == len(frame)


@given(frame=st.binary(max_size=200))
@example(b"")
@example(b"\xff\xff\xff\xff")
def test_any_bytes_are_a_frame_or_refused(frame: bytes) -> None:
    try:
        content, buffers = decoded(frame)
    except Malformed:
        return
    assert decoded(encoded(content, buffers))[0] == content


@given(content=CONTENTS, buffers=BYTES, data=st.data())
def test_a_damaged_frame_is_a_frame_or_refused(
    content: dict[str, object], buffers: list[bytes], data: st.DataObject
) -> None:
    frame = bytearray(encoded(content, buffers))
    for place in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        frame[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for each in (bytes(frame), bytes(frame[:cut]), bytes(frame) + bytes(8)):
        with suppress(Malformed):
            decoded(each)


@given(header=VALUES, rest=st.binary(max_size=24))
def test_any_header_is_one_or_refused(header: object, rest: bytes) -> None:
    try:
        content, _ = decoded(framed(header, rest))
    except Malformed:
        return
    assert isinstance(header, dict) and header["content"] == content


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b"\0\0", "shorter"),
        ((HEADER + 1).to_bytes(4, "little") + bytes(HEADER + 12), "longer"),
        (framed(b"{"), "no JSON"),
        (framed(b"\xff\xff"), "no JSON"),
        (framed(b'{"content": {"a": NaN}, "lengths": []}'), "no JSON"),
        (framed(b'{"content": {"a": 1e999}, "lengths": []}'), "no JSON"),
        (framed(b"[" * 500_000), "no JSON"),
        (framed(b"1" * 10_000), "no JSON"),
        (framed([]), "alone"),
        (framed({"content": {}}), "alone"),
        (framed({"content": {}, "lengths": [], "more": 1}), "alone"),
        (framed({"content": [], "lengths": []}), "no object"),
        (framed({"content": {}, "lengths": 3}), "no list"),
        (framed({"content": {}, "lengths": [0] * (BUFFERS + 1)}), "more than"),
        (framed({"content": {}, "lengths": [-1]}), "no number of bytes"),
        (framed({"content": {}, "lengths": [True]}), "no number of bytes"),
        (framed({"content": {}, "lengths": [8.0]}, bytes(8)), "no number of bytes"),
        (framed({"content": {}, "lengths": [10**30]}, bytes(8)), "longer"),
        (framed({"content": {}, "lengths": [16]}, bytes(8)), "longer"),
        (framed({"content": {}, "lengths": [5]}, bytes(5)), "fills"),
        (framed({"content": {}, "lengths": [5]}, bytes(7) + b"\1"), "fills"),
        (framed({"content": {}, "lengths": []}, bytes(8)), "goes on"),
    ],
)  # fmt: skip
def test_a_frame_that_is_none_is_refused_with_the_reason(frame: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        decoded(frame)


def test_what_json_has_not_is_not_encoded() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            frames.encoded({"value": value})
    with pytest.raises(TypeError):
        frames.encoded({"value": object()})


def test_buffers_are_not_copied() -> None:
    frame = encoded({}, [b"12345678", b"3"])
    assert all(view.obj is frame for view in decoded(frame)[1])
