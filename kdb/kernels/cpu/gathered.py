"""Products of gathered rows in C: what dense layers and convolutions by taps share.

A layer is a set of *groups*, each with a matrix of its own: of a dense layer on cells there is one, of one that reads a
whole map one for each cell, of a convolution one for each tap.  Rows of the input are multiplied by the matrix of their
group, and added to rows of the output.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdb.geometry import IntArray
from kdb.kernels.compiled.library import Library, address
from kdb.kernels.work import ELEMENT

FloatArray = npt.NDArray[np.float32]


class Rows(NamedTuple):
    """By group, rows of the input and those of the output that they are added to.

    Those of group g are from starts[g] to starts[g + 1], all int64; a group has no row of the output twice.
    """

    starts: IntArray
    source: IntArray
    target: IntArray

    @classmethod
    def all_in_one(cls, count: int) -> Rows:
        """One group, in which each row has the place that it had."""
        each = np.arange(count)
        return cls(np.array([0, count]), each, each)

    @classmethod
    def by_group(cls, groups: int, group: IntArray, target: IntArray) -> Rows:
        """Rows that belong to a ``group`` and a ``target`` each, both int64 [rows]."""
        order = np.argsort(group, kind="stable")
        return cls.in_order(np.bincount(group, minlength=groups), order, target[order])

    @classmethod
    def in_order(cls, counts: IntArray, source: IntArray, target: IntArray) -> Rows:
        """Rows that lie group by group, so many of each."""
        return cls(np.concatenate([[0], np.cumsum(counts)]), source, target)


def packed(matrices: FloatArray, compiled: Library) -> FloatArray:
    """Matrices [groups, in, out] of any strides, in panels of two vectors of outputs, the last perhaps of one: flat."""
    groups, inner, outer = matrices.shape
    panels = np.empty(groups * inner * (outer + -outer % compiled.lanes), np.float32)
    strides = (stride // ELEMENT for stride in matrices.strides)
    compiled.gathered_pack(groups, inner, outer, address(matrices), *strides, address(panels))
    return panels


def multiplied(
    compiled: Library, rows: Rows, x: FloatArray, panels: FloatArray, count: int, outer: int, bias: FloatArray | None
) -> FloatArray:
    """The sums of the products of rows of x [rows, in] with the matrices of their groups, and the ``bias`` [out].

    They are of ``count`` rows, [count, outer].
    """
    inner = x.shape[-1]
    fresh = bias is None and len(rows.starts) == 2 and len(rows.target) == count
    out = np.empty((count, outer), np.float32)
    if not fresh:
        out[...] = 0 if bias is None else bias
    x, (starts, source, target) = np.ascontiguousarray(x), map(np.ascontiguousarray, rows)
    compiled.gathered(
        fresh, len(starts) - 1, address(starts), address(source), address(target), address(x), inner,
        address(panels), outer, address(out), compiled.scratch(compiled.gathered_scratch(inner)),
    )  # fmt: skip
    return out
