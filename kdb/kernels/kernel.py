"""Kernels, the physical operators: what a kernel tells planner, EXPLAIN, SET and CALIBRATE, and how it is run.

Each backend names its kernels in one tuple, ``KERNELS``, the most general of a kind first.  A new kernel is a file
with a subclass, and one line in that tuple.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from kdb.geometry import Boxes, Margins, Size
from kdb.kernels.base import (
    NO_MARGINS,
    Array,
    ConvolutionSpec,
    Delta,
    Epilogue,
    Parameters,
    Program,
    Sliding,
    Weight,
    rounded,
)
from kdb.kernels.work import ELEMENT, Rates, Work

NO_RATES: Mapping[str, Rates] = MappingProxyType({})
NO_PASSES: Mapping[str, int] = MappingProxyType({})
Extents = Callable[[], Mapping[Size, int]]
"""How many of a query's deltas have boxes of each extent; counted when it is called."""


class Kernel:
    """One way to compute a layer, known to users by its ``name``.  Kernels are constants: they hold no state."""

    setting: str | None = None
    """The value of ``SET kernels`` that restricts convolutions to this kernel; None if there is none."""
    timed = True
    """Whether CALIBRATE measures the rate of its kind of work, by timing it on layers of several widths."""
    optional = False
    """Whether an installation may lack it: then a profile may lack its rates, and has those that it declares."""
    noise = 2.0**-21
    """Rounding error of ``view + delta``, relative to the larger, where this kernel had a part in the delta."""
    rates: Mapping[str, Rates] = NO_RATES
    """The rates of its kinds of work on a machine that was not calibrated."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def fuses(self, backend: Any, program: Program) -> bool:
        """Whether its delta rule can also compute a pointwise layer with this program, as its epilogue."""
        return False


DELTA = Kernel("delta")
"""The only delta rule of an operator without competing kernels."""
FULL = Kernel("full")
"""The only evaluation of an operator without competing kernels."""
FUSED = Kernel("fused")
"""Of a pointwise layer that is computed as the epilogue of its input's kernel."""


class ConvolutionShape(NamedTuple):
    """A convolution without its weights: what its work depends on.  ``outputs`` and ``inputs`` count channels."""

    inputs: int
    outputs: int
    sliding: Sliding
    groups: int = 1
    padding: Margins = NO_MARGINS

    @property
    def pairs(self) -> int:
        """Pairs of an input and an output channel that a tap multiplies."""
        return self.inputs // self.groups * self.outputs

    @property
    def width(self) -> int:
        """The geometric mean of a group's input and output channels."""
        return math.isqrt(self.inputs * self.outputs) // self.groups

    @property
    def form(self) -> str:
        """Which of four forms it has that run at rates of their own: depthwise, narrow, point (one tap) or wide."""
        inner = self.inputs // self.groups
        if inner == 1 and self.groups > 1:
            return "depthwise"
        return "narrow" if inner < 16 else "point" if self.sliding.taps == 1 else "wide"


