"""Pooling: max-pool (local, not linear: Algorithm 1), average pool (linear, by a map of divisors), and means.

Averages are incrementally maintained aggregates: the delta of a sum is the sum of the delta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import ClassVar

import numpy as np

from kdb.geometry import Boxes, Footprint, Margins, Part, Size
from kdb.kernels.base import Array, Backend, Delta, Parameters, Sliding, Weight
from kdb.kernels.kernel import FULL, Kernel, MaxPoolKernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Reads, Shape, Update, whole_map


@dataclass(frozen=True, slots=True)
class _Pool(Operator):
    """A sliding window with an output ``size`` of its own, since ``ceil_mode`` may round it up."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Margins
    size: Size
    dilation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilation", Sliding(self.kernel, self.stride, self.dilation).dilation)

    @property
    def sliding(self) -> Sliding:
        """The window as the backend takes it."""
        return Sliding(self.kernel, self.stride, self.dilation)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay."""
        return Shape(inputs[0].channels, self.size)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Every output whose window reads a change."""
        return None if inputs[0] is None else inputs[0].behind(self.sliding.windows(self.padding), shape.size)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """What the windows read."""
        read = part.read_in(self.sliding.windows(self.padding)).inside(shapes[0].size)
        return None if read is None else (read,)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """With as much padding as the part's windows read; the last may hang over it, as those of the whole map do."""
        windows, rank = self.sliding.windows(self.padding), len(self.kernel)
        around = part.read_in(windows).margins(given[0])
        behind = map(min, around[rank:], (max(window.after, 0) for window in windows))
        return replace(self, padding=(*around[:rank], *behind), size=part.extent)

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """Every output whose window lies in the input's footprint."""
        return None if inputs[0] is None else inputs[0].enclosed(self.sliding.windows(self.padding))

    def constant(self, k: Backend, parameters: Parameters, value: Array) -> Array:
        """``value`` itself, which is the maximum and the mean of its copies."""
        return value

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """A pass over the output for each tap."""
        return Work("elementwise", 0, 2 * ELEMENT * shape.elements * self.sliding.taps, self.sliding.taps)


@dataclass(frozen=True, slots=True)
class MaxPool(_Pool):
    """Maximum over each window; cells off the map are minus infinity."""

    label: ClassVar[str] = "max_pool"
    windowed: ClassVar[bool] = True

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """Over the map with minus infinity around it."""
        return k.windows.max_pool(inputs[0], self.sliding, self.padding, self.size)

    def kernels(self, k: Backend) -> tuple[Kernel, ...]:
        """The backend's for such windows; all of them read the context, as a maximum is not linear."""
        return k.kernels.max_pools(self.sliding)

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """The context, and its own view to subtract."""
        return Reads((True,), True)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``max(v[R] + d) - v_out[B]``."""
        (d,) = update.inputs
        assert d is not None
        (view,) = update.input_views
        assert isinstance(update.kernel, MaxPoolKernel), "max-pools have kernels of their own"
        return update.kernel.run(k, d, update.boxes, view, update.view, self.sliding, self.padding)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's."""
        assert isinstance(kernel, MaxPoolKernel), "max-pools have kernels of their own"
        return kernel.work(self.sliding, math.prod(extent) * shape.channels)


