"""What every backend offers: verbs that operators compute with, by family, and the small language of pointwise maps.

Arrays are the backend's own, float32, channels last and C-contiguous: a *map* is [n, ..., channels] with an axis for
each of the network's, in two [n, height, width, channels] (a vector is a map of one cell), a *view* is a map of one
position without its first axis.  Shapes below are those of two axes.  All arithmetic is a verb or a kernel; arrays
themselves are only sliced by position, reshaped, and copied.  Both get ready boxes and do no geometry of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Margins, Size, Window
from kdb.system.locks import ProcessLock

if TYPE_CHECKING:
    from kdb.kernels.kernel import Kernels
    from kdb.kernels.traits import DeviceTraits
    from kdb.system.threads import Threads

Array = Any  # an array of the backend's own library

Operand = int | float | str
"""Of an instruction: an ``int`` names a register (0 holds the input, i + 1 the result of instruction i), a ``float``
is a constant, a ``str`` names a parameter that broadcasts over [..., channels]."""


@dataclass(frozen=True, slots=True, eq=False)
class Instruction:
    """One step of a pointwise program: ``function`` applied to ``operands``."""

    function: str
    operands: tuple[Operand, ...]

    def __eq__(self, other: object) -> bool:
        """Register 1 is another operand than the constant 1.0, which Python takes for equal."""
        if self is other or not isinstance(other, Instruction):
            return self is other
        same = (self.function, self.operands) == (other.function, other.operands)
        return same and [*map(type, self.operands)] == [*map(type, other.operands)]

    def __hash__(self) -> int:
        return hash((self.function, self.operands))


Program = tuple[Instruction, ...]
"""A pointwise function of one map, in single-assignment form; its value is the last register."""

ROUNDED = frozenset({"add", "sub", "mul", "div", "neg", "abs", "maximum", "minimum", "sqrt", "reciprocal"})
"""Functions for which IEEE 754 leaves one result: the same in any layout, whatever lies beside an element."""


def rounded(program: Program) -> bool:
    """Whether ``f(v)[B]`` is ``f(v[B])`` to the last bit: other functions may round an array's end in their own way."""
    return all(instruction.function in ROUNDED for instruction in program)


NO_MARGINS: Margins = ()
"""None, along any number of axes."""
WIDEST = 1 << 31
"""Cells of a window and around a map, at most: products of two such numbers are 64-bit integers."""


@dataclass(frozen=True, slots=True)
class Sliding:
    """A sliding window along each axis: taps, their step and their spacing, both 1 unless they are given."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        ones = (1,) * len(self.kernel)
        object.__setattr__(self, "stride", self.stride or ones)
        object.__setattr__(self, "dilation", self.dilation or ones)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.kernel)

    @property
    def taps(self) -> int:
        """Number of taps."""
        return math.prod(self.kernel)

    def around(self, padding: Margins) -> Margins:
        """``padding``, with zeros for NO_MARGINS."""
        return padding or (0,) * (2 * self.rank)

    def windows(self, padding: Margins) -> tuple[Window, ...]:
        """Along each axis, with ``padding`` around; raises ValueError where cells could not be counted in 64 bits."""
        padding = self.around(padding)
        if max(map(abs, (*self.kernel, *self.stride, *self.dilation, *padding))) >= WIDEST:
            raise ValueError(f"a window of {WIDEST:,} cells or more")
        return tuple(map(Window, self.kernel, self.stride, padding[: self.rank], padding[self.rank :], self.dilation))


FloatArray = npt.NDArray[np.float32]

Origin = FloatArray | Callable[[], FloatArray]
"""An array, or a function that computes it."""


class Weight:
    """One parameter, and the layouts that kernels have derived from it.

    Weights that a rule rewrites are computed when they are first read, since planning needs no values.  Of two threads
    that want the same array or layout, one computes it while the other waits.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._layouts: dict[str, Any] = {}
        self._lock = ProcessLock()

    @property
    def origin(self) -> Origin:
        """The parameter's values, or the function that computes them if they were not read yet."""
        return self._origin

    @property
    def array(self) -> FloatArray:
        """The parameter's values, computed when they are first read."""
        if not isinstance(self._origin, np.ndarray):
            with self._lock:
                if not isinstance(self._origin, np.ndarray):
                    self._origin = self._origin()  # and whatever it was derived from is let go
        return self._origin

    def layout(self, name: str, derive: Callable[[FloatArray], Any]) -> Any:
        """The layout ``name``, which ``derive`` computes at the first call."""
        if name not in self._layouts:
            with self._lock:
                if name not in self._layouts:
                    self._layouts[name] = derive(self.array)
        return self._layouts[name]


