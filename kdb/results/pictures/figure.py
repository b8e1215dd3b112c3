"""Draws panels: each a map over its image with a colour bar beside it, a title above, and a caption under all.

A new figure is laid out from the sizes of its texts: everything is drawn first, with each map in its size in inches,
and then the panels are moved apart as far as their titles, ticks and bars need.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from kdb.errors import ExecutionError
from kdb.results.pictures import captions, panels
from kdb.results.pictures.captions import Facts
from kdb.results.pictures.colours import Scale
from kdb.results.pictures.lettering import Lettering, inches, lettering, wrapped
from kdb.results.pictures.panels import MAX_PANELS, Panel
from kdb.results.pictures.style import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap

PANEL_INCHES = 4.0
"""The longer side of the map of a figure with one panel."""
SMALLER = 0.7
"""Of that, where there are several panels."""
SLIVER_INCHES = 0.3
"""The least side of a map; an image that is narrower is stretched to it."""
BAR_INCHES = 1.2
"""The least length of a colour bar, so that there is room for its ticks."""
PADDING = 0.12
"""Inches between panels, and around the figure."""
LEAST_WIDTH = 3.6
"""Of a figure, in inches, so that there is room for the caption."""

OPACITY = 0.55
DPI = 150
TITLE, SMALL, TINY = 10.0, 8.3, 7.0
"""Sizes of texts in points: of titles and axes, of colour bars, and of the caption."""


def of_map(heat_map: HeatMap, style: Style, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """A heat map, one panel a class, in a new figure or on the given axes."""
    count, note = len(heat_map.by_class()[0]), ""
    if ax is None and count > MAX_PANELS:
        heat_map = panels.of_highest_baseline(heat_map, MAX_PANELS)
        note = f"{MAX_PANELS} of {count} classes, those of the highest baseline"
    return draw(panels.of_map(heat_map), style, captions.line(captions.facts(heat_map)), note, ax)


def of_difference(difference: Difference, style: Style, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """A difference of two heat maps, in the same way."""
    shown, note = panels.of_difference(difference), ""
    if ax is None and len(shown) > MAX_PANELS:
        note = f"{MAX_PANELS} of {len(shown)} classes, the first"
        shown = shown[:MAX_PANELS]
    return draw(shown, style, captions.line(difference.facts()), note, ax)


def of_several(maps: Sequence[HeatMap], count: int, style: Style) -> Figure:
    """The first of ``count`` heat maps side by side; of one with many classes those of the highest baseline."""
    notes = [f"{len(maps)} of {count} maps; {count - len(maps)} left out"] if count > len(maps) else []
    classes = len(maps[0].by_class()[1])
    if classes > MAX_PANELS:  # it is the only one
        maps = [panels.of_highest_baseline(maps[0], MAX_PANELS)]
        notes.append(f"{MAX_PANELS} of {classes} classes, those of the highest baseline")
    caption = captions.line(captions.shared([captions.facts(each) for each in maps]))
    return draw(panels.of_several(maps), style, caption, "; ".join(notes))


def draw(
    shown: Sequence[Panel],
    style: Style,
    caption: str = "",
    note: str = "",
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draw each panel, in a new figure with the ``note`` above and the ``caption`` under them or on the given axes.

    Raises ``ExecutionError`` for another number of axes than panels.
    """
    caption = caption if style.caption and ax is None else ""
    letters = lettering([caption, *(text for each in shown for text in (each.label, each.origin))])
    scales = panels.scales_of(shown, style)
    if ax is not None:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(axes) != len(shown):
            raise ExecutionError(f"{len(shown)} classes need as many axes; {len(axes)} given")
        for each, panel, scale in zip(axes, shown, scales, strict=True):
            _draw_panel(each, panel, scale, letters, None)
        figure: Figure = axes[0].figure.figure  # of a subfigure, the figure it is part of
        return figure
    return _new_figure(shown, scales, letters, caption, note)


@dataclass(frozen=True)
class _Size:
    """Of a map, and of the bar beside it, in inches."""

    width: float
    height: float
    bar: float

    @classmethod
    def of(cls, panel: Panel, count: int) -> _Size:
        height, width = panel.grey.shape
        scale = (PANEL_INCHES if count == 1 else SMALLER * PANEL_INCHES) / max(height, width)
        width, height = max(width * scale, SLIVER_INCHES), max(height * scale, SLIVER_INCHES)
        return cls(width, height, max(height, BAR_INCHES))


