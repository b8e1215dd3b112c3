"""Resize in all its modes: by PyTorch where that has the same, else along one axis after another, by a matrix [out, in]
that follows ONNX's definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Array, Node, bounded
from kdb.models.onnx.hosted import floats, ints
from kdb.models.onnx.operators.types import Operator

Tensor = torch.Tensor

_MOST_WEIGHTS = 1 << 25
"""Of the matrix of one axis: 4,096 new elements and 8,192 old ones."""


def _resize(
    node: Node, x: Tensor, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
) -> Tensor:
    axes = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    factors, region = floats(scales), floats(roi)
    wanted = ints(sizes)
    if (interpolated := _interpolated(node, x, _axes(node, x, axes, factors, wanted, region))) is not None:
        return interpolated
    for axis, n, m, scale, (start, end) in _axes(node, x, axes, factors, wanted, region):
        bounded([m, n + 2 * _reach(node, scale) + 1], node, _MOST_WEIGHTS)
        at = _coordinates(node, n, m, scale, start, end)
        if node.get("mode", "nearest") == "nearest":
            x = x.index_select(axis, torch.from_numpy(_nearest(node, at, n)))
        else:
            weights = torch.from_numpy(_weights(node, at, n, scale)).to(x.dtype)
            x = F.linear(x.movedim(axis, -1), weights).movedim(-1, axis)
        outside = (at < 0) | (at > n - 1)
        if node.get("coordinate_transformation_mode") == "tf_crop_and_resize" and outside.any():
            mask = torch.from_numpy(outside).reshape([m if a == axis else 1 for a in range(x.ndim)])
            x = torch.where(mask, node.get("extrapolation_value", 0.0), x)
    return x


_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
"""PyTorch's names of linear interpolation, by a tensor's dimensions."""
_CORNERS = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
"""The grids that PyTorch knows, and whether corners coincide in them."""


def _interpolated(
    node: Node, x: Tensor, along: list[tuple[int, int, int, float, tuple[float, float]]]
) -> Tensor | None:
    """What PyTorch's own interpolation gives, which kdb computes incrementally; None where it is another one."""
    grid = node.get("coordinate_transformation_mode", "half_pixel")
    if node.get("mode") != "linear" or grid not in _CORNERS or x.ndim not in _LINEAR or not along:
        return None
    if grid == "pytorch_half_pixel" and any(m == 1 for _, _, m, _, _ in along):  # which ONNX takes from the first cell
        return None
    if node.get("antialias", 0) or node.get("exclude_outside", 0) or min(axis for axis, *_ in along) < 2:
        return None
    if not _CORNERS[grid] and any(abs(m - scale * n) > 1e-6 * m for _, n, m, scale, _ in along):
        return None
    size = list(x.shape[2:])
    for axis, _, m, _, _ in along:
        size[axis - 2] = m
    return F.interpolate(x, size, mode=_LINEAR[x.ndim], align_corners=_CORNERS[grid])


def _axes(
    node: Node, x: Tensor, axes: list[int], factors: list[float], wanted: list[Any], region: list[float]
) -> list[tuple[int, int, int, float, tuple[float, float]]]:
    """(axis, size, new size, scale, start, end of the region) of each axis that changes."""
    cropped = node.get("coordinate_transformation_mode") == "tf_crop_and_resize" and len(region) == 2 * len(axes)
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if wanted and policy != "stretch":
        ratios = [m / x.shape[axis] for axis, m in zip(axes, wanted, strict=True)]
        factor = min(ratios) if policy == "not_larger" else max(ratios)
        factors = [factor] * len(axes)
        wanted = [math.floor(x.shape[axis] * factor + 0.5) for axis in axes]
    found = []
    for k, axis in enumerate(axes):
        n = x.shape[axis]
        span = (region[k], region[k + len(axes)]) if cropped else (0.0, 1.0)
        # A size for the batch is the one that the file was made with.
        same = (factors[k] == 1 if not wanted else axis == 0 or wanted[k] == n) and span == (0.0, 1.0)
        if same:
            continue
        if not isinstance(n, int):
            raise ModelError(f"{node} resizes the batch")
        m = wanted[k] if wanted else int(np.floor(np.float32(n) * np.float32(factors[k])))  # scales are float32
        if m < 1:
            raise ModelError(f"{node} leaves nothing of an axis of {n}")
        found.append((axis, n, m, factors[k] if factors else m / n, span))
    bounded([m for _, _, m, _, _ in found], node)
    return found


def _coordinates(node: Node, n: int, m: int, scale: float, start: float, end: float) -> Array:
    """The coordinates of the ``m`` new elements among the ``n`` old ones."""
    i = np.arange(m, dtype=np.float64)
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (n - 1) / max(m - 1, 1)
    if mode == "half_pixel_symmetric":
        return n / 2 * (1 - m / (scale * n)) + (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel" and m == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        return (
            start * (n - 1) + i * (end - start) * (n - 1) / (m - 1)
            if m > 1
            else np.full(1, (start + end) * (n - 1) / 2)
        )
    raise ModelError(f"{node} lays its grid by '{mode}', which kdb does not know")


def _nearest(node: Node, at: Array, n: int) -> Array:
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[node.get("nearest_mode", "round_prefer_floor")]
    return np.clip(rounded, 0, n - 1).astype(np.int64)


def _weights(node: Node, at: Array, n: int, scale: float) -> Array:
    """float32 [m, n]: the filter's weights around each coordinate; those outside count for the edge, or not at all."""
    cubic, a = node.get("mode") == "cubic", node.get("cubic_coeff_a", -0.75)
    shrink = _shrink(node, scale)
    reach = _reach(node, scale)
    index = np.floor(at).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)[None, :]
    d = np.abs(index - at[:, None]) * shrink
    values = _cubic(d, a) if cubic else np.clip(1 - d, 0, None)
    if node.get("exclude_outside", 0):
        values = np.where((index < 0) | (index >= n), 0, values)
    values = values / values.sum(1, keepdims=True)
    weights = np.zeros((len(at), n))
    rows = np.broadcast_to(np.arange(len(at))[:, None], index.shape)
    np.add.at(weights, (rows, np.clip(index, 0, n - 1)), values)
    return weights.astype(np.float32)


def _shrink(node: Node, scale: float) -> float:
    return min(scale, 1.0) if node.get("antialias", 0) else 1.0


def _reach(node: Node, scale: float) -> int:
    """How many old elements on either side count for a new one."""
    return math.ceil((2 if node.get("mode") == "cubic" else 1) / _shrink(node, scale))


def _cubic(d: Array, a: float) -> Array:
    """Keys' cubic convolution kernel at the distances ``d``."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


OPERATORS: dict[str, Operator] = {"Resize": Operator(_resize, plain=(1, 2, 3))}
