"""Rates of an H100 by its data sheet, and by the share of them that such shapes are known to reach.

Not measured: what plans compare, layers and devices, differs by more than these are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

from kdb.kernels.work import Rates

PEAKS: Mapping[str, float] = {"fp32": 30e12, "tf32": 240e12, "bf16": 480e12}
"""Multiply-adds a second, by precision."""


def convolution_rates(name: str, full: float) -> Mapping[str, Rates]:
    """The rates of a convolution kernel that makes ``full`` multiply-adds a second on wide layers."""
    return {
        f"{name}.wide": ((32, full / 8), (128, full / 2), (512, full)),
        f"{name}.point": ((32, full / 12), (128, full / 3), (512, full / 1.5)),
        f"{name}.narrow": ((13, min(full / 8, 4e12)),),
        f"{name}.depthwise": ((1, 0.5e12),),
    }


def dense_rates(kind: str, precision: str) -> Mapping[str, Rates]:
    """The rates of dense layers at a precision."""
    peak = PEAKS[precision]
    return {kind: ((256, peak / 8), (2048, peak / 2))}
