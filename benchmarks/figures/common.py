"""Shared by the parts: the amount to run, positions, queries, conversions of stored results, and the style of plots."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.experiment import FILL, Setting
from benchmarks.timing import Estimate, Timing
from benchmarks.verify import IntArray, Ints, grid, occlude
from kdb.results.maps import HeatMap
from kdb.session.session import Session

Json = Mapping[str, Any]

STRIDE = 4
"""Stride of the maps whose positions are taken."""
WARM = 96
"""Positions of a warm-up: a full batch for each of two workers."""
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888", "#222222"
"""Colours of Okabe and Ito, which people with colour blindness can distinguish, and greys."""
COLOURS = {"kdb": BLUE, "krypton": ORANGE, "naive": GREY, "eq. 14": BLACK}
MARKERS = {"kdb": "o", "krypton": "s", "naive": "^", "eq. 14": "D"}


# ---- the amount to run


@dataclass(frozen=True)
class Scale:
    """The amount that the parts run.

    Attributes:
        networks: that are timed.
        bounded: whose multiply-adds are counted; None for all that the part knows.
        patches: sides of the square patches.
        counts: numbers of positions.
        rounds: of all candidates in turns.
        sample: positions that kdb runs on, in parts that time a block of positions.
        size: (H, W) of inputs; None for the networks' own.
        coarse_stride: of whole maps that are timed many times.
        map_stride: of the maps that are shown.
        tuned_stride: of the maps that the threshold is tuned on.
        images: number of crops to tune on, and to test on.
    """

    networks: tuple[str, ...] = ("vgg16", "resnet18", "inception_v3")
    bounded: tuple[str, ...] | None = None
    patches: tuple[int, ...] = (4, 8, 16, 24, 32, 64)
    counts: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    rounds: int = 3
    sample: int = 196
    size: Ints | None = None
    coarse_stride: int = 8
    map_stride: int = 4
    tuned_stride: int = 16
    images: int = 30


QUICK = Scale(
    ("squeezenet1_1",), ("squeezenet1_1",), (8, 16), (1, 64), 2, 16, (64, 64), map_stride=24, tuned_stride=32, images=1
)


class Part(Protocol):
    """A module of this package that makes one section of the page."""

    TITLE: str

    def measure(self, scale: Scale) -> Json:
        """Measure; the results are written by ``benchmarks.timing.write_json``."""

    def section(self, found: Json) -> str:
        """Text and tables in Markdown, from the file of the results."""

    def draw(self, found: Json) -> Mapping[str, Figure]:
        """Plots by name, from the file of the results."""


# ---- where the patch lies


def block(rows: int, columns: int, count: int) -> IntArray:
    """Flat indices of a square block of about ``count`` cells in a grid of ``rows`` x ``columns``, or of all cells.

    Its centre is that of the upper left quarter, where boxes are clipped at borders about as much as on average.
    """
    height = min(max(math.isqrt(count), 1), rows)
    width = min(max(count // height, 1), columns)
    top, left = (max(length // 4 - side // 2, 0) for length, side in ((rows, height), (columns, width)))
    indices: IntArray = np.add.outer(np.arange(top, top + height) * columns, np.arange(left, left + width)).ravel()
    return indices


def grid_block(free: Ints, count: int) -> IntArray:
    """A block of about ``count`` positions, int64 [n, 2], of the grid of stride STRIDE; see :func:`block`."""
    rows, columns = (last // STRIDE + 1 for last in free)
    return grid(free, (STRIDE, STRIDE))[block(rows, columns, count)]


def free_of(setting: Setting, side: int) -> Ints:
    """The largest (y, x) of a patch of ``side`` x ``side`` that lies inside the image."""
    height, width = setting.subject.size
    return height - side, width - side


# ---- queries


def query(db: Session, setting: Setting, side: int, positions: IntArray, clauses: str = "") -> HeatMap:
    """Run a query with a patch of ``side`` x ``side`` at ``positions``; ``clauses`` follow at its end."""
    parameters = {"image": setting.image, "positions": positions}
    return occlude(db, setting.subject.name, (side, side), FILL, "AT $positions", clauses, parameters)


# ---- stored results


def read(stored: Json) -> Estimate:
    """The estimate stored in a file, where null stands for infinite ends."""
    low, high = stored["low"], stored["high"]
    return Estimate(stored["mean"], -math.inf if low is None else low, math.inf if high is None else high)


def ratio_cell(stored: Json) -> str:
    """A stored ratio and its interval, for a table."""
    estimate = read(stored)
    return f"{estimate.mean:.3g}x [{estimate.low:.3g}, {estimate.high:.3g}]"


def times(factor: float, timing: Timing) -> Timing:
    """The timing with all seconds multiplied by ``factor``."""
    return Timing(timing.name, tuple(factor * each for each in timing.seconds))


def prose(text: str) -> str:
    """The text with its lines wrapped at 120 columns; lines that begin with a dash are items of a list."""
    lines = [
        textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


# ---- plots


def panels(count: int, height: float = 3.2, width: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` plots side by side, each ``width`` x ``height`` inches."""
    figure = Figure(figsize=(max(width * count, 4.5), height), dpi=150, layout="constrained")
    found = [figure.add_subplot(1, count, index + 1) for index in range(count)]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, found


def curve(axes: Axes, name: str, xs: Sequence[float], stored: Sequence[Json]) -> None:
    """Plot stored estimates over ``xs``, with their intervals where these are finite."""
    estimates = [read(each) for each in stored]
    means = [each.mean for each in estimates]
    axes.plot(xs, means, color=COLOURS[name], marker=MARKERS[name], markersize=4, linewidth=1.3, label=name)
    axes.errorbar(xs, means, yerr=bars(estimates), fmt="none", ecolor=COLOURS[name], elinewidth=1, capsize=2)


def bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars below and above; 0 for infinite intervals."""
    finite = [math.isfinite(each.low) and math.isfinite(each.high) for each in estimates]
    below = [each.mean - each.low if known else 0.0 for each, known in zip(estimates, finite, strict=True)]
    above = [each.high - each.mean if known else 0.0 for each, known in zip(estimates, finite, strict=True)]
    return [below, above]


def from_zero(axes: Axes, stored: Sequence[Json]) -> None:
    """Let the vertical axis go from 0 to a little above the largest mean; wide intervals are cut off."""
    axes.set_ylim(0, 1.3 * max(each["mean"] for each in stored))


def logarithmic(axis: Axis) -> None:
    """Set ticks at 1, 2 and 5 times powers of ten, with plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG, with the same bytes for the same data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
