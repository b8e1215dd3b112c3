"""What the parts share: how much to run, where the patch lies, candidates to time, and how plots look."""

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
from benchmarks.verify import IntArray, Ints, lattice, occlude
from kdb.results.maps import HeatMap
from kdb.session.session import Session

Json = Mapping[str, Any]

STRIDE = 4
WARM = 96
"""Positions of a warm-up: a batch of the usual size for each of two workers."""
BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888", "#222222"
"""Okabe and Ito's colours, which all eyes can tell apart."""
COLOURS = {"kdb": BLUE, "krypton": ORANGE, "naive": GREY, "eq. 14": BLACK}
MARKERS = {"kdb": "o", "krypton": "s", "naive": "^", "eq. 14": "D"}


# ---- how much is run


@dataclass(frozen=True)
class Scale:
    """``sample`` positions of kdb's in parts that sample; ``size`` (H, W) of inputs, None for the networks' own."""

    networks: tuple[str, ...] = ("vgg16", "resnet18", "inception_v3")
    bounded: tuple[str, ...] | None = None
    """Networks whose multiply-adds are counted; None for all that the part knows."""
    patches: tuple[int, ...] = (4, 8, 16, 24, 32, 64)
    counts: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    rounds: int = 3
    sample: int = 196
    size: Ints | None = None
    coarse_stride: int = 8
    """Of whole maps that are timed many times."""
    map_stride: int = 4
    tuned_stride: int = 16
    images: int = 30
    """To tune on."""


QUICK = Scale(
    ("squeezenet1_1",), ("squeezenet1_1",), (8, 16), (1, 64), 2, 16, (64, 64), map_stride=24, tuned_stride=32, images=1
)


class Part(Protocol):
    """A module of this package that makes one section of the page."""

    TITLE: str

    def measure(self, scale: Scale) -> Json:
        """What is to be kept, in the terms of ``benchmarks.timing.write_json``."""

    def section(self, found: Json) -> str:
        """Text and tables, from what was kept."""

    def draw(self, found: Json) -> Mapping[str, Figure]:
        """The plots by name, from what was kept."""


# ---- where the patch lies


def block(rows: int, columns: int, count: int) -> IntArray:
    """About ``count`` neighbours of a lattice of ``rows`` x ``columns``, as flat indices: a square, or all there are.

    Its middle is that of the upper left quarter, where boxes are clipped at the borders about as much as on average.
    """
    height = min(max(math.isqrt(count), 1), rows)
    width = min(max(count // height, 1), columns)
    top, left = (max(length // 4 - side // 2, 0) for length, side in ((rows, height), (columns, width)))
    indices: IntArray = np.add.outer(np.arange(top, top + height) * columns, np.arange(left, left + width)).ravel()
    return indices


def lattice_block(free: Ints, count: int) -> IntArray:
    """About ``count`` neighbouring positions [n, 2] of the lattice of stride STRIDE."""
    rows, columns = (last // STRIDE + 1 for last in free)
    return lattice(free, (STRIDE, STRIDE))[block(rows, columns, count)]


def free_of(setting: Setting, side: int) -> Ints:
    """The largest (y, x) at which a patch of ``side`` x ``side`` lies in the image."""
    height, width = setting.subject.size
    return height - side, width - side


# ---- candidates


def query(db: Session, setting: Setting, side: int, positions: IntArray, asked: str = "") -> HeatMap:
    """The scores at ``positions`` of a patch of ``side`` x ``side``."""
    parameters = {"image": setting.image, "positions": positions}
    return occlude(db, setting.subject.name, (side, side), FILL, "AT $positions", asked, parameters)


# ---- what is kept, read again


def read(kept: Json) -> Estimate:
    """The estimate that a file keeps, infinite ends as null."""
    low, high = kept["low"], kept["high"]
    return Estimate(kept["mean"], -math.inf if low is None else low, math.inf if high is None else high)


def ratio_cell(kept: Json) -> str:
    """A ratio and its interval, for a table."""
    estimate = read(kept)
    return f"{estimate.mean:.3g}x [{estimate.low:.3g}, {estimate.high:.3g}]"


def times(factor: float, timing: Timing) -> Timing:
    """The timing of ``factor`` times as much."""
    return Timing(timing.name, tuple(factor * each for each in timing.seconds))


def prose(text: str) -> str:
    """The text, each of its lines broken into lines of 120 columns; a line that begins with a dash is a list's."""
    lines = [
        textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


# ---- plots


def panels(count: int, height: float = 3.2, width: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` plain plots side by side."""
    figure = Figure(figsize=(max(width * count, 4.5), height), dpi=150, layout="constrained")
    found = [figure.add_subplot(1, count, index + 1) for index in range(count)]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, found


def curve(axes: Axes, name: str, xs: Sequence[float], kept: Sequence[Json]) -> None:
    """Means over ``xs``, with their intervals where there are any."""
    estimates = [read(each) for each in kept]
    means = [each.mean for each in estimates]
    axes.plot(xs, means, color=COLOURS[name], marker=MARKERS[name], markersize=4, linewidth=1.3, label=name)
    axes.errorbar(xs, means, yerr=bars(estimates), fmt="none", ecolor=COLOURS[name], elinewidth=1, capsize=2)


def bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of error bars below and above; none where an interval is infinite."""
    finite = [math.isfinite(each.low) and math.isfinite(each.high) for each in estimates]
    below = [each.mean - each.low if known else 0.0 for each, known in zip(estimates, finite, strict=True)]
    above = [each.high - each.mean if known else 0.0 for each, known in zip(estimates, finite, strict=True)]
    return [below, above]


def from_zero(axes: Axes, kept: Sequence[Json]) -> None:
    """A vertical axis from 0 to a little above the means: a wide interval is cut, and not the means made flat."""
    axes.set_ylim(0, 1.3 * max(each["mean"] for each in kept))


def logarithmic(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, path: Path) -> None:
    """The figure as png; the same bytes for the same data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
