"""Draws panels: each a map over its image with a colour bar beside it, a title above, and a caption under all.

The views of a panel that has several stand in a row, which the title heads.

A new figure is laid out from the sizes of its texts: everything is drawn first, with each map in its size in inches,
and then the panels are moved apart as far as their titles, ticks and bars need.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from kdb.errors import ExecutionError
from kdb.results.format import Format, Saving, Write
from kdb.results.pictures import captions, panels
from kdb.results.pictures.captions import Facts
from kdb.results.pictures.colours import Scale
from kdb.results.pictures.lettering import Lettering, inches, lettering, wrapped
from kdb.results.pictures.panels import Panel
from kdb.results.pictures.style import OPACITY, SMALL, TINY, TITLE, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap

PANEL_INCHES = 4.0
"""The longer side of the map of a figure with one panel."""
SMALLER = 0.7
"""Of that, where there are several panels."""
ROW_INCHES = 8.0
"""Of the longest sides of views in a row, all together."""
BAR_INCHES = 1.2
"""The least length of a colour bar, so that there is room for its ticks."""
PADDING = 0.12
"""Inches between panels, and around the figure."""
LEAST_WIDTH = 3.6
"""Of a figure, in inches, so that there is room for the caption."""

DPI = 150


def of_map(heat_map: HeatMap, style: Style, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """A heat map, one panel a class, in a new figure or on the given axes."""
    count, note = len(heat_map.by_class()[0]), ""
    if ax is None and count > (room := panels.room(heat_map)):
        heat_map = panels.of_highest_baseline(heat_map, room)
        note = f"{room} of {count} classes, those of the highest baseline"
    return draw(panels.of_map(heat_map), style, captions.line(captions.facts(heat_map)), note, ax)


def of_difference(difference: Difference, style: Style, ax: Axes | Sequence[Axes] | None = None) -> Figure:
    """A difference of two heat maps, in the same way."""
    shown, note = panels.of_difference(difference), ""
    if ax is None and len(shown) > (room := panels.room(difference.first)):
        note = f"{room} of {len(shown)} classes, the first"
        shown = shown[:room]
    return draw(shown, style, captions.line(difference.facts()), note, ax)


def of_several(maps: Sequence[HeatMap], count: int, style: Style) -> Figure:
    """The first of ``count`` heat maps side by side; of one with many classes those of the highest baseline."""
    notes = [f"{len(maps)} of {count} maps; {count - len(maps)} left out"] if count > len(maps) else []
    classes = len(maps[0].by_class()[1])
    if classes > (room := panels.room(maps[0])):  # it is the only one
        maps = [panels.of_highest_baseline(maps[0], room)]
        notes.append(f"{room} of {classes} classes, those of the highest baseline")
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

    On given axes there is one view of each panel.

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
            overlay = panel.views.alone.draw(each, scale, fixed=False)
            size = _measured(each)
            panel.views.alone.locate(each, size.height, size.width)
            _draw_title(each, panel, letters, size)
            _draw_bar(each, panel, scale, overlay, size)
        figure: Figure = axes[0].figure.figure  # of a subfigure, the figure it is part of
        return figure
    return _new_figure(shown, scales, letters, caption, note)


@dataclass(frozen=True)
class _Size:
    """Of a view, and of the bar beside it, in inches."""

    width: float
    height: float
    bar: float


@dataclass(frozen=True)
class _Drawn:
    """The axes of a view, their size, and how far texts reach beyond each side of it, all in inches."""

    axes: Any
    size: _Size
    left: float
    below: float
    right: float
    above: float

    @classmethod
    def of(cls, axes: Any, size: _Size, renderer: Any) -> _Drawn:
        box = axes.get_tightbbox(renderer)
        x0, y0, x1, y1 = (edge / DPI for edge in (box.x0, box.y0, box.x1, box.y1))
        return cls(axes, size, -x0, -y0, x1 - size.width, y1 - size.height)


@dataclass(frozen=True)
class _Block:
    """The views of a panel in a row, with their tops on a line, and the ``heading`` above a row of several."""

    views: Sequence[_Drawn]
    heading: str

    @property
    def starts(self) -> list[float]:
        """Where each view begins, from the left edge of the first."""
        starts = [0.0]
        for one, other in pairwise(self.views):
            starts.append(starts[-1] + one.size.width + one.right + PADDING + other.left)
        return starts

    @property
    def width(self) -> float:
        return self.starts[-1] + self.views[-1].size.width

    @property
    def height(self) -> float:
        return max(each.size.height for each in self.views)

    @property
    def below(self) -> float:
        return max(each.below + each.size.height for each in self.views) - self.height

    @property
    def above(self) -> float:
        """What the texts of the views take."""
        return max(each.above for each in self.views)

    @property
    def head(self) -> float:
        """What the heading takes."""
        return _tall(self.heading, TITLE)


def _new_figure(shown: Sequence[Panel], scales: Sequence[Scale], letters: Lettering, caption: str, note: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL_INCHES, PANEL_INCHES), dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    # A notebook shows a figure by itself only once pyplot has been imported there.
    figure._repr_png_ = partial(encoded, figure)  # type: ignore[attr-defined]
    columns = len(shown) if len(shown) <= 3 else math.ceil(math.sqrt(len(shown)))
    columns = 1 if any(panel.takes_a_row for panel in shown) else columns
    rows = math.ceil(len(shown) / columns)
    blocks = [
        _drawn(figure, panel, scale, letters, len(shown), canvas.get_renderer())
        for panel, scale in zip(shown, scales, strict=True)
    ]
    left = max(block.views[0].left for block in blocks) + PADDING
    right = max(block.views[-1].right for block in blocks) + PADDING
    below = max(block.below for block in blocks) + PADDING
    above = max(block.above + block.head for block in blocks) + PADDING
    cell = left + max(block.width for block in blocks) + right, below + max(block.height for block in blocks) + above
    width = max(columns * cell[0], LEAST_WIDTH)

    def lines(text: str, points: float) -> str:
        return wrapped(letters.shown(text), points, letters.families, width - 2 * PADDING, 4)

    caption, note = lines(caption, TINY), lines(note, TITLE)
    foot, head = _tall(caption, TINY), _tall(note, TITLE)
    height = foot + rows * cell[1] + head
    figure.set_size_inches(width, height)
    indent = (width - columns * cell[0]) / 2
    text: dict[str, Any] = {"family": list(letters.families), "parse_math": False}
    for i, block in enumerate(blocks):
        row, column = divmod(i, columns)
        x, y = indent + column * cell[0] + left, foot + (rows - 1 - row) * cell[1] + below
        for each, start in zip(block.views, block.starts, strict=True):
            size, bottom = each.size, y + block.height - each.size.height
            each.axes.set_position(((x + start) / width, bottom / height, size.width / width, size.height / height))
        top = y + block.height + block.above + PADDING
        figure.text(x / width, top / height, block.heading, size=TITLE, va="bottom", **text) if block.heading else None
    if caption:
        figure.text(PADDING / width, PADDING / height, caption, size=TINY, color="0.35", va="bottom", **text)
    if note:
        figure.suptitle(note, size=TITLE, y=1 - PADDING / height, va="top", **text)
    return figure


def _tall(lines: str, points: float) -> float:
    """The height of wrapped lines, with what parts them from other things; 0 where there are none."""
    return (lines.count("\n") + 1) * 1.4 * points / 72 + PADDING if lines else 0.0


def _drawn(figure: Any, panel: Panel, scale: Scale, letters: Lettering, count: int, renderer: Any) -> _Block:
    """The views of one of ``count`` panels, drawn at the lower left corner of the figure, and measured."""
    views = panel.views.together
    several = len(views) > 1
    longest = ROW_INCHES / len(views) if several else PANEL_INCHES if count == 1 else SMALLER * PANEL_INCHES
    per_unit = longest / max(side for view in views for side in view.sides)
    drawn = []
    for view in views:
        height, width = view.inches(per_unit)
        size = _Size(width, height, max(height, BAR_INCHES))
        ax = figure.add_axes((0, 0, width / PANEL_INCHES, height / PANEL_INCHES), label=f"{len(figure.axes)}")
        overlay = view.draw(ax, scale, fixed=True)
        view.locate(ax, height, width)
        if several:
            _put_title(ax, view.title, SMALL, letters, size)
        else:
            _draw_title(ax, panel, letters, size)
        if view is views[-1]:
            _draw_bar(ax, panel, scale, overlay, size)
        drawn.append(_Drawn.of(ax, size, renderer))
    block = _Block(drawn, "")
    return replace(block, heading=_said(panel, letters, block.width)) if several else block


def _said(panel: Panel, letters: Lettering, width: float) -> str:
    """What the title of a panel says, in lines of ``width`` inches."""

    def shown(text: str, end: str = "") -> str:
        return wrapped(letters.shown(text), TITLE, letters.families, width, 2, end)

    name = shown(panel.label, f" ({panel.index})") if letters.legible(panel.label) else f"class {panel.index}"
    return "\n".join([name, *(shown(text) for text in (*panel.facts, panel.origin) if text)])


def _draw_title(ax: Any, panel: Panel, letters: Lettering, size: _Size) -> None:
    """Above the map, and above a bar that is longer than it; no wider than a little more than the map."""
    lines = _said(panel, letters, max(size.width + 0.8, 2.2))
    if title := panel.views.alone.title:
        lines += f"\n{title}"
    _put_title(ax, lines, TITLE, letters, size)


def _put_title(ax: Any, lines: str, points: float, letters: Lettering, size: _Size) -> None:
    """Above ticks at the top, which reach above a view, and above a bar that is longer than it, where it is beside."""
    beside = max(inches(line, points, letters.families) for line in lines.split("\n")) > size.width
    ax.set_title(
        lines,
        size=points,
        family=list(letters.families),
        parse_math=False,
        pad=10 + (72 * (size.bar - size.height) if beside else 0),
    )


def _draw_bar(ax: Any, panel: Panel, scale: Scale, overlay: Any, size: _Size) -> None:
    """Beside the map, with its ends at the ends of the scale and a line at the unmodified value."""
    from matplotlib.cm import ScalarMappable

    thickness = 0.045 * max(size.width, size.height)
    place = [1 + 0.6 * thickness / size.width, 0, thickness / size.width, size.bar / size.height]
    known = panel.values[np.isfinite(panel.values)]
    shown = ScalarMappable(overlay.norm, _over(panel.views.alone.ground, overlay.cmap))
    overlay.colorbar = bar = ax.figure.colorbar(shown, cax=ax.inset_axes(place), extend=scale.extend(known))
    ticks = _ticks(scale, panel.neutral, size.bar)
    numbers = [f"{panel.neutral:.4g}" if tick == panel.neutral else _number(tick, scale) for tick in ticks]
    bar.set_ticks(ticks, labels=numbers)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL)
    bar.ax.axhline(panel.neutral, color="black", linewidth=1.2)
    said = [*panel.meaning, *([] if scale.floor is None else [f"scale floored at ±{scale.floor:g}"])]
    width = max(size.bar, BAR_INCHES)
    bar.set_label("\n".join(wrapped(each, SMALL, ("sans-serif",), width, 3) for each in said), size=SMALL)


def _over(ground: float, colours: Any) -> Any:
    """A colour map as the overlay looks on a ground of this grey."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(OPACITY * colours(np.arange(colours.N))[:, :3] + (1 - OPACITY) * ground)


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


def _saved_map(heat_map: HeatMap, saving: Saving) -> Write:
    return partial(write, of_map(heat_map, saving.style), captions.facts(heat_map), saving.extension)


def _saved_difference(difference: Difference, saving: Saving) -> Write:
    return partial(write, of_difference(difference, saving.style), difference.facts(), saving.extension)


PICTURES = Format(("png", "jpg", "jpeg", "pdf", "svg"), _saved_map, _saved_difference)
