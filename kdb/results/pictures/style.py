"""How a picture is drawn: what users choose of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from kdb.errors import ExecutionError

Range = Literal["shared", "each"] | float
Colors = Literal["effect", "krypton"]

OPACITY = 0.55
"""Of a map over its image."""
TITLE, SMALL, TINY = 10.0, 8.3, 7.0
"""Sizes of texts in points: of titles and axes, of colour bars, and of the caption."""


@dataclass(frozen=True)
class Style:
    """What ``plot`` and ``save`` take.

    range    'shared': one width of the colour scale for all classes and maps of the figure whose scores have the same
             unit; 'each': every panel has its own; a number above 0: half the width, in the score's unit
    colors   'effect': red is important, blue the opposite, neutral no effect, in every score; 'krypton': the paper's
             colours (jet_r from .75 p to min(1, 1.25 p)) for probabilities, and a scale a panel for the others
    caption  whether a line under the figure says which model, source, patch, stride and fill

    Raises ``ExecutionError`` for anything else.
    """

    range: Range = "shared"
    colors: Colors = "effect"
    caption: bool = True

    def __post_init__(self) -> None:
        if self.colors not in get_args(Colors):
            raise ExecutionError(f"colors must be 'effect' or 'krypton', not {self.colors!r}")
        if not isinstance(self.caption, bool):
            raise ExecutionError(f"caption must be True or False, not {self.caption!r}")
        if isinstance(self.range, str) and self.range in ("shared", "each"):
            return
        if not _is_width(self.range):
            raise ExecutionError(
                "range must be 'shared', 'each', or a number above 0, half the width of the scale in the score's unit; "
                f"not {self.range!r}"
            )
        if self.colors == "krypton":
            raise ExecutionError("colors='krypton' has a range of its own; leave out range=, or colors=")


def _is_width(value: object) -> bool:
    """Whether it is a finite number above 0."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
    except OverflowError:  # of an integer
        return False
