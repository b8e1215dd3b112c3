"""The oracle: full inference by the model's own module in float64, and the measure of exactness against it.

This module uses nothing of kdb, so that it cannot share kdb's errors.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

SCALE_BOUND = 1e-4
"""Largest error of an exact map relative to the largest absolute logit of its class over the map."""
RANGE_BOUND = 1e-3
"""Largest error of an exact map relative to its range; or twice the error of full inference in fp32, if larger."""
FLAT_BOUND = 1e-5
"""Of a map that the patch hardly changes, the largest error relative to the largest absolute logit of its class."""
SIGNAL_BOUND = 1e-3
"""Smallest range of a map, relative to its largest logit, for which agreement is meaningful."""

Positions = NDArray[np.integer] | Tensor


def occlude(
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, ...],
    positions: Positions,
    *,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Copies of the image, each with the patch at one position: [n, C, *size].

    Args:
        image: [C, *size], normalised, of one to three axes.
        fill: [C] or [C, *patch], normalised; converted to the dtype and device of the image.
        patch: its extent along each axis, (h, w) in pixels.
        positions: integers [n, axes], each patch's first cell, the (y, x) of its upper left corner.
        layout: memory format of the copies.

    Raises:
        ValueError: a patch extends beyond the image.
    """
    size = tuple(image.shape[1:])
    corners = [tuple(map(int, position)) for position in positions]
    for corner in corners:
        if not all(0 <= at <= n - extent for at, n, extent in zip(corner, size, patch, strict=True)):
            raise ValueError(f"a {' x '.join(map(str, patch))} patch at {corner} leaves the image of {size}")
    content = fill.to(image)
    content = content.reshape(-1, *(1,) * len(size)) if content.ndim == 1 else content
    copies = image.expand(len(corners), *image.shape).clone(memory_format=layout)
    for copy_, corner in zip(copies, corners, strict=True):
        copy_[:, *(slice(at, at + extent) for at, extent in zip(corner, patch, strict=True))] = content
    return copies


def full_inference(
    module: nn.Module,
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, ...],
    positions: Positions,
    *,
    batch: int = 16,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Logits [n, K] of every occluded image, n at least 1, ``batch`` at a time; see :func:`occlude` for the arguments.

    The module runs as it is: its mode, precision and device are not changed.
    """
    chunks = [positions[start : start + batch] for start in range(0, len(positions), batch)]
    with torch.inference_mode():
        return torch.cat([module(occlude(image, fill, patch, chunk, layout=layout)) for chunk in chunks])


def oracle_logits(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, ...], positions: Positions
) -> NDArray[np.float64]:
    """Logits float64 [n, K] by a float64 copy of the module in eval mode; arguments as of :func:`occlude`.

    The float32 image and fill are the exact input: their own rounding is not part of the error.
    """
    exact = copy.deepcopy(module).eval().double()
    return np.asarray(full_inference(exact, image.double(), fill.double(), patch, positions).cpu().numpy())


def float32_logits(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, ...], positions: Positions
) -> NDArray[np.float32]:
    """Logits float32 [n, K] by ordinary full inference, whose error measures that of fp32 itself."""
    plain = copy.deepcopy(module).eval().float()
    return np.asarray(full_inference(plain, image.float(), fill.float(), patch, positions).cpu().numpy())


def relative_range(logits: ArrayLike) -> NDArray[np.float64]:
    """Each class's range over the map relative to the largest absolute logit of all classes: [n, K] to float64 [K]."""
    values = np.asarray(logits, dtype=np.float64)
    return _ratio(np.ptp(values, axis=0), float(np.abs(values).max()))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """``part / whole`` with 0 / 0 = 0: a constant class that is reproduced exactly has no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((part == 0) & (whole == 0), 0.0, part / whole)


@dataclass(frozen=True)
class Exactness:
    """The error of logits [n, K] against the oracle's.  Each figure but ``signal`` is that of the worst class.

    Attributes:
        scale_error: the largest error over the map / the class's largest absolute logit.
        range_error: the largest error over the map / the class's range (max - min).
        float32_error: the range error of full inference in fp32.
        range_use: the range error / the allowed one: the larger of RANGE_BOUND and twice the float32 error.
        signal: median over the classes of (range / largest absolute logit of all classes); if it is small, the patch
            changes too little for a comparison.
    """

    scale_error: float
    range_error: float
    float32_error: float
    range_use: float
    signal: float

    @property
    def ok(self) -> bool:
        """Whether errors are within both bounds and the signal is sufficient; False if any figure is NaN."""
        return self.scale_error <= SCALE_BOUND and self.range_use <= 1 and self.signal >= SIGNAL_BOUND


def exactness(logits: ArrayLike, oracle: ArrayLike, reference32: ArrayLike) -> Exactness:
    """Compare ``logits`` with the ``oracle``; ``reference32`` is full inference in fp32.  All are [n, K], in one order.

    Raises:
        ValueError: the arrays differ in shape, are not two-dimensional, or are empty.
    """
    given, truth, plain = (np.asarray(each, dtype=np.float64) for each in (logits, oracle, reference32))
    if not given.shape == truth.shape == plain.shape or truth.ndim != 2 or not truth.size:
        shapes = ", ".join(str(each.shape) for each in (given, truth, plain))
        raise ValueError(f"logits, oracle and reference must share one shape [n, K], not {shapes}")
    error, plain_error = np.abs(given - truth).max(axis=0), np.abs(plain - truth).max(axis=0)
    extent = np.ptp(truth, axis=0)
    allowed = np.maximum(RANGE_BOUND * extent, 2 * plain_error)
    return Exactness(
        scale_error=float(_ratio(error, np.abs(truth).max(axis=0)).max()),
        range_error=float(_ratio(error, extent).max()),
        float32_error=float(_ratio(plain_error, extent).max()),
        range_use=float(_ratio(error, allowed).max()),
        signal=float(np.median(relative_range(truth))),
    )


def worst_share(logits: ArrayLike, oracle: ArrayLike, reference32: ArrayLike) -> float:
    """The largest error over what Exact allows, by class: see :func:`exactness`, but for maps that are nearly flat.

    All are [n, K]; few of a map's positions may have a range that is much smaller than its own.
    """
    given, truth, plain = (np.asarray(each, dtype=np.float64) for each in (logits, oracle, reference32))
    largest, extent = np.abs(truth).max(axis=0), np.ptp(truth, axis=0)
    allowed = np.maximum(np.minimum(SCALE_BOUND * largest, RANGE_BOUND * extent), FLAT_BOUND * largest)
    allowed = np.maximum(allowed, 2 * np.abs(plain - truth).max(axis=0))
    return float(_ratio(np.abs(given - truth).max(axis=0), allowed).max())
