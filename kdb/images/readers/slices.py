"""The order of parallel slices, and where the volume that they make lies in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kdb.geometry import Space, spelled

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's x runs to the patient's left and y to the back."""
_ANGLE, _STEP = 1e-3, 0.01
"""How far directions (cosines) and distances (as a share) of slices may differ that count as the same."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Where one slice lies (DICOM PS3.3, C.7.6.2), in mm.

    Attributes:
        name: what it is called in messages.
        size: rows and columns.
        orientation: the directions of its rows and of its columns, [6]; with ``position`` None where unknown.
        position: of the centre of its first pixel, [3].
        spacing: between rows, and between columns.
        thickness: of the slice.
        number: its number in the series.
    """

    name: str
    size: tuple[int, int]
    orientation: npt.NDArray[np.float64] | None
    position: npt.NDArray[np.float64] | None
    spacing: tuple[float, float] = (1.0, 1.0)
    thickness: float = 1.0
    number: int = 0


def arranged(slices: Sequence[Slice]) -> tuple[list[int], Space | None]:
    """The indices of the slices in the order of their positions along the normal, and the space of [z, y, x].

    Slices that do not say where they lie are in the order of their numbers, without a space.

    Raises ValueError for slices that make no volume: of different sizes or orientations, two in one place, or a gap.
    """
    first = slices[0]
    for each in slices:
        if each.size != first.size:
            sizes = f"{spelled(first.size)} in {first.name} and {spelled(each.size)} in {each.name}"
            raise ValueError(f"its slices have different sizes: {sizes}")
    if any(each.position is None or each.orientation is None for each in slices):
        return sorted(range(len(slices)), key=lambda i: slices[i].number), None
    orientations, positions = (
        np.array([getattr(each, name) for each in slices]) for name in ("orientation", "position")
    )
    spacings = np.array([each.spacing for each in slices])
    for what, values in (("orientations", orientations), ("spacings", spacings)):
        other = np.abs(values - values[0]).max(axis=1) > _ANGLE
        if other.any():
            raise ValueError(f"its slices have different {what}: {first.name} and {slices[int(other.argmax())].name}")
    rows, columns = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(rows, columns)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    step = normal * first.thickness
    if len(slices) > 1:
        _check_steps([slices[i].name for i in order], np.diff(heights[order]))
        step = (positions[order[-1]] - positions[order[0]]) / (len(slices) - 1)
    affine = np.eye(4)
    between_rows, between_columns = first.spacing
    affine[:3] = np.stack([step, columns * between_rows, rows * between_columns, positions[order[0]]], axis=1)
    usable = np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == len(affine)
    return order.tolist(), Space(_LPS_TO_RAS @ affine) if usable else None


def _check_steps(names: Sequence[str], steps: npt.NDArray[np.float64]) -> None:
    usual = float(np.median(steps))
    for (before, after), step in zip(pairwise(names), steps, strict=True):
        if step <= _STEP * usual or usual == 0:
            raise ValueError(f"two of its slices are in the same place: {before} and {after}")
        if abs(step - usual) > _STEP * usual:
            raise ValueError(
                f"its slices are not evenly apart: {step:.4g} mm between {before} and {after}, others {usual:.4g} mm"
            )
