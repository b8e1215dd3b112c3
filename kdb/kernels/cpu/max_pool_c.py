"""Deltas of max-pools in C: the view read, the delta added and the maximum taken, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdb.geometry import Boxes, Margins
from kdb.kernels.base import Delta, Sliding
from kdb.kernels.compiled.library import address
from kdb.kernels.kernel import MaxPoolKernel
from kdb.kernels.work import ELEMENT, Work

if TYPE_CHECKING:
    from kdb.kernels.cpu.backend import CpuBackend

FloatArray = npt.NDArray[np.float32]

MOST_TAPS = 64
"""Of a window, at most, as max_pool.c has it."""


class CompiledMaxPool(MaxPoolKernel):
    """Windows of any form, along up to three axes."""

    setting = "compiled"
    optional = True

    def applies(self, backend: CpuBackend, sliding: Sliding) -> bool:
        """Where there is a library."""
        return backend.compiled is not None and sliding.taps <= MOST_TAPS

    def work(self, sliding: Sliding, numbers: int) -> Work:
        """The view's context once, what the delta has of it, its own view and the result; taps come from a cache."""
        return Work("elementwise", 0, ELEMENT * numbers * (2 + sliding.taps))

    def run(
        self,
        backend: CpuBackend,
        delta: Delta,
        boxes: Boxes,
        view: FloatArray,
        result: FloatArray,
        sliding: Sliding,
        padding: Margins,
    ) -> FloatArray:
        """``max(view + d) - result[B]`` over ``boxes``: [n, h, w, C]."""
        compiled, rank, channels = backend.compiled, sliding.rank, view.shape[-1]
        assert compiled is not None, "it applies where there is a library"
        out = np.empty((len(boxes), *boxes.extent, channels), np.float32)
        values, view, result = map(np.ascontiguousarray, (delta.values, view, result))
        before = [window.before for window in sliding.windows(padding)]
        starts, places = (np.pad(each.origins, ((0, 0), (3 - rank, 0))) for each in (boxes, delta.boxes))
        windows = [_three(each, 1) for each in (sliding.kernel, sliding.stride, sliding.dilation)] + [_three(before, 0)]
        extent, inner, outer = (_three(e, 1) for e in (delta.boxes.extent, view.shape[:-1], result.shape[:-1]))
        compiled.max_pool(
            len(boxes), *_three(boxes.extent, 1).tolist(), channels, address(starts),
            *map(address, windows),
            address(values), address(places), address(extent), address(view), address(inner), address(result),
            address(outer), address(out),
        )  # fmt: skip
        return out


def _three(values: Sequence[int], rest: int) -> npt.NDArray[np.int64]:
    """One number an axis for three axes."""
    return np.array([rest] * (3 - len(values)) + list(values), np.int64)


MAX_POOL_C = CompiledMaxPool("max_pool.c")
