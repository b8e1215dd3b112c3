"""Torch's kernels on numpy arrays, zero copy: products of matrices, pooling, and competitors in convolutions.

``direct`` is its convolution in float32; ``bf16`` rounds inputs, weights and outputs to bfloat16 (8 bits of mantissa)
and sums in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kdb.geometry import Size, Window
from kdb.kernels.base import ConvolutionSpec, Sliding, Tail, Weight
from kdb.kernels.cpu.boxed import padded

FloatArray = npt.NDArray[np.float32]


SUMMED = 2
"""The number of axes in which its sum over windows is fast: in three, numpy's is twelve times as fast."""
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


def _weight(weight: FloatArray, kernel: Size, dtype: torch.dtype) -> torch.Tensor:
    """A weight [out, in, ...] with as many axes as ``kernel``, laid out in memory of its own."""
    return _laid_out(torch.tensor(weight.reshape(*weight.shape[:2], *kernel), dtype=dtype))


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


class _Windows(NamedTuple):
    """Windows over a map of ``size``, as PyTorch takes them, with as much padding behind the map as ``before`` it."""

    size: Size
    kernel: Size
    stride: Size
    dilation: Size
    before: Size

    def planar(self) -> tuple[int, _Windows]:
        """The same windows in two axes where they are such, and the number of maps that a map becomes.

        A signal is one row. Of a volume, an axis along which windows have one tap, and move by one, is not theirs: the
        first makes more maps, the second and the third are one. In two axes PyTorch is faster, and up to seven times
        as fast at one tap, or at taps along the first axis alone.
        """
        along = list(zip(*self, strict=True))
        alone = [taps == step == 1 and not around for _, taps, step, _, around in along]
        maps = 1
        if len(along) == 1:
            along = [(1, 1, 1, 1, 0), *along]
        elif len(along) == 3 and alone[0]:
            maps, along = self.size[0], along[1:]
        elif len(along) == 3 and alone[1] and alone[2]:
            along = [along[0], (self.size[1] * self.size[2], 1, 1, 1, 0)]
        return maps, _Windows(*zip(*along, strict=True))


def _packs() -> bool:
    """Whether convolutions take weights that lie in blocks as oneDNN wants them.

    With AVX-512 these are the same blocks for maps of all sizes.  With AVX2 they depend on the size, and weights in the
    blocks of another one are slower by up to eight times.
    """
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return wide and available and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


PACKS = _packs()


def _convolved(x: torch.Tensor, spec: ConvolutionSpec, windows: _Windows, dtype: torch.dtype) -> torch.Tensor:
    """The convolution of x [n, in, *size] by these windows: [n, out, *size'], of ``dtype``.

    The functions that anyone calls lay out the weights at each call, and give small batches of one tap to MKL.
    """
    rank = len(windows.kernel)
    bias = None if spec.bias is None else spec.bias.layout(f"torch/{dtype}", lambda b: torch.tensor(b, dtype=dtype))
    around = windows.before, windows.stride, windows.dilation
    if not PACKS or rank == 3:
        weight = spec.weight.layout(f"torch/{rank}/{dtype}", lambda w: _weight(w, windows.kernel, dtype))
        convolved = getattr(torch.nn.functional, f"conv{rank}d")
        y: torch.Tensor = convolved(
            x.to(dtype), weight, bias, windows.stride, windows.before, windows.dilation, spec.groups
        )
        return y
    packed = spec.weight.layout(
        f"packed/{windows.kernel}/{dtype}",
        lambda w: torch.ops.mkldnn._reorder_convolution_weight(
            _weight(w, windows.kernel, dtype), *around, spec.groups, x.shape
        ),
    )
    convolved = torch.ops.mkldnn._convolution_pointwise.default
    y = convolved(x.to(dtype), packed, bias, *around, spec.groups, "none", [], "")
    return y


def convolve(x: FloatArray, spec: ConvolutionSpec, reduced: bool = False) -> FloatArray:
    """Convolution of x [n, h, w, in], with its bias: [n, h', w', out]; in bf16 where ``reduced``.

    Channels-last numpy arrays are torch's ``channels_last`` tensors as they lie.  Symmetric padding is left to the
    library, any other is laid around x first.
    """
    sliding = spec.sliding
    before, behind = spec.padding[: sliding.rank], spec.padding[sliding.rank :]
    if before != behind:
        x, before = padded(x, spec.padding), (0,) * sliding.rank
    # A single tap has no dilation; given one, oneDNN crashes the process on maps one cell wide at stride 2.
    dilation = tuple(1 if taps == 1 else gap for taps, gap in zip(sliding.kernel, sliding.dilation, strict=True))
    maps, windows = _Windows(x.shape[1:-1], sliding.kernel, sliding.stride, dilation, before).planar()
    inputs = _channels_first(_own(x).reshape(len(x) * maps, *windows.size, x.shape[-1]))
    y = _convolved(inputs, spec, windows, torch.bfloat16 if reduced else torch.float32)
    lengths = map(Window.output_length, sliding.windows((*before, *before)), x.shape[1:-1])
    return _channels_last(y.float()).reshape(len(x), *lengths, y.shape[1])


def max_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Maximum over each window of x [n, h, w, C] -> [n, h', w', C]."""
    pool = _function("max_pool", sliding)
    return _channels_last(pool(_channels_first(_own(x)), sliding.kernel, sliding.stride, 0, sliding.dilation))


def sum_pool(x: FloatArray, sliding: Sliding) -> FloatArray:
    """Sum over each window, without dilation, of x [n, h, w, C] -> [n, h', w', C], in two axes."""
    pool = torch.nn.functional.avg_pool2d
    return _channels_last(pool(_channels_first(_own(x)), sliding.kernel, sliding.stride, divisor_override=1))


def dense(x: FloatArray, weight: Weight, bias: Weight | None) -> FloatArray:
    """``x W^T + b`` over the channels of [n, h, w, in], in bf16."""
    weights = weight.layout("bf16", lambda w: torch.from_numpy(w).bfloat16())
    y: FloatArray = torch.nn.functional.linear(torch.from_numpy(x).bfloat16(), weights).float().numpy()
    if bias is not None:
        y += bias.array
    return y


def framework(tail: Tail, inputs: Sequence[FloatArray]) -> FloatArray:
    """``tail`` of maps [n, H, W, C]: maps [n, H', W', K], or logits [n, 1, 1, K] with as many axes as the first."""
    y = tail([torch.from_numpy(np.ascontiguousarray(_own(x))) for x in inputs]).float()
    if y.ndim == inputs[0].ndim:
        return _channels_last(y)
    return np.ascontiguousarray(y.numpy()).reshape(len(y), *(1 for _ in inputs[0].shape[1:-1]), -1)
