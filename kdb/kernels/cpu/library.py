"""Torch's kernels on numpy arrays, zero copy: products of matrices, pooling, and competitors in convolutions.

``direct`` is its convolution in float32; ``bf16`` rounds inputs, weights and outputs to bfloat16 (8 bits of mantissa)
and sums in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from kdb.kernels.base import ConvolutionSpec, Sliding, Tail, Weight
from kdb.kernels.cpu.boxed import padded

FloatArray = npt.NDArray[np.float32]


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for it; elsewhere bf16 is emulated, and slower than float32."""
    tests = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(test is not None and test() for test in tests)


def _weight(weight: FloatArray) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(weight))
    return tensor if weight.shape[1] == 1 else tensor.to(memory_format=torch.channels_last)


def _reduced(weight: FloatArray) -> torch.Tensor:
    tensor = torch.from_numpy(weight).bfloat16()
    return tensor if weight.ndim < 4 or weight.shape[1] == 1 else tensor.to(memory_format=torch.channels_last)


def multiply(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """``out[...] = a @ b``, also of stacks of matrices."""
    torch.matmul(torch.from_numpy(_own(a)), torch.from_numpy(_own(b)), out=torch.from_numpy(out))


def _own(x: FloatArray) -> FloatArray:
    """x, or a copy where it may not be written: a view repeated for a batch, say, of which torch would warn."""
    return x if x.flags.writeable else x.copy()


def _nchw(x: FloatArray) -> torch.Tensor:
    """x [n, h, w, C] as a tensor [n, C, h, w] over the same memory.

    One channel is both layouts at once.  Seen as channels last, stride (1, 2) with outputs one cell wide gives garbage
    (torch 2.13 with oneDNN); seen as channels first it does not.
    """
    n, height, width, channels = x.shape
    if channels == 1:
        return torch.from_numpy(x.reshape(n, 1, height, width))
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def convolve(x: FloatArray, spec: ConvolutionSpec, reduced: bool = False) -> FloatArray:
    """Convolution of x [n, h, w, in], with its bias: [n, h', w', out]; in bf16 where ``reduced``.

    Channels-last numpy arrays are torch's ``channels_last`` tensors as they lie.  Symmetric padding is left to the
    library, any other is laid around x first.
    """
    weight, bias, sliding = spec.weight, spec.bias, spec.sliding
    top, left, bottom, right = spec.padding
    if (top, left) != (bottom, right):
        x, top, left = padded(x, spec.padding), 0, 0
    # A single tap has no dilation; given one, oneDNN crashes the process on maps one cell wide at stride 2.
    gy, gx = (1 if taps == 1 else gap for taps, gap in zip(sliding.kernel, sliding.dilation, strict=True))
    inputs, weights = (
        _nchw(_own(x)),
        weight.layout("torch", _weight) if not reduced else weight.layout("bf16", _reduced),
    )
    y = torch.nn.functional.conv2d(
        inputs.to(weights.dtype),
        weights,
        None if bias is None else bias.layout("torch", lambda b: torch.from_numpy(np.array(b))).to(weights.dtype),
        stride=sliding.stride,
        padding=(top, left),
        dilation=(gy, gx),
        groups=spec.groups,
    )
    return np.ascontiguousarray(y.float().permute(0, 2, 3, 1).numpy())


def max_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Maximum over each window of x [n, h, w, C] -> [n, h', w', C]."""
    y = torch.nn.functional.max_pool2d(_nchw(_own(x)), sliding.kernel, sliding.stride, 0, sliding.dilation)
    return np.ascontiguousarray(y.permute(0, 2, 3, 1).numpy())


def sum_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Sum over each window, without dilation, of x [n, h, w, C] -> [n, h', w', C]."""
    y = torch.nn.functional.avg_pool2d(_nchw(_own(x)), sliding.kernel, sliding.stride, divisor_override=1)
    return np.ascontiguousarray(y.permute(0, 2, 3, 1).numpy())


def dense(x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
    """``x W^T + b`` over the channels of [n, h, w, in], in bf16."""
    weights = weight.layout("bf16", _reduced)
    y: FloatArray = torch.nn.functional.linear(torch.from_numpy(x).bfloat16(), weights).float().numpy()
    if bias is not None:
        y += bias.array
    return y


def framework(tail: Tail, inputs: Sequence[FloatArray]) -> FloatArray:
    """``tail`` of maps [n, H, W, C]: [n, 1, 1, K]."""
    y = tail([torch.from_numpy(np.ascontiguousarray(_own(x))) for x in inputs])
    return np.ascontiguousarray(y.float().numpy()).reshape(len(y), 1, 1, -1)
