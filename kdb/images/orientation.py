"""Turns the axes of a volume to given sides of a patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from kdb.errors import BindError
from kdb.geometry import Space
from kdb.images.image import SourceImage

_SIDES = ("LR", "PA", "IS")
"""Of each axis of the world, x, y and z in RAS+: the side where it begins, and the one where it ends."""


def as_orientation(value: object) -> str:
    """Three letters, one of each of L and R, P and A, I and S; raises BindError for anything else."""
    letters = value.upper() if isinstance(value, str) else ""
    if sorted(_axis(letter) for letter in letters) != [0, 1, 2]:
        raise BindError(f"orientation = {value!r}: expected a letter of each of L/R, P/A and I/S, as in 'RAS'")
    return letters


def oriented(image: SourceImage, orientation: str) -> SourceImage:
    """The image with its axes in the order of ``orientation``, each running to that side of the patient.

    An image that does not say where it lies is left as it is, with a note.
    """
    space = image.space
    if space is None:
        note = f"it does not say where it lies, and is not turned to {orientation}"
        return replace(image, notes=(*image.notes, note))
    steps = space.affine[:3, :3]
    cosines = steps / np.linalg.norm(steps, axis=0)
    _, nearest = linear_sum_assignment(-np.abs(cosines))  # of each axis of the world, the array's next to it
    order = [int(nearest[_axis(letter)]) for letter in orientation]
    backward = [
        bool((cosines[_axis(letter), axis] > 0) != (letter in "RAS"))
        for letter, axis in zip(orientation, order, strict=True)
    ]
    pixels = image.pixels.transpose(*order, 3)[tuple(slice(None, None, -1 if back else 1) for back in backward)]
    affine = space.affine[:, [*order, 3]]
    scale = [-1.0 if back else 1.0 for back in backward]
    offset = [float(n - 1) if back else 0.0 for back, n in zip(backward, pixels.shape[:3], strict=True)]
    turns = tuple(
        (space.turns[axis][0], space.turns[axis][1] != back) for axis, back in zip(order, backward, strict=True)
    )
    names = "".join(image.axes[axis] for axis in order) if image.axes else ""
    turned = Space(affine, turns).after(scale, offset)
    return replace(image, pixels=np.ascontiguousarray(pixels), axes=names, space=turned)


def _axis(letter: str) -> int:
    return next((axis for axis, sides in enumerate(_SIDES) if letter in sides), -1)
