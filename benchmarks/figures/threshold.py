"""Projective field thresholding, the paper's Figures 7 and 12: work and error by tau, and theory against seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.experiment import BATCH, Setting
from benchmarks.figures.bounds import centred, recomputed
from benchmarks.figures.common import (
    BLUE,
    COLOURS,
    GREEN,
    MARKERS,
    ORANGE,
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
    times,
)
from benchmarks.timing import Seconds, interleave, markdown_table
from benchmarks.verify import IntArray
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occlusion import Replacement
from kdb.frontends.torch_export import trace
from kdb.kernels.base import Array
from kdb.operators.dense import Flatten
from kdb.operators.network import Network
from kdb.planner.footprints import Geometry
from kdb.planner.permissions import Permissions
from kdb.session.session import Session

TITLE = "Projective field thresholding"
SIDE = 16
TAUS = tuple(round(1 - 0.1 * i, 1) for i in range(10))
"""Thresholds whose multiply-adds and errors are computed; 1 is exact."""
TIMED = (1.0, 0.8, 0.6, 0.4, 0.2)
"""Thresholds whose plans are timed."""
JUDGED = 24
"""Number of positions at which the last layer's output is compared."""
NETWORK_COLOURS = (BLUE, ORANGE, GREEN)


def theory(network: Network, tau: float) -> float:
    """Equation 14 for a patch in the middle, with boxes of at most the share ``tau`` of each layer's output."""
    whole = centred(network, SIDE)
    geometry = Geometry(network, whole.positions, whole.patch, threshold=tau)
    return network.macs / sum(recomputed(network, node, geometry) for node in network)


def up_to_last_window(network: Network) -> Network:
    """The network up to its last convolution or pooling whose output is larger than one cell, flattened."""
    last = max(i for i, node in enumerate(network) if node.operator.windowed and node.shape.cells > 1)
    layers = [(node.name, node.operator, node.inputs) for node in network.nodes[: last + 1]]
    return Network.build([*layers, ("flat", Flatten(), (network.nodes[last].name,))], network.parameters)


def last_maps(network: Network, setting: Setting, positions: IntArray, tau: float) -> Array:
    """The change of the output of ``network`` at each position, float32 [n, K]."""
    settings = default_settings()
    settings.set("rule.cut_over", "off")  # with deltas up to the output, the threshold applies to all layers
    engine = Engine(settings)
    planned = engine.plan(network, positions, (SIDE, SIDE), Permissions(threshold=tau))
    image = np.ascontiguousarray(setting.normalised.permute(1, 2, 0).numpy())
    views, _ = engine.materialize(planned, "figure", image)
    found = np.empty((len(positions), network.output.shape.channels), np.float32)

    def take(members: IntArray, values: Array) -> None:
        found[members] = values

    patch = np.broadcast_to(setting.fill.numpy().astype(np.float32), (SIDE, SIDE, 3))
    engine.execute(planned, views, Replacement(patch), take)
    return found - views[network.output.name].reshape(-1)


def errors(network: Network, setting: Setting, taus: tuple[float, ...]) -> list[float]:
    """Mean squared error of the last convolutional output by tau, relative to the mean square of its exact change."""
    short = up_to_last_window(network)
    positions = grid_block(free_of(setting, SIDE), JUDGED)
    exact = last_maps(short, setting, positions, 1.0)
    found = [np.mean((last_maps(short, setting, positions, tau) - exact) ** 2) for tau in taus]
    return [float(each / np.mean(exact**2)) for each in found]


def execution(db: Session, setting: Setting, positions: IntArray, preset: str, tau: float) -> Seconds:
    """Seconds per position of executing the plan of a ``preset`` with the threshold ``tau``."""
    db.execute(f"SET preset = {preset}")
    heat_map = query(db, setting, SIDE, positions, f"THRESHOLD {tau}")
    return Seconds(heat_map.stats.seconds["execute"] / len(positions))


