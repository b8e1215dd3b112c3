"""Colour scales: what a value looks like.

One colour means one thing, whatever the score: neutral grey is no effect (the value of the unmodified image), red an
effect that lowers the class's score, so that what was hidden is important, blue the opposite.  The scale is linear, and
as wide on both sides.  It is never narrower than a floor, so that differences too small to matter stay grey.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

RGB = tuple[float, float, float]

NEUTRAL: RGB = (0.865, 0.865, 0.865)
RED: RGB = (0.86, 0.10, 0.12)
BLUE: RGB = (0.12, 0.34, 0.86)
"""Between these three colours straight lines, on which each channel goes one way: a larger effect is never less red."""

FLOORS: Mapping[str, float] = {"probability": 0.01, "logit": 0.1, "cosine": 0.01}
"""The least half-width of a scale, by unit: one percentage point; .1 nats, which change the odds by a tenth; .01."""

LEVELS = 1025
"""Colours of a scale; many, so that the neutral one is met to within a 256th wherever it lies."""


def unit(score: str) -> str:
    """What a score and its drop are measured in: 'probability', 'logit' in nats, or 'cosine'."""
    return "probability" if score == "drop" else score.removesuffix("_drop")


@dataclass(frozen=True)
class Scale:
    """Colours of the values from ``lowest`` to ``highest``, which is all that a colour bar shows.

    ``colours`` is the name of a colour map of matplotlib's, or colours at fractions of the scale, in ascending order
    from 0 to 1.  ``floor`` is the floor where it made the scale wider than its values need, else None.
    """

    lowest: float
    highest: float
    colours: str | tuple[tuple[float, RGB], ...]
    floor: float | None = None

    def colormap(self) -> Colormap:
        """The colour map of matplotlib's from ``lowest`` to ``highest``; what is NaN has no colour."""
        from matplotlib import colormaps
        from matplotlib.colors import LinearSegmentedColormap

        if isinstance(self.colours, str):
            return colormaps[self.colours]
        return LinearSegmentedColormap.from_list("kdb", list(self.colours), N=LEVELS)

    def extend(self, values: NDArray[Any]) -> str:
        """At which ends of the scale there are values beyond it: neither, min, max, both."""
        slack = 1e-5 * (self.highest - self.lowest)  # of rounding, as of a softmax in float32 that is above 1
        below = bool(np.any(values < self.lowest - slack))
        above = bool(np.any(values > self.highest + slack))
        return ("neither", "min", "max", "both")[below + 2 * above]


def spread(values: NDArray[Any], neutral: float) -> float:
    """The largest distance of ``values`` of any shape, which may hold NaN, from ``neutral``; 0 where there are none."""
    return float(np.max(np.abs(values[np.isfinite(values)].astype(np.float64) - neutral), initial=0.0))


def effect(
    score: str,
    neutral: float,
    half: float,
    limits: tuple[float, float] = (-np.inf, np.inf),
    floor: float | None = None,
) -> Scale:
    """The scale of ``score`` on which values ``half`` away from ``neutral`` have the full colour.

    ``limits``, on either side of ``neutral``, are those of what values are possible: the scale ends there, with the
    colour that it has there.
    """
    half = max(half, 1e-6 * abs(neutral))  # float32 has hardly any values closer together
    lowest, highest = max(neutral - half, limits[0]), min(neutral + half, limits[1])
    low, high = (BLUE, RED) if score.endswith("drop") else (RED, BLUE)
    colours = {
        0.0: _towards(low, (neutral - lowest) / half),
        (neutral - lowest) / (highest - lowest): NEUTRAL,
        1.0: _towards(high, (highest - neutral) / half),
    }
    return Scale(lowest, highest, tuple(sorted(colours.items())), floor)


def _towards(colour: RGB, share: float) -> RGB:
    red, green, blue = (a + min(share, 1.0) * (b - a) for a, b in zip(NEUTRAL, colour, strict=True))
    return red, green, blue


def krypton(score: str, baseline: float, scores: NDArray[Any]) -> Scale:
    """The scale of the KRYPTON paper (section 5) for ``scores`` of any shape, which may hold NaN.

    For a ``probability``, jet_r from 0.75 p to min(1, 1.25 p), p the unmodified image's.  Other scores, which the paper
    does not have, and a ``probability`` outside (0, 1] are on a symmetric scale as wide as they are.
    """
    if score == "probability" and 0 < baseline <= 1 + 1e-6:  # a softmax in fp32 may round to just above 1
        return Scale(0.75 * baseline, min(1.0, 1.25 * baseline), "jet_r")
    is_drop = score.endswith("drop")
    centre = 0.0 if is_drop else baseline
    half = spread(scores, centre) or 1.0
    return Scale(centre - half, centre + half, "coolwarm" if is_drop else "coolwarm_r")


def coloured(scores: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    """The colours, uint8 [..., 3], of ``scores`` of any shape."""
    fractions = (scores - scale.lowest) / (scale.highest - scale.lowest)
    return np.asarray(scale.colormap()(fractions, bytes=True))[..., :3]
