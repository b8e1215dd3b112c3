"""A sheet of colours: effects of known size in every score, for one class, several and all; writes ``scales.png``.

Each box has three patches: one that lowers the class's score by the effect, one that lowers it by half of that, and one
that raises it by half.  Their colours are those that ``hm.plot()`` draws for the first class, read from its figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kdb import HeatMap
from kdb.results.maps import Stats

EFFECTS = (0.0, 1e-9, 0.01, 0.1, 0.5)
"""By how much a patch lowers the score: in probability, or in nats."""

SCORES = ("probability", "drop", "logit", "logit_drop")

LAYOUTS = {"one class": 1, "three classes": 3, "all of 20 classes": 20}

BASELINE = 0.6

STATS = Stats(naive_macs=1, executed_macs=1, positions=3, evaluated=3, seconds={"total": 0.0}, kernels={})


def with_effect(score: str, effect: float, classes: int) -> HeatMap:
    """A heat map of three patches; the other classes have half the effects of the first."""
    weights = np.array([1.0] + [0.5] * (classes - 1))
    lowered = effect * weights[:, None, None] * [[1, 0.5, -0.5]]
    values = (lowered if score.endswith("drop") else BASELINE - lowered).astype(np.float32)
    return HeatMap(
        values=values,
        positions=np.array([[[0, 0], [0, 8], [0, 16]]]),
        baseline=(BASELINE,) * classes,
        class_index=tuple(range(classes)),
        label=tuple(f"class {i}" for i in range(classes)),
        score=score,
        patch=(8, 8),
        stride=(8, 8),
        image=np.full((8, 24, 3), 128, np.uint8),
        source="an image",
        source_box=(0.0, 0.0, 8.0, 24.0),
        source_size=(8, 24),
        query="",
        model="a model",
        model_identity="",
        version="",
        exact=True,
        stats=STATS,
    )


def drawn(heat_map: HeatMap) -> tuple[NDArray[np.float64], str]:
    """(the colours [3, 3] of the patches, the ends of the scale) of the first class in the figure of ``heat_map``."""
    overlay = heat_map.plot().axes[0].images[1]
    low, high = overlay.get_clim()
    return overlay.to_rgba(overlay.get_array())[4, 4::8, :3], f"{low:.3g} to {high:.3g}"


def sheet(effects: Sequence[float] = EFFECTS, scores: Sequence[str] = SCORES) -> Figure:
    """A row for each score and layout, a column for each effect; under each box the ends of its scale."""
    rows = [(score, layout) for score in scores for layout in LAYOUTS]
    figure = Figure(figsize=(1.9 + 1.15 * len(effects), 0.5 + 0.62 * len(rows)), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(effects), squeeze=False)
    for axes, (score, layout) in zip(grid, rows, strict=True):
        for ax, effect in zip(axes, effects, strict=True):
            colours, ends = drawn(with_effect(score, effect, LAYOUTS[layout]))
            ax.imshow(colours[None])
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_xlabel(ends, size=6, labelpad=2)
        axes[0].set_ylabel(f"{score}\n{layout}", size=7, rotation=0, ha="right", va="center")
    for ax, effect in zip(grid[0], effects, strict=True):
        ax.set_title(f"lowered by {effect:g}", size=7)
    return figure


def main(path: str = "scales.png") -> None:
    """Write the sheet of all effects and scores."""
    sheet().savefig(path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