def measure_network(name: str, scale: Scale) -> dict[str, Any]:
    """Counts and errors of a network for TAUS, seconds for TIMED."""
    setting = Setting(name, scale.size)
    network = trace(setting.subject.module, (3, *setting.subject.size))
    found: dict[str, Any] = {
        "taus": TAUS,
        "theory": [theory(network, tau) for tau in TAUS],
        "error": errors(network, setting, TAUS),
    }
    many = grid_block(free_of(setting, SIDE), scale.sample)
    few = grid_block(free_of(setting, SIDE), max(scale.sample // 4, BATCH))
    whole = few[: len(few) // BATCH * BATCH]
    with setting.subject.connect(threads=torch.get_num_threads()) as db:
        candidates: dict[str, Callable[[], Seconds]] = {
            "naive": lambda: Seconds(
                setting.naive.seconds(setting.normalised, setting.fill, (SIDE, SIDE), whole) / len(whole)
            )
        }
        for tau in TIMED:
            candidates[f"kdb {tau}"] = partial(execution, db, setting, many, "kdb", tau)
            candidates[f"krypton {tau}"] = partial(execution, db, setting, few, "krypton", tau)
        execution(db, setting, many[:WARM], "kdb", 1.0)
        execution(db, setting, few[:BATCH], "krypton", 1.0)
        timings = interleave(candidates, rounds=scale.rounds, warmups=0)
    naive = timings["naive"]
    found["milliseconds"] = {of: times(1000, timing) for of, timing in timings.items()}
    for preset in ("kdb", "krypton"):
        found[f"{preset} vs naive"] = [timings[f"{preset} {tau}"].over(naive) for tau in TIMED]
    print(f"{name:14} theory {found['theory'][0]:.2f}x to {found['theory'][-1]:.2f}x", flush=True)
    return found


def measure(scale: Scale) -> Json:
    """Measure all networks."""
    networks = {name: measure_network(name, scale) for name in scale.networks}
    sys.stdout.flush()
    return {"rounds": scale.rounds, "timed": TIMED, "networks": networks}


def section(found: Json) -> str:
    """The explanation, and tables with a row for each network and tau, in Markdown."""
    counted, timed = [], []
    for name, each in found["networks"].items():
        counted += [[name, *row] for row in zip(each["taus"], each["theory"], each["error"], strict=True)]
        for i, tau in enumerate(found["timed"]):
            ratios = [ratio_cell(each[f"{preset} vs naive"][i]) for preset in ("kdb", "krypton")]
            timed.append([name, tau, *ratios, f"{each['theory'][each['taus'].index(tau)]:.3g}x"])
    text = prose(
        f"The paper's Figure 7: a patch of {SIDE} x {SIDE} in the middle of the image, and boxes of at most the share "
        "tau of each map on either axis. Theory is equation 14 of what is left. The error is the mean squared error of "
        "the last convolution's or pool's output, over that of a map to which the patch does nothing; its networks "
        "have random weights, so that its curve tells how the field decays, and not what a heat map loses.\n\n"
    )
    seconds = prose(
        f"\nThe paper's Figure 12: seconds against theory, {found['rounds']} rounds in turns, on neighbouring "
        "positions as in *Speed by patch size*. kdb is the plan as it comes, krypton the paper's own plan.\n\n"
    )
    return (
        text
        + markdown_table(["network", "tau", "theoretical speedup", "relative squared error"], counted)
        + seconds
        + markdown_table(["network", "tau", "kdb vs naive", "krypton vs naive", "theory"], timed)
    )


def draw(found: Json) -> Mapping[str, Figure]:
    """A figure of work and error by tau for all networks, and one of theory against seconds, a panel for each."""
    figure, (work, error) = panels(2)
    for colour, (name, each) in zip(NETWORK_COLOURS, found["networks"].items(), strict=False):
        work.plot(each["taus"], each["theory"], "o-", color=colour, markersize=3, label=name)
        error.plot(each["taus"], each["error"], "o-", color=colour, markersize=3, label=name)
    for axes, label in ((work, "theoretical speedup"), (error, "relative squared error")):
        axes.set_ylabel(label)
        axes.set_xlabel("tau")
        axes.invert_xaxis()
    work.set_ylim(bottom=0)
    work.legend(frameon=False, fontsize=8)
    seconds, plots = panels(len(found["networks"]))
    for axes, (name, each) in zip(plots, found["networks"].items(), strict=True):
        theories = [each["theory"][each["taus"].index(tau)] for tau in found["timed"]]
        for preset in ("kdb", "krypton"):
            curve(axes, preset, found["timed"], each[f"{preset} vs naive"])
        colour, marker = COLOURS["eq. 14"], MARKERS["eq. 14"]
        axes.plot(found["timed"], theories, "--", color=colour, marker=marker, markersize=3, label="theory")
        from_zero(axes, [*each["kdb vs naive"], {"mean": max(theories)}])
        axes.invert_xaxis()
        axes.set_xlabel(f"{name}: tau")
    plots[0].set_ylabel("times as fast as naive")
    plots[0].legend(frameon=False, fontsize=8)
    return {"threshold": figure, "threshold-seconds": seconds}
