"""Minimal filtering in plain numpy: convolutions of stride 1 by fewer multiplications, all arithmetic left to BLAS.

What a delta needs is the *whole* convolution, zeros around it included, and that is a product of polynomials.  So the
tiles are of the input and their outputs are overlapped and added (Toom and Cook), not tiles of the output as in the
usual form for images (Winograd; Lavin and Gray 2016): of a delta of 9 x 9 under a 3 x 3 kernel, 9 tiles of 3 x 3 take
225 multiplications a pair of channels, 9 of 4 x 4 outputs take 324, one by one 729.

For m inputs and r taps an axis, with P = m + r - 1 points: ``y = S [(G g) . (E x)]``, where E and G evaluate the
polynomials at the points and S interpolates; S is the inverse of the evaluation matrix of P coefficients.  In two
dimensions the matrices are Kronecker products, laid out tap-major so that each transform is one product.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Size
from kdb.kernels.base import ConvolutionSpec, Delta, Product, Sliding
from kdb.kernels.cpu.boxed import embed, padded
from kdb.kernels.cpu.convolution import CpuConvolution
from kdb.kernels.kernel import ConvolutionShape
from kdb.kernels.work import ELEMENT, Rates, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

TAPS = (1, 3, 5, 7)
"""Taps along an axis for which there are tiles."""
MOST, MOST_ALONE = 7, 12
"""Points of a tile along an axis, at most, and where the kernel has one tap along the other: more round too much."""


def sizes(taps: int, most: int) -> range:
    """Possible inputs of a tile along an axis of so many taps: two, or what gives so many points at ``most``."""
    return range(2, max(most - taps, 1) + 2) if taps > 1 else range(1, 2)


@cache
def tiles(kernel: tuple[int, int], most: int = MOST) -> tuple[tuple[int, int], ...]:
    """Possible inputs of a tile along (y, x): of a square kernel as many along both, since each has its own weights.

    There are at most so many points an axis where the kernel has several taps along both.
    """
    most = MOST_ALONE if 1 in kernel else most
    along_y, along_x = (sizes(taps, most) for taps in kernel)
    if kernel[0] == kernel[1]:
        return tuple(zip(along_y, along_x, strict=True))
    return tuple(itertools.product(along_y, along_x))


@dataclass(frozen=True, slots=True)
class Tiling:
    """A tile's ``inputs`` along (y, x), how many tiles cover an input, and the ``points`` of both axes together.

    ``macs`` are the multiply-adds for one map: the products of channels and both transforms.
    """

    inputs: tuple[int, int]
    counts: tuple[int, int]
    points: int
    macs: int


def applies(sliding: Sliding, groups: int) -> bool:
    """Whether there is a tiling for such a kernel."""
    return (
        groups == 1
        and sliding.rank == 2
        and sliding.taps > 1
        and sliding.stride == sliding.dilation == (1, 1)
        and all(taps in TAPS for taps in sliding.kernel)
    )


@cache
def tiling(height: int, width: int, kernel: tuple[int, int], inner: int, outer: int) -> Tiling:
    """The tiling of an input of ``height`` x ``width`` cells with the fewest multiply-adds."""
    choices = []
    for my, mx in tiles(kernel):
        counts = -(-height // my), -(-width // mx)
        points = (my + kernel[0] - 1) * (mx + kernel[1] - 1)
        each = points * (inner * outer + my * mx * inner + points * outer)
        choices.append(Tiling((my, mx), counts, points, counts[0] * counts[1] * each))
    return min(choices, key=lambda choice: (choice.macs, choice.points))


Matrix = npt.NDArray[np.float64]

PAIRS: Mapping[int, str] = {
    2: "1",
    3: "1",
    4: "2/5 4/3",
    5: "2/3 3/2",
    6: "1/3 4/5 5/3",
    7: "1/2 1 2",
    8: "1/4 2/3 5/4 5/2",
    9: "2/5 4/5 4/3 5/2",
    10: "1/4 1/2 1 3/2 3",
    11: "1/3 2/3 1 3/2 3",
}
"""By how many points there are beside infinity: those that are taken with both signs; with zero if the number is odd.

