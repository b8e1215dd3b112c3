"""What a panel shows of an image and the map over it, by the image's axes.

A picture is shown whole.  Of a volume there are three slices through the position of the strongest effect and a maximum
projection; of a video, whose first axis is ``t``, some frames; of a signal the trace of each channel over a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import Space
from kdb.results.pictures.colours import Scale
from kdb.results.pictures.style import OPACITY, SMALL, TINY, TITLE
from kdb.results.strongest import strongest

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap

SLIVER_INCHES = 0.3
"""The least side of a view; an image that is narrower is stretched to it."""
BOXES = 20
"""Most boxes of a detector that are shown."""
FRAMES = 5
"""Most frames that are shown of a video."""
CHANNELS = 12
"""Most channels that are shown of a signal."""
TRACE_INCHES, LANE_INCHES = 6.0, 0.5
"""The width of a signal, and the height of each of its channels; one that is alone has three times as much."""

_EDGES = (0.5, 0.97), (0.03, 0.5)
"""Where letters stand at the top and at the left, as shares of a view."""

Span = tuple[int, int]
"""The first cell and the number of cells along an axis."""

_ENDS = ("LR", "PA", "IS")
"""The patient's sides at the low and the high end of each axis of the world: left, right, back, front, foot, head."""


@dataclass(frozen=True)
class Labelled:
    """A detector's box: where it begins and how large it is, (y, x, height, width) in cells, and its score."""

    place: tuple[float, float, float, float]
    text: str


@dataclass(frozen=True, eq=False)
class Flat:
    """A map over a picture.

    ``grey`` [rows, columns] from 0 to 1 is the picture; ``values`` float32 of the same shape the map, NaN where it has
    none.  ``names`` are those of the vertical and the horizontal axis, empty where another view has its numbers, and
    ``spacing`` the sides of a cell.  ``turned`` axes have their first cell at the bottom, or at the right; ``ends`` are
    what lies at the top and at the left.  ``mark`` is the patch of the strongest effect, where it is seen.  ``boxes``
    are those of a detector, the one that is explained first.
    """

    grey: NDArray[np.float32]
    values: NDArray[np.float32]
    names: tuple[str, str]
    unit: str = "pixels"
    title: str = ""
    spacing: tuple[float, float] = (1.0, 1.0)
    turned: tuple[bool, bool] = (False, False)
    ends: tuple[str, str] = ("", "")
    mark: tuple[Span, Span] | None = None
    boxes: Sequence[Labelled] = ()

    ground = 0.5
    """What lies under the map's colours, as the colour bar shows them: neither dark nor light."""

    @property
    def sides(self) -> tuple[float, float]:
        """(height, width), in the unit of the spacing."""
        height, width = (cells * each for cells, each in zip(self.grey.shape, self.spacing, strict=True))
        return height, width

    def inches(self, scale: float) -> tuple[float, float]:
        """(height, width) of the view where ``scale`` inches are one of the spacing."""
        height, width = (max(side * scale, SLIVER_INCHES) for side in self.sides)
        return height, width

    def draw(self, ax: Any, scale: Scale, fixed: bool) -> Any:
        """Draw on ``ax``, whose shape is that of the view where it is ``fixed``; returns the image of the map."""
        height, width = self.grey.shape
        edges = (0, width, height, 0)  # of cells, so that a patch at (y, x) begins at y and x on the axes
        aspect: Any = "auto" if fixed else self.spacing[0] / self.spacing[1]
        ax.imshow(self.grey, cmap="gray", vmin=0, vmax=1, extent=edges, aspect=aspect)
        overlay = _overlay(ax, self.values, scale, edges, aspect)
        for axis, name in ((ax.yaxis, self.names[0]), (ax.xaxis, self.names[1])):
            axis.set_label_text(f"{name} ({self.unit})" if name else "", size=TITLE)
            axis.set_tick_params(labelsize=SMALL, **({} if name else {"labelleft": False}))
        ax.yaxis.set_inverted(not self.turned[0])
        ax.xaxis.set_inverted(self.turned[1])
        for end, at, across, along in zip(self.ends, _EDGES, ("center", "left"), ("top", "center"), strict=True):
            ax.text(*at, end, ha=across, va=along, size=SMALL, color="white", transform=ax.transAxes, **_outlined())
        if self.mark is not None:
            (top, rows), (left, columns) = self.mark
            _frame(ax, left, top, columns, rows)
        for box in reversed(self.boxes):
            _draw_box(ax, box, explained=box is self.boxes[0])
        return overlay

    def locate(self, ax: Any, height: float, width: float) -> None:
        """Put ticks at whole cells, as many as have room on so many inches."""
        from matplotlib.ticker import MaxNLocator

        for axis, length in ((ax.xaxis, width), (ax.yaxis, height)):
            axis.set_major_locator(MaxNLocator(nbins=max(1, int(length / 0.5)), integer=True, steps=[1, 2, 5, 10]))


