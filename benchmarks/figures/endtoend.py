"""End to end, the paper's Figure 10: seconds of whole heat maps, exact and approximate, in the paper's settings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.experiment import BATCH, PATCH, Setting
from benchmarks.figures.common import BLUE, GREY, ORANGE, Json, Scale, free_of, panels, prose, ratio_cell, read
from benchmarks.timing import Seconds, interleave, markdown_table
from benchmarks.verify import scattered
from kdb.results.maps import HeatMap
from kdb.session.session import Session

TITLE = "End to end"
SETTINGS = {"OCT": (0.1, 5), "Chest X-Ray": (0.4, 2), "ImageNet": (0.25, 3)}
"""For each data set of the paper, the fraction r and the speedup of drill-down."""
TAUS = {"vgg16": 0.5, "resnet18": 0.7, "inception_v3": 0.9}
"""Thresholds that the paper tuned to an SSIM of .9; networks with random weights cannot be tuned."""
NAIVE = 32
"""Number of positions that full inference is timed on."""


def candidates_of(name: str) -> dict[str, str]:
    """The clauses of the queries that are timed, by name."""
    tau = f"THRESHOLD {TAUS.get(name, 0.9)}"
    return {"exact": ""} | {of: f"{tau} DRILL DOWN {r} SPEEDUP {t}" for of, (r, t) in SETTINGS.items()}


def seconds(db: Session, setting: Setting, stride: int, preset: str, clauses: str) -> Seconds:
    """Seconds of a whole query, its views included."""
    db.close()  # frees the views
    db.execute(f"SET preset = {preset}")
    where = f"WITH patch({PATCH[0]}, {PATCH[1]}) STRIDE {stride}"
    start = time.perf_counter()
    found = db.execute(f"OCCLUDE $image {where} USING {setting.subject.name} {clauses}", {"image": setting.image})
    assert isinstance(found, HeatMap)
    return Seconds(time.perf_counter() - start)


def measure_network(name: str, scale: Scale) -> dict[str, Any]:
    """Time all candidates of a network in turns."""
    setting = Setting(name, scale.size)
    free, stride = free_of(setting, PATCH[0]), scale.coarse_stride
    whole = int(np.prod([last // stride + 1 for last in free]))
    few = scattered(free, NAIVE // BATCH * BATCH, seed=1)
    with setting.subject.connect(threads=torch.get_num_threads()) as db:
        runs: dict[str, Callable[[], Seconds]] = {"naive": lambda: setting.naive_seconds(PATCH, few, whole)}
        for preset in ("krypton", "kdb"):
            for of, clauses in candidates_of(name).items():
                runs[f"{preset} {of}"] = partial(seconds, db, setting, stride, preset, clauses)
        seconds(db, setting, 4 * stride, "kdb", "")  # the model is traced
        setting.naive_seconds(PATCH, few, whole)
        timings = interleave(runs, rounds=scale.rounds, warmups=0)
    ratios = {of: timings[of].over(timings["naive"]) for of in runs if of != "naive"}
    print(f"{name:14} " + ", ".join(f"{of} {ratio.mean:.3g}x" for of, ratio in ratios.items()), flush=True)
    return {"positions": whole, "seconds": timings, "speedup": ratios}


def measure(scale: Scale) -> Json:
    """Measure all networks."""
    networks = {name: measure_network(name, scale) for name in scale.networks}
    sys.stdout.flush()
    return {"rounds": scale.rounds, "stride": scale.coarse_stride, "networks": networks}


def section(found: Json) -> str:
    """The explanation, and a table with a row for each candidate, in Markdown."""
    names = list(found["networks"])
    candidates = list(next(iter(found["networks"].values()))["speedup"])
    rows: list[list[object]] = [
        ["naive, s", *(f"{read_seconds(found['networks'][name]):.3g}" for name in names)],
        *([of, *(ratio_cell(found["networks"][name]["speedup"][of]) for name in names)] for of in candidates),
    ]
    text = prose(
        f"The paper's Figure 10: whole maps of stride {found['stride']}, planning and views included, how many times "
        f"as fast as full inference; {found['rounds']} rounds in turns. Full inference runs on {NAIVE} positions, and "
        "is extrapolated. krypton is the paper's own plan, kdb this one; *exact* is incremental inference alone, the "
        "others add a threshold and drill-down in the settings of the paper's data sets: tau of .5 (vgg16), .7 "
        "(resnet18) and .9 (inception_v3), what the paper tuned to an SSIM of .9, and "
        + ", ".join(f"r = {r}, speedup = {t} ({of})" for of, (r, t) in SETTINGS.items())
        + ". The networks have random weights, which times do not depend on; on the quality of such maps see "
        "[approximate.md](approximate.md).\n\n"
    )
    return text + markdown_table(["", *names], rows)


def read_seconds(network: Json) -> float:
    """Mean seconds of full inference, from stored results of a network."""
    return float(np.mean(network["seconds"]["naive"]["seconds"]))


def draw(found: Json) -> Mapping[str, Figure]:
    """A panel for each network, with a bar for each candidate."""
    figure, plots = panels(len(found["networks"]), width=3.6)
    for axes, (name, each) in zip(plots, found["networks"].items(), strict=True):
        labels = list(each["speedup"])
        means = [read(each["speedup"][label]).mean for label in labels]
        colours = [ORANGE if label.startswith("krypton") else BLUE for label in labels]
        axes.barh(labels, means, color=colours)
        axes.axvline(1, color=GREY, linewidth=1)
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize=7)
        axes.set_xlabel(f"{name}: times as fast as naive")
    return {"endtoend": figure}