def _new_figure(shown: Sequence[Panel], scales: Sequence[Scale], letters: Lettering, caption: str, note: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL_INCHES, PANEL_INCHES), dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    # A notebook shows a figure by itself only once pyplot has been imported there.
    figure._repr_png_ = partial(encoded, figure)  # type: ignore[attr-defined]
    columns = len(shown) if len(shown) <= 3 else math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    sizes = [_Size.of(panel, len(shown)) for panel in shown]
    axes: list[Any] = [figure.add_subplot(rows, columns, i + 1) for i in range(len(shown))]
    for each, panel, scale, size in zip(axes, shown, scales, sizes, strict=True):
        each.set_position((0, 0, size.width / PANEL_INCHES, size.height / PANEL_INCHES))
        _draw_panel(each, panel, scale, letters, size)
    renderer = canvas.get_renderer()
    boxes = [each.get_tightbbox(renderer) for each in axes]
    left = max(-box.x0 for box in boxes) / DPI + PADDING
    below = max(-box.y0 for box in boxes) / DPI + PADDING
    right = max(box.x1 / DPI - size.width for box, size in zip(boxes, sizes, strict=True)) + PADDING
    above = max(box.y1 / DPI - size.height for box, size in zip(boxes, sizes, strict=True)) + PADDING
    cell = left + max(size.width for size in sizes) + right, below + max(size.height for size in sizes) + above
    width = max(columns * cell[0], LEAST_WIDTH)

    def lines(text: str, points: float) -> tuple[str, float]:
        made = wrapped(letters.shown(text), points, letters.families, width - 2 * PADDING, 4)
        return made, (made.count("\n") + 1) * 1.4 * points / 72 + PADDING if made else 0.0

    (caption, foot), (note, head) = lines(caption, TINY), lines(note, TITLE)
    height = foot + rows * cell[1] + head
    figure.set_size_inches(width, height)
    indent = (width - columns * cell[0]) / 2
    for i, (each, size) in enumerate(zip(axes, sizes, strict=True)):
        row, column = divmod(i, columns)
        x, y = indent + column * cell[0] + left, foot + (rows - 1 - row) * cell[1] + below
        each.set_position((x / width, y / height, size.width / width, size.height / height))
    text: dict[str, Any] = {"family": list(letters.families), "parse_math": False}
    if caption:
        figure.text(PADDING / width, PADDING / height, caption, size=TINY, color="0.35", va="bottom", **text)
    if note:
        figure.suptitle(note, size=TITLE, y=1 - PADDING / height, va="top", **text)
    return figure


def _draw_panel(ax: Any, panel: Panel, scale: Scale, letters: Lettering, size: _Size | None) -> None:
    """On ``ax``, which has the ``size`` of the map; None for axes of the user's, whose size may change."""
    from matplotlib.ticker import MaxNLocator

    height, width = panel.grey.shape
    edges = (0, width, height, 0)  # of pixels, so that a patch at (y, x) begins at y and x on the axes
    aspect = "equal" if size is None else "auto"
    ax.imshow(panel.grey, cmap="gray", vmin=0, vmax=1, extent=edges, aspect=aspect)
    overlay = ax.imshow(
        np.ma.masked_invalid(panel.values.astype(np.float64)),
        cmap=scale.colormap(),
        vmin=scale.lowest,
        vmax=scale.highest,
        alpha=OPACITY,
        extent=edges,
        aspect=aspect,
        interpolation="nearest",
    )
    ax.set_xlabel("x (pixels)", size=TITLE)
    ax.set_ylabel("y (pixels)", size=TITLE)
    ax.tick_params(labelsize=SMALL)
    size = size or _measured(ax)
    for axis, length in ((ax.xaxis, size.width), (ax.yaxis, size.height)):
        axis.set_major_locator(MaxNLocator(nbins=max(1, int(length / 0.5)), integer=True, steps=[1, 2, 5, 10]))
    _draw_title(ax, panel, letters, size)
    _draw_bar(ax, panel, scale, overlay, size)


