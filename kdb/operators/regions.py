"""What of a dense output is scored: the mean of each channel over a region of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from kdb.geometry import Footprint, Part, Size, Spans
from kdb.kernels.base import Array, Backend, Parameters
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Shape, Update


@dataclass(frozen=True, slots=True)
class RegionMean(Operator):
    """``y[k] = sum over all cells p: w[p, k] x[p, k]``, one cell: a mean over a region, where its weights sum to one.

    ``weight`` names a parameter [*size, C], or [*size, 1] for all channels alike.
    """

    label: ClassVar[str] = "region_mean"
    gathers: ClassVar[bool] = True

    weight: str

    def weights_fields(self) -> tuple[str, ...]:
        """The cells' weights."""
        return ("weight",)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """One cell."""
        return inputs[0].vector

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The one cell; empty for positions that change nothing of the map."""
        if inputs[0] is None:
            return None
        stop = (inputs[0].areas > 0).astype(np.int64)
        return replace(inputs[0], spans=(Spans(np.zeros_like(stop), stop),) * len(shape.size))

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """The whole map."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The weighted sum."""
        return k.windows.weighted(inputs[0], parameters[self.weight])

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The weighted sum of the delta: an incrementally maintained aggregate."""
        (d,) = update.inputs
        assert d is not None
        return k.windows.weighted_delta(d, parameters[self.weight])

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The weights gathered, a product and a sum over the delta."""
        return Work("elementwise", 0, 5 * ELEMENT * shape.channels * math.prod(extents[0] or shapes[0].size))


@dataclass(frozen=True, slots=True)
class ObservedMean(RegionMean):
    """The same where somebody asks which cells of the map change."""

    observed: ClassVar[bool] = True
