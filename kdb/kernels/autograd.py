"""Whole maps by PyTorch's operators that record gradients: what evaluates a network, and nothing of deltas.

Arrays are tensors, channels last as everywhere.  The verbs are those of :mod:`kdb.kernels.base` that full evaluation
calls; a network is evaluated on this backend where the gradient of its logits is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdb.geometry import Boxes, IntArray, Margins, Size
from kdb.kernels.base import Array, ConvolutionSpec, FloatArray, Operand, Parameters, Program, Sliding, Weight
from kdb.kernels.kernel import ConvolutionKernel, DenseKernel, Kernel, Kernels, PointwiseVerb


def _normalize(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)


def _elu(x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    return torch.where(x > 0, x * scale, torch.expm1(x.clamp(max=0) * input_scale) * (alpha * scale))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "neg": torch.neg,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "reciprocal": torch.reciprocal,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "leaky_relu": lambda x, slope: torch.where(x > 0, x, x * slope),
    "elu": _elu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "normalize": _normalize,
    "softmax": partial(torch.softmax, dim=-1),
    "log_softmax": partial(torch.log_softmax, dim=-1),
}
"""The functions of pointwise programs, of the same names as in :mod:`kdb.kernels.programs`."""


def _tensor(weight: Weight) -> Tensor:
    """A parameter as a tensor, over the same memory where that may be."""
    array = weight.array
    return torch.from_numpy(array if array.flags.writeable else array.copy())


class _Convolution(ConvolutionKernel):
    """PyTorch's convolution."""

    def applies(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        """Everywhere."""
        return True

    def evaluate(self, backend: Any, x: Tensor, spec: ConvolutionSpec) -> Tensor:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        convolve = getattr(functional, f"conv{spec.sliding.rank}d")
        y: Tensor = convolve(
            _padded(x, spec.padding, 0.0).movedim(-1, 1),
            _tensor(spec.weight),
            None if spec.bias is None else _tensor(spec.bias),
            stride=spec.sliding.stride,
            dilation=spec.sliding.dilation,
            groups=spec.groups,
        )
        return y.movedim(1, -1)

    def delta(self, *arguments: Any, **named: Any) -> Array:
        """Never asked for."""
        raise NotImplementedError("gradients are of whole maps")


class _Dense(DenseKernel):
    """PyTorch's linear layer."""

    def applies(self, backend: Any) -> bool:
        """Nowhere: gradients are of whole maps."""
        return False

    def evaluates(self, backend: Any) -> bool:
        """Everywhere."""
        return True

    def run(self, backend: Any, x: Tensor, weight: Weight, bias: Weight | None) -> Tensor:
        """``x W^T + b``."""
        return functional.linear(x, _tensor(weight), None if bias is None else _tensor(bias))


KERNELS: tuple[Kernel, ...] = (_Convolution("autograd"), _Dense("autograd"), PointwiseVerb("autograd", whole=True))


class _Memory:
    """Tensors over the host's arrays."""

    def upload(self, array: FloatArray) -> Tensor:
        """An array of the host, over the same memory."""
        return torch.from_numpy(array)

    def constant(self, value: Weight) -> Tensor:
        """A parameter [H, W, C] as a map of one position."""
        return _tensor(value)[None]


class _Windows:
    """Pools, means and resampling."""

    def max_pool(self, x: Tensor, sliding: Sliding, padding: Margins, size: Size) -> Tensor:
        """Maximum over each window, minus infinity around the map."""
        windows = _framed(x, sliding, padding, size, -math.inf).movedim(-1, 1)
        pool = getattr(functional, f"max_pool{sliding.rank}d")
        y: Tensor = pool(windows, sliding.kernel, sliding.stride, 0, sliding.dilation)
        return y.movedim(1, -1)

    def average_pool(self, x: Tensor, sliding: Sliding, padding: Margins, divisors: Weight) -> Tensor:
        """Sum over each window, as a convolution with ones, over the divisors."""
        framed = _framed(x, sliding, padding, divisors.array.shape[:-1], 0.0).movedim(-1, 1)
        ones = torch.ones(framed.shape[1], 1, *sliding.kernel)
        convolve = getattr(functional, f"conv{sliding.rank}d")
        y = convolve(framed, ones, stride=sliding.stride, dilation=sliding.dilation, groups=len(ones))
        return torch.div(y.movedim(1, -1), _tensor(divisors))

    def mean(self, x: Tensor, cells: int) -> Tensor:
        """The sum over each map, over ``cells``."""
        return x.sum(tuple(range(1, x.ndim - 1)), keepdim=True) / cells

    def resample(self, x: Tensor, matrices: Sequence[Weight]) -> Tensor:
        """The product with a matrix along each axis."""
        for axis, matrix in enumerate(matrices, start=1):
            x = torch.tensordot(x, _tensor(matrix), dims=([axis], [1])).movedim(-1, axis)
        return x

    def weighted(self, x: Tensor, weights: Weight) -> Tensor:
        """The sum of x times ``weights``."""
        return self.mean(x * _tensor(weights), 1)


class _Maps:
    """Whole maps cell by cell."""

    def pointwise(self, x: Tensor, program: Program, parameters: Parameters, donate: bool) -> Tensor:
        """``f(x)``."""
        registers = [x]

        def value(operand: Operand, function: str) -> Any:
            if isinstance(operand, str):
                return _tensor(parameters[operand])
            if isinstance(operand, int):
                return registers[operand]
            # These two take no number.
            return torch.tensor(operand) if function in ("maximum", "minimum") else operand

        for function, operands in ((each.function, each.operands) for each in program):
            registers.append(FUNCTIONS[function](*(value(operand, function) for operand in operands)))
        return registers[-1]

    def add(self, x: Tensor, y: Tensor, donate: bool) -> Tensor:
        """``x + y``."""
        return x + y

    def multiply(self, x: Tensor, y: Tensor, donate: bool) -> Tensor:
        """``x * y``."""
        return x * y

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        """Stack along the channels."""
        return torch.cat(list(parts), -1)

    def join(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """One behind another along an axis of the map."""
        return torch.cat(list(parts), 1 + axis)

    def expand(self, x: Tensor, extent: Size, channels: int) -> Tensor:
        """x repeated along axes of length 1."""
        return x.expand(len(x), *extent, channels)

    def pad(self, x: Tensor, margins: Margins, value: float) -> Tensor:
        """``value`` around x; a negative margin crops."""
        return _padded(x, margins, value)

    def interleave(self, x: Tensor, factors: Size) -> Tensor:
        """Each cell as ``factors`` cells."""
        n, *size, channels = x.shape
        rank, inner = len(size), channels // math.prod(factors)
        pairs = [axis for each in range(rank) for axis in (1 + each, 1 + rank + each)]
        parts = x.reshape(n, *size, *factors, inner).permute(0, *pairs, 1 + 2 * rank)
        return parts.reshape(n, *(a * b for a, b in zip(size, factors, strict=True)), inner)

    def take_channels(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """``x[..., order]``."""
        return x[..., list(order)]

    def take_cells(self, x: Tensor, cells: Sequence[IntArray]) -> Tensor:
        """The cells of each map at the same indices, along each axis; zero where one is outside."""
        for axis, (each, *_) in enumerate(cells, start=1):
            indices = torch.from_numpy(np.array(each))
            inside = (indices >= 0) & (indices < x.shape[axis])
            taken = x.index_select(axis, indices.clamp(0, x.shape[axis] - 1))
            x = taken * inside.reshape(-1, *(1 for _ in x.shape[axis + 1 :]))
        return x


def _padded(x: Tensor, margins: Margins, value: float) -> Tensor:
    """``value`` around x [n, h, w, C]; a negative margin crops."""
    rank = len(margins) // 2
    sides = [each for axis in reversed(range(rank)) for each in (margins[axis], margins[rank + axis])]
    return functional.pad(x, (0, 0, *sides), value=value) if any(margins) else x


def _framed(x: Tensor, sliding: Sliding, padding: Margins, size: Size, value: float) -> Tensor:
    """x with the margins that ``size`` windows read; at the far edges they differ from the padding as sizes round."""
    windows = sliding.windows(padding)
    extent = Boxes.whole(1, size).read_in(windows).extent
    before = tuple(window.before for window in windows)
    behind = (whole - near - length for whole, near, length in zip(extent, before, x.shape[1:-1], strict=True))
    return _padded(x, (*before, *behind), value)


class Autograd:
    """The verbs and kernels of full evaluation, on tensors that record gradients, on the host."""

    def __init__(self) -> None:
        self.memory, self.windows, self.maps = _Memory(), _Windows(), _Maps()
        self.kernels = Kernels(self, KERNELS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Gradients are recorded, wherever they are not otherwise."""
        with torch.inference_mode(False), torch.enable_grad():
            yield

    def source(self, image: FloatArray) -> Tensor:
        """An image [H, W, C] as a map of one position, from which gradients are recorded."""
        return torch.from_numpy(np.array(image[None])).requires_grad_()


def gradients(outputs: Tensor, seeds: FloatArray, tensors: Sequence[Tensor]) -> list[FloatArray]:
    """Of each tensor [1, H, W, C] the gradients [k, H, W, C] of ``seeds`` [k, K] times ``outputs`` [1, .., K].

    Zero for a tensor that no output depends on.
    """
    found = []
    for seed in torch.from_numpy(seeds):
        score = (outputs.reshape(-1) * seed).sum()
        each = torch.autograd.grad(score, list(tensors), retain_graph=True, allow_unused=True)
        found.append([torch.zeros_like(t) if g is None else g for g, t in zip(each, tensors, strict=True)])
    return [torch.cat(of).numpy() for of in zip(*found, strict=True)]
