"""What a figure shows: one panel for each class of each map, and the colour scale of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdb.errors import printable
from kdb.results.pictures import captions, colours, views
from kdb.results.pictures.colours import FLOORS, Scale, unit
from kdb.results.pictures.style import Style
from kdb.results.pictures.views import Trace, Views

if TYPE_CHECKING:
    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap

MAX_PANELS, MAX_ROWS = 16, 6
"""Most panels in a figure, and most of those that take a row each, as of volumes and signals; of more classes it shows
those with the highest baselines, and says so.
"""

_MEANINGS = {
    "probability": "mean probability when hidden",
    "drop": "mean drop in probability when hidden",
    "logit": "mean logit when hidden",
    "logit_drop": "mean drop in logit when hidden",
    "cosine": "mean cosine when hidden",
    "cosine_drop": "mean drop in cosine when hidden",
}


@dataclass(frozen=True, eq=False)
class Panel:
    """One class of a map over its image, in one view or several.

    ``values`` float32 [*size] is the map, NaN where it has none, of which the views may show a part.  ``neutral`` is
    the value of no effect, and ``limits`` are those of what values are possible.  ``label`` and ``origin`` (source and
    model, where the figure shows several) are of the user's; ``facts`` are kdb's lines of the title, ``meaning`` those
    of the colour bar.
    """

    views: Views
    values: NDArray[np.float32]
    score: str
    neutral: float
    limits: tuple[float, float]
    label: str
    index: int
    facts: tuple[str, ...]
    meaning: tuple[str, ...]
    origin: str = ""

    @property
    def takes_a_row(self) -> bool:
        """Whether nothing stands beside it."""
        return len(self.views.together) > 1 or isinstance(self.views.alone, Trace)


def of_map(heat_map: HeatMap, origin: str = "") -> list[Panel]:
    """The panels of a heat map, one a class."""
    pixels = heat_map.upsample().reshape(-1, *heat_map.size)
    scores, indices, labels = heat_map.by_class()
    grey = grey_of(heat_map.picture)
    state = ", ".join(["approximate"] * (not heat_map.exact) + ["partial"] * (not heat_map.complete))
    is_drop = heat_map.score.endswith("drop")
    panels = []
    for i, baseline in enumerate(np.ravel(heat_map.baseline).tolist()):
        said = f"{heat_map.score}, {'from ' if is_drop else ''}{baseline:.4g} unmodified"
        said = said if heat_map.detection is None else f"detection {heat_map.detection}, {said}"
        neutral = 0.0 if is_drop or not np.isfinite(baseline) else baseline
        panels.append(
            Panel(
                views=views.of_image(heat_map, grey, pixels[i], scores[i], neutral),
                values=pixels[i],
                score=heat_map.score,
                neutral=neutral,
                limits=_limits(heat_map.score, neutral, pixels[i]),
                label=labels[i],
                index=indices[i],
                facts=(said, state) if state else (said,),
                meaning=(_MEANINGS[heat_map.score], "line: unmodified"),
                origin=origin,
            )
        )
    return panels


def room(heat_map: HeatMap) -> int:
    """How many panels a figure of maps like this one has room for."""
    return MAX_PANELS if len(heat_map.axes) == 2 else MAX_ROWS


def of_difference(difference: Difference) -> list[Panel]:
    """The panels of a difference, one a class."""
    first, second = difference.first, difference.second
    pixels = difference.upsample().reshape(-1, *first.size)
    _, indices, labels = first.by_class()
    scores = difference.values.reshape(len(indices), -1)
    others = second.by_class()[2]
    grey = grey_of(first.picture)
    baselines = zip(np.ravel(first.baseline).tolist(), np.ravel(second.baseline).tolist(), strict=True)
    return [
        Panel(
            views=views.of_image(first, grey, pixels[i], scores[i], 0.0),
            values=pixels[i],
            score=first.score,
            neutral=0.0,
            limits=(-np.inf, np.inf),
            label=labels[i] if labels[i] == others[i] else f"{labels[i]} / {others[i]}",
            index=indices[i],
            facts=(f"difference of {first.score}", f"{of_first:.4g} and {of_second:.4g} unmodified"),
            meaning=(f"difference of {first.score}", "line: no difference"),
        )
        for i, (of_first, of_second) in enumerate(baselines)
    ]


def grey_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The luma of an image uint8 [*size, 3], [*size] from 0 to 1: its colours would mix with the map's."""
    return np.asarray(picture @ (np.array([0.299, 0.587, 0.114]) / 255), np.float32)


def of_highest_baseline(heat_map: HeatMap, count: int) -> HeatMap:
    """The heat map of the ``count`` classes with the highest baselines, in their order."""
    values, indices, labels = heat_map.by_class()
    baselines = np.ravel(heat_map.baseline)
    kept = np.sort(np.argsort(-baselines, kind="stable")[:count])
    return replace(
        heat_map,
        values=values[kept].reshape(count, *heat_map.positions.shape[:-1]),
        error=None,
        class_index=tuple(indices[i] for i in kept),
        label=tuple(labels[i] for i in kept),
        baseline=tuple(float(baselines[i]) for i in kept),
    )


def of_several(maps: Sequence[HeatMap]) -> list[Panel]:
    """The panels of several maps, of which each says its source and model, and in what else it differs from others."""
    told = [captions.facts(each) for each in maps]
    differing = [key for key in ("Patch", "Stride", "Fill") if len({each[key] for each in told}) > 1]
    origins = [
        ", ".join([_name(each.source), each.model, *(f"{key.lower()} {given[key]}" for key in differing)])
        for each, given in zip(maps, told, strict=True)
    ]
    return [panel for each, origin in zip(maps, origins, strict=True) for panel in of_map(each, origin)]


def scales_of(panels: Sequence[Panel], style: Style) -> list[Scale]:
    """The colour scale of each panel."""
    if style.colors == "krypton":
        return [colours.krypton(each.score, each.neutral, each.values) for each in panels]
    spreads = [colours.spread(each.values, each.neutral) for each in panels]
    if style.range == "shared":
        widest: dict[str, float] = defaultdict(float)
        for panel, found in zip(panels, spreads, strict=True):
            widest[unit(panel.score)] = max(widest[unit(panel.score)], found)
        spreads = [widest[unit(panel.score)] for panel in panels]
    scales = []
    for panel, found in zip(panels, spreads, strict=True):
        floor = FLOORS[unit(panel.score)]
        if isinstance(style.range, str):
            half, floored = max(found, floor), floor if found < floor else None
        else:
            half, floored = float(style.range), None
        scales.append(colours.effect(panel.score, panel.neutral, half, panel.limits, floored))
    return scales


def _limits(score: str, neutral: float, values: NDArray[np.float32]) -> tuple[float, float]:
    """0 and 1 for probabilities; none for what a model without an activation gives under that name."""
    known = values[np.isfinite(values)]
    lowest, highest = min(neutral, known.min(initial=neutral)), max(neutral, known.max(initial=neutral))
    if score != "probability" or lowest < -1e-6 or highest > 1 + 1e-6:
        return -np.inf, np.inf
    return min(0.0, neutral), max(1.0, neutral)


def _name(source: str | None) -> str:
    """The last part of a path."""
    return printable(source or "?").replace("\\", "/").rstrip("/").rpartition("/")[2] or "?"
