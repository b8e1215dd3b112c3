"""A message of the page as the bytes of one frame of the WebSocket.

    4 bytes, little endian     how many bytes the header has
    header                     JSON: {"content": {..}, "lengths": [the bytes of each buffer]}
    zeros                      up to a multiple of 8 from the start
    each buffer, and zeros     up to a multiple of 8

Both sides so look at the buffers as arrays without copying them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from kdb.ui.wire import UPLOAD_LIMIT, Buffer

HEADER = 1 << 20
"""Most bytes of the header of a request: a query's text is much shorter."""
BUFFERS = 16
"""Most buffers of a request, which have one."""
REQUEST = UPLOAD_LIMIT + HEADER + 64
"""Most bytes of a request: an image, with its header."""

_PREFIX = 4


class Malformed(ValueError):
    """Bytes that are no frame; the message says why."""


def encoded(content: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> bytes:
    """The frame of a message.

    Raises ValueError for a number that JSON has not, such as NaN, and TypeError for what JSON cannot say.
    """
    lengths = [memoryview(each).nbytes for each in buffers]
    header = json.dumps({"content": content, "lengths": lengths}, allow_nan=False, separators=(",", ":")).encode()
    parts: list[Buffer] = [len(header).to_bytes(_PREFIX, "little"), header, bytes(-(_PREFIX + len(header)) % 8)]
    for each, length in zip(buffers, lengths, strict=True):
        parts += [each, bytes(-length % 8)]
    return b"".join(parts)


def decoded(frame: bytes) -> tuple[dict[str, Any], list[memoryview]]:
    """The content and the buffers of a request's frame, these as views of it.

    Raises Malformed for whatever :func:`encoded` does not make of a request.
    """
    if len(frame) < _PREFIX:
        raise Malformed("it is shorter than the length of its header")
    end = _PREFIX + int.from_bytes(frame[:_PREFIX], "little")
    if end > min(len(frame), _PREFIX + HEADER):
        raise Malformed("its header is longer than itself, or than headers may be")
    content, lengths = _header(frame[_PREFIX:end])
    view = memoryview(frame)
    start = _padded(view, end)
    buffers = []
    for length in lengths:
        if length > len(frame) - start:
            raise Malformed("its buffers are longer than itself")
        buffers.append(view[start : start + length])
        start = _padded(view, start + length)
    if start != len(frame):
        raise Malformed("it goes on after its last buffer")
    return content, buffers


def _header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        header = json.loads(text.decode(), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Malformed("its header is no JSON") from error
    if not isinstance(header, dict) or header.keys() != {"content", "lengths"}:
        raise Malformed("its header has not content and lengths alone")
    content, lengths = header["content"], header["lengths"]
    if not isinstance(content, dict):
        raise Malformed("its content is no object")
    if not isinstance(lengths, list) or len(lengths) > BUFFERS:
        raise Malformed(f"its lengths are no list, or more than {BUFFERS}")
    if not all(type(each) is int and each >= 0 for each in lengths):
        raise Malformed("a length is no number of bytes")
    return content, lengths


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _padded(frame: memoryview, end: int) -> int:
    """Where the zeros after ``end`` end."""
    start = end + -end % 8
    if start > len(frame) or any(frame[end:start]):
        raise Malformed("what fills it up is missing, or not zeros")
    return start