@dataclass(frozen=True, slots=True)
class AveragePool(_Pool):
    """Mean over each window; ``count_include_pad`` counts padding as cells, ``divisor`` overrides the count."""

    label: ClassVar[str] = "average_pool"
    windowed: ClassVar[bool] = True

    count_include_pad: bool = True
    divisor: int | None = None

    def divisors(self, size: Size) -> Weight:
        """What each output is divided by, [*size, 1], given the input's ``size``."""
        return _divisors(self, size)

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """As all windows; nowhere if the divisor is another than the number of cells."""
        return None if self.divisor is not None else _Pool.enclosed(self, inputs)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """Sum over the zero-padded map, over the divisors."""
        divisors = self.divisors(tuple(inputs[0].shape[1:-1]))
        return k.windows.average_pool(inputs[0], self.sliding, self.padding, divisors)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``sum(d) / divisors[B]``, the divisors read at the absolute position."""
        (d,) = update.inputs
        assert d is not None
        divisors = self.divisors(update.shapes[0].size)
        return k.windows.average_pool_delta(d, update.boxes, self.sliding, self.padding, divisors)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """A pass for each tap over the embedded delta."""
        cells = math.prod(extent) * shape.channels
        return Work("elementwise", 0, ELEMENT * cells * (3 + 2 * self.sliding.taps), self.sliding.taps + 2)


@lru_cache(maxsize=256)
def _divisors(pool: AveragePool, size: Size) -> Weight:
    counts = []
    for window, length, outputs in zip(pool.sliding.windows(pool.padding), size, pool.size, strict=True):
        start = np.arange(outputs) * window.stride - window.before
        stop = np.minimum(start + window.kernel, length + window.after)
        if not pool.count_include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, length)
        counts.append(stop - start)
    divisors = reduce(np.multiply.outer, counts)[..., None].astype(np.float32)
    return Weight(np.full_like(divisors, pool.divisor) if pool.divisor is not None else divisors)


@dataclass(frozen=True, slots=True)
class GlobalMean(Operator):
    """Mean over all cells, channel by channel."""

    label: ClassVar[str] = "global_mean"
    gathers: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """One cell."""
        return inputs[0].vector

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The one cell there is."""
        return whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``sum(x)`` over the number of cells."""
        return k.windows.mean(inputs[0], math.prod(inputs[0].shape[1:-1]))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``sum(d)`` over the number of cells, an incrementally maintained aggregate."""
        (d,) = update.inputs
        assert d is not None
        return k.windows.mean(d.values, update.shapes[0].cells)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """One pass over the delta."""
        return Work("elementwise", 0, ELEMENT * shape.channels * math.prod(extents[0] or shapes[0].size))


@dataclass(frozen=True, slots=True)
class AdaptiveAveragePool(Operator):
    """Mean over the windows ``[floor(i H / h), ceil((i + 1) H / h))`` of each axis, for an output of ``size``.

    Windows that overlap unevenly have no stride; any change is taken for a change of the whole output.
    """

    label: ClassVar[str] = "adaptive_average_pool"
    gathers: ClassVar[bool] = True

    size: Size

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay."""
        return Shape(inputs[0].channels, self.size)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The whole output, if anything changes."""
        return whole_map(inputs, shape)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """A product with one matrix of weights an axis."""
        return k.windows.resample(inputs[0], tuple(map(_adaptive, self.size, inputs[0].shape[1:-1])))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The pool of the delta with zeros around it, since the pool is linear."""
        (d,) = update.inputs
        assert d is not None
        whole = k.deltas.embed(d, Boxes.whole(len(d.boxes), update.shapes[0].size))
        return self.evaluate(k, parameters, [whole], FULL, False)


@lru_cache(maxsize=256)
def _adaptive(outputs: int, length: int) -> Weight:
    matrix = np.zeros((outputs, length), np.float32)
    for i in range(outputs):
        start, stop = i * length // outputs, -(-(i + 1) * length // outputs)
        matrix[i, start:stop] = 1 / (stop - start)
    return Weight(matrix)


@dataclass(frozen=True, slots=True)
class Pad(Operator):
    """``value`` around the map, by ``padding``."""

    label: ClassVar[str] = "pad"

    padding: Margins
    value: float = 0.0

    @property
    def _before(self) -> tuple[int, ...]:
        return self.padding[: len(self.padding) // 2]

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The map and its margins."""
        size = inputs[0].size
        around = zip(self.padding[: len(size)], size, self.padding[len(size) :], strict=True)
        return Shape(inputs[0].channels, tuple(map(sum, around)))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The input's boxes, shifted by the margins."""
        return None if inputs[0] is None else inputs[0].shifted(self._before)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """What of it is no margin."""
        read = self._read(part).inside(shapes[0].size)
        return None if read is None else (read,)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """With the margins that the part has."""
        return replace(self, padding=self._read(part).margins(given[0]))

    def _read(self, part: Part) -> Part:
        return part.of(Part(self._before, part.extent))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The map with its margins."""
        return k.maps.pad(inputs[0], self.padding, self.value)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The margins do not change: the delta, elsewhere."""
        (d,) = update.inputs
        assert d is not None
        shifted = Delta(Boxes(d.boxes.origins + self._before, d.boxes.extent), d.values)
        # Nothing may have to be laid anywhere, and then the memory would still be the input's.
        return d.own() if shifted.fills(update.boxes) else k.deltas.embed(shifted, update.boxes)
