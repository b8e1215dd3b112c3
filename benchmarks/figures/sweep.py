"""Interactive use: seconds of a query by its number of positions, planning and views included."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.baselines import Naive
from benchmarks.experiment import BATCH, PATCH, Setting
from benchmarks.figures.common import (
    COLOURS,
    Json,
    Scale,
    block,
    curve,
    free_of,
    from_zero,
    logarithmic,
    panels,
    prose,
    query,
    ratio_cell,
    read,
)
from benchmarks.timing import Seconds, interleave, markdown_table
from benchmarks.verify import IntArray, Ints
from kdb.session.session import Session

TITLE = "Speed by number of positions"
CANDIDATES = ("kdb", "krypton", "naive")
SIDE = PATCH[0]
LINEAR = 64
"""Positions that a competitor is timed on if its time is extrapolated in proportion."""
WHOLE = {"kdb": math.inf, "krypton": 256, "naive": LINEAR}
"""Largest number of positions that each candidate runs on without extrapolation."""
MARGIN = 0.95
"""kdb must reach this share of naive's speed at every number of positions."""


def spaced(free: Ints, positions: int) -> IntArray:
    """A square of about so many evenly spaced positions in [0, ``free``], row by row: int64 [n, 2]."""
    side = max(math.isqrt(positions), 1)
    axes = [np.floor((np.arange(side) + 0.5) * (last + 1) / side).astype(np.int64) for last in free]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def batches(images: int) -> int:
    """The batch size for so many images: about BATCH, so that all batches are about equal."""
    return -(-images // max(round(images / BATCH), 1))


class Query:
    """A candidate of kdb's: the whole query; beyond WHOLE positions, a block of them, extrapolated.

    ``seeds`` gives a new seed for each call.
    """

    def __init__(self, db: Session, setting: Setting, positions: IntArray, preset: str, seeds: Iterator[int]) -> None:
        self.db, self.setting, self.preset, self.seeds = db, setting, preset, seeds
        side = math.isqrt(len(positions))
        self.positions = positions if len(positions) <= WHOLE[preset] else positions[block(side, side, LINEAR)]
        self.factor = len(positions) / len(self.positions)

    def __call__(self) -> Seconds:
        """Run it; returns the seconds with planning and materialization, of which only execution is extrapolated."""
        self.db.close()  # frees the views
        # Plans are cached by settings: a new seed, which an exact query does not use, makes the session plan again.
        self.db.execute(f"SET preset = {self.preset}; SET seed = {next(self.seeds)}")
        start = time.perf_counter()
        heat_map = query(self.db, self.setting, SIDE, self.positions)
        total = time.perf_counter() - start
        return Seconds(total + (self.factor - 1) * heat_map.stats.seconds["execute"])


class FullInference:
    """Naive inference at all positions and on the unmodified image; beyond WHOLE, on LINEAR positions, extrapolated."""

    def __init__(self, setting: Setting, positions: IntArray) -> None:
        self.setting = setting
        images = len(positions) + 1
        if len(positions) <= WHOLE["naive"]:
            self.positions, batch = np.concatenate([positions, positions[:1]]), batches(images)
        else:
            self.positions, batch = positions[:LINEAR], BATCH
        self.factor = images / len(self.positions)
        self.naive = Naive(setting.subject.module, batch=batch).prepare(setting.subject.size)

    def __call__(self) -> Seconds:
        """Run it; returns the extrapolated seconds."""
        of = self.setting
        return Seconds(self.factor * self.naive.seconds(of.normalised, of.fill, PATCH, self.positions))


def measure_count(db: Session, setting: Setting, rounds: int, positions: IntArray, seeds: Iterator[int]) -> Json:
    """Time the three candidates in turns, after queries one pixel off that prepare the layouts of weights."""
    candidates: dict[str, Query | FullInference] = {
        preset: Query(db, setting, positions, preset, seeds) for preset in ("kdb", "krypton")
    }
    candidates["naive"] = FullInference(setting, positions)
    elsewhere = np.maximum(positions[: 2 * LINEAR] - 1, 0)
    for preset in ("kdb", "krypton"):
        Query(db, setting, elsewhere, preset, seeds)()
    timings = interleave(candidates, rounds=rounds, warmups=0)
    over = timings["kdb"].over(timings["naive"])
    return {
        "positions": len(positions),
        "run": {name: len(candidate.positions) for name, candidate in candidates.items()},
        "seconds": timings,
        "kdb vs naive": over,
        "krypton vs naive": timings["krypton"].over(timings["naive"]),
        "within": over.mean >= MARGIN,
    }


def measure(scale: Scale) -> Json:
    """Measure all networks and numbers of positions."""
    networks: dict[str, list[Any]] = {}
    for name in scale.networks:
        setting, networks[name], seeds = Setting(name, scale.size), [], count(1)
        with setting.subject.connect(threads=torch.get_num_threads()) as db:
            for positions in scale.counts:
                at = spaced(free_of(setting, SIDE), positions)
                row = measure_count(db, setting, scale.rounds, at, seeds)
                networks[name].append(row)
                figures = "  ".join(f"{of} {row['seconds'][of].estimate.mean:.3g} s" for of in CANDIDATES)
                print(f"{name:14} {len(at):5}  {figures}  kdb {row['kdb vs naive']}x of naive")
                sys.stdout.flush()
    return {"rounds": scale.rounds, "patch": SIDE, "networks": networks}


def section(found: Json) -> str:
    """The explanation, and a table with a row for each network and number of positions, in Markdown."""
    rows = [
        [
            name,
            each["positions"],
            *(f"{read(each['seconds'][of]):.3g}" for of in CANDIDATES),
            ratio_cell(each["kdb vs naive"]),
            ratio_cell(each["krypton vs naive"]),
            "yes" if each["within"] else "NO",
        ]
        for name, of_network in found["networks"].items()
        for each in of_network
    ]
    headers = ["network", "positions", *(f"{of}, s" for of in CANDIDATES), "kdb vs naive", "krypton vs naive"]
    side = found["patch"]
    text = prose(
        "Seconds from the query to the scores, `AT` an evenly spaced square of positions, patch "
        f"{side} x {side}, gray: means of {found['rounds']} rounds in which the three take turns, with 95 % confidence "
        "intervals, ratios formed round by round. All pay for what one new image costs: kdb and krypton for planning "
        "and for the materialization of the views, naive for one more inference, of the unmodified image. The session "
        "has traced the network, folded its weights and prepared their layouts, by an earlier query elsewhere.\n\n"
        "- kdb: always all positions.\n"
        f"- krypton: `SET preset = krypton`, the paper's own plan; beyond {WHOLE['krypton']} positions a block of "
        f"{LINEAR} neighbours, of which the execution is extrapolated.\n"
        f"- naive: full inference in near-equal batches of about {BATCH}, batch-norms folded, the faster memory "
        "layout, all threads; at one position a batch of two images; beyond "
        f"{LINEAR} positions {LINEAR} of them, extrapolated.\n\n"
        f"The last column: whether kdb is at least {MARGIN:g} times as fast as naive.\n\n"
    )
    return text + markdown_table([*headers, f">= {MARGIN:g}x"], rows)


def draw(found: Json) -> Mapping[str, Figure]:
    """Two figures with a panel for each network: seconds, and speedup over naive, by number of positions."""
    figure, plots = panels(len(found["networks"]))
    for axes, (name, rows) in zip(plots, found["networks"].items(), strict=True):
        xs = [each["positions"] for each in rows]
        for candidate in CANDIDATES:
            curve(axes, candidate, xs, [each["seconds"][candidate] for each in rows])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        means = [each["seconds"][candidate]["mean"] for each in rows for candidate in CANDIDATES]
        axes.set_ylim(min(means) / 2, max(means) * 2)
        axes.set_xticks(xs, [str(x) for x in xs], fontsize=8)
        axes.set_xlabel(f"{name}: positions")
    plots[0].set_ylabel("seconds")
    plots[0].legend(frameon=False, fontsize=8)
    ratios, plots = panels(len(found["networks"]))
    for axes, (name, rows) in zip(plots, found["networks"].items(), strict=True):
        xs = [each["positions"] for each in rows]
        for candidate in ("kdb", "krypton"):
            curve(axes, candidate, xs, [each[f"{candidate} vs naive"] for each in rows])
        axes.axhline(1, color=COLOURS["naive"], linewidth=1, label="naive")
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [str(x) for x in xs], fontsize=8)
        from_zero(axes, [each[f"{of} vs naive"] for of in ("kdb", "krypton") for each in rows])
        axes.set_xlabel(f"{name}: positions")
    plots[0].set_ylabel("times as fast as naive")
    plots[0].legend(frameon=False, fontsize=8)
    return {"sweep-seconds": figure, "sweep-ratio": ratios}
