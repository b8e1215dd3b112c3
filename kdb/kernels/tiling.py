"""How minimal filtering cuts an input into tiles: integers only, so that planning needs no kernel.

See :mod:`kdb.kernels.cpu.winograd` for what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

from kdb.kernels.base import Sliding

TILES = {1: (1,), 3: (2, 3, 4), 5: (2, 4), 7: (2,)}
"""Possible inputs of a tile along an axis, by the number of taps: few enough for the transforms in float32."""


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
        and sliding.taps > 1
        and sliding.stride == sliding.dilation == (1, 1)
        and all(taps in TILES for taps in sliding.kernel)
    )


@cache
def tiling(height: int, width: int, kernel: tuple[int, int], inner: int, outer: int) -> Tiling:
    """The tiling of an input of ``height`` x ``width`` cells with the fewest multiply-adds."""
    choices = []
    for my, mx in product(TILES[kernel[0]], TILES[kernel[1]]):
        counts = -(-height // my), -(-width // mx)
        points = (my + kernel[0] - 1) * (mx + kernel[1] - 1)
        each = points * (inner * outer + my * mx * inner + points * outer)
        choices.append(Tiling((my, mx), counts, points, counts[0] * counts[1] * each))
    return min(choices, key=lambda choice: (choice.macs, choice.points))
