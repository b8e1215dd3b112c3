"""Speed by size of the patch, the paper's Figure 11: kdb, the paper's own plan, full inference, and equation 14."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.experiment import BATCH, Setting
from benchmarks.figures.bounds import centred, recomputed
from benchmarks.figures.common import (
    COLOURS,
    MARKERS,
    STRIDE,
    WARM,
    Json,
    Scale,
    curve,
    free_of,
    from_zero,
    grid_block,
    panels,
    prose,
    query,
    ratio_cell,
    read,
    times,
)
from benchmarks.timing import Seconds, interleave, markdown_table
from benchmarks.verify import IntArray
from kdb.frontends.torch_export import trace
from kdb.operators.network import Network
from kdb.session.session import Session

TITLE = "Speed by patch size"
FEWER = 4
"""Competitors run on a quarter of kdb's positions: their time per position does not depend on the number."""


def theory(network: Network, side: int) -> float:
    """Equation 14, the paper's theoretical speedup, for a square patch in the middle of the image, all layers."""
    geometry = centred(network, side)
    return network.macs / sum(recomputed(network, node, geometry) for node in network)


def execution(db: Session, setting: Setting, side: int, positions: IntArray, preset: str) -> Seconds:
    """Seconds per position of executing the plan of a ``preset``."""
    db.execute(f"SET preset = {preset}")
    heat_map = query(db, setting, side, positions)
    return Seconds(heat_map.stats.seconds["execute"] / len(positions))


def measure_patch(db: Session, setting: Setting, scale: Scale, side: int) -> dict[str, Any]:
    """Time the three candidates in turns, per position."""
    free = free_of(setting, side)
    many = grid_block(free, scale.sample)
    few = grid_block(free, max(scale.sample // FEWER, BATCH))

    whole = few[: len(few) // BATCH * BATCH]
    candidates: dict[str, Callable[[], Seconds]] = {
        "kdb": lambda: execution(db, setting, side, many, "kdb"),
        "krypton": lambda: execution(db, setting, side, few, "krypton"),
        "naive": lambda: Seconds(
            setting.naive.seconds(setting.normalised, setting.fill, (side, side), whole) / len(whole)
        ),
    }
    execution(db, setting, side, many[:WARM], "kdb")
    execution(db, setting, side, few[:BATCH], "krypton")
    timings = interleave(candidates, rounds=scale.rounds, warmups=0)
    return {
        "positions": {"kdb": len(many), "krypton": len(few), "naive": len(whole)},
        "milliseconds": {name: times(1000, timing) for name, timing in timings.items()},
        **{f"{name} vs naive": timings[name].over(timings["naive"]) for name in ("kdb", "krypton")},
        "kdb vs krypton": timings["kdb"].over(timings["krypton"]),
    }


def measure(scale: Scale) -> Json:
    """Measure all networks and patches."""
    networks: dict[str, dict[str, Any]] = {}
    for name in scale.networks:
        setting, networks[name] = Setting(name, scale.size), {}
        network = trace(setting.subject.module, (3, *setting.subject.size))
        with setting.subject.connect(threads=torch.get_num_threads()) as db:
            for side in scale.patches:
                row = measure_patch(db, setting, scale, side)
                networks[name][str(side)] = {"eq. 14": theory(network, side), **row}
                print(f"{name:14} {side:3}  kdb {row['kdb vs naive']}x  krypton {row['krypton vs naive']}x of naive")
                sys.stdout.flush()
    return {"rounds": scale.rounds, "stride": STRIDE, "networks": networks}


def section(found: Json) -> str:
    """The explanation, and a table with a row for each network and patch, in Markdown."""
    rows = []
    for name, by_side in found["networks"].items():
        for side, each in by_side.items():
            ratios = [ratio_cell(each[of]) for of in ("kdb vs naive", "krypton vs naive", "kdb vs krypton")]
            milliseconds = [read(each["milliseconds"][of]).mean for of in ("kdb", "krypton", "naive")]
            rows.append([name, side, *milliseconds, *ratios, f"{each['eq. 14']:.3g}x"])
    counts = next(each["positions"] for by_side in found["networks"].values() for each in by_side.values())
    headers = ["network", "patch", *(f"{name}, ms" for name in ("kdb", "krypton", "naive"))]
    headers += ["kdb vs naive", "krypton vs naive", "kdb vs krypton", "eq. 14"]
    text = prose(
        f"Square gray patches on a map of stride {found['stride']}: milliseconds a position, means of "
        f"{found['rounds']} rounds in which the three take turns; ratios with 95 % confidence intervals, formed round "
        "by round. Each runs on neighbouring positions around the middle of the map's upper left quarter: "
        f"{counts['kdb']} (kdb), {counts['krypton']} (krypton) and {counts['naive']} (naive), or about as many. "
        "Planning and the materialization of views are not counted: a whole map has thousands of positions and pays "
        "for them once.\n\n"
        "- kdb: the plan as it comes.\n"
        "- krypton: `SET preset = krypton`, the paper's own plan: Algorithm 1 in every layer, its boxes, batches of "
        "16.\n"
        f"- naive: full inference in batches of {BATCH}, batch-norms folded, the faster memory layout, all threads.\n"
        "- eq. 14: the paper's theoretical speedup, of multiply-adds, with the patch in the middle, all layers.\n\n"
    )
    return text + markdown_table(headers, rows)


def draw(found: Json) -> Mapping[str, Figure]:
    """A panel for each network: speedup over naive by the side of the patch."""
    figure, plots = panels(len(found["networks"]))
    for axes, (name, by_side) in zip(plots, found["networks"].items(), strict=True):
        sides = [int(side) for side in by_side]
        for candidate in ("kdb", "krypton"):
            curve(axes, candidate, sides, [each[f"{candidate} vs naive"] for each in by_side.values()])
        theories = [each["eq. 14"] for each in by_side.values()]
        axes.plot(
            sides, theories, "--", color=COLOURS["eq. 14"], marker=MARKERS["eq. 14"], markersize=3, label="eq. 14"
        )
        axes.axhline(1, color=COLOURS["naive"], linewidth=1, label="naive")
        from_zero(axes, [*(each["kdb vs naive"] for each in by_side.values()), {"mean": max(theories)}])
        axes.set_xticks(sides)
        axes.set_xlabel(f"{name}: side of the patch, pixels")
    plots[0].set_ylabel("times as fast as naive")
    plots[0].legend(frameon=False, fontsize=8)
    return {"patches": figure}
