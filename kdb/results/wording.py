"""Numbers, and what a map hides, as the messages and reports of kdb write them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kdb.geometry import spelled

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap


def times(ratio: float) -> str:
    """A ratio to two or three digits: 1.6, 12, 250."""
    return f"{ratio:.1f}" if ratio < 9.95 else f"{float(f'{ratio:.3g}'):.0f}"


def compared(speedup: float, what: str = " arithmetic") -> str:
    """'1.6 times less arithmetic than full inference', for a ``speedup`` of 1.6."""
    if math.isinf(speedup):
        return f"no{what} at all"
    if speedup >= 1.05:
        return f"{times(speedup)} times less{what} than full inference"
    if speedup > 1 / 1.05:
        return f"as much{what} as full inference"
    return f"{times(1 / speedup)} times as much{what} as full inference"


def checked(positions: int, worst: float) -> str:
    """What became of comparing a map with the model itself: 'checked at 6 positions'."""
    if not worst <= 1:
        return "check failed, evaluated in full"
    if not positions:
        return "checked on the unmodified image"
    return f"checked at {positions} position{'' if positions == 1 else 's'}"


def count(number: float) -> str:
    """A large number with a decimal prefix: 4.76 M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:,.0f}"


def size(nbytes: int) -> str:
    """Bytes in a binary unit: 40 KiB, 1.2 GiB."""
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB")) if nbytes >= u), (2**10, "KiB"))
    number = nbytes / unit
    return f"{number:.1f} {name}" if number < 10 else f"{number:,.0f} {name}"


def seconds(number: float) -> str:
    """A duration: 0.012 s, 4.2 s, 103 s."""
    return f"{number:.2g} s" if number < 9.95 else f"{number:,.0f} s"


def hidden(heat_map: HeatMap) -> str:
    """What each value of a map hides: 16 x 16, 7 segments."""
    if heat_map.segments is None:
        return spelled(heat_map.patch)
    number = len(heat_map.segments)
    return f"{number} segment{'' if number == 1 else 's'}"