Of fractions of small numbers those that keep float32's errors least.  In root mean square, relative to the output's
deviation, they are in two dimensions 1e-7 with 4 points an axis, then 2e-7, 4e-7, 9e-7, 2e-6, and 5e-6 with 9; along
one axis 2e-6 with 12.
"""


def points(count: int) -> list[Fraction]:
    """``count`` points beside infinity."""
    pairs = [Fraction(text) for text in PAIRS[count].split()] if count > 1 else []
    return [Fraction(0)] * (count % 2) + [sign * point for point in pairs for sign in (1, -1)]


DERIVING = 6
"""Bytes that deriving the weights at points takes, relative to these: it is done in float64."""
CELLS = 1 << 15
"""Tiles times channels that are transformed together: enough rows for BLAS; more of them outgrow the cache."""


AXES = (2, 4, 0, 1, 3, 5)
"""From positions of tiles [n, ty, my, tx, mx, C] to a tile's own first [my, mx, n, ty, tx, C]."""


@cache
def transforms(m: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """E [P, m], G [P, taps] and S [P, P] along one axis, rows balanced so that no number is much larger than 1."""
    count = m + taps - 1

    def evaluation(coefficients: int) -> Matrix:
        finite = [[float(point**power) for power in range(coefficients)] for point in points(count - 1)]
        return np.array([*finite, [0.0] * (coefficients - 1) + [1.0]])

    if count == 1:
        return (np.ones((1, 1)),) * 3
    e, g, s = evaluation(m), evaluation(taps), np.linalg.inv(evaluation(count))
    # Powers of two, which round nothing; what they take from E and S the weights make up for, in float64.
    rows = 2.0 ** np.round(np.log2(np.abs(e).max(axis=1)))
    columns = 2.0 ** np.round(np.log2(np.abs(s).max(axis=0)))
    return e / rows[:, None], g * (rows * columns)[:, None], s / columns[None, :]


@cache
def _kronecker(inputs: tuple[int, int], kernel: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """E [P, my mx] and S [P, P] in two dimensions, P the points of both axes."""
    (ey, _, sy), (ex, _, sx) = (transforms(m, taps) for m, taps in zip(inputs, kernel, strict=True))
    return np.kron(ey, ex).astype(np.float32), np.kron(sy, sx).astype(np.float32)


def transformed(weight: FloatArray, inputs: tuple[int, int]) -> FloatArray:
    """[out, in, kh, kw] -> [P, in, out]; flipped, since layers correlate where polynomials convolve."""
    outer, inner, *kernel = weight.shape
    gy, gx = (transforms(m, taps)[1] for m, taps in zip(inputs, kernel, strict=True))
    flipped = weight[:, :, ::-1, ::-1].transpose(2, 3, 1, 0).reshape(-1, inner * outer)
    return (np.kron(gy, gx) @ flipped.astype(np.float64)).astype(np.float32).reshape(-1, inner, outer)


def convolve(x: FloatArray, spec: ConvolutionSpec, product: Product = np.matmul) -> FloatArray:
    """Convolution of x [n, h, w, in], its bias left out: [n, h', w', out]."""
    weight, sliding, margins = spec.weight, spec.sliding, spec.padding
    ry, rx = sliding.kernel
    # More margin than a kernel reaches over gives outputs of zero; they are rare, so they are padded and computed.
    reach = (ry - 1, rx - 1, ry - 1, rx - 1)
    excess = [max(margin - most, 0) for margin, most in zip(margins, reach, strict=True)]
    x = padded(x, (excess[0], excess[1], excess[2], excess[3]))
    top, left, bottom, right = (margin - more for margin, more in zip(margins, excess, strict=True))

    n, height, width, inner = x.shape
    outer = spec.out_channels
    plan = tiling(height, width, sliding.kernel, inner, outer)
    (my, mx), (ty, tx) = plan.inputs, plan.counts
    py, px = my + ry - 1, mx + rx - 1
    reaches = -(-py // my) - 1, -(-px // mx) - 1  # tiles further on, to which a tile's outputs reach
    at_points = weight.layout(f"winograd/{my}x{mx}", lambda w: transformed(w, plan.inputs))
    evaluate, interpolate = _kronecker(plan.inputs, sliding.kernel)

    out = np.empty((n, height + top + bottom - ry + 1, width + left + right - rx + 1, outer), np.float32)
    step = min(max(CELLS // (ty * tx * max(inner, outer)), 1), n)
    for first in range(0, n, step):
        part = padded(x[first : first + step], (0, 0, ty * my - height, tx * mx - width))
        count = len(part)
        if first == 0 or count < step:  # the last ones, in arrays of their own size
            tiles = np.empty((my, mx, count, ty, tx, inner), np.float32)
            values = np.empty((plan.points, count * ty * tx, inner), np.float32)
            products = np.empty((plan.points, count * ty * tx, outer), np.float32)
            outputs = np.empty_like(products)
            whole = np.empty((count, ty + reaches[0], my, tx + reaches[1], mx, outer), np.float32)
        tiles[...] = part.reshape(count, ty, my, tx, mx, inner).transpose(AXES)
        product(evaluate, tiles.reshape(my * mx, -1), values.reshape(plan.points, -1))
        product(values, at_points, products)
        product(interpolate, products.reshape(plan.points, -1), outputs.reshape(plan.points, -1))
        by_tile = outputs.reshape(py, px, count, ty, tx, outer)
        whole[...] = 0
        for i, j in np.ndindex(reaches[0] + 1, reaches[1] + 1):
            landing = by_tile[i * my : (i + 1) * my, j * mx : (j + 1) * mx]
            rows, columns = landing.shape[:2]
            whole[:, i : i + ty, :rows, j : j + tx, :columns].transpose(AXES)[...] += landing
        flat = whole.reshape(count, (ty + reaches[0]) * my, (tx + reaches[1]) * mx, outer)
        target = out[first : first + count]
        target[...] = flat[:, ry - 1 - top :, rx - 1 - left :][:, : target.shape[1], : target.shape[2]]
    return out


class Winograd(CpuConvolution):
    """Minimal filtering: convolutions of stride 1 without groups, of kernels that have a tiling."""

    setting = "winograd"
    noise = 2.0**-19
    rates: Mapping[str, Rates] = {
        "winograd": ((13, 6e9), (32, 9.5e9), (64, 17e9), (128, 27.5e9), (256, 32.5e9), (512, 40e9))
    }

    def applies(self, backend: CpuBackend, sliding: Sliding, groups: int) -> bool:
        """Where there is a tiling."""
        return applies(sliding, groups)

    def work(self, shape: ConvolutionShape, x: Size, outputs: Size) -> Work:
        """Products at the points of all tiles and the transforms; the transformed weights are derived once."""
        plan = tiling(*x, shape.sliding.kernel, shape.inputs, shape.outputs)
        weights = ELEMENT * plan.points * shape.pairs
        return Work("winograd", plan.macs, 0, plan.points, shape.width, weights, weights, DERIVING * weights)

    def evaluate(self, backend: CpuBackend, x: FloatArray, spec: ConvolutionSpec) -> FloatArray:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        y = convolve(x, spec, backend.product)
        if spec.bias is not None:
            y += spec.bias.array
        return y

    def scattered(
        self, backend: CpuBackend, spec: ConvolutionSpec, delta: Delta, boxes: Boxes, frames: Boxes
    ) -> FloatArray:
        """The whole delta convolved, and the result put into each box.

        Embedded in frames first, as other kernels want it, the delta would be as large as they are: more tiles.
        """
        reach = np.array(spec.sliding.kernel) - 1
        y, x = (int(cells) for cells in reach)
        values = self.evaluate(backend, delta.values, spec.linear((y, x, y, x)))
        height, width = delta.boxes.extent
        extent = height + y, width + x
        return embed(values, Boxes(delta.boxes.origins + spec.padding[:2] - reach, extent), boxes)


WINOGRAD = Winograd("winograd")
