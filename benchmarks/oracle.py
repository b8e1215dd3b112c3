"""The oracle: the model's own module in float64 on every occluded image, and the verdict on what claims to equal it.

Nothing of kdb is used here, so nothing of kdb can be wrong here in the same way.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

SCALE_BOUND = 1e-4
"""Largest error of an exact map, relative to the largest absolute logit of its class over the map."""
RANGE_BOUND = 1e-3
"""Largest error of an exact map relative to its own range, unless fp32 full inference itself does worse than half."""
SIGNAL_BOUND = 1e-3
"""Smallest range, relative to the logits' scale, on which agreement says anything."""

Positions = NDArray[np.integer] | Tensor


def occlude(
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, int],
    positions: Positions,
    *,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """One copy of the image a position, each with the patch laid on: [n, C, H, W].

    ``image`` is [C, H, W] as the network wants it (normalised); ``fill`` [C] or [C, h, w] in the same units;
    ``patch`` (h, w); ``positions`` [n, 2], the (y, x) of each patch's top left corner; ``layout`` of the copies.

    Raises:
        ValueError: a patch that leaves the image.
    """
    height, width = patch
    corners = [(int(y), int(x)) for y, x in positions]
    for y, x in corners:
        if not (0 <= y <= image.shape[-2] - height and 0 <= x <= image.shape[-1] - width):
            raise ValueError(f"a {height} x {width} patch at ({y}, {x}) leaves the image of {tuple(image.shape[-2:])}")
    content = fill.to(image)
    content = content[:, None, None] if content.ndim == 1 else content
    copies = image.expand(len(corners), *image.shape).clone(memory_format=layout)
    for copy_, (y, x) in zip(copies, corners, strict=True):
        copy_[:, y : y + height, x : x + width] = content
    return copies


def full_inference(
    module: nn.Module,
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, int],
    positions: Positions,
    *,
    batch: int = 16,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """The logits [n, K] of the module as it is (mode, precision, device) on every occluded image, n at least 1."""
    chunks = [positions[start : start + batch] for start in range(0, len(positions), batch)]
    with torch.inference_mode():
        return torch.cat([module(occlude(image, fill, patch, chunk, layout=layout)) for chunk in chunks])


def oracle_logits(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions
) -> NDArray[np.float64]:
    """Float64 [n, K]: full inference by a float64 copy of the module, in eval mode; arguments as of :func:`occlude`.

    The image and the fill are widened as they are: their float32 rounding belongs to the question, not to the error.
    """
    exact = copy.deepcopy(module).eval().double()
    return np.asarray(full_inference(exact, image.double(), fill.double(), patch, positions).cpu().numpy())


def float32_logits(
    module: nn.Module, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: Positions
) -> NDArray[np.float32]:
    """Float32 [n, K]: full inference as anyone would run it, the yardstick for fp32 rounding."""
    plain = copy.deepcopy(module).eval().float()
    return np.asarray(full_inference(plain, image.float(), fill.float(), patch, positions).cpu().numpy())


def relative_range(logits: ArrayLike) -> NDArray[np.float64]:
    """Each class's range over the map, relative to the largest absolute logit of all: [n, K] -> [K]."""
    values = np.asarray(logits, dtype=np.float64)
    return _ratio(np.ptp(values, axis=0), float(np.abs(values).max()))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """``part / whole`` where 0 / 0 is 0: a class that is constant, and exactly so, has no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((part == 0) & (whole == 0), 0.0, part / whole)


@dataclass(frozen=True)
class Exactness:
    """How far logits [n, K] are from the oracle's; each figure is that of the worst class, but for ``signal``.

    Attributes:
        scale_error: largest error over the map / largest absolute logit of the class over the map.
        range_error: largest error over the map / the class map's range (max - min).
        float32_error: the same for fp32 full inference.
        range_use: ``range_error`` / what is allowed to that class, the larger of 1e-3 and twice its fp32 error.
        signal: median over the classes of the map's range / the largest absolute logit: whether there was anything
            to get wrong.
    """

    scale_error: float
    range_error: float
    float32_error: float
    range_use: float
    signal: float

    @property
    def ok(self) -> bool:
        """Within both bounds, on a map with enough signal; False where anything is NaN."""
        return self.scale_error <= SCALE_BOUND and self.range_use <= 1 and self.signal >= SIGNAL_BOUND


def exactness(logits: ArrayLike, oracle: ArrayLike, reference32: ArrayLike) -> Exactness:
    """Judge ``logits`` by the ``oracle``; ``reference32`` is fp32 full inference. All are [n, K] in one order.

    Raises:
        ValueError: the three differ in shape, are not [n, K] or are empty.
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
