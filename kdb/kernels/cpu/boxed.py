"""Boxes of a view and deltas in them, in plain numpy: reading the context in, laying values on it, and the reverse.

What the paper calls gather and superimpose (its equations 17 to 20), for boxes of one extent at places of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import lt, sub
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kdb.geometry import Boxes, IntArray, Margins, Part, Size
from kdb.kernels.base import Delta

FloatArray = npt.NDArray[np.float32]


def _windows(view: FloatArray, extent: Size) -> FloatArray:
    """Every box of ``extent`` in a view [H, W, C], as a view of it: [H - h + 1, W - w + 1, h, w, C]; so in any rank."""
    *size, channels = view.shape
    *strides, step = view.strides
    places = (length - part + 1 for length, part in zip(size, extent, strict=True))
    return as_strided(view, (*places, *extent, channels), (*strides, *strides, step), writeable=False)


def held(indices: IntArray, length: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Indices held inside ``[0, length)``, and which of them were inside before."""
    return np.clip(indices, 0, length - 1), (indices >= 0) & (indices < length)


def gather(view: FloatArray, boxes: Boxes) -> FloatArray:
    """``view[B]`` [n, h, w, C]; the boxes lie inside the view."""
    gathered: FloatArray = _windows(view, boxes.extent)[tuple(boxes.origins.T)]
    return gathered


def replace(view: FloatArray, boxes: Boxes, value: FloatArray, out: FloatArray) -> None:
    """``value - view[B]`` into ``out`` [n, h, w, C]."""
    # A position at a time: so large an array in between costs more in page faults than the subtraction itself.
    for target, origin in zip(out, boxes.origins.tolist(), strict=True):
        part = tuple(slice(start, start + n) for start, n in zip(origin, boxes.extent, strict=True))
        np.subtract(value, view[part], out=target)


def read_in(view: FloatArray, boxes: Boxes, outside: float) -> FloatArray:
    """``view[B]`` [n, h, w, C]; cells off the map are ``outside``."""
    size = view.shape[:-1]
    if boxes.origins.min() >= 0 and (boxes.origins + boxes.extent <= size).all():
        return gather(view, boxes)
    cells = (start[:, None] + np.arange(count) for start, count in zip(boxes.origins.T, boxes.extent, strict=True))
    indices, inside = zip(*map(held, cells, size), strict=True)
    context: FloatArray = view[crossed(indices)]
    context[~reduce(np.logical_and, crossed(inside))] = outside
    return context


def crossed(by_axis: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
    """Arrays [n, length] of each axis so that they broadcast to [n, *lengths]."""
    rank = len(by_axis)
    return tuple(
        each.reshape(len(each), *(each.shape[1] if other == axis else 1 for other in range(rank)))
        for axis, each in enumerate(by_axis)
    )


def pad(x: FloatArray, margins: Margins, value: float) -> FloatArray:
    """``value`` around x [n, h, w, C]; a negative margin crops."""
    sides = _sides(margins)
    cropped = (
        slice(max(-before, 0), length - max(-after, 0))
        for (before, after), length in zip(sides, x.shape[1:-1], strict=True)
    )
    x = x[:, *cropped]
    around = [(0, 0), *((max(before, 0), max(after, 0)) for before, after in sides), (0, 0)]
    return np.pad(x, around, constant_values=value) if max(margins) > 0 else x


def _sides(margins: Margins) -> list[tuple[int, int]]:
    """Before and behind, along each axis."""
    rank = len(margins) // 2
    return list(zip(margins[:rank], margins[rank:], strict=True))


def padded(x: FloatArray, margins: Margins, out: FloatArray | None = None) -> FloatArray:
    """x [n, h, w, C] with zero ``margins`` around it, in ``out`` where that is given.

    x itself where there is neither.
    """
    if out is None and not any(margins):
        return x
    sides, size = _sides(margins), x.shape[1:-1]
    if out is None:
        lengths = (before + length + after for (before, after), length in zip(sides, size, strict=True))
        out = np.empty((len(x), *lengths, x.shape[-1]), x.dtype)
    inside: tuple[slice, ...] = (slice(None),)
    for (before, _), length in zip(sides, size, strict=True):  # the slabs around, an axis after the other
        out[*inside, :before] = out[*inside, before + length :] = 0
        inside = *inside, slice(before, before + length)
    out[inside] = x
    return out


def embed(values: FloatArray, boxes: Boxes, frames: Boxes, out: FloatArray | None = None) -> FloatArray:
    """Zeros over ``frames`` with ``values`` at ``boxes``; what falls outside a frame is dropped."""
    margins = boxes.margins(frames)
    if margins is not None:
        return padded(values, margins, out)
    embedded = np.empty((len(values), *frames.extent, values.shape[-1]), np.float32) if out is None else out
    embedded[...] = 0
    offsets = boxes.origins - frames.origins
    starts, stops = np.maximum(offsets, 0), np.minimum(offsets + boxes.extent, frames.extent)
    # A slice each: one pass over the values, where indexing all at once takes two and a canvas around the frames.
    for frame, value, offset, start, stop in zip(
        embedded, values, offsets.tolist(), starts.tolist(), stops.tolist(), strict=True
    ):
        if all(map(lt, start, stop)):
            there = map(slice, map(sub, start, offset), map(sub, stop, offset))
            frame[tuple(map(slice, start, stop))] = value[tuple(there)]
    return embedded


def superimpose(target: FloatArray, frames: Boxes, values: FloatArray, boxes: Boxes) -> None:
    """``target[B] += values``, in place."""
    margins = boxes.margins(frames)
    if margins is None:
        target += embed(values, boxes, frames)
    else:
        target[Part(margins[: len(boxes.extent)], boxes.extent).slices] += values


def within(delta: Delta, frames: Boxes) -> Delta:
    """What of a delta lies in ``frames``; all of it where that differs from box to box."""
    part = delta.boxes.meeting(frames)
    if part is None or part.extent == delta.boxes.extent:
        return delta
    return Delta(delta.boxes.part(part), delta.values[part.slices].copy(), donate=True)


def context(delta: Delta, view: FloatArray, frames: Boxes, outside: float) -> FloatArray:
    """``view + d`` over ``frames``; cells off the map are ``outside``."""
    values = read_in(view, frames, outside)
    superimpose(values, frames, delta.values, delta.boxes)
    return values
