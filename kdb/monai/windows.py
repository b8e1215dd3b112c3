"""Where MONAI's windows lie, and how their results are blended into a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdb.adapters.numbers import is_whole, wholes
from kdb.errors import BindError
from kdb.geometry import IntArray, Size

WEIGHT_SIGMA, LEAST_WEIGHT = 0.125, 1e-3
"""Standard deviation of the weights of a window, over its length, and the least weight."""


@dataclass(frozen=True)
class Windows:
    """Windows of ``mask`` cells over the ``region`` of an image, and the ``box`` of the map, both slices by axis.

    Along an axis they are ``int((1 - overlap) * mask)`` cells apart, at least one; where that leaves a rest, one more
    lies at the far edge.
    """

    mask: Size
    overlap: tuple[float, ...]
    region: tuple[slice, ...]
    box: tuple[slice, ...]

    @cached_property
    def positions(self) -> IntArray:
        """The corners int64 [n, axes], the last axis the fastest."""
        starts = map(_starts, self.region, self.mask, self.overlap)
        return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(self.mask))

    def __len__(self) -> int:
        return len(self.positions)

    def blended(self, values: Tensor, weights: Tensor) -> Tensor:
        """``values`` [n, K] of the windows -> [1, K, *box]: at each cell, the mean of those that cover it.

        ``weights`` [*mask] say how much each counts.
        """
        size = [part.stop - part.start for part in self.region]
        total, weight = values.new_zeros(values.shape[1], *size), values.new_zeros(size)
        each_weighted = values.reshape(*values.shape, *[1] * len(size))
        origin = [part.start for part in self.region]
        for value, at in zip(each_weighted, (self.positions - origin).tolist(), strict=True):
            part = tuple(slice(start, start + length) for start, length in zip(at, self.mask, strict=True))
            total[:, *part] += value * weights
            weight[part] += weights
        inside = (
            slice(box.start - part.start, box.stop - part.start)
            for box, part in zip(self.box, self.region, strict=True)
        )
        return (total / weight)[None, :, *inside]


def _starts(region: slice, length: int, overlap: float) -> IntArray:
    extent = region.stop - region.start
    step = max(int(length * (1 - overlap)), 1)
    count = 1 + math.ceil((extent - length) / step)
    starts: IntArray = region.start + np.minimum(np.arange(count, dtype=np.int64) * step, extent - length)
    return starts


def even(windows: Windows) -> Tensor:
    """Weights [*mask]: all count the same."""
    return torch.ones(windows.mask)


def central(windows: Windows) -> Tensor:
    """Weights [*mask]: a Gaussian around the window's centre, ``exp(-x^2 / (2 (l / 8)^2))`` along an axis of length l.

    None is less than 1e-3.
    """
    weights = torch.ones(())
    for length in windows.mask:
        x = torch.arange(length) - (length - 1) / 2
        weights = weights[..., None] * torch.exp(-(x**2) / (2 * (WEIGHT_SIGMA * length) ** 2))
    return weights.clamp(min=max(float(weights.min()), LEAST_WEIGHT))


def bind_windows(mask_size: Any, overlap: Any, b_box: Any, size: Size) -> Windows:
    """The windows on an image of ``size`` cells; raises BindError for what does not fit.

    ``b_box`` is (first, end) of each axis, one after the other, or None for the whole image; below zero they are the
    image's own.  Windows lie over the box and half a window around it, and are no larger than that.
    """
    axes = len(size)
    mask = wholes((mask_size,) * axes if is_whole(mask_size) else tuple(_sequence(mask_size)))
    if mask is None or len(mask) != axes or min(mask) < 1:
        raise BindError(f"mask_size = {mask_size!r}: expected a whole number from 1, or {axes}, one for each axis")
    overlaps = tuple(_sequence(overlap)) or (overlap,) * axes
    if len(overlaps) != axes or not all(_is_share(each) for each in overlaps):
        raise BindError(f"overlap = {overlap!r}: expected a number from 0 to below 1, or {axes}, one for each axis")
    whole = tuple(slice(0, n) for n in size)
    if b_box is None:
        if any(length > n for length, n in zip(mask, size, strict=True)):
            raise BindError(f"mask_size = {mask_size!r}: a window does not fit into an image of {list(size)}")
        return Windows(mask, overlaps, whole, whole)
    box = _box(b_box, size)
    around = [(length - 1) // 2 for length in mask]
    region = tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, n))
        for part, margin, n in zip(box, around, size, strict=True)
    )
    mask = tuple(min(length, part.stop - part.start) for length, part in zip(mask, region, strict=True))
    return Windows(mask, overlaps, region, box)


def _box(b_box: Any, size: Size) -> tuple[slice, ...]:
    ends = wholes(tuple(_sequence(b_box)))
    expected = f"b_box = {b_box!r}: expected {2 * len(size)} whole numbers, the first cell and the end of each axis"
    if ends is None or len(ends) != 2 * len(size):
        raise BindError(expected)
    box = tuple(
        slice(max(first, 0), n if end < 0 else min(end, n))
        for first, end, n in zip(ends[::2], ends[1::2], size, strict=True)
    )
    if any(part.start >= part.stop for part in box):
        raise BindError(f"{expected}; nothing of an image of {list(size)} lies in it")
    return box


def _sequence(value: Any) -> Sequence[Any]:
    """The elements of a sequence, array or tensor; none of anything else."""
    if isinstance(value, np.ndarray | Tensor):
        return list(np.asarray(value).reshape(-1).tolist())
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
