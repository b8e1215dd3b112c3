"""The gain by each rule and each choice of kernels: the plan without it against the full plan, on part of a map."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.experiment import PATCH, Setting
from benchmarks.figures.common import (
    BLUE,
    ORANGE,
    STRIDE,
    WARM,
    Json,
    Scale,
    bars,
    free_of,
    grid_block,
    panels,
    prose,
    query,
    ratio_cell,
    read,
)
from benchmarks.timing import Seconds, interleave, markdown_table
from benchmarks.verify import IntArray
from kdb.planner.rules import RULES
from kdb.session.session import Session

TITLE = "What each rule is worth"
KERNELS = ("direct", "taps", "native", "recompute")
FULL = "full plan"
SIDE = PATCH[0]
TICKS = (0.5, 1, 2, 4, 8, 16)


@dataclass
class Variant:
    """A candidate: queries with one setting, ``option = value``, changed; ``logits`` are those of the last query."""

    db: Session
    setting: Setting
    positions: IntArray
    option: str = ""
    value: str = ""
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __call__(self) -> Seconds:
        """Run the query; returns the seconds of execution alone."""
        return self.run(self.positions)

    def run(self, positions: IntArray) -> Seconds:
        """Run the query at these positions; returns the seconds of execution alone."""
        if self.option:
            self.db.execute(f"SET {self.option} = {self.value}")
        try:
            heat_map = query(self.db, self.setting, SIDE, positions, "SCORE logit")
        finally:
            if self.option:
                self.db.execute(f"RESET {self.option}")
        self.logits = heat_map.values
        return Seconds(heat_map.stats.seconds["execute"])


def fired(db: Session, setting: Setting, positions: IntArray) -> dict[str, str]:
    """For each rule, an empty text if it fires on this query, else the reason that it does not."""
    text = f"OCCLUDE $image WITH patch({SIDE}, {SIDE}) AT $positions USING {setting.subject.name}"
    explained = json.loads(db.explain(text, {"image": setting.image, "positions": positions}, format="json"))
    return {rule["name"]: "" if rule["fired"] else rule["reason"] for rule in explained["rules"]}


def measure_network(scale: Scale, name: str) -> dict[str, Any]:
    """Time all variants of one network in turns."""
    setting = Setting(name, scale.size)
    positions = grid_block(free_of(setting, SIDE), scale.sample)
    with setting.subject.connect(threads=torch.get_num_threads()) as db:
        found = fired(db, setting, positions)
        candidates = {FULL: Variant(db, setting, positions)}
        for rule in RULES:
            if not found[rule.name]:
                candidates[f"without {rule.name}"] = Variant(db, setting, positions, f"rule.{rule.name}", "off")
        for kernels in KERNELS:
            candidates[f"kernels = {kernels}"] = Variant(db, setting, positions, "kernels", kernels)
        for variant in candidates.values():
            variant.run(positions[:WARM])  # prepares the layouts of weights for its kernels
        timings = interleave(candidates, rounds=scale.rounds, warmups=0)
    truth = candidates[FULL].logits
    spread = float(np.ptp(truth))
    return {
        "positions": len(positions),
        "idle": {rule: reason for rule, reason in found.items() if reason},
        "variants": {
            variant: {
                "seconds": timings[variant],
                "ratio": timings[FULL].over(timings[variant]),
                "difference": float(np.abs(each.logits - truth).max()) / spread,
            }
            for variant, each in candidates.items()
        },
    }


def measure(scale: Scale) -> Json:
    """Measure all networks."""
    networks = {}
    for name in scale.networks:
        networks[name] = measure_network(scale, name)
        for variant, each in networks[name]["variants"].items():
            print(f"{name:14} {variant:34} {each['seconds'].estimate} s  {each['ratio']}x")
        sys.stdout.flush()
    names = [*(f"without {rule.name}" for rule in RULES), *(f"kernels = {kernels}" for kernels in KERNELS)]
    return {"rounds": scale.rounds, "patch": SIDE, "stride": STRIDE, "variants": names, "networks": networks}


def section(found: Json) -> str:
    """The explanation, and a table with a column for each network, in Markdown."""
    networks: Json = found["networks"]

    def cell(of: Json, variant: str) -> str:
        if variant in of["variants"]:
            return ratio_cell(of["variants"][variant]["ratio"])
        return "does not fire"

    rows = [[variant, *(cell(each, variant) for each in networks.values())] for variant in found["variants"]]
    absolute = ["full plan, s", *(f"{read(each['variants'][FULL]['seconds']):.3g}" for each in networks.values())]
    worst = max(each["difference"] for of in networks.values() for each in of["variants"].values())
    counts = ", ".join(f"{each['positions']} ({name})" for name, each in networks.items())
    text = prose(
        "How many times as long the execution takes with one rule switched off, or with one setting of `kernels`: "
        f"means of {found['rounds']} rounds in which all variants take turns, with 95 % confidence intervals, ratios "
        f"formed round by round. Patch {found['patch']} x {found['patch']}, gray, a block of neighbouring positions of "
        f"the map of stride {found['stride']} around the middle of its upper left quarter, the same for all: {counts}. "
        "Planning and the materialization of views are not counted. Rules that do not fire on a network are not timed "
        f"there. Of all variants, the logits differ from the full plan's by at most {worst:.1g} of their range.\n\n"
    )
    reasons = [
        f"- {rule}, {name}: {reason}\n" for name, each in networks.items() for rule, reason in each["idle"].items()
    ]
    idle = "\nWhy rules do not fire:\n\n" + "".join(reasons) if reasons else ""
    return text + markdown_table(["", *networks], [absolute, *rows]) + idle


def draw(found: Json) -> Mapping[str, Figure]:
    """A panel for each network, with a row for each variant and ratios on a logarithmic axis."""
    networks: Json = found["networks"]
    names = [
        name for name in reversed(found["variants"]) if any(name in each["variants"] for each in networks.values())
    ]
    figure, plots = panels(len(networks), height=1.2 + 0.22 * len(names), width=3.4)
    for index, (axes, (name, each)) in enumerate(zip(plots, networks.items(), strict=True)):
        shown = [variant for variant in names if variant in each["variants"]]
        estimates = [read(each["variants"][variant]["ratio"]) for variant in shown]
        rows = [names.index(variant) for variant in shown]
        below, above = bars(estimates)
        for row, estimate, low, high in zip(rows, estimates, below, above, strict=True):
            colour = ORANGE if names[row].startswith("kernels") else BLUE
            axes.errorbar(estimate.mean, row, xerr=[[low], [high]], fmt="o", color=colour, markersize=5, capsize=2)
        axes.axvline(1, color="#222222", linewidth=0.8)
        axes.set_yticks(range(len(names)), names if index == 0 else [""] * len(names), fontsize=8)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xscale("log")
        ends = min(e.mean for e in estimates), max(e.mean for e in estimates)
        axes.set_xticks(TICKS, [f"{tick:g}x" for tick in TICKS])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(0.7, ends[0] / 1.3), max(2.2, ends[1] * 1.3))
        axes.set_xlabel(f"{name}: time / full plan's", fontsize=9)
    return {"lesion": figure}
