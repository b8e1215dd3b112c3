"""The binder: a query's clauses and parameters -> positions, patch and fill, checked; or a BindError that says why not.

What needs a model or an image to be looked up (names, classes) is the session's; here are the checks and the geometry
that the text, its parameters and the size of the input grid decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kdb.errors import BindError
from kdb.geometry import IntArray, Size, lattice
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.sampling import drill_down

FloatArray = npt.NDArray[np.float32]

GRAYS = {"black": 0.0, "gray": 128.0, "white": 255.0}


def check(asked: syntax.Occlude) -> None:
    """Refuse what contradicts itself or is out of range, in that order: raises BindError."""
    granted = permissions(asked)
    if asked.exact and granted:
        raise BindError(f"EXACT contradicts {granted[0]}, which is permission to approximate")
    if asked.drill_down is not None and asked.region is not None:
        raise BindError("DRILL DOWN chooses positions itself, so it cannot stand beside WITHIN or AT")
    if isinstance(asked.region, syntax.At) and asked.stride is not None:
        raise BindError("AT names the positions, so it excludes STRIDE")
    for other in ("APPROXIMATE", "BUDGET"):
        if asked.drill_down is not None and other in granted:
            raise BindError(f"DRILL DOWN chooses what is evaluated, and so does {other}: give one of them")
    _check_ranges(asked)


def permissions(asked: syntax.Occlude) -> list[str]:
    """The clauses that permit an approximation."""
    clauses = {
        "APPROXIMATE": asked.approximate,
        "THRESHOLD": asked.threshold,
        "DRILL DOWN": asked.drill_down,
        "BUDGET": asked.budget_seconds,
        f"PRECISION {asked.precision}": None if asked.precision == "fp32" else asked.precision,
    }
    return [name for name, clause in clauses.items() if clause is not None]


def _check_ranges(asked: syntax.Occlude) -> None:
    sizes = [("patch", size) for size in (asked.patch.height, asked.patch.width)]
    sizes += [("STRIDE", step) for step in asked.stride or ()]
    if isinstance(asked.classes, syntax.TopClasses):
        sizes.append(("TOP", asked.classes.k))
    if asked.drill_down is not None and asked.drill_down.coarse_stride is not None:
        sizes.append(("COARSE STRIDE", asked.drill_down.coarse_stride))
    for name, size in sizes:
        if size < 1:
            raise BindError(f"{name} takes whole numbers from 1; not {size}")
    fractions: list[tuple[str, float | None, float]] = [("BUDGET", asked.budget_seconds, float("inf"))]
    if asked.threshold is not None:
        fractions += [("THRESHOLD", asked.threshold.tau, 1), ("TO SSIM", asked.threshold.ssim, 1)]
    if asked.approximate is not None:
        fractions += [("TO SSIM", asked.approximate.ssim, 1), ("REFINE TOP", asked.approximate.refine_top, 100)]
    if asked.drill_down is not None:
        fractions += [("DRILL DOWN", asked.drill_down.ratio, 1), ("SPEEDUP", asked.drill_down.speedup, float("inf"))]
    for name, value, most in fractions:
        if value is not None and not 0 < value <= most:
            raise BindError(f"{name} takes a number above 0{'' if most == float('inf') else f', at most {most:g}'}")
    if asked.patch.fill.kind == "rgb" and not all(0 <= value <= 255 for value in asked.patch.fill.args):
        raise BindError("rgb takes three numbers from 0 to 255")
    if asked.patch.fill.kind == "blur" and not 0 < asked.patch.fill.args[0] <= 1000:
        raise BindError("blur takes a standard deviation in pixels, above 0 and at most 1000")


@dataclass(frozen=True, eq=False)
class Selection:
    """The set G of the paper.

    ``grid`` int64 [rows, cols, 2], after AT [n, 2], holds (y, x); ``cells`` are the flat indices of those asked for.
    """

    grid: IntArray
    cells: IntArray

    @property
    def positions(self) -> IntArray:
        """The (y, x) asked for, int64 [n, 2]."""
        return self.grid.reshape(-1, 2)[self.cells]


def select(asked: syntax.Occlude, size: Size, arguments: Arguments) -> Selection:
    """The positions that the query evaluates on an input grid of ``size``.

    Raises BindError for a patch larger than the grid, positions off it, a mask of another size, an empty region.
    """
    patch = Size(asked.patch.height, asked.patch.width)
    if patch.height > size.height or patch.width > size.width:
        raise BindError(
            f"a patch of {patch.height} x {patch.width} is larger than the input of {size.height} x {size.width} pixels"
        )
    if isinstance(asked.region, syntax.At):
        positions = _points(arguments[asked.region.parameter], patch, size)
        return Selection(positions, np.arange(len(positions)))
    # A stride beyond the grid takes one step; cut, so that any whole number fits an int64.
    sy, sx = (min(step, length) for step, length in zip(asked.stride or syntax.DEFAULT_STRIDE, size, strict=True))
    axes = np.meshgrid(lattice(size.height, patch.height, sy), lattice(size.width, patch.width, sx), indexing="ij")
    grid = np.stack(axes, axis=-1)
    corners = grid.reshape(-1, 2)
    if isinstance(asked.region, syntax.Box):
        box = asked.region
        low = np.array([min(box.y, size.height), min(box.x, size.width)])
        high = np.array([min(box.y + box.height, size.height), min(box.x + box.width, size.width)])
        inside = ((corners >= low) & (corners + patch <= high)).all(axis=1)
        where = f"wholly in box({box.y}, {box.x}, {box.height}, {box.width})"
    elif isinstance(asked.region, syntax.Mask):
        mask = _mask(arguments[asked.region.parameter], size)
        centres = corners + np.array(patch) // 2
        inside = mask[centres[:, 0], centres[:, 1]]
        where = "with its centre pixel in the mask"
    else:
        if asked.drill_down is not None:
            drill_down.check(asked.drill_down, asked.stride or syntax.DEFAULT_STRIDE, size)
        return Selection(grid, np.arange(len(corners)))
    if not inside.any():
        raise BindError(f"no position of the {patch.height} x {patch.width} patch at stride {sy}, {sx} lies {where}")
    return Selection(grid, np.flatnonzero(inside))


def _points(value: Any, patch: Size, size: Size) -> IntArray:
    points = _array(value)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iu" or not len(points):
        raise BindError(
            f"AT takes an int array [n, 2] of (y, x), n at least 1; got {points.dtype} {list(points.shape)}"
        )
    points = points.astype(np.int64)
    outside = ((points < 0) | (points + patch > size)).any(axis=1)
    if outside.any():
        y, x = points[outside][0]
        raise BindError(
            f"a patch of {patch.height} x {patch.width} at ({y}, {x}) leaves the input of {size.height} x {size.width}"
        )
    return points


def _array(value: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise BindError(f"the parameter is no array: {error}") from error


def _mask(value: Any, size: Size) -> npt.NDArray[np.bool_]:
    mask = _array(value)
    if mask.dtype != np.bool_ or mask.shape != tuple(size):
        expected = f"a bool array [{size.height}, {size.width}], the model's input"
        raise BindError(f"mask takes {expected}; got {mask.dtype} {list(mask.shape)}")
    return mask


def check_fill(fill: syntax.Fill, patch: Size, channels: int, arguments: Arguments) -> None:
    """Refuse a fill that is no picture of the patch's size and the image's ``channels``, before any image is read."""
    if fill.kind == "rgb" and channels != 3:
        raise BindError(f"FILL rgb(..) needs three channels, and the model takes {channels}; give FILL $patch")
    if fill.parameter is None:
        return
    value = _array(arguments[fill.parameter])
    if value.dtype != np.uint8 or value.shape not in (tuple(patch), (*patch, channels)):
        expected = f"a uint8 array [{patch.height}, {patch.width}, {channels}], the patch's size"
        raise BindError(f"FILL takes {expected}; got {value.dtype} {list(value.shape)}")


def is_uniform(fill: syntax.Fill) -> bool:
    """Whether the patch is sure to be of one colour, whatever the image and the parameters."""
    return fill.kind != "blur" and fill.parameter is None


def fill_pixels(fill: syntax.Fill, patch: Size, image: FloatArray, arguments: Arguments) -> tuple[FloatArray, bool]:
    """What covers ``image`` [H, W, C], pixels 0-255: [h, w, C], or [H, W, C] and True where it is aligned with it."""
    if fill.kind == "blur":
        sigma = fill.args[0]
        return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest"), np.float32), True
    if fill.parameter is not None:
        value = np.asarray(arguments[fill.parameter], np.float32)
        colours = value if value.ndim == 3 else value[:, :, None]
    elif fill.kind == "mean":
        colours = image.mean(axis=(0, 1), dtype=np.float64)
    else:
        colours = np.asarray(fill.args or GRAYS[fill.kind])
    return np.broadcast_to(np.asarray(colours, np.float32), (*patch, image.shape[2])), False
