"""Torch's kernels on numpy arrays, zero copy: products of matrices, pooling, and competitors in convolutions.

``direct`` is its convolution in float32; ``bf16`` rounds inputs, weights and outputs to bfloat16 (8 bits of mantissa)
and sums in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdb.kernels.base import ConvolutionSpec, Sliding, Tail, Weight
from kdb.kernels.cpu.boxed import padded

FloatArray = npt.NDArray[np.float32]


SUMMED = (2, 3)
"""The numbers of axes in which there is a function for the sum over windows."""
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Torch's layouts with channels last, by a tensor's dimensions."""


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for it; elsewhere bf16 is emulated, and slower than float32."""
    tests = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(test is not None and test() for test in tests)


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    """A weight [out, in, ...] with its channels last; as it is where it has one, or where torch has no such layout."""
    layout = LAYOUTS.get(weight.ndim)
    return weight if layout is None or weight.shape[1] == 1 else weight.to(memory_format=layout)


def _weight(weight: FloatArray) -> torch.Tensor:
    return _laid_out(torch.from_numpy(np.array(weight)))


def _reduced(weight: FloatArray) -> torch.Tensor:
    return _laid_out(torch.from_numpy(weight).bfloat16())


def multiply(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """``out[...] = a @ b``, also of stacks of matrices."""
    torch.matmul(torch.from_numpy(_own(a)), torch.from_numpy(_own(b)), out=torch.from_numpy(out))


def _function(name: str, sliding: Sliding) -> Any:
    """PyTorch's function for as many axes as the window has."""
    return getattr(torch.nn.functional, f"{name}{sliding.rank}d")


def _own(x: FloatArray) -> FloatArray:
    """x, or a copy where it may not be written: a view repeated for a batch, say, of which torch would warn."""
    return x if x.flags.writeable else x.copy()


def _channels_first(x: FloatArray) -> torch.Tensor:
    """x [n, h, w, C] as a tensor [n, C, h, w] over the same memory.

    One channel is both layouts at once.  Seen as channels last, stride (1, 2) with outputs one cell wide gives garbage
    (torch 2.13 with oneDNN); seen as channels first it does not.
    """
    if x.shape[-1] == 1:
        return torch.from_numpy(x.reshape(len(x), 1, *x.shape[1:-1]))
    return torch.from_numpy(x).movedim(-1, 1)


def _channels_last(y: torch.Tensor) -> FloatArray:
    """A tensor [n, C, h, w] as an array [n, h, w, C]."""
    return np.ascontiguousarray(y.movedim(1, -1).numpy())


def convolve(x: FloatArray, spec: ConvolutionSpec, reduced: bool = False) -> FloatArray:
    """Convolution of x [n, h, w, in], with its bias: [n, h', w', out]; in bf16 where ``reduced``.

    Channels-last numpy arrays are torch's ``channels_last`` tensors as they lie.  Symmetric padding is left to the
    library, any other is laid around x first.
    """
    weight, bias, sliding = spec.weight, spec.bias, spec.sliding
    before, behind = spec.padding[: sliding.rank], spec.padding[sliding.rank :]
    if before != behind:
        x, before = padded(x, spec.padding), (0,) * sliding.rank
    # A single tap has no dilation; given one, oneDNN crashes the process on maps one cell wide at stride 2.
    dilation = [1 if taps == 1 else gap for taps, gap in zip(sliding.kernel, sliding.dilation, strict=True)]
    inputs = _channels_first(_own(x))
    weights = weight.layout("torch", _weight) if not reduced else weight.layout("bf16", _reduced)
    y = _function("conv", sliding)(
        inputs.to(weights.dtype),
        weights,
        None if bias is None else bias.layout("torch", lambda b: torch.from_numpy(np.array(b))).to(weights.dtype),
        stride=sliding.stride,
        padding=before,
        dilation=dilation,
        groups=spec.groups,
    )
    return _channels_last(y.float())


def max_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Maximum over each window of x [n, h, w, C] -> [n, h', w', C]."""
    pool = _function("max_pool", sliding)
    return _channels_last(pool(_channels_first(_own(x)), sliding.kernel, sliding.stride, 0, sliding.dilation))


def sum_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Sum over each window, without dilation, of x [n, h, w, C] -> [n, h', w', C], in two or three axes."""
    pool = _function("avg_pool", sliding)
    return _channels_last(pool(_channels_first(_own(x)), sliding.kernel, sliding.stride, divisor_override=1))


def dense(x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
    """``x W^T + b`` over the channels of [n, h, w, in], in bf16."""
    weights = weight.layout("bf16", _reduced)
    y: FloatArray = torch.nn.functional.linear(torch.from_numpy(x).bfloat16(), weights).float().numpy()
    if bias is not None:
        y += bias.array
    return y


def framework(tail: Tail, inputs: Sequence[FloatArray]) -> FloatArray:
    """``tail`` of maps [n, H, W, C]: [n, 1, 1, K], with as many spatial axes as the first of the maps."""
    y = tail([torch.from_numpy(np.ascontiguousarray(_own(x))) for x in inputs])
    return np.ascontiguousarray(y.float().numpy()).reshape(len(y), *(1 for _ in inputs[0].shape[1:-1]), -1)