class ConvolutionKernel(Kernel, ABC):
    """A kernel for convolutions.  ``backend`` is always the one whose tuple names the kernel."""

    reads_views = False
    """Whether its delta rule reads the views of the layer's input and output."""
    derives_frames = False
    """Whether its delta rule uses the boxes that the output's boxes read, so that a device is told of them."""

    @abstractmethod
    def applies(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        """Whether it computes the delta of such a convolution on this backend."""

    def evaluates(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        """Whether it also evaluates such a convolution on whole maps, as it does by default wherever it applies."""
        return self.applies(backend, sliding, groups)

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Its work for one position: ``x`` are the cells of the input, or of its delta, ``outputs`` those computed.

        What it moves through memory is part of its rates.
        """
        weights = shape.sliding.taps * shape.pairs
        return Work(f"{self.name}.{shape.form}", weights * math.prod(outputs), 0, 1, shape.width, ELEMENT * weights)

    def suited(self, shape: ConvolutionShape, extents: Extents) -> ConvolutionKernel:
        """This kernel as it is best for a query with these input deltas."""
        return self

    @abstractmethod
    def evaluate(self, backend: Any, x: Array, spec: ConvolutionSpec) -> Array:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""

    @abstractmethod
    def delta(
        self,
        backend: Any,
        spec: ConvolutionSpec,
        delta: Delta,
        boxes: Boxes,
        view: Array | None = None,
        result: Array | None = None,
        epilogue: Epilogue | None = None,
    ) -> Array:
        """The delta of the output over ``boxes``: [n, h, w, out].

        ``view`` [H, W, in] and ``result`` [H', W', out] are the views of input and output, None unless it reads views.
        """


class Recompute(ConvolutionKernel):
    """The paper's Algorithm 1: the convolution ``by`` another kernel of ``view + delta``, less the output's view.

    It serves where that kernel is the backend's first.
    """

    setting: str = "recompute"
    timed = False  # its work is another kernel's, and passes over arrays
    reads_views = True
    derives_frames = True

    def __init__(self, by: ConvolutionKernel) -> None:
        super().__init__(self.setting)
        self.by = by

    def applies(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        """Where ``by`` is what the backend convolves by."""
        kernels: Kernels = backend.kernels
        return kernels.convolution(sliding, groups)[0] is self.by

    def evaluates(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        """Nowhere: it is a delta rule."""
        return False

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """A product for every tap, at the rate of ``by``; context read in, delta superimposed, view subtracted."""
        windows = shape.sliding.windows(shape.padding)
        context = math.prod(
            (count - 1) * window.stride + window.reach for count, window in zip(outputs, windows, strict=True)
        )
        moved = ELEMENT * (2 * context * shape.inputs + 3 * math.prod(outputs) * shape.outputs)
        weights = shape.sliding.taps * shape.pairs
        kind = f"{self.by.name}.{shape.form}"
        return Work(kind, weights * math.prod(outputs), moved, 4, shape.width, ELEMENT * weights)

    def evaluate(self, backend: Any, x: Array, spec: ConvolutionSpec) -> Array:
        """Never asked for."""
        raise NotImplementedError("Algorithm 1 is a delta rule")


class DenseKernel(Kernel, ABC):
    """A kernel for dense layers, the products of a weight [out, in] with the channels of each cell."""

    @abstractmethod
    def applies(self, backend: Any) -> bool:
        """Whether it computes deltas on this backend."""

    @abstractmethod
    def evaluates(self, backend: Any) -> bool:
        """Whether it evaluates whole maps on this backend."""

    def work(self, inputs: int, outputs: int, cells: int) -> Work:
        """Its work for ``cells`` of one position."""
        pairs = inputs * outputs
        return Work("dense", pairs * cells, width=math.isqrt(pairs), weights=ELEMENT * pairs)

    @abstractmethod
    def run(self, backend: Any, x: Array, weight: Weight, bias: Weight | None) -> Array:
        """``x W^T + b`` over the channels of x [n, h, w, in]: [n, h, w, out]."""

    def map_work(self, channels: int, size: Size, extent: Size, outputs: int) -> Work:
        """The work of :meth:`map_delta` for one delta of ``extent`` in a map of ``size``."""
        return self.work(channels * math.prod(size), outputs, 1)

    def map_delta(self, backend: Any, delta: Delta, size: Size, weight: Weight) -> Array:
        """``d W^T`` of deltas in a map of ``size``, by a weight [out, H W in] of all its numbers: [n, 1, 1, out]."""
        whole = backend.deltas.embed(delta, Boxes.whole(len(delta.boxes), size))
        return self.run(backend, flat(whole), weight, None)


def flat(x: Array) -> Array:
    """Maps as vectors: [n, H, W, C] -> [n, 1, 1, H W C]."""
    return x.reshape(len(x), *(1 for _ in x.shape[1:-1]), -1)


class PointwiseKernel(Kernel, ABC):
    """A kernel for pointwise layers."""

    def reads_result(self, program: Program) -> bool:
        """Whether its delta rule reads ``f(view)`` instead of computing it."""
        return False

    @abstractmethod
    def applies(self, backend: Any, program: Program) -> bool:
        """Whether it computes deltas by this program on this backend."""

    def evaluates(self, backend: Any, program: Program) -> bool:
        """Whether it also evaluates whole maps, as it does by default wherever it applies."""
        return self.applies(backend, program)

    @abstractmethod
    def work(self, program: Program, numbers: int, incremental: bool) -> Work:
        """Its work for so many ``numbers`` of a map, or of a delta if ``incremental``."""

    @abstractmethod
    def evaluate(self, backend: Any, x: Array, program: Program, parameters: Parameters, donate: bool) -> Array:
        """``f(x)``; ``donate`` grants the memory of ``x``."""

    @abstractmethod
    def delta(self, backend: Any, delta: Delta, epilogue: Epilogue) -> Array:
        """The epilogue of a delta; it may take the memory of one that is donated."""


class PointwiseVerb(PointwiseKernel):
    """The backend's own way, function by function: by one name on whole maps, by another on deltas.

    ``passes`` says of functions as many passes over an array as what they take the time of; 1 of all others.
    """

    def __init__(self, name: str, whole: bool, passes: Mapping[str, int] = NO_PASSES) -> None:
        super().__init__(name)
        self._whole = whole
        self._passes = passes

    def reads_result(self, program: Program) -> bool:
        """Where that is the same to the last bit."""
        return rounded(program)

    def applies(self, backend: Any, program: Program) -> bool:
        """Whether this is the one for deltas."""
        return not self._whole

    def evaluates(self, backend: Any, program: Program) -> bool:
        """Whether this is the one for whole maps."""
        return self._whole

    def work(self, program: Program, numbers: int, incremental: bool) -> Work:
        """Of a delta a sum, a difference and each function, functions twice where the result does not serve.

        Of a whole map once through memory, and passes in the cache, which take about half of that.
        """
        passes = sum(self._passes.get(instruction.function, 1) for instruction in program)
        if not incremental:
            return Work("elementwise", 0, ELEMENT * numbers * (1 + passes) // 2, len(program))
        passes = 2 + passes if self.reads_result(program) else 3 + 2 * passes
        return Work("elementwise", 0, ELEMENT * numbers * passes, 3)

    def evaluate(self, backend: Any, x: Array, program: Program, parameters: Parameters, donate: bool) -> Array:
        """``f(x)``."""
        return backend.maps.pointwise(x, program, parameters, donate)

    def delta(self, backend: Any, delta: Delta, epilogue: Epilogue) -> Array:
        """``f(view[B] + d) - f(view[B])``."""
        return backend.deltas.pointwise(delta, epilogue)


class SumKernel(Kernel):
    """The delta rule of a sum of two maps: by default the backend's ``union``."""

    def applies(self, backend: Any) -> bool:
        """Whether it serves on this backend."""
        return True

    def work(self, numbers: int) -> Work:
        """Its work for a delta of so many: one pass over the union box."""
        return Work("elementwise", 0, 2 * ELEMENT * numbers)

    def run(self, backend: Any, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None) -> Array:
        """The sum of deltas over ``boxes``, which cover all of theirs, and its epilogue."""
        return backend.deltas.union(deltas, boxes, epilogue)


class MaxPoolKernel(Kernel):
    """The delta rule of a max-pool: by default the backend's ``max_pool_delta``, the paper's Algorithm 1."""

    def applies(self, backend: Any, sliding: Sliding) -> bool:
        """Whether it serves for such windows on this backend."""
        return True

    def work(self, sliding: Sliding, numbers: int) -> Work:
        """Its work for a delta of so many: context in, a pass for each tap, and the view."""
        context = numbers * math.prod(sliding.stride)
        return Work("elementwise", 0, ELEMENT * (4 * context + 2 * numbers * (sliding.taps + 1)), sliding.taps + 3)

    def run(
        self, backend: Any, delta: Delta, boxes: Boxes, view: Array, result: Array, sliding: Sliding, padding: Margins
    ) -> Array:
        """``max(view + d) - result[B]`` over ``boxes``: [n, h, w, C]."""
        return backend.windows.max_pool_delta(delta, boxes, view, result, sliding, padding)


class Kernels:
    """The kernels that a backend ``declares``, by what they compute; in their order, the most general first."""

    def __init__(self, backend: Any, declares: Sequence[Kernel]) -> None:
        self._backend = backend
        self._declares = tuple(declares)
        self._whole: dict[tuple[Sliding, int], tuple[ConvolutionKernel, ...]] = {}
        self._deltas: dict[tuple[Sliding, int], tuple[ConvolutionKernel, ...]] = {}

    @cached_property
    def _convolutions(self) -> tuple[ConvolutionKernel, ...]:
        return tuple(kernel for kernel in self._declares if isinstance(kernel, ConvolutionKernel))

    def convolution(self, sliding: Sliding, groups: int) -> tuple[ConvolutionKernel, ...]:
        """Those that evaluate such a convolution on whole maps."""
        key = sliding, groups
        if key not in self._whole:
            self._whole[key] = tuple(k for k in self._convolutions if k.evaluates(self._backend, sliding, groups))
        return self._whole[key]

    def convolution_deltas(self, sliding: Sliding, groups: int) -> tuple[ConvolutionKernel, ...]:
        """Those that compute the delta of such a convolution.

        Among them may be such that round to fewer bits, where the query permits it: for deltas alone, since what they
        round is relative to the small delta and not to the activation.
        """
        key = sliding, groups
        if key not in self._deltas:
            self._deltas[key] = tuple(k for k in self._convolutions if k.applies(self._backend, sliding, groups))
        return self._deltas[key]

    @cached_property
    def dense(self) -> tuple[DenseKernel, ...]:
        """Those that evaluate dense layers on whole maps."""
        declared = (kernel for kernel in self._declares if isinstance(kernel, DenseKernel))
        return tuple(kernel for kernel in declared if kernel.evaluates(self._backend))

    @cached_property
    def dense_deltas(self) -> tuple[DenseKernel, ...]:
        """Those that compute deltas of dense layers."""
        declared = (kernel for kernel in self._declares if isinstance(kernel, DenseKernel))
        return tuple(kernel for kernel in declared if kernel.applies(self._backend))

    @cached_property
    def _pointwise(self) -> tuple[PointwiseKernel, ...]:
        return tuple(kernel for kernel in self._declares if isinstance(kernel, PointwiseKernel))

    def pointwise(self, program: Program) -> tuple[PointwiseKernel, ...]:
        """Those that evaluate such a program on whole maps."""
        return tuple(kernel for kernel in self._pointwise if kernel.evaluates(self._backend, program))

    def pointwise_deltas(self, program: Program) -> tuple[PointwiseKernel, ...]:
        """Those that compute deltas by such a program."""
        return tuple(kernel for kernel in self._pointwise if kernel.applies(self._backend, program))

    @cached_property
    def sums(self) -> tuple[SumKernel, ...]:
        """Those that compute deltas of sums."""
        declared = (kernel for kernel in self._declares if isinstance(kernel, SumKernel))
        return tuple(kernel for kernel in declared if kernel.applies(self._backend))

    def max_pools(self, sliding: Sliding) -> tuple[MaxPoolKernel, ...]:
        """Those that compute deltas of max-pools."""
        declared = (kernel for kernel in self._declares if isinstance(kernel, MaxPoolKernel))
        return tuple(kernel for kernel in declared if kernel.applies(self._backend, sliding))


def declared_rates(kernels: Sequence[Kernel]) -> Mapping[str, Rates]:
    """The rates of all kinds of work of these kernels, on a machine that was not calibrated."""
    return {kind: rates for kernel in kernels for kind, rates in kernel.rates.items()}


def settings(kernels: Sequence[Kernel]) -> tuple[str, ...]:
    """What ``SET kernels`` takes to restrict convolutions to one of these kernels."""
    return tuple(dict.fromkeys(kernel.setting for kernel in kernels if kernel.setting is not None))