@dataclass(frozen=True, slots=True, eq=False)
class ConvolutionSpec:
    """One convolution: ``weight`` [out, in / groups, *kernel], ``bias`` [out] or None, window, groups, zero padding."""

    weight: Weight
    bias: Weight | None
    sliding: Sliding
    groups: int = 1
    padding: Margins = NO_MARGINS

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", self.sliding.around(self.padding))

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return len(self.weight.array)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The window along each axis, with its padding."""
        return self.sliding.windows(self.padding)

    def padded(self, padding: Margins) -> ConvolutionSpec:
        """The same convolution with other zeros around its input."""
        return ConvolutionSpec(self.weight, self.bias, self.sliding, self.groups, padding)

    def linear(self, padding: Margins) -> ConvolutionSpec:
        """The convolution without its bias, as deltas take it, with other zeros around its input."""
        return ConvolutionSpec(self.weight, None, self.sliding, self.groups, padding)


Product = Callable[[FloatArray, FloatArray, FloatArray], object]
"""``product(a, b, out)`` writes the matrix product, as ``numpy.matmul`` does; stacks of matrices are [k, m, n]."""

Parameters = Mapping[str, Weight]

Tail = Callable[[Sequence[Any]], Any]
"""The rest of a model, float32 and deterministic: torch tensors [n, H, W, C] in, logits [n, K] out."""


@dataclass(eq=False)
class Delta:
    """``new - view`` of one layer for a batch: zero outside ``boxes``, ``values`` [n, h, w, C] inside.

    ``donate`` grants the memory of ``values`` to whoever reads it: nobody else will.
    """

    boxes: Boxes
    values: Array
    donate: bool = False

    def own(self) -> Array:
        """The values in memory that may be written over."""
        return self.values if self.donate else self.values.copy()

    def fills(self, boxes: Boxes) -> bool:
        """Whether its boxes are exactly ``boxes``."""
        return self.boxes.extent == boxes.extent and bool((self.boxes.origins == boxes.origins).all())


class Epilogue(NamedTuple):
    """The delta rule of a pointwise layer, applied to a delta d as it is computed: ``f(v[B] + d) - f(v[B])``.

    Where d is zero so is the result.

    ``view`` is v; ``result`` is ``f(v)`` where the program is :func:`rounded` and the plan keeps it, otherwise None.
    """

    program: Program
    parameters: Parameters
    view: Array
    result: Array | None


class Memory(Protocol):
    """A device's arrays, and their way from the host and back."""

    def upload(self, array: FloatArray) -> Array:
        """A float32 array of the host as an array of the device."""

    def upload_delta(self, array: FloatArray) -> Array:
        """A float32 array of the host as a delta's values on the device, which may be stored in fewer bits."""

    def download(self, array: Array) -> FloatArray:
        """An array of the device as a float32 array of the host, once it is computed."""

    def fetch(self, array: Array) -> Callable[[], FloatArray]:
        """Begin a download; the function that is returned waits for its end and gives the array."""

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """Prepare the boxes that all layers of a batch are about to use, in one copy to the device."""

    def empty(self, n: int, extent: Size, channels: int) -> Array:
        """An array [n, h, w, C] that is still to be written to."""

    def all_finite(self, x: Array) -> bool:
        """Whether x holds neither NaN nor infinity."""

    def constant(self, value: Weight) -> Array:
        """A parameter [H, W, C] as a map of one position."""


class Deltas(Protocol):
    """Updates, and deltas over boxes of a view; ``n`` positions, each at its own place in the layer's map."""

    def occlude(
        self, image: Array, updates: Boxes, replacement: Array, aligned: bool, channels: Array | None, boxes: Boxes
    ) -> Array:
        """The source's delta over ``boxes``: ``(replacement - image[B]) * channels`` in ``updates``, elsewhere zero.

        ``updates`` may hang over the image's far edges.  ``replacement`` is [h, w, C], the patch, or where ``aligned``
        [H, W, C], an image that shows through it; ``channels`` [C] are ones and zeros, None for all.
        """

    def superimposed(self, view: Array, delta: Delta, frames: Boxes, outside: float = 0.0) -> Array:
        """``view + d`` over ``frames``; cells off the map are ``outside`` (eq. 19, 20)."""

    def embed(self, delta: Delta, frames: Boxes) -> Array:
        """The delta over ``frames``, zero where it has none; what falls outside a frame is dropped."""

    def union(self, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None = None) -> Array:
        """The sum of deltas over ``boxes``, which cover all of theirs."""

    def stack(self, deltas: Sequence[Delta | None], channels: Sequence[int], boxes: Boxes) -> Array:
        """Deltas over ``boxes``, stacked along the channels; None stands for zeros of so many ``channels``."""

    def product(self, x: Delta | None, y: Delta | None, view_x: Array, view_y: Array, boxes: Boxes) -> Array:
        """``dx y + x dy + dx dy`` over ``boxes``; the view of one operand is read where the other changes."""

    def pointwise(self, delta: Delta, epilogue: Epilogue) -> Array:
        """The epilogue of a delta; it may take the memory of one that is donated."""

    def replace(self, view: Array, boxes: Boxes, value: Array, out: Array) -> None:
        """``value - view[B]`` into ``out`` [n, h, w, C]: the delta of cells that become ``value`` [C]."""


