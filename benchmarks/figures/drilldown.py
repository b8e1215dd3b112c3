"""Adaptive drill-down, the paper's Figures 8b and 13: theory against speedups, by fraction and coarse stride."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.experiment import PATCH, Setting
from benchmarks.figures.common import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    Json,
    Scale,
    bars,
    panels,
    prose,
    ratio_cell,
    read,
)
from benchmarks.timing import Seconds, interleave, markdown_table
from kdb.results.maps import HeatMap
from kdb.session.session import Session

TITLE = "Adaptive drill-down"
FRACTIONS = (0.1, 0.25, 0.4)
COARSE = (16, 24, 32, 40)
"""Coarse strides S1 in pixels, multiples of all fine strides."""
FRACTION, COARSE_STRIDE = 0.25, 16
"""The fraction while the coarse stride varies, and the coarse stride while the fraction does, as in the paper."""
SETTINGS = tuple(dict.fromkeys([*((r, COARSE_STRIDE) for r in FRACTIONS), *((FRACTION, s) for s in COARSE)]))
CURVES = (0.1, 0.25, 0.4, 0.6)
"""Fractions r in the plot of theory, Figure 8b."""


def theory(ratio: float, coarse: float, fine: float) -> float:
    """Equation 30, positions of the fine map over those of both stages: ``S1^2 / (S2^2 + r S1^2)``."""
    return coarse**2 / (fine**2 + ratio * coarse**2)


def seconds(db: Session, setting: Setting, stride: int, clauses: str) -> Seconds:
    """Seconds of a whole query, its views included."""
    db.close()  # frees the views
    text = f"OCCLUDE $image WITH patch({PATCH[0]}, {PATCH[1]}) STRIDE {stride} USING {setting.subject.name} {clauses}"
    start = time.perf_counter()
    found = db.execute(text, {"image": setting.image})
    assert isinstance(found, HeatMap)
    return Seconds(time.perf_counter() - start)


def measure_network(name: str, scale: Scale) -> dict[str, Any]:
    """Time the exact map and all drill-downs of a network in turns."""
    setting = Setting(name, scale.size)
    with setting.subject.connect(threads=torch.get_num_threads()) as db:
        candidates = {"exact": partial(seconds, db, setting, scale.coarse_stride, "")}
        for ratio, coarse in SETTINGS:
            clauses = f"DRILL DOWN {ratio} COARSE STRIDE {coarse}"
            candidates[clauses] = partial(seconds, db, setting, scale.coarse_stride, clauses)
        seconds(db, setting, 4 * scale.coarse_stride, "")  # the model is traced
        timings = interleave(candidates, rounds=scale.rounds, warmups=0)
    ratios = {each: timings[each].over(timings["exact"]) for each in candidates if each != "exact"}
    print(f"{name:14} " + ", ".join(f"{each} {ratio.mean:.2f}x" for each, ratio in ratios.items()), flush=True)
    return {"exact": timings["exact"], "speedup": ratios}


def measure(scale: Scale) -> Json:
    """Measure all networks."""
    networks = {name: measure_network(name, scale) for name in scale.networks}
    sys.stdout.flush()
    settings = [
        {"ratio": ratio, "coarse": coarse, "theory": theory(ratio, coarse, scale.coarse_stride)}
        for ratio, coarse in SETTINGS
    ]
    return {"rounds": scale.rounds, "stride": scale.coarse_stride, "settings": settings, "networks": networks}


def _clauses(setting: Json) -> str:
    return f"DRILL DOWN {setting['ratio']} COARSE STRIDE {setting['coarse']}"


def section(found: Json) -> str:
    """The explanation, and a table with a row for each setting, in Markdown."""
    rows = []
    for setting in found["settings"]:
        cells = [ratio_cell(each["speedup"][_clauses(setting)]) for each in found["networks"].values()]
        rows.append([setting["ratio"], setting["coarse"], f"{setting['theory']:.3g}x", *cells])
    text = prose(
        f"The paper's Figure 13: how many times as fast as exact maps, views and planning included, at stride "
        f"{found['stride']} (the paper's is 4; theory goes by the ratio of the two strides), "
        f"{found['rounds']} rounds in turns. Theory is equation 30, which neglects borders: a coarse "
        "grid has one more position at each. The diagram is Figure 8b.\n\n"
    )
    return text + markdown_table(["r", "S1", "theory", *found["networks"]], rows)


def draw(found: Json) -> Mapping[str, Figure]:
    """Plots of theory, and of speedups by r and by S1."""
    figure, (concept, by_ratio, by_coarse) = panels(3)
    steps = np.linspace(1, 12, 100)
    for ratio in CURVES:
        concept.plot(steps, [theory(ratio, step, 1) for step in steps], label=f"r = {ratio}")
    concept.set_xlabel("S1 / S2")
    concept.set_ylabel("theoretical speedup")
    concept.legend(frameon=False, fontsize=8)
    at_coarse = [each for each in found["settings"] if each["coarse"] == COARSE_STRIDE]
    at_ratio = [each for each in found["settings"] if each["ratio"] == FRACTION]
    _panel(by_ratio, found, sorted(at_coarse, key=lambda each: float(each["ratio"])), "ratio")
    _panel(by_coarse, found, sorted(at_ratio, key=lambda each: float(each["coarse"])), "coarse")
    by_ratio.set_xlabel(f"r, S1 = {COARSE_STRIDE}")
    by_ratio.set_ylabel("times as fast as exact")
    by_coarse.set_xlabel(f"S1, r = {FRACTION}")
    by_coarse.legend(frameon=False, fontsize=8)
    return {"drilldown": figure}


def _panel(axes: Axes, found: Json, settings: list[Json], by: str) -> None:
    xs = [setting[by] for setting in settings]
    axes.plot(xs, [setting["theory"] for setting in settings], "--", color=BLACK, label="theory")
    for colour, (name, each) in zip((BLUE, ORANGE, GREEN), found["networks"].items(), strict=False):
        estimates = [read(each["speedup"][_clauses(setting)]) for setting in settings]
        means = [estimate.mean for estimate in estimates]
        axes.errorbar(xs, means, yerr=bars(estimates), color=colour, marker="o", markersize=4, capsize=2, label=name)
    axes.set_ylim(0, 1.2 * max(setting["theory"] for setting in settings))
    axes.set_xticks(xs)
