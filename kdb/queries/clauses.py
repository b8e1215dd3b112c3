"""What a query's text alone decides, and the number of axes: whether its clauses contradict one another, are out of
range or have other axes than the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.errors import ClauseError
from kdb.geometry import Size, spelled
from kdb.language import syntax
from kdb.sampling.choose import MEASURED

_LARGEST = float(np.finfo(np.float32).max)


def check(query: syntax.Occlude) -> None:
    """Raise ClauseError where clauses contradict one another, or else where one is out of range."""
    permitting = approximations(query)
    if query.exact and permitting:
        raise ClauseError("{EXACT} contradicts {other}, which is permission to approximate", other=permitting[0])
    if query.to is not None and (query.over is not None or not isinstance(query.classes, syntax.Predicted)):
        other = "FOR" if query.over is None else "OVER"
        raise ClauseError("{SCORE} cosine is of the whole output, so it excludes {other}", other=other)
    if isinstance(query.classes, syntax.Detection) and query.over is not None:
        raise ClauseError("{DETECTION} is of one box, so it excludes {OVER}")
    if isinstance(query.patch, syntax.Segments):
        _check_segments(query)
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


def _check_segments(query: syntax.Occlude) -> None:
    """Raise ClauseError where a clause is of a patch that moves."""
    given = {
        "STRIDE": query.stride is not None,
        "AT": isinstance(query.region, syntax.At),
        "DRILL DOWN": query.drill_down is not None,
        "THRESHOLD AUTO": query.threshold is not None and query.threshold.auto,
    }
    for other, there in given.items():
        if there:
            raise ClauseError("{segments} are where they are, so they exclude {other}", other=other)


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


def on_axes(query: syntax.Occlude, size: Size) -> syntax.Occlude:
    """The query as it is canonical for an input of ``size``: its patch with a number for each axis, its stride with one
    number where that is every axis'.

    Raises ClauseError for a patch, stride or box of other axes, and for GUARANTEED where no guarantee was measured.
    """
    patch = query.patch
    if isinstance(patch, syntax.Patch):
        patch = replace(patch, extent=by_axis("patch", patch.extent, size))
    stride = None if query.stride is None else by_axis("STRIDE", query.stride, size)
    if stride is not None and len(set(stride)) == 1:
        stride = stride[:1]
    if isinstance(query.region, syntax.Box) and len(query.region.start) != len(size):
        given = 2 * len(query.region.start)
        raise ClauseError(
            f"the box of {{WITHIN}} takes {2 * len(size)} numbers, a start and an extent for each axis of the input of "
            f"{spelled(size)}; got {given}"
        )
    if query.approximate is not None and query.approximate.guaranteed and len(size) != MEASURED:
        raise ClauseError(
            "{GUARANTEED} is for images: of the maps of signals and volumes that were measured, fewer than nineteen of "
            "twenty reached the SSIM. Without it, the SSIM is what is expected"
        )
    return replace(query, patch=patch, stride=stride)


def by_axis(clause: str, numbers: tuple[int, ...], size: Size) -> Size:
    """The ``numbers`` of a clause along each axis of an input of ``size``; one number is every axis'.

    Raises ClauseError for another number of them.
    """
    if len(numbers) == 1:
        return numbers * len(size)
    if len(numbers) != len(size):
        axes = f"{len(size)} numbers, one for each axis" if len(size) > 1 else "one number, for the one axis"
        raise ClauseError(f"{{{clause}}} takes {axes} of the input of {spelled(size)}; got {len(numbers)}")
    return numbers


def _check_ranges(query: syntax.Occlude) -> None:
    sizes = [("patch", size) for size in query.patch.extent] if isinstance(query.patch, syntax.Patch) else []
    sizes += [("STRIDE", step) for step in query.stride or ()]
    if isinstance(query.classes, syntax.Detection):
        sizes.append(("DETECTION", query.classes.number))
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
