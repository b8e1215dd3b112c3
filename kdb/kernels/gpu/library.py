"""torch's convolution and matrix product on a device's arrays, zero copy: cuDNN and cuBLAS as competitors.

fp32 is meant: torch lets cuDNN round to tf32 by default, so that each call says what it permits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from kdb.kernels.base import Array, ConvolutionSpec, FloatArray, Weight
from kdb.kernels.gpu import rounding
from kdb.kernels.gpu.device import Device


def _layout(device: Device, weight: Weight, precision: str, like: torch.Tensor) -> torch.Tensor:
    """A parameter on the device, in ``like``'s type and layout."""

    def transferred(array: FloatArray) -> torch.Tensor:
        tensor = torch.from_numpy(array.copy()).to(like.device, like.dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    derive: Callable[[FloatArray], torch.Tensor] = transferred
    tensor: torch.Tensor = weight.layout(f"{device.name}/torch/{like.dtype}", derive)
    return tensor


def convolve(device: Device, x: Array, spec: ConvolutionSpec, precision: str) -> Array:
    """Convolution of x [n, h, w, in]: [n, h', w', out], stored as x is; asymmetric padding is laid around x first."""
    sliding, bias = spec.sliding, spec.bias
    device.launches["torch.conv2d"] += 1
    tensor = device.tensor(x).permute(0, 3, 1, 2)
    top, left, bottom, right = spec.padding
    if (top, left) != (bottom, right):
        tensor, top, left = torch.nn.functional.pad(tensor, (left, right, top, bottom)), 0, 0
    # A single tap has no dilation; given one, some of torch's kernels fail on maps one cell wide.
    gap_y, gap_x = (1 if taps == 1 else gap for taps, gap in zip(sliding.kernel, sliding.dilation, strict=True))
    cudnn = torch.backends.cudnn
    # What torch.nn.functional.conv2d calls, with a permission of its own instead of the process's.
    y: torch.Tensor = torch._convolution(
        tensor,
        _layout(device, spec.weight, precision, tensor),
        None if bias is None else _layout(device, bias, precision, tensor),
        sliding.stride,
        (top, left),
        (gap_y, gap_x),
        transposed=False,
        output_padding=(0, 0),
        groups=spec.groups,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic or torch.are_deterministic_algorithms_enabled(),
        cudnn_enabled=cudnn.enabled,
        allow_tf32=precision == "tf32",
    )
    return device.array(y.permute(0, 2, 3, 1))


def dense(device: Device, x: Array, weight: Weight, bias: Weight | None, precision: str) -> Array:
    """``x W^T + b`` over the channels of [n, h, w, in], kept as x is."""
    rounding.permit_products(precision == "tf32")
    device.launches["torch.linear"] += 1
    tensor = device.tensor(x)
    y = torch.nn.functional.linear(
        tensor,
        _layout(device, weight, precision, tensor),
        None if bias is None else _layout(device, bias, precision, tensor),
    )
    return device.array(y)
