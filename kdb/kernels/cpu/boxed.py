"""Boxes of a view and deltas in them, in plain numpy: reading the context in, laying values on it, and the reverse.

What the paper calls gather and superimpose (its equations 17 to 20), for boxes of one extent at places of their own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import Delta, Margins

FloatArray = npt.NDArray[np.float32]


def _windows(x: FloatArray, extent: Size, writeable: bool = False) -> FloatArray:
    """Every box of ``extent`` in x [..., H, W, C], as a view: [..., H - h + 1, W - w + 1, h, w, C]."""
    *lead, height, width, channels = x.shape
    *lead_strides, sy, sx, sc = x.strides
    shape = (*lead, height - extent.height + 1, width - extent.width + 1, extent.height, extent.width, channels)
    return as_strided(x, shape, (*lead_strides, sy, sx, sy, sx, sc), writeable=writeable)


def _cells(start: IntArray, count: int, length: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Indices [n, count] from each start, held inside ``[0, length)``, and which of them were inside before."""
    indices = start[:, None] + np.arange(count)
    return np.clip(indices, 0, length - 1), (indices >= 0) & (indices < length)


def gather(view: FloatArray, boxes: Boxes) -> FloatArray:
    """``view[B]`` [n, h, w, C]; the boxes lie inside the view."""
    return _windows(view, boxes.extent)[boxes.origins[:, 0], boxes.origins[:, 1]]


def replace(view: FloatArray, boxes: Boxes, value: FloatArray, out: FloatArray) -> None:
    """``value - view[B]`` into ``out`` [n, h, w, C]."""
    # A position at a time: so large an array in between costs more in page faults than the subtraction itself.
    for target, (y, x) in zip(out, boxes.origins.tolist(), strict=True):
        np.subtract(value, view[y : y + boxes.extent.height, x : x + boxes.extent.width], out=target)


def read_in(view: FloatArray, boxes: Boxes, outside: float) -> FloatArray:
    """``view[B]`` [n, h, w, C]; cells off the map are ``outside``."""
    height, width = view.shape[:2]
    ends = boxes.origins + boxes.extent
    if boxes.origins.min() >= 0 and (ends <= (height, width)).all():
        return gather(view, boxes)
    rows, rows_inside = _cells(boxes.origins[:, 0], boxes.extent.height, height)
    columns, columns_inside = _cells(boxes.origins[:, 1], boxes.extent.width, width)
    context = view[rows[:, :, None], columns[:, None, :]]
    context[~(rows_inside[:, :, None] & columns_inside[:, None, :])] = outside
    return context


def pad(x: FloatArray, margins: Margins, value: float) -> FloatArray:
    """``value`` around x [n, h, w, C]; a negative margin crops."""
    top, left, bottom, right = margins
    crop = [
        slice(max(-before, 0), length - max(-after, 0))
        for before, after, length in ((top, bottom, x.shape[1]), (left, right, x.shape[2]))
    ]
    x = x[:, crop[0], crop[1]]
    width = [(0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
    return np.pad(x, width, constant_values=value) if max(margins) > 0 else x


def padded(x: FloatArray, margins: Margins, out: FloatArray | None = None) -> FloatArray:
    """x [n, h, w, C] with zero margins (top, left, bottom, right) around it, in ``out`` where that is given.

    x itself where there is neither.
    """
    top, left, bottom, right = margins
    n, height, width, channels = x.shape
    if out is None:
        if not any(margins):
            return x
        out = np.empty((n, top + height + bottom, left + width + right, channels), x.dtype)
    rows, columns = slice(top, top + height), slice(left, left + width)
    out[:, :top] = out[:, rows.stop :] = 0
    out[:, rows, :left] = out[:, rows, columns.stop :] = 0
    out[:, rows, columns] = x
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
        (top, left), (bottom, right), (y, x) = start, stop, offset
        if top < bottom and left < right:
            frame[top:bottom, left:right] = value[top - y : bottom - y, left - x : right - x]
    return embedded


def superimpose(target: FloatArray, frames: Boxes, values: FloatArray, boxes: Boxes) -> None:
    """``target[B] += values``, in place."""
    margins = boxes.margins(frames)
    if margins is None:
        target += embed(values, boxes, frames)
    else:
        top, left = margins[:2]
        target[:, top : top + boxes.extent.height, left : left + boxes.extent.width] += values


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
