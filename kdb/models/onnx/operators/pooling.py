"""Pooling.  PyTorch's pads both sides alike, by at most half a kernel; other padding is converted to that."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Node
from kdb.models.onnx.operators.layers import CONVOLUTIONS
from kdb.models.onnx.operators.types import Operator
from kdb.models.onnx.operators.windows import Windows

Tensor = torch.Tensor

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _windows(node: Node, x: Tensor) -> tuple[Windows, bool, list[int]]:
    """The windows, whether a last, partial one counts, and their number along each axis."""
    if not 1 <= x.ndim - 2 <= 3:
        raise ModelError(f"{node} pools a tensor of {x.ndim} axes")
    windows = Windows.of(node, x.shape[2:], node.get("kernel_shape"))
    ceil = bool(node.get("ceil_mode", 0)) and node.get("auto_pad", "NOTSET") == "NOTSET"
    return windows, ceil, windows.output(x.shape[2:], ceil)


def _direct(windows: Windows, size: Any, output: list[int]) -> bool | None:
    """The ``ceil_mode`` with which PyTorch, by the padding before each axis alone, has the same windows; None if
    neither.

    Padding after the map that only adds one window, as with SAME_UPPER, is equivalent to a partial window.
    """
    if any(p < 0 or p > k // 2 for p, k in zip(windows.before, windows.kernel, strict=True)):
        return None
    alike = Windows(windows.kernel, windows.stride, windows.dilation, windows.before, windows.before)
    return next((ceil for ceil in (False, True) if alike.output(size, ceil) == output), None)


def _cut(y: Tensor, output: list[int]) -> Tensor:
    for axis, n in enumerate(output):
        y = y.narrow(axis + 2, 0, n)
    return y


def _max_pool(node: Node, x: Tensor) -> Tensor:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ModelError(f"{node} also gives the places of its maxima, which kdb does not")
    if not x.is_floating_point():
        return _max_pool(node, x.float()).to(x.dtype)
    windows, wanted, output = _windows(node, x)
    pool = _MAX[x.ndim - 2]
    ceil = _direct(windows, x.shape[2:], output)
    if ceil is None:
        y: Tensor = pool(
            windows.padded(x, -torch.inf), windows.kernel, windows.stride, 0, windows.dilation, ceil_mode=wanted
        )
        return _cut(y, output)
    direct: Tensor = pool(x, windows.kernel, windows.stride, windows.before, windows.dilation, ceil_mode=ceil)
    return direct


def _average_pool(node: Node, x: Tensor) -> Tensor:
    windows, _, output = _windows(node, x)
    included = bool(node.get("count_include_pad", 0))
    flat = all(g == 1 for g in windows.dilation)
    ceil = _direct(windows, x.shape[2:], output)
    if flat and ceil is not None and (windows.symmetric or not included):
        pool = _AVERAGE[x.ndim - 2]
        y: Tensor = pool(x, windows.kernel, windows.stride, windows.before, ceil, included)
        return y
    # sums by a convolution, over how many elements are in each window
    counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    counted = F.pad(windows.padded(counted, float(included)), _overhang(windows, x, output))
    return _sums(windows, F.pad(windows.padded(x, 0.0), _overhang(windows, x, output)), output) / _sums(
        windows, counted, output
    )


def _overhang(windows: Windows, x: Tensor, output: list[int]) -> list[int]:
    """Zeros after the padding, for partial windows, that are not counted in averages."""
    pairs = []
    axes = zip(x.shape[2:], windows.before, windows.behind, windows.stride, windows.spans, output, strict=True)
    for n, before, behind, stride, span, count in axes:
        pairs.append((0, max((count - 1) * stride + span - (n + before + behind), 0)))
    return [n for pair in reversed(pairs) for n in pair]


def _sums(windows: Windows, x: Tensor, output: list[int]) -> Tensor:
    channels = x.shape[1]
    ones = torch.ones(channels, 1, *windows.kernel, dtype=x.dtype)
    return _cut(CONVOLUTIONS[x.ndim - 2](x, ones, None, windows.stride, 0, windows.dilation, channels), output)


def _global_average(node: Node, x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


def _global_max(node: Node, x: Tensor) -> Tensor:
    return F.max_pool2d(x, list(x.shape[2:])) if x.ndim == 4 else x.amax(list(range(2, x.ndim)), keepdim=True)


OPERATORS: dict[str, Operator] = {
    "MaxPool": Operator(_max_pool),
    "AveragePool": Operator(_average_pool),
    "GlobalAveragePool": Operator(_global_average),
    "GlobalMaxPool": Operator(_global_max),
}