def _draw_title(ax: Any, panel: Panel, letters: Lettering, size: _Size) -> None:
    """Above the map, and above a bar that is longer than it; no wider than a little more than the map."""
    width = max(size.width + 0.8, 2.2)

    def shown(text: str, end: str = "") -> str:
        return wrapped(letters.shown(text), TITLE, letters.families, width, 2, end)

    name = shown(panel.label, f" ({panel.index})") if letters.legible(panel.label) else f"class {panel.index}"
    lines = "\n".join([name, *(shown(text) for text in (*panel.facts, panel.origin) if text)])
    beside = max(inches(line, TITLE, letters.families) for line in lines.split("\n")) > size.width
    ax.set_title(
        lines,
        size=TITLE,
        family=list(letters.families),
        parse_math=False,
        pad=10 + (72 * (size.bar - size.height) if beside else 0),  # ticks at the top reach above the map
    )


def _draw_bar(ax: Any, panel: Panel, scale: Scale, overlay: Any, size: _Size) -> None:
    """Beside the map, with its ends at the ends of the scale and a line at the unmodified value."""
    from matplotlib.cm import ScalarMappable

    thickness = 0.045 * max(size.width, size.height)
    place = [1 + 0.6 * thickness / size.width, 0, thickness / size.width, size.bar / size.height]
    known = panel.values[np.isfinite(panel.values)]
    overlay.colorbar = bar = ax.figure.colorbar(
        ScalarMappable(overlay.norm, _on_grey(overlay.cmap)), cax=ax.inset_axes(place), extend=scale.extend(known)
    )
    ticks = _ticks(scale, panel.neutral, size.bar)
    numbers = [f"{panel.neutral:.4g}" if tick == panel.neutral else _number(tick, scale) for tick in ticks]
    bar.set_ticks(ticks, labels=numbers)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL)
    bar.ax.axhline(panel.neutral, color="black", linewidth=1.2)
    said = [*panel.meaning, *([] if scale.floor is None else [f"scale floored at ±{scale.floor:g}"])]
    width = max(size.bar, BAR_INCHES)
    bar.set_label("\n".join(wrapped(each, SMALL, ("sans-serif",), width, 3) for each in said), size=SMALL)


def _on_grey(colours: Any) -> Any:
    """A colour map as the overlay looks on an image that is neither dark nor light."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(OPACITY * colours(np.arange(colours.N))[:, :3] + (1 - OPACITY) * 0.5)


def _ticks(scale: Scale, marked: float, length: float) -> list[float]:
    """The marked value, both ends of a bar of ``length`` inches, and round numbers between; those that have room."""
    from matplotlib.ticker import MaxNLocator

    apart = 1.6 * SMALL / 72 / length * (scale.highest - scale.lowest)
    locator = MaxNLocator(nbins=max(2, int(length / 0.4)), steps=[1, 2, 2.5, 5, 10])
    ticks: list[float] = [marked]
    for each in (scale.lowest, scale.highest, *map(float, locator.tick_values(scale.lowest, scale.highest))):
        if scale.lowest <= each <= scale.highest and all(abs(each - other) >= apart for other in ticks):
            ticks.append(each)
    return sorted(ticks)


def _number(tick: float, scale: Scale) -> str:
    """A tick to three digits of the scale's width."""
    width = scale.highest - scale.lowest
    if not 1e-3 <= max(abs(scale.lowest), abs(scale.highest)) < 1e5:
        return f"{0 if abs(tick) < 1e-9 * width else tick:.3g}"
    return np.format_float_positional(round(tick, max(0, 2 - math.floor(math.log10(width)))) + 0.0, trim="-")


def _measured(ax: Any) -> _Size:
    """What axes of the user's have now."""
    ax.apply_aspect()
    box = ax.get_window_extent()
    dpi = ax.figure.figure.dpi
    return _Size(box.width / dpi, box.height / dpi, box.height / dpi)


def write(figure: Figure, facts: Facts, extension: str, file: IO[bytes]) -> None:
    """Write a figure in the format ``extension``, with the ``facts`` in the file's metadata."""
    figure.savefig(file, format=extension, **captions.metadata(facts, extension))


def encoded(figure: Figure, facts: Facts | None = None) -> bytes:
    """A figure as the bytes of a png file, with the ``facts`` in its text chunks."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata=dict(facts or {}))
    return file.getvalue()
