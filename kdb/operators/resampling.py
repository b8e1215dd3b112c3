"""Linear interpolation onto a finer or coarser grid, axis by axis: linear in the values, and local."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from kdb.geometry import Footprint, IntArray, Part, Spans
from kdb.kernels.base import Array, Backend, Parameters, Weight
from kdb.kernels.kernel import Kernel
from kdb.operators.base import Operator, Shape, Update


class Interpolation(NamedTuple):
    """Along one axis, as PyTorch interpolates: ``outputs`` of ``inputs`` cells, and of these the parts that are used.

    Where corners are ``aligned`` the first and the last cells of both grids coincide.  ``scale`` is by how much the
    grid is finer, where that is not the quotient of the lengths; 0 for that.  ``rows`` and ``columns`` are the first
    and the number of the outputs that are given, and of the inputs that they are computed from.
    """

    inputs: int
    outputs: int
    aligned: bool
    scale: float
    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def whole(cls, inputs: int, outputs: int, aligned: bool, scale: float | None) -> Interpolation:
        """Of a whole axis."""
        return cls(inputs, outputs, aligned, scale or 0.0, (0, outputs), (0, inputs))


@dataclass(frozen=True, slots=True)
class Resample(Operator):
    """``y[i] = sum_j M[i, j] x[j]`` along each axis: M has one or two neighbouring columns in each row."""

    label: ClassVar[str] = "resample"

    along: tuple[Interpolation, ...]

    def params(self) -> tuple[tuple[str, str], ...]:
        """The grids' lengths."""
        return (("cells", ", ".join(f"{each.columns[1]} to {each.rows[1]}" for each in self.along)),)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Channels stay; raises ValueError for a map of another size."""
        if inputs[0].size != tuple(each.columns[1] for each in self.along):
            raise ValueError(f"cannot resample {inputs[0]}")
        return Shape(inputs[0].channels, tuple(each.rows[1] for each in self.along))

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Every output that has a changed cell with a weight other than zero."""
        if inputs[0] is None:
            return None
        return replace(inputs[0], spans=tuple(map(_behind, inputs[0].spans, self.along)))

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """From the first cell that the first output has, to the last one that the last has."""
        start, stop = [], []
        for each, first, last in zip(self.along, part.start, part.stop, strict=True):
            starts, stops = _read(each)
            start.append(int(starts[first]))
            stop.append(int(stops[last - 1]))
        return (Part.between(start, stop),)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """These rows and columns of the matrices."""
        return Resample(
            tuple(
                each._replace(rows=(each.rows[0] + first, count), columns=(each.columns[0] + start, length))
                for each, first, count, start, length in zip(self.along, *part, *given[0], strict=True)
            )
        )

    @property
    def _matrices(self) -> tuple[Weight, ...]:
        return tuple(map(_matrix, self.along))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """A product with a matrix along each axis."""
        return k.windows.resample(inputs[0], self._matrices)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The same of the delta, by the part of each matrix that its box and the output's have."""
        (d,) = update.inputs
        assert d is not None
        return k.windows.resample_delta(d, update.boxes, self._matrices)


@lru_cache(maxsize=256)
def _matrix(along: Interpolation) -> Weight:
    """[rows, columns]: what PyTorch makes of the unit vectors."""
    units = torch.eye(along.inputs, dtype=torch.float64)[None]
    upsample = torch.ops.aten.upsample_linear1d.default
    whole = upsample(units, [along.outputs], along.aligned, along.scale or None)[0].T.numpy()
    (row, rows), (column, columns) = along.rows, along.columns
    return Weight(np.ascontiguousarray(whole[row : row + rows, column : column + columns], np.float32))


@lru_cache(maxsize=256)
def _read(along: Interpolation) -> tuple[IntArray, IntArray]:
    """Of each row the first column that is not zero, and that behind the last; neither ever decreases."""
    there = _matrix(along).array != 0
    return there.argmax(axis=1), there.shape[1] - there[:, ::-1].argmax(axis=1)


def _behind(spans: Spans, along: Interpolation) -> Spans:
    starts, stops = _read(along)
    first = np.searchsorted(stops, spans.start, side="right")
    last = np.searchsorted(starts, spans.stop, side="left")
    return replace(spans, start=first, stop=np.where(spans.stop > spans.start, np.maximum(last, first), first))
