"""What every backend offers: the verbs that operators compute with, and the small language of location-wise maps.

Arrays are float32, channels last and C-contiguous: a *map* is [n, height, width, channels] (a vector is a map of one
cell), a *view* is [height, width, channels].  They support arithmetic and slicing as numpy's do; whatever needs more
is a verb here.  Kernels get ready boxes and do no geometry of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Size

Array = Any  # an array of the backend's own library

Operand = int | float | str
"""Of an instruction: an ``int`` names a register (0 holds the input, i + 1 the result of instruction i), a ``float``
is a constant, a ``str`` names a parameter that broadcasts over [..., channels]."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of a location-wise program: ``function`` applied to ``operands``."""

    function: str
    operands: tuple[Operand, ...]


Program = tuple[Instruction, ...]
"""A location-wise function of one map, in single-assignment form; its value is the last register."""

ROUNDED = frozenset({"add", "sub", "mul", "div", "neg", "abs", "maximum", "minimum", "sqrt", "reciprocal"})
"""Functions for which IEEE 754 leaves one result: the same in any layout, whatever lies beside an element."""


class Sliding(NamedTuple):
    """A two-dimensional sliding window, (y, x): taps, their step and their spacing."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> int:
        """Number of taps."""
        return self.kernel[0] * self.kernel[1]


FloatArray = npt.NDArray[np.float32]

Origin = FloatArray | Callable[[], FloatArray]
"""An array, or how to come by it."""


class Weight:
    """One parameter, and the layouts that kernels derived from it, kept.

    What rules make of weights is computed when it is first read: a plan needs no numbers.  Two threads may both derive
    an array or a layout; either serves.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._forms: dict[str, Any] = {}

    @property
    def array(self) -> FloatArray:
        """The numbers."""
        origin = self._origin
        if not isinstance(origin, np.ndarray):
            origin = self._origin = origin()  # and whatever it was derived from is let go
        return origin

    def form(self, name: str, derive: Callable[[FloatArray], Any]) -> Any:
        """The layout ``name``, derived at the first call."""
        if name not in self._forms:
            self._forms[name] = derive(self.array)
        return self._forms[name]


Product = Callable[[FloatArray, FloatArray, FloatArray], object]
"""``product(a, b, out)`` writes the matrix product, as ``numpy.matmul`` does; stacks of matrices are [k, m, n]."""

Parameters = Mapping[str, Weight]

Margins = tuple[int, int, int, int]
"""Rows and columns of zeros around a map: top, left, bottom, right."""

NO_MARGINS: Margins = (0, 0, 0, 0)


class Backend(Protocol):
    """The verbs.  ``n`` is a batch of positions, each at its own place in the layer's map."""

    name: str

    def convolution_kernels(self, sliding: Sliding, groups: int) -> tuple[str, ...]:
        """The kernels this backend has for such a :meth:`convolve`, the most general first."""

    def reduced_kernels(self) -> tuple[str, ...]:
        """Kernels of :meth:`convolve` and :meth:`dense` that round to fewer bits, where the query permits it.

        For deltas alone: what they round is relative to the small delta, not to the activation.
        """

    def gather(self, view: Array, boxes: Boxes) -> Array:
        """``view[B]``: [n, h, w, C] for boxes that lie inside the view."""

    def replace(self, view: Array, boxes: Boxes, value: Array, out: Array) -> None:
        """``value - view[B]`` into ``out`` [n, h, w, C]: the delta of cells that become ``value`` [C]."""

    def read_in(self, view: Array, boxes: Boxes, outside: float) -> Array:
        """``view[B]`` for boxes that may hang over the edge; cells there are ``outside`` (eq. 19)."""

    def pad(self, x: Array, margins: Margins, value: float) -> Array:
        """``value`` around x [n, h, w, C]; a negative margin crops."""

    def embed(self, values: Array, boxes: Boxes, frames: Boxes, out: Array | None = None) -> Array:
        """Zeros over ``frames`` with ``values`` laid at ``boxes``; what falls outside a frame is dropped.

        In ``out`` [n, h, w, C], where it is given; it may be some channels of a larger array.
        """

    def superimpose(self, target: Array, frames: Boxes, values: Array, boxes: Boxes) -> None:
        """Add ``values`` at ``boxes`` to ``target`` at ``frames``, in place (eq. 20 for deltas)."""

    def convolve(
        self,
        x: Array,
        weight: Weight,
        bias: Weight | None,
        sliding: Sliding,
        groups: int,
        margins: Margins,
        kernel: str,
    ) -> Array:
        """Convolution of [n, h, w, C] with zeros around it; ``weight`` is [out, in / groups, kh, kw]."""

    def max_pool(self, x: Array, sliding: Sliding) -> Array:
        """Maximum over each window, nothing padded."""

    def sum_pool(self, x: Array, sliding: Sliding) -> Array:
        """Sum over each window, nothing padded."""

    def dense(self, x: Array, weight: Weight, bias: Weight | None, kernel: str) -> Array:
        """``x W^T + b`` over the channels of [n, h, w, in]; ``weight`` is [out, in], ``kernel`` "full" for fp32."""

    def location_wise(self, x: Array, program: Program, parameters: Parameters, overwrite: bool) -> Array:
        """``f(x)``; ``overwrite`` grants the memory of ``x``."""

    def location_wise_delta(
        self,
        values: Array,
        view: Array,
        result: Array | None,
        boxes: Boxes,
        program: Program,
        parameters: Parameters,
        overwrite: bool,
    ) -> Array:
        """``f(view[B] + values) - f(view[B])``; zero stays zero.  ``overwrite`` grants ``values``' memory.

        ``result`` is ``f(view)`` where every function of the program is in ROUNDED, otherwise None.
        """

    def empty(self, n: int, extent: Size, channels: int) -> Array:
        """An array [n, h, w, C] that is still to be written to."""

    def all_finite(self, x: Array) -> bool:
        """Whether x holds neither NaN nor infinity."""

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Stack along the channels."""

    def expand(self, x: Array, extent: Size, channels: int) -> Array:
        """x [n, h, w, C] repeated along axes of length 1, read-only, without copying."""

    def take_channels(self, x: Array, order: Sequence[int]) -> Array:
        """``x[..., order]``, copied."""

    def take_cells(self, x: Array, rows: IntArray, columns: IntArray) -> Array:
        """``x[i, rows[i]][:, columns[i]]``, copied: [n, h', w', C]; zero where an index lies outside of x.

        ``rows`` int64 [n, h'] and ``columns`` [n, w'].
        """