@dataclass(frozen=True, eq=False)
class Trace:
    """A signal, channel under channel, each on a scale of its own, over a band of the map's colours.

    ``signal`` is [length, shown], of the first of ``channels`` in all; ``values`` float32 [length] the map, NaN where
    it has none; ``mark`` the patch of the strongest effect.
    """

    signal: NDArray[np.float32]
    values: NDArray[np.float32]
    name: str
    channels: int
    mark: Span | None

    ground = 1.0

    @property
    def title(self) -> str:
        """Which channels are shown, where these are not all."""
        shown = self.signal.shape[1]
        return "" if shown == self.channels else f"channels 0 to {shown - 1} of {self.channels}"

    @property
    def sides(self) -> tuple[float, float]:
        """(height, width); it is as large whatever the scale."""
        return 1.0, 1.0

    def inches(self, scale: float) -> tuple[float, float]:
        """(height, width) of the view."""
        return LANE_INCHES * max(3, self.signal.shape[1]), TRACE_INCHES

    def draw(self, ax: Any, scale: Scale, fixed: bool) -> Any:
        """Draw on ``ax``; returns the image of the map."""
        length, lanes = self.signal.shape
        overlay = _overlay(ax, self.values[None], scale, (0, length, lanes, 0), "auto")
        places = np.arange(length) + 0.5
        for lane, trace in enumerate(self.signal.T):
            ax.plot(places, self._placed(lane, trace), color="0.1", linewidth=0.8, solid_joinstyle="round")
            if lane:
                ax.axhline(lane, color="0.6", linewidth=0.5)
            if lanes > 1:
                ax.text(
                    *(0.006, lane + 0.05), f"channel {lane}", size=TINY, va="top", color="0.25", transform=_across(ax)
                )
        if self.mark is not None:
            _frame(ax, self.mark[0], 0, self.mark[1], lanes)
        ax.set_xlim(0, length)
        ax.set_ylim(lanes, 0)
        ax.set_xlabel(f"{self.name} (samples)", size=TITLE)
        ax.tick_params(labelsize=SMALL)
        return overlay

    def locate(self, ax: Any, height: float, width: float) -> None:
        """Put ticks at whole samples, and at round numbers of each channel, as many as have room."""
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(nbins=max(1, int(width / 0.7)), integer=True, steps=[1, 2, 5, 10]))
        lanes = self.signal.shape[1]
        each = MaxNLocator(nbins=max(1, int(0.6 * height / lanes / 0.15)), steps=[1, 2, 5, 10], min_n_ticks=1)
        places, labels = [], []
        for lane, trace in enumerate(self.signal.T):
            low, high = _range(trace)
            inside = [tick for tick in each.tick_values(low, high) if low <= tick <= high]
            places += self._placed(lane, trace, np.array(inside)).tolist()
            labels += [f"{tick:.4g}" for tick in inside]
        ax.yaxis.set_ticks(places, labels, size=SMALL if lanes == 1 else TINY)

    def _placed(self, lane: int, trace: NDArray[Any], values: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Where values of a channel are drawn, those of its ``trace`` itself by default: upwards, inside its lane."""
        low, high = _range(trace)
        values = trace if values is None else values
        top = 0.1 if self.signal.shape[1] == 1 else 0.3  # below the channel's name
        return np.asarray(lane + 0.9 - (0.9 - top) * (values.astype(np.float64) - low) / (high - low))


View = Flat | Trace


@dataclass(frozen=True, eq=False)
class Views:
    """What is shown ``together``, in a row, and what is shown ``alone`` where there is room for one."""

    together: Sequence[View]
    alone: View


def of_image(
    heat_map: HeatMap,
    grey: NDArray[np.float32],
    values: NDArray[np.float32],
    scores: NDArray[np.float32],
    neutral: float,
) -> Views:
    """The views of one class of a map: ``values`` [*size] over ``grey`` [*size], of ``scores`` [n]."""
    names = heat_map.axes
    mark = _mark(heat_map, scores, neutral)
    if len(names) == 1:
        signal = heat_map.image.astype(np.float32, copy=False)
        trace = Trace(signal[:, :CHANNELS], values, names, signal.shape[1], None if mark is None else mark[0])
        return Views([trace], trace)
    if len(names) == 2:
        flat = Flat(grey, values, (names[0], names[1]), boxes=_boxes(heat_map))
        return Views([flat], flat)
    if names[0] == "t":
        return _frames(heat_map, grey, values, mark)
    return _slices(heat_map, grey, values, mark, neutral)


def _boxes(heat_map: HeatMap) -> list[Labelled]:
    """A detector's boxes with their numbers and scores, the one that is explained first; none of other models.

    Others are shown where their score is at least half of its.
    """
    if heat_map.boxes is None or heat_map.box_scores is None or heat_map.detection is None:
        return []
    own = heat_map.detection - 1
    least = heat_map.box_scores[own] / 2
    others = [i for i in range(min(len(heat_map.boxes), BOXES)) if i != own and heat_map.box_scores[i] >= least]
    return [
        Labelled((float(y), float(x), float(height), float(width)), f"{i + 1}: {heat_map.box_scores[i]:.2f}")
        for i in (own, *others)
        for y, x, height, width in (heat_map.boxes[i],)
    ]


def _mark(heat_map: HeatMap, scores: NDArray[np.float32], neutral: float) -> tuple[Span, ...] | None:
    """The patch of the strongest effect: a span along each axis; None where there is none."""
    if not np.fmax.reduce(np.abs(scores - neutral), axis=None, initial=0):
        return None
    start = heat_map.positions.reshape(-1, len(heat_map.axes))[strongest(scores, neutral)]
    return tuple(zip(start.tolist(), heat_map.patch, strict=True))


def _middle(heat_map: HeatMap, mark: tuple[Span, ...] | None) -> list[int]:
    """The cell in the middle of the mark, or else of the image."""
    spans = [(0, length) for length in heat_map.size] if mark is None else mark
    return [start + length // 2 for start, length in spans]


def _frames(
    heat_map: HeatMap, grey: NDArray[np.float32], values: NDArray[np.float32], mark: tuple[Span, ...] | None
) -> Views:
    """The frame in the middle of the strongest patch, and others as evenly as that permits."""
    time, vertical, horizontal = tuple(heat_map.axes)
    strong = _middle(heat_map, mark)[0]
    shown = np.unique(np.rint(np.linspace(0, len(grey) - 1, FRAMES)).astype(int))
    shown[np.argmin(np.abs(shown - strong))] = strong

    def view(frame: int) -> Flat:
        at = (mark[1], mark[2]) if mark is not None and mark[0][0] <= frame < sum(mark[0]) else None
        title = f"{time} = {frame}" + (", strongest" if mark is not None and frame == strong else "")
        return Flat(grey[frame], values[frame], (vertical, horizontal), title=title, mark=at)

    first, *others = map(view, shown.tolist())
    return Views([first, *(replace(each, names=("", horizontal)) for each in others)], view(strong))


def _slices(
    heat_map: HeatMap,
    grey: NDArray[np.float32],
    values: NDArray[np.float32],
    mark: tuple[Span, ...] | None,
    neutral: float,
) -> Views:
    """Across each axis the slice through the middle of the strongest patch, and a projection along the first axis.

    With a space the axes are in the order foot to head, back to front, left to right, and each view has the head or the
    front at the top, and the front or the patient's right at the left.
    """
    names, at = heat_map.axes, _middle(heat_map, mark)
    scale = np.reshape(heat_map.source_box, (2, 3))[1] / heat_map.size
    order, spacing, ends = [0, 1, 2], scale / scale if heat_map.space is None else scale, [""] * 3
    if heat_map.space is not None:
        order, ends = _anatomy(heat_map.space)
        spacing = scale * np.linalg.norm(heat_map.space.affine[:3, :3], axis=0)

    def view(across: int, grey: NDArray[np.float32], values: NDArray[np.float32], title: str) -> Flat:
        """Of arrays [*size] without the axis ``across``."""
        vertical, horizontal = kept = [axis for axis in order if axis != across]
        if vertical > horizontal:
            grey, values = grey.T, values.T
        forward = [bool(ends[axis]) and ends[axis][1] in "RAS" for axis in kept]
        first = [ends[axis][turned] if ends[axis] else "" for axis, turned in zip(kept, forward, strict=True)]
        return Flat(
            grey,
            values,
            (names[vertical], names[horizontal]),
            "voxels",
            title,
            (float(spacing[vertical]), float(spacing[horizontal])),
            (forward[0], forward[1]),
            (first[0], first[1]),
            None if mark is None else (mark[vertical], mark[horizontal]),
        )

    slices = [
        view(axis, grey[at_axis], values[at_axis], f"{names[axis]} = {at[axis]}")
        for axis in order
        if (at_axis := (slice(None),) * axis + (at[axis],))
    ]
    along = order[0]
    effects = np.where(np.isnan(values), -1, np.abs(values - np.float32(neutral)))
    strong = np.take_along_axis(values, effects.argmax(along, keepdims=True), along).squeeze(along)
    projection = view(along, grey.max(along), strong, f"strongest along {names[along]}")
    return Views([*slices, projection], slices[0])


def _anatomy(space: Space) -> tuple[list[int], list[str]]:
    """The array's axes from that most along the body to that most across it, and the patient's sides at their ends."""
    directions = space.affine[:3, :3] / np.linalg.norm(space.affine[:3, :3], axis=0)
    body = max(permutations(range(3)), key=lambda each: sum(abs(directions[w, axis]) for w, axis in enumerate(each)))
    ends = [""] * 3
    for of_world, axis in enumerate(body):
        ends[axis] = _ENDS[of_world][:: 1 if directions[of_world, axis] > 0 else -1]
    return list(reversed(body)), ends


def _range(trace: NDArray[Any]) -> tuple[float, float]:
    """The least and the largest of a channel; around one that is constant."""
    low, high = float(trace.min()), float(trace.max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _overlay(ax: Any, values: NDArray[np.float32], scale: Scale, edges: Sequence[float], aspect: Any) -> Any:
    """The image of a map [rows, columns] within the ``edges``."""
    return ax.imshow(
        np.ma.masked_invalid(values.astype(np.float64)),
        cmap=scale.colormap(),
        vmin=scale.lowest,
        vmax=scale.highest,
        alpha=OPACITY,
        extent=edges,
        aspect=aspect,
        interpolation="nearest",
    )


def _frame(ax: Any, left: float, top: float, width: float, height: float) -> None:
    """The outline of a patch."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="black", linewidth=1.1, zorder=3))


def _draw_box(ax: Any, box: Labelled, explained: bool) -> None:
    """The outline of a detector's box, and its number and score inside its upper left corner."""
    from matplotlib.patches import Rectangle

    (bottom, top), (left, right) = sorted(ax.get_ylim()), sorted(ax.get_xlim())
    y, x, height, width = box.place
    y0, x0 = max(y, bottom), max(x, left)
    y1, x1 = min(y + height, top), min(x + width, right)
    if y1 <= y0 or x1 <= x0:
        return
    line: dict[str, Any] = {"linewidth": 1.8} if explained else {"linewidth": 0.7, "linestyle": (0, (4, 3))}
    ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", zorder=4, **line, **_outlined()))
    size = SMALL if explained else TINY
    ax.annotate(
        box.text, (x0, y0), (2, -2), textcoords="offset points", ha="left", va="top", size=size, color="white",
        zorder=5, **_outlined(),
    )  # fmt: skip


def _outlined() -> dict[str, Any]:
    """What makes a white text seen on any picture."""
    from matplotlib.patheffects import withStroke

    return {"path_effects": [withStroke(linewidth=1.6, foreground="black")]}


def _across(ax: Any) -> Any:
    """Coordinates that are a share of the axes horizontally, and cells vertically."""
    return ax.get_yaxis_transform()