class Windows(Protocol):
    """Pools, means and resampling, of whole maps and of deltas."""

    def max_pool(self, x: Array, sliding: Sliding, padding: Margins, size: Size) -> Array:
        """Maximum over each window, minus infinity around the map; ``size`` is the output's."""

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: Array, result: Array, sliding: Sliding, padding: Margins
    ) -> Array:
        """``max(view + d) - result[B]``."""

    def average_pool(self, x: Array, sliding: Sliding, padding: Margins, divisors: Weight) -> Array:
        """Sum over each window, zeros around the map, over the ``divisors`` [*size', 1]."""

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> Array:
        """``sum(d) / divisors[B]``."""

    def mean(self, x: Array, cells: int) -> Array:
        """The sum over each map, over ``cells``: [n, 1, ..., C]."""

    def resample(self, x: Array, matrices: Sequence[Weight]) -> Array:
        """The product with a matrix [length', length] along each axis, for each channel."""

    def resample_delta(self, delta: Delta, boxes: Boxes, matrices: Sequence[Weight]) -> Array:
        """The same of a delta, over ``boxes`` of the output."""

    def weighted(self, x: Array, weights: Weight) -> Array:
        """The sum over each map [n, H, W, C] of x times ``weights`` [H, W, C] or [H, W, 1]: [n, 1, 1, C]."""

    def weighted_delta(self, delta: Delta, weights: Weight) -> Array:
        """The same of a delta, which lies inside the map."""

    def outside(self, delta: Delta, sums: Array) -> Array:
        """A change that is the same in every cell, times weights, summed over the cells outside of its boxes.

        ``sums`` [H + 1, W + 1, k C] are those of k weights [H, W, C] over the cells before y and x: [n, 1, 1, k].
        """


class Maps(Protocol):
    """Whole maps cell by cell: pointwise functions, sums and products, selections."""

    def pointwise(self, x: Array, program: Program, parameters: Parameters, donate: bool) -> Array:
        """``f(x)``; ``donate`` grants the memory of ``x``."""

    def add(self, x: Array, y: Array, donate: bool) -> Array:
        """``x + y``; ``donate`` grants the memory of ``x``."""

    def multiply(self, x: Array, y: Array, donate: bool) -> Array:
        """``x * y``; ``donate`` grants the memory of ``x``."""

    def mixed(self, x: Array, matrix: Array) -> Array:
        """The channels of x [n, h, w, C] times a view [1, 1, C K], the matrix [C, K] row by row: [n, h, w, K]."""

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Stack along the channels."""

    def join(self, parts: Sequence[Array], axis: int) -> Array:
        """One behind another along an axis of the map, from 0."""

    def expand(self, x: Array, extent: Size, channels: int) -> Array:
        """x [n, h, w, C] repeated along axes of length 1, read-only."""

    def repeat(self, view: Array, n: int) -> Array:
        """A view as the map of ``n`` positions, read-only."""

    def pad(self, x: Array, margins: Margins, value: float) -> Array:
        """``value`` around x [n, h, w, C]; a negative margin crops."""

    def interleave(self, x: Array, factors: Size) -> Array:
        """Each cell as ``factors`` cells: x [n, h, w, f C], f their product, as [n, f' h, f'' w, C]."""

    def take_channels(self, x: Array, order: Sequence[int]) -> Array:
        """``x[..., order]``, copied."""

    def take_cells(self, x: Array, cells: Sequence[IntArray]) -> Array:
        """The cells of each map at the indices int64 [n, length'] along each axis, copied; zero where one is outside.

        In two axes ``x[i, cells[0][i]][:, cells[1][i]]``: [n, h', w', C].
        """


class Backend(Protocol):
    """What computes: the kernels of one device, and its other verbs by family."""

    name: str
    traits: DeviceTraits
    threads: Threads
    """The threads in which all of it is to be called."""
    kernels: Kernels
    """The kernels for convolutions, dense layers and sums."""

    @property
    def title(self) -> str:
        """What EXPLAIN calls it."""

    @property
    def memory(self) -> Memory:
        """Arrays, and their way from the host and back."""

    @property
    def deltas(self) -> Deltas:
        """Updates and deltas."""

    @property
    def windows(self) -> Windows:
        """Pools, means and resampling."""

    @property
    def maps(self) -> Maps:
        """Whole maps cell by cell."""

    def running(self) -> AbstractContextManager[None]:
        """Around all other calls, in the thread that makes them."""

    def synchronize(self) -> None:
        """Wait for all that was launched, as a clock must."""

    def framework(self, tail: Tail, inputs: Sequence[Array]) -> Array:
        """``tail`` of maps [n, H, W, C], evaluated by the model's own framework: [n, 1, 1, K]."""
