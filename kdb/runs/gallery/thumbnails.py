"""Small pictures of maps: a photograph and a map of the same size, to be superimposed; and the figures that kdb draws.

They are of the first class of a map of several.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdb.results.pictures import colours, figure, panels
from kdb.results.pictures.colours import FLOORS, unit
from kdb.results.pictures.style import Style
from kdb.results.pictures.views import Flat

if TYPE_CHECKING:
    from PIL.Image import Image

    from kdb.results.maps import HeatMap

STEPS = 127
"""Colours of a map on either side of the neutral one."""


def of_class(heat_map: HeatMap, which: int = 0) -> HeatMap:
    """The heat map of one of its classes, by its place among them; itself where there is one."""
    if isinstance(heat_map.class_index, int) or len(heat_map.class_index) == 1:
        return heat_map
    assert isinstance(heat_map.label, tuple) and isinstance(heat_map.baseline, tuple)
    one = slice(which, which + 1)
    return replace(
        heat_map,
        values=heat_map.values[one],
        error=None if heat_map.error is None else heat_map.error[one],
        class_index=heat_map.class_index[one],
        label=heat_map.label[one],
        baseline=heat_map.baseline[one],
        changed_mean=None,
        changed_max=None,
    )


def superimposed(heat_map: HeatMap, side: int) -> tuple[Image, Image, float] | None:
    """A picture, the map in its colours, of the same size, and half the width of its scale; None for a signal.

    The picture is RGB, and its longer side at most ``side`` pixels.  It is what the model sees; of a volume the slice
    through the strongest patch, and of a video that frame.  The map has a palette, of which colour 0 is transparent;
    the others, from 1, are kdb's colours from ``half`` below the neutral value to ``half`` above it.
    """
    from PIL import Image

    panel = panels.of_map(of_class(heat_map))[0]
    flat = panel.views.alone
    if not isinstance(flat, Flat):
        return None
    pixels = heat_map.picture if len(heat_map.axes) == 2 else np.repeat(_bytes(flat.grey)[..., None], 3, axis=-1)
    values = flat.values
    for axis, turned in enumerate(flat.turned):
        if turned:
            pixels, values = np.flip(pixels, axis), np.flip(values, axis)
    half = max(colours.spread(panel.values, panel.neutral), FLOORS[unit(panel.score)])
    # Cells that are not square make the picture longer, and never finer than they are.
    height, width = (length / min(flat.spacing) for length in flat.sides)
    scale = min(side / max(height, width), 1.0)
    rows, across = max(round(height * scale), 1), max(round(width * scale), 1)
    photo = Image.fromarray(np.ascontiguousarray(pixels)).resize((across, rows), Image.Resampling.LANCZOS)
    seen = values[np.ix_(_middles(rows, len(values)), _middles(across, values.shape[1]))].astype(np.float64)
    levels = np.rint(np.nan_to_num(STEPS * (seen - panel.neutral) / half)).clip(-STEPS, STEPS) + (STEPS + 1)
    painted = Image.fromarray(np.where(np.isnan(seen), 0, levels).astype(np.uint8)).convert("P")
    steps = panel.neutral + half * np.arange(-STEPS, STEPS + 1) / STEPS
    palette = colours.coloured(steps, colours.effect(panel.score, panel.neutral, half))
    painted.putpalette([0, 0, 0, *palette.ravel().tolist()])
    return photo, painted, half


def drawn(heat_map: HeatMap) -> Image:
    """The figure that kdb draws of a map, as an RGB picture."""
    from PIL import Image

    encoded = figure.encoded(figure.draw(panels.of_map(of_class(heat_map)), Style("each", caption=False)))
    with Image.open(io.BytesIO(encoded)) as opened:
        return opened.convert("RGB")


def _bytes(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Greys from 0 to 1 as those from 0 to 255."""
    return np.asarray(np.rint(grey.clip(0, 1) * 255), np.uint8)


def _middles(count: int, of: int) -> NDArray[np.int64]:
    """The cells in the middle of each of ``count`` equal parts ``of`` some cells."""
    return ((np.arange(count) + 0.5) * of / count).astype(np.int64)
