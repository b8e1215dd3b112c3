"""Damages bytes and data at random: a few bytes, a length, a tail, a value; and values that are likely to hurt."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

NUMBERS = (0, 1, -1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1)
"""Numbers where something ends."""
REALS = (0.0, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "..", "/etc/passwd", "\x1b[2J", "a" * 5000, "\0", "\udc80", "'; DROP TABLE models; --", "{stem}", "%s%n")


def damaged(data: bytes, draw: random.Random, head: int = 400) -> bytes:
    """``data`` with one to eight changes, of which half are within the first ``head`` bytes."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if not changed:
            break
        within = min(len(changed), head) if draw.random() < 0.5 else len(changed)
        at = draw.randrange(within)
        draw.choice(_CHANGES)(changed, at, draw)
    return bytes(changed)


def _flip(data: bytearray, at: int, draw: random.Random) -> None:
    data[at] ^= 1 << draw.randrange(8)


def _byte(data: bytearray, at: int, draw: random.Random) -> None:
    data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _number(data: bytearray, at: int, draw: random.Random) -> None:
    order, size = draw.choice("<>"), draw.choice((2, 4, 8))
    number = draw.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = struct.pack(order + {2: "H", 4: "I", 8: "Q"}[size], number)


def _cut(data: bytearray, at: int, draw: random.Random) -> None:
    if draw.random() < 0.3:
        del data[at:]
    else:
        del data[at : at + draw.choice((1, 2, 4, 64, 1000))]


def _repeat(data: bytearray, at: int, draw: random.Random) -> None:
    data[at:at] = data[at : at + draw.choice((1, 4, 16, 200))] * draw.choice((1, 2, 50))


def _move(data: bytearray, at: int, draw: random.Random) -> None:
    other, size = draw.randrange(len(data)), draw.choice((1, 4, 16, 100))
    data[at : at + size] = data[other : other + size]


_Change = Callable[[bytearray, int, random.Random], None]
_CHANGES: tuple[_Change, ...] = (_flip, _byte, _byte, _number, _cut, _repeat, _move)


def value(old: Any, draw: random.Random) -> Any:
    """Another value, of the type of ``old`` more often than not."""
    if draw.random() < 0.15:
        return draw.choice((None, True, [], {}, 0, "x", 0.5))
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return draw.choice((*NUMBERS, old + 1, old - 1, -old))
    if isinstance(old, float):
        return draw.choice((*REALS, old * 1e6, -old))
    if isinstance(old, str):
        return draw.choice((*TEXTS, old + "x", old[:-1], old.upper()))
    return old


def tree(data: Any, draw: random.Random) -> Any:
    """Data in terms of JSON, of which a few values, keys or elements are replaced, left out, doubled or exchanged."""
    if not isinstance(data, dict | list):
        return value(data, draw)
    places = list(_places(data))
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not places:
            break
        holder, key = draw.choice(places)
        change = draw.randrange(5)
        try:
            if change <= 2:
                holder[key] = value(holder[key], draw)
            elif change == 3:
                del holder[key]
            elif isinstance(holder, list):
                holder.insert(key, holder[draw.randrange(len(holder))])
            else:
                holder[draw.choice(TEXTS)] = holder.pop(key)
        except (KeyError, IndexError):
            continue  # an earlier change took it away
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(data.items() if isinstance(data, dict) else enumerate(data)):
        yield data, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def png(data: bytes, draw: random.Random) -> bytes:
    """A PNG of which one chunk is damaged and its checksum set right, so that decoding gets to it."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = draw.randrange(len(chunks))
    kind, body = chunks[place]
    chunks[place] = (kind, damaged(body, draw) if body else bytes(draw.randrange(64)))
    if draw.random() < 0.2:
        chunks.insert(draw.randrange(len(chunks)), draw.choice(chunks))
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:8] + b"".join(packed)


def archive(data: bytes, draw: random.Random) -> bytes:
    """A zip of which one part is damaged, left out, doubled or renamed, and the checksums right."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        parts = [(name, file.read(name)) for name in file.namelist()]
    place, change = draw.randrange(len(parts)), draw.randrange(6)
    small = [i for i, (_, part) in enumerate(parts) if 0 < len(part) < 10_000]
    if small and draw.random() < 0.7:  # those that say what is in the others
        place = draw.choice(small)
    name, part = parts[place]
    if change <= 2:
        parts[place] = (name, damaged(part, draw, 128))
    elif change == 3:
        del parts[place]
    elif change == 4:
        parts[place] = (draw.choice((*filter(None, TEXTS[:5]), name + "x", "../" + name)), part)
    else:
        parts[place] = (name, parts[draw.randrange(len(parts))][1])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, part in parts:
            file.writestr(name, part)
    return packed.getvalue()
