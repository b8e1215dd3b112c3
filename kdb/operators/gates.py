"""Live gates: gates by means of the whole map that follow their means where a change is, and to first order elsewhere.

A gate multiplies every cell by a function of the map's mean, or adds one, so that a change anywhere changes every cell
a little.  :class:`LiveGate` carries its change in the boxes of the map that it is joined with, where everything is
computed as it is.  What it leaves out, the same change in every cell outside of the box, changes the logits by

    c = dz . (sum over the map of u - sum over the box of u),    u = gradient of the logit by the repeated gate,

to first order: :class:`Outside` sums this up, gate by gate, and :class:`Corrected` adds it to the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kdb.geometry import Footprint, Part, Size
from kdb.kernels.base import Array, Backend, FloatArray, Parameters
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import ELEMENT, Work
from kdb.operators.base import Operator, Reads, Shape, Update, whole_map


@dataclass(frozen=True, eq=False)
class Corrections:
    """Which logits are corrected, by whose gradients: those of ``seeds`` float32 [scores, K] times the logits.

    The i-th is added to the logit of the i-th of ``classes``.  For logits the seeds are unit vectors, for probabilities
    the gradients of log-odds; see :meth:`kdb.queries.scoring.Scorer.corrections`.
    """

    classes: tuple[int, ...]
    seeds: FloatArray

    @property
    def places(self) -> FloatArray:
        """Where corrections are added, float32 [scores, K]; of a class that is there twice, once."""
        found = np.zeros_like(self.seeds)
        for i, index in enumerate(self.classes):
            found[i, index] = index not in self.classes[:i]
        return found


@dataclass(frozen=True, slots=True)
class LiveGate(Operator):
    """The vector ``z``, repeated over a map as a gate is; its change is kept to the boxes of ``x``.

    The inputs are z and every x that the gate is joined with.
    """

    label: ClassVar[str] = "live_gate"
    aliases: ClassVar[bool] = True

    shape: Shape

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """``shape``; raises ValueError unless z is of one cell."""
        if inputs[0] != self.shape.vector or any(shape.size != self.shape.size for shape in inputs[1:]):
            raise ValueError(f"cannot repeat {inputs[0]} up to {self.shape}")
        return self.shape

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The union of those of every x."""
        changed = [footprint for footprint in inputs[1:] if footprint is not None]
        return changed[0].union(*changed[1:]) if changed else None

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """Only computed as a whole."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """z in every cell."""
        return k.maps.expand(inputs[0], self.shape.size, self.shape.channels)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The change of z, in the boxes."""
        d = update.inputs[0]
        assert d is not None, "a gate by the map's mean changes with the map"
        return k.maps.expand(d.values, update.boxes.extent, self.shape.channels)


@dataclass(frozen=True, slots=True)
class Given(Operator):
    """A map that is another for each image, and that whoever runs the plan provides; no position changes it."""

    shape: Shape

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """``shape``."""
        return self.shape

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """No footprint: it never changes."""
        return None

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """Given as a whole."""
        return None

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """Zeros, until it is given: the unmodified image needs no correction."""
        return k.memory.upload(np.zeros((1, *self.shape.size, self.shape.channels), np.float32))


@dataclass(frozen=True, slots=True)
class Adjoint(Given):
    """The gradients of some scores by the layer ``of``, [*size, C] each, summed up from the first cell on.

    A cell ``[y, x]`` of [*(size + 1), scores * C] has the sum over the cells before y and x: a summed-area table, from
    which the sum over any box is had by its corners.
    """

    label: ClassVar[str] = "adjoint"

    of: str


@dataclass(frozen=True, slots=True)
class Places(Given):
    """To which logits corrections are added: [.., scores * K], of :attr:`Corrections.places`."""

    label: ClassVar[str] = "places"


@dataclass(frozen=True, slots=True)
class Outside(Operator):
    """The corrections so far, and what a live gate adds to them: [.., scores], zero of the unmodified image.

    The inputs are the corrections, the gate, and its :class:`Adjoint`.
    """

    label: ClassVar[str] = "outside"
    aliases: ClassVar[bool] = True
    joined: ClassVar[bool] = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """That of the corrections; raises ValueError for an adjoint of another gate."""
        corrections, gate, adjoint = inputs
        after = tuple(length + 1 for length in gate.size)
        if adjoint != Shape(corrections.channels * gate.channels, after):
            raise ValueError(f"{adjoint} are no sums for {corrections.channels} scores over {gate}")
        return corrections

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """The one cell."""
        return whole_map(inputs, shape)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """The corrections so far: a gate that is evaluated in full leaves nothing out."""
        return inputs[0]

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """The adjoint."""
        return Reads((False, False, True))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``dc + dz . (sum over the map - sum over the box)``."""
        before, gate, _ = update.inputs
        assert gate is not None, "it changes wherever what it is joined with does"
        added = k.windows.outside(gate, update.input_views[2])
        return added if before is None else k.maps.add(before.own(), added, True)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The corners of a box in the adjoint, and a product."""
        corners = 1 << len(shapes[1].size)
        return Work("elementwise", 0, 3 * ELEMENT * shapes[2].channels * corners, corners + 3)

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """None."""
        return Work("elementwise", 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Corrected(Operator):
    """The logits and their corrections, each added where its :class:`Places` say."""

    label: ClassVar[str] = "corrected"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The logits'."""
        logits, corrections, places = inputs
        if places.channels != logits.channels * corrections.channels:
            raise ValueError(f"{places} are no places of {corrections} in {logits}")
        return logits

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """The places."""
        return Reads((False, False, True))

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """``logits + c P``."""
        logits, corrections, places = inputs
        return k.maps.add(logits, k.maps.mixed(corrections, places[0]), donate)

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """The same of the deltas, since it is linear."""
        logits, corrections, _ = update.inputs
        assert logits is not None and corrections is not None, "both change with the map"
        added = k.maps.mixed(corrections.values, update.input_views[2])
        return k.maps.add(logits.own(), added, True)


def summed(gradient: FloatArray) -> npt.NDArray[np.float32]:
    """What an :class:`Adjoint` is given: of gradients [scores, H, W, C] the sums [H + 1, W + 1, scores * C]."""
    sums = np.moveaxis(np.asarray(gradient, np.float64), 0, -2)
    for axis in range(sums.ndim - 2):
        sums = np.cumsum(sums, axis=axis)
    sums = np.pad(sums, [(1, 0)] * (sums.ndim - 2) + [(0, 0), (0, 0)])
    return np.ascontiguousarray(sums.reshape(*sums.shape[:-2], -1), np.float32)
