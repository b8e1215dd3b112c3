"""The CPU backend: numpy, and torch's convolution as a declared competitor of the numpy ones.

Written to be read: it is the oracle of the other backends.  Threads are the executor's business; every verb here runs
in the calling thread, on as many threads as that thread's BLAS is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, IntArray, Size
from kdb.kernels.base import (
    Delta,
    Epilogue,
    Margins,
    Parameters,
    Product,
    Program,
    Sliding,
    Tail,
    Weight,
)
from kdb.kernels.cpu import boxed, library, taps
from kdb.kernels.cpu.dense import DENSE, DENSE_BF16, DENSE_DELTA
from kdb.kernels.cpu.direct import BF16, DIRECT
from kdb.kernels.cpu.recompute import CpuRecompute
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.cpu.winograd import WINOGRAD
from kdb.kernels.kernel import Kernel, Kernels, SumKernel
from kdb.kernels.programs import evaluate
from kdb.kernels.traits import DeviceTraits
from kdb.system.threads import NewThreads, Threads

FloatArray = npt.NDArray[np.float32]

CHUNK = 1 << 20
"""Numbers that a pointwise layer handles at a time: three such arrays stay in a shared cache.

Not fewer, for a core's own: each call hands the interpreter's lock on, and two workers that wait for each other's
microseconds took three times as long with arrays of 256 KB, though one worker alone was faster so.
"""


def _chunks(x: FloatArray) -> Iterator[slice]:
    """Slices of whole positions, about ``CHUNK`` numbers each."""
    step = max(CHUNK // max(x[0].size, 1), 1) if len(x) else 1
    return (slice(i, i + step) for i in range(0, len(x), step))


KERNELS: tuple[Kernel, ...] = (
    DIRECT,
    TAPS,
    WINOGRAD,
    BF16,
    CpuRecompute(DIRECT),
    CpuRecompute(TAPS),
    DENSE,
    DENSE_DELTA,
    DENSE_BF16,
    SumKernel("union"),
)
"""All kernels of the CPU, the most general of a kind first."""

TRAITS = DeviceTraits(
    computes_on_host=True,
    fuses_epilogues=False,
    workers=None,
    groups_in_flight=0,
    batch_sizes=(48,),  # far fewer lose to calls where layers are thin, far more to memory and longer extents
    most_positions=None,
    buffer_bytes=512 << 20,
    buffer_positions=256,
    full_batch_bytes=48 << 20,  # beyond, arrays cost more to move than batching saves
    full_batch=64,
)


class CpuBackend:
    """Verbs on numpy arrays.  ``native`` leaves torch out altogether; ``reduced`` permits bf16 for deltas.

    Matrices are multiplied by torch's BLAS, which on x86 is MKL: a fifth to a half faster on these shapes than numpy's.
    """

    traits = TRAITS

    def __init__(self, native: bool = False, reduced: bool = False) -> None:
        self.name = "numpy" if native else "cpu"
        self.native = native
        self.reduced = reduced
        self.threads: Threads = NewThreads()
        self.product: Product = np.matmul if native else library.multiply
        self.kernels = Kernels(self, KERNELS)

    @property
    def multiplies_bf16(self) -> bool:
        """Whether deltas may be rounded to bfloat16, and the processor multiplies it faster than float32."""
        return self.reduced and not self.native and library.multiplies_bf16()

    def running(self) -> AbstractContextManager[None]:
        """Nothing: threads are the executor's."""
        return nullcontext()

    def synchronize(self) -> None:
        """All is done when it is asked for."""

    def upload(self, array: FloatArray) -> FloatArray:
        """The same."""
        return array

    def delta(self, array: FloatArray) -> FloatArray:
        """The same."""
        return array

    def download(self, array: FloatArray) -> FloatArray:
        """The same."""
        return array

    def fetch(self, array: FloatArray) -> Callable[[], FloatArray]:
        """It is there."""
        return lambda: array

    def announce(self, boxes: Iterable[Boxes]) -> None:
        """Nothing to prepare."""

    def empty(self, n: int, extent: Size, channels: int) -> FloatArray:
        """[n, h, w, C], to be written to."""
        return np.empty((n, *extent, channels), np.float32)

    def all_finite(self, x: FloatArray) -> bool:
        """Whether x holds neither NaN nor infinity."""
        return bool(np.isfinite(x).all())

    def constant(self, value: Weight) -> FloatArray:
        """[1, H, W, C], shared."""
        return value.array[None]

    def framework(self, tail: Tail, inputs: Sequence[FloatArray]) -> FloatArray:
        """torch's."""
        return library.framework(tail, inputs)

    def occlude(
        self,
        image: FloatArray,
        updates: Boxes,
        replacement: FloatArray,
        aligned: bool,
        channels: FloatArray | None,
        boxes: Boxes,
    ) -> FloatArray:
        """``(replacement - image[B]) * channels`` in the updates, zero elsewhere in the boxes."""
        if updates.extent == boxes.extent and (updates.origins == boxes.origins).all():
            before = boxed.gather(image, boxes)
            height, width = boxes.extent
            after = boxed.gather(replacement, boxes) if aligned else replacement[:height, :width]
            values = after - before
            return values if channels is None else values * channels
        # Clipped by an edge, each in its own way.
        clipped = []
        for i, origin in enumerate(updates.origins):
            left = [min(length, int(n - a)) for length, n, a in zip(updates.extent, image.shape, origin, strict=False)]
            single = Boxes(origin[None], Size(*left))
            values = self.occlude(image, single, replacement, aligned, channels, single)
            clipped.append(boxed.embed(values, single, Boxes(boxes.origins[i : i + 1], boxes.extent)))
        return np.concatenate(clipped)

    def superimposed(self, view: FloatArray, delta: Delta, frames: Boxes, outside: float = 0.0) -> FloatArray:
        """``view + d`` over the frames."""
        values: FloatArray
        if delta.donate and delta.boxes.covers(Size(*view.shape[:2])) and delta.fills(frames):
            values = delta.values
            values += view
            return values
        values = boxed.read_in(view, frames, outside)
        boxed.superimpose(values, frames, delta.values, delta.boxes)
        return values

    def embed(self, delta: Delta, frames: Boxes) -> FloatArray:
        """The delta with zeros around it; where there are none, its own memory."""
        return boxed.embed(delta.values, delta.boxes, frames)

    def union(self, deltas: Sequence[Delta], boxes: Boxes, epilogue: Epilogue | None = None) -> FloatArray:
        """The sum of deltas."""
        assert epilogue is None, "nothing fuses here"
        # Begin with one that fills the union and whose memory may be taken; the others are added where they lie.
        first, *rest = sorted(deltas, key=lambda d: (not d.fills(boxes), not d.donate))
        values = first.own() if first.fills(boxes) else boxed.embed(first.values, first.boxes, boxes)
        for other in rest:
            boxed.superimpose(values, boxes, other.values, other.boxes)
        return values

    def stack(self, deltas: Sequence[Delta | None], channels: Sequence[int], boxes: Boxes) -> FloatArray:
        """Deltas laid out where they are stacked."""
        values, first = self.empty(len(boxes), boxes.extent, sum(channels)), 0
        for delta, count in zip(deltas, channels, strict=True):
            part = values[..., first : first + count]
            if delta is None:
                part[...] = 0
            else:
                boxed.embed(delta.values, delta.boxes, boxes, part)
            first += count
        return values

    def product_delta(
        self, x: Delta | None, y: Delta | None, view_x: FloatArray, view_y: FloatArray, boxes: Boxes
    ) -> FloatArray:
        """``dx y + (x + dx) dy``."""
        values: FloatArray | None = None
        if x is not None:
            values = boxed.embed(x.values, x.boxes, boxes) * boxed.gather(view_y, boxes)
        if y is not None:
            factor = boxed.gather(view_x, boxes)
            if x is not None:
                boxed.superimpose(factor, boxes, x.values, x.boxes)
            factor *= boxed.embed(y.values, y.boxes, boxes)
            values = factor if values is None else values + factor
        assert values is not None, "one operand changes"
        return values

    def pointwise_delta(self, delta: Delta, epilogue: Epilogue) -> FloatArray:
        """``f(view[B] + d) - f(view[B])``, a cache-sized chunk at a time.

        Without the result both by one kernel on one layout, so that zero stays zero.
        """
        program, parameters, view, result = epilogue
        values, boxes = delta.values, delta.boxes
        out: FloatArray = values if delta.donate else np.empty_like(values)
        for chunk in _chunks(values):
            after, part = out[chunk], Boxes(boxes.origins[chunk], boxes.extent)
            before = boxed.gather(view, part)
            np.add(values[chunk], before, out=after)
            evaluate(program, after, parameters, after)
            if result is None:
                evaluate(program, before, parameters, before)
            else:
                before = boxed.gather(result, part)
            after -= before
        return out

    def replace(self, view: FloatArray, boxes: Boxes, value: FloatArray, out: FloatArray) -> None:
        """``value - view[B]`` into ``out`` [n, h, w, C]."""
        boxed.replace(view, boxes, value, out)

    def max_pool(self, x: FloatArray, sliding: Sliding, padding: Margins, size: Size) -> FloatArray:
        """Maximum over each window [n, h', w', C]."""
        return self._maximum(boxed.pad(x, _margins(x, sliding, padding, size), -np.inf), sliding)

    def _maximum(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        return taps.reduce_windows(np.maximum, x, sliding) if self.native else library.max_pool(x, sliding)

    def max_pool_delta(
        self, delta: Delta, boxes: Boxes, view: FloatArray, result: FloatArray, sliding: Sliding, padding: Margins
    ) -> FloatArray:
        """Algorithm 1 with a maximum."""
        context = boxed.context(delta, view, boxes.read_in(*sliding.windows(padding)), -np.inf)
        y = self._maximum(context, sliding)
        y -= boxed.gather(result, boxes)
        return y

    def average_pool(self, x: FloatArray, sliding: Sliding, padding: Margins, divisors: Weight) -> FloatArray:
        """Mean over each window [n, h', w', C]."""
        n, height, width, _ = x.shape
        frames = Boxes.whole(n, Size(*divisors.array.shape[:2])).read_in(*sliding.windows(padding))
        y = self._sum(boxed.embed(x, Boxes.whole(n, Size(height, width)), frames), sliding)
        y /= divisors.array
        return y

    def _sum(self, x: FloatArray, sliding: Sliding) -> FloatArray:
        if not self.native and sliding.dilation == (1, 1):
            return library.sum_pool(x, sliding)
        return taps.reduce_windows(np.add, x, sliding)

    def average_pool_delta(
        self, delta: Delta, boxes: Boxes, sliding: Sliding, padding: Margins, divisors: Weight
    ) -> FloatArray:
        """The same of the delta, the divisors read at the absolute position."""
        frames = boxes.read_in(*sliding.windows(padding))
        y = self._sum(boxed.embed(delta.values, delta.boxes, frames), sliding)
        counts = divisors.array
        if (counts == counts.flat[0]).all():
            y /= counts.flat[0]
        else:
            y /= boxed.gather(counts, boxes)
        return y

    def mean(self, x: FloatArray, cells: int) -> FloatArray:
        """The sum over each map, over ``cells``: as products with ones, an axis at a time.

        A running sum over all cells is several times slower, and on a map that is nearly constant its rounding errors
        all point one way and grow with the number of cells.
        """
        n, height, width, channels = x.shape
        rows = np.ones((1, height), np.float32) @ x.reshape(n, height, width * channels)
        means = np.ones((1, width), np.float32) @ rows.reshape(n, width, channels)
        means /= np.float32(cells)
        return means.reshape(n, 1, 1, channels)

    def resample(self, x: FloatArray, rows: Weight, columns: Weight) -> FloatArray:
        """A product with one matrix an axis."""
        n, _, width, channels = x.shape
        (height, _), (wide, _) = rows.array.shape, columns.array.shape
        y = (rows.array @ x.reshape(n, -1, width * channels)).reshape(n * height, width, channels)
        resampled: FloatArray = (columns.array @ y).reshape(n, height, wide, channels)
        return resampled

    def pointwise(self, x: FloatArray, program: Program, parameters: Parameters, donate: bool) -> FloatArray:
        """``f(x)``, a cache-sized chunk at a time."""
        out = x if donate else np.empty_like(x)
        for chunk in _chunks(x):
            part = x[chunk]
            evaluate(program, part, parameters, part if donate else out[chunk])
        return out

    def add(self, x: FloatArray, y: FloatArray, donate: bool) -> FloatArray:
        """``x + y``."""
        sums: FloatArray = np.add(x, y, out=x if donate else None)
        return sums

    def multiply(self, x: FloatArray, y: FloatArray, donate: bool) -> FloatArray:
        """``x * y``."""
        products: FloatArray = np.multiply(x, y, out=x if donate else None)
        return products

    def concatenate(self, parts: Sequence[FloatArray]) -> FloatArray:
        """Stack along the channels."""
        return np.concatenate(parts, axis=-1)

    def expand(self, x: FloatArray, extent: Size, channels: int) -> FloatArray:
        """x repeated along axes of length 1, as a read-only view."""
        return np.broadcast_to(x, (len(x), *extent, channels))

    def repeat(self, view: FloatArray, n: int) -> FloatArray:
        """A view for ``n`` positions, in its own memory."""
        return np.broadcast_to(view, (n, *view.shape))

    def pad(self, x: FloatArray, margins: Margins, value: float) -> FloatArray:
        """``value`` around x [n, h, w, C]; a negative margin crops."""
        return boxed.pad(x, margins, value)

    def take_channels(self, x: FloatArray, order: Sequence[int]) -> FloatArray:
        """``x[..., order]``, copied."""
        if tuple(order) == tuple(range(order[0], order[0] + len(order))):
            return x[..., order[0] : order[0] + len(order)].copy()
        return np.take(x, order, axis=-1)

    def take_cells(self, x: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
        """``x[i, rows[i]][:, columns[i]]``, copied; zero where an index lies outside of x."""
        (y, y_inside), (x_, x_inside) = (
            (np.clip(cells, 0, length - 1), (cells >= 0) & (cells < length))
            for cells, length in ((rows, x.shape[1]), (columns, x.shape[2]))
        )
        if (rows == rows[0]).all() and (columns == columns[0]).all():  # an axis at a time: runs instead of cells
            taken: FloatArray = np.take(np.take(x, y[0], axis=1), x_[0], axis=2)
        else:
            taken = x[np.arange(len(x))[:, None, None], y[:, :, None], x_[:, None, :]]
        if not (y_inside.all() and x_inside.all()):
            taken[~(y_inside[:, :, None] & x_inside[:, None, :])] = 0
        return taken


def _margins(x: FloatArray, sliding: Sliding, padding: Margins, size: Size) -> Margins:
    """What is missing around x for ``size`` windows: after it more or less than the padding, as they round."""
    frames = Boxes.whole(len(x), size).read_in(*sliding.windows(padding))
    top, left, _, _ = padding
    return top, left, frames.extent.height - top - x.shape[1], frames.extent.width - left - x.shape[2]
