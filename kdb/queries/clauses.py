"""What a query's text alone decides: whether its clauses contradict one another or are out of range."""

from __future__ import annotations

import numpy as np

from kdb.errors import ClauseError
from kdb.language import syntax

_LARGEST = float(np.finfo(np.float32).max)


def check(query: syntax.Occlude) -> None:
    """Raise ClauseError where clauses contradict one another, or else where one is out of range."""
    permitting = approximations(query)
    if query.exact and permitting:
        raise ClauseError("{EXACT} contradicts {other}, which is permission to approximate", other=permitting[0])
    if query.drill_down is not None and query.region is not None:
        raise ClauseError("{DRILL DOWN} chooses positions itself, so it cannot stand beside {WITHIN} or {AT}")
    if isinstance(query.region, syntax.At) and query.stride is not None:
        raise ClauseError("{AT} names the positions, so it excludes {STRIDE}")
    for other in ("APPROXIMATE", "BUDGET"):
        if query.drill_down is not None and other in permitting:
            raise ClauseError(
                "{DRILL DOWN} chooses what is evaluated, and so does {other}: give one of them", other=other
            )
    _check_ranges(query)


def approximations(query: syntax.Occlude) -> list[str]:
    """The names of the query's clauses that permit an approximation."""
    clauses = {
        "APPROXIMATE": query.approximate,
        "THRESHOLD": query.threshold,
        "DRILL DOWN": query.drill_down,
        "BUDGET": query.budget_seconds,
        f"PRECISION {query.precision}": None if query.precision == "fp32" else query.precision,
    }
    return [name for name, clause in clauses.items() if clause is not None]


def _check_ranges(query: syntax.Occlude) -> None:
    sizes = [("patch", size) for size in (query.patch.height, query.patch.width)]
    sizes += [("STRIDE", step) for step in query.stride or ()]
    if isinstance(query.classes, syntax.TopClasses):
        sizes.append(("TOP", query.classes.k))
    if query.drill_down is not None and query.drill_down.coarse_stride is not None:
        sizes.append(("COARSE STRIDE", query.drill_down.coarse_stride))
    for name, size in sizes:
        if size < 1:
            raise ClauseError(f"{{{name}}} takes whole numbers from 1; not {size}")
    fractions: list[tuple[str, float | None, float]] = [("BUDGET", query.budget_seconds, float("inf"))]
    if query.threshold is not None:
        fractions += [("THRESHOLD", query.threshold.tau, 1), ("TO SSIM", query.threshold.ssim, 1)]
    if query.approximate is not None:
        fractions += [("TO SSIM", query.approximate.ssim, 1), ("REFINE TOP", query.approximate.refine_top, 100)]
    if query.drill_down is not None:
        fractions += [("DRILL DOWN", query.drill_down.ratio, 1), ("SPEEDUP", query.drill_down.speedup, float("inf"))]
    for name, value, most in fractions:
        if value is not None and not 0 < value <= most:
            raise ClauseError(
                f"{{{name}}} takes a number above 0{'' if most == float('inf') else f', at most {most:g}'}"
            )
    if query.patch.fill.kind == "rgb" and not all(0 <= value <= 255 for value in query.patch.fill.args):
        raise ClauseError("{FILL} rgb(..) takes three numbers from 0 to 255")
    if query.patch.fill.kind == "number" and abs(query.patch.fill.args[0]) > _LARGEST:
        raise ClauseError(f"{{FILL}} takes a number of float32, at most {_LARGEST:.3g}")
    if query.patch.fill.kind == "blur" and not 0 < query.patch.fill.args[0] <= 1000:
        raise ClauseError("{FILL} blur(..) takes a standard deviation in pixels, above 0 and at most 1000")
