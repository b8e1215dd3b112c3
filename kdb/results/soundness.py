"""What must hold of a heat map, whether kdb has made it or a file from a stranger says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kdb.geometry import Space
    from kdb.results.maps import HeatMap


def check(heat_map: HeatMap, scores: tuple[str, ...]) -> None:
    """Raise ValueError, which names what is wrong, for fields that no map has, or not together.

    ``scores`` are the kinds of score that there are.
    """
    for each in (_arrays, _by_class, _places, _segments, _detections, _changes, _facts):
        for text in each(heat_map):
            raise ValueError(text)
    if heat_map.score not in scores:
        raise ValueError(f"score must be one of {', '.join(scores)}, not {heat_map.score!r}")


def _arrays(given: HeatMap) -> Iterator[str]:
    """Types and shapes, and that values are there where they were evaluated."""
    if np.ndim(given.patch) != 1 or len(given.patch) not in (1, 2, 3):
        yield f"patch must be one to three whole numbers from 1, not {given.patch}"
    cells, axes, size = given.positions.shape[:-1], len(given.patch), given.image.shape
    classes = given.values.shape[:1] if given.has_class_axis else ()
    if given.values.dtype != np.float32 or given.values.shape != classes + cells:
        yield f"values {given.values.dtype}{given.values.shape} at positions {given.positions.shape}"
    of_cells = 1 if given.stride is None else axes
    if given.positions.dtype != np.int64 or given.positions.ndim != of_cells + 1 or given.positions.shape[-1] != axes:
        lattice = f"[n, {axes}]" if given.stride is None else f"[.., {axes}] with {axes} axes of cells"
        yield f"positions must be int64 {lattice}, not {given.positions.dtype}{given.positions.shape}"
    for name, expected in (("evaluated", cells), ("error", given.values.shape)):
        array = getattr(given, name)
        if array is not None and array.shape != expected:
            yield f"{name} must have the shape {expected}, not {array.shape}"
    is_8_bit = given.image.dtype == np.uint8
    if len(size) != axes + 1 or not (size[-1] == 3 if is_8_bit else size[-1] > 0 and given.image.dtype == np.float32):
        yield f"the image must be uint8 [.., 3] or float32 [.., C] of {axes} axes, not {given.image.dtype}{size}"
    if not np.isfinite(given.image).all():
        yield "the image has values that are NaN or infinite"
    # Without an array as large as the scores, which may take most of the memory there is.
    if np.isinf([extreme.reduce(given.values, axis=None, initial=0) for extreme in (np.fmin, np.fmax)]).any():
        yield "it has scores that are infinite"
    there = ~np.isnan(_scored(given).sum(axis=0, dtype=np.float64) if given.has_class_axis else given.values)
    if (given.evaluated & ~there).any():
        yield "it has no score at positions that were evaluated"
    if given.exact and (there & ~given.evaluated).any():
        yield "it is exact, and has scores that were not evaluated"


def _scored(given: HeatMap) -> npt.NDArray[np.float32]:
    """The values [classes, ..] of those classes that have scores: not those with no region of a dense output."""
    without = np.isnan(given.baseline)
    return given.values[~without] if np.any(without) and np.shape(without) == given.values.shape[:1] else given.values


def _by_class(given: HeatMap) -> Iterator[str]:
    """The class axis, and what belongs to each class."""
    classes = given.values.shape[:1] if given.has_class_axis else ()
    for name in ("baseline", "class_index", "label"):
        if np.shape(getattr(given, name)) != classes:
            yield f"{name} must have the shape {classes} of the class axis: {getattr(given, name)!r}"
    several = given.has_class_axis and np.shape(given.baseline) == classes and np.isfinite(given.baseline).any()
    without = np.isnan(given.baseline) if several else np.zeros(np.shape(given.baseline), bool)
    if not (np.isfinite(given.baseline) | without).all():
        yield f"baseline must be finite, not {given.baseline}"
    if several and not np.isnan(given.values[without]).all():
        yield "a class without a baseline has scores"
    if np.any(np.less(given.class_index, 0)):
        yield f"class_index must be from 0, not {given.class_index}"


def _places(given: HeatMap) -> Iterator[str]:
    """Patch, stride, positions, fill and the part of the source, in cells; axes and space."""
    size, channels, axes = given.size, given.image.shape[-1], given.positions.shape[-1]
    counts = {"patch": given.patch, "source_size": given.source_size}
    counts |= {} if given.stride is None else {"stride": given.stride}
    for name, each in counts.items():
        whole = np.shape(each) == (axes,) and all(isinstance(number, int | np.integer) for number in each)
        if not whole or min(each) < 1:
            yield f"{name} must be whole numbers from 1, one for each of {axes} axes, not {each}"
    if np.any(given.positions < 0) or np.any(given.positions > np.subtract(size, given.patch)):
        yield f"patches of {given.patch} extend beyond the image of {size}"
    box = given.source_box
    if np.shape(box) != (2 * axes,) or not np.isfinite(box).all() or min(box[axes:]) <= 0:
        yield f"source_box must be the first cells of {axes} axes, then extents above 0, not {box}"
    if len(set(given.axes)) != len(given.axes) or len(given.axes) != axes or not given.axes.isalpha():
        yield f"axes must be {axes} different letters, not {given.axes!r}"
    if given.space is not None:
        yield from _of_space(given.space, axes)
    if given.fill is not None:
        sizes = [(*each, channels) for each in ((1,) * axes, tuple(given.patch), size)]
        if given.fill.dtype != np.float32 or given.fill.shape not in sizes:
            yield f"fill must be float32 of one colour, the patch or the image, not {given.fill.shape}"
        if not np.isfinite(given.fill).all():
            yield "the fill has values that are NaN or infinite"


def _segments(given: HeatMap) -> Iterator[str]:
    """The labels of the segments, one for each value, and where each is."""
    segments, labels = given.segments, given.labels
    if segments is None and labels is None:
        return
    if segments is None or labels is None or segments.dtype != np.int64 or labels.dtype != np.int64:
        yield "segments and labels must be int64, and both there"
        return
    if segments.shape != given.positions.shape[:-1] or given.stride is not None or set(given.patch) != {1}:
        yield f"segments {segments.shape} at positions {given.positions.shape}"
    elif labels.shape != given.size or not np.array_equal(np.unique(labels[labels > 0]), segments):
        yield "segments must be the labels above 0, in ascending order, of cells of the image"
    elif (labels[tuple(given.positions.T)] != segments).any():
        yield "the positions must be cells of the segments"


def _detections(given: HeatMap) -> Iterator[str]:
    """The boxes of a detector, what belongs to each, and the one that is explained."""
    boxes, scores, classes, number = given.boxes, given.box_scores, given.box_classes, given.detection
    if boxes is None and scores is None and classes is None and number is None:
        return
    if boxes is None or scores is None or classes is None or number is None:
        yield "boxes, box_scores, box_classes and detection must all be there"
        return
    types = boxes.dtype == np.float32 and scores.dtype == np.float32 and classes.dtype == np.int64
    if not types or boxes.shape != (len(scores), 4) or scores.ndim != 1 or classes.shape != scores.shape:
        yield f"boxes {boxes.dtype}{boxes.shape}, box_scores {scores.dtype}{scores.shape}, box_classes {classes.shape}"
    elif not (np.isfinite(boxes).all() and np.isfinite(scores).all()) or (np.diff(scores) > 0).any():
        yield "boxes must be finite, by descending score"
    elif not 1 <= number <= len(boxes) or given.class_index != classes[number - 1]:
        yield f"detection must be the number of a box of class {given.class_index}, from 1, not {number}"


def _changes(given: HeatMap) -> Iterator[str]:
    """Which cells of a dense output change."""
    mean, most = given.changed_mean, given.changed_max
    if mean is None and most is None:
        return
    if mean is None or most is None or mean.dtype != np.float32 or most.dtype != np.float32:
        yield "changed_mean and changed_max must be float32, and both there"
        return
    classes = given.values.shape[:1] if given.has_class_axis else ()
    axes = len(given.patch)
    if mean.shape != most.shape or mean.ndim != len(classes) + axes or mean.shape[: len(classes)] != classes:
        yield f"changed_mean {mean.shape} and changed_max {most.shape} must be maps of {axes} axes, one for each class"
    elif not (np.isfinite(most).all() and (mean >= 0).all() and (mean <= most * np.float32(1 + 1e-5)).all()):
        yield "changed_mean must be from 0 to changed_max, which is finite"


def _of_space(space: Space, axes: int) -> Iterator[str]:
    """A space that takes cells of three axes to the world, and back."""
    if axes != 3:
        yield f"space is of three axes, not of {axes}"
    affine = space.affine
    if affine.dtype != np.float64 or affine.shape != (4, 4) or not np.isfinite(affine).all():
        yield f"the affine of space must be finite float64 [4, 4], not {affine.dtype}{affine.shape}"
    elif affine[3].tolist() != [0, 0, 0, 1] or np.linalg.det(affine) == 0:
        yield "the affine of space must have an inverse, and 0, 0, 0, 1 in its last row"
    if sorted(axis for axis, _ in space.turns) != [0, 1, 2]:
        yield f"the turns of space must name each axis of the file once, not {space.turns}"


def _facts(given: HeatMap) -> Iterator[str]:
    """What the map says of its own quality, and its notes."""
    unsure = given.error is not None and bool(np.any(given.error != 0))
    if given.exact and (unsure or given.ssim_estimate not in (None, 1)):
        yield "it is exact, and says of its scores how far off they may be"
    if given.error is not None and np.any(given.error < 0):
        yield "error must be from 0"
    if given.ssim_estimate is not None and not -1 <= given.ssim_estimate <= 1:
        yield f"ssim_estimate must be from -1 to 1, not {given.ssim_estimate}"
    if given.checked is not None:
        positions, worst = given.checked
        if not (0 <= positions <= given.evaluated.size and worst >= 0):
            yield f"checked must be a number of the map's positions and a ratio, not {given.checked}"
    if not isinstance(given.notes, tuple) or not all(isinstance(each, str) for each in given.notes):
        yield f"notes must be a tuple of texts, not {given.notes!r}"
