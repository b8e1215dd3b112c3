"""Regret of the planner's choice of kernels: the time that a map would save if every layer ran by its fastest kernel.

Every distinct convolution and dense layer of a network's plan is launched as the plan's workers do, by each kernel that
competes for it, in turns; the times are compared with the estimates of this machine's cost model.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench import FULL
from benchmarks.experiment import PATCH
from benchmarks.layers import Layer, kernel_seconds, layers
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, Ints, chosen_networks, grid
from kdb.execution.engine import Engine, default_settings
from kdb.execution.settings import cores
from kdb.models import zoo
from kdb.models.catalog import Catalog
from kdb.operators.convolution import Convolution
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.planner.plan import PhysicalPlan

NETWORKS = ("vgg16", "resnet18", "inception_v3", "densenet121", "mobilenet_v2")
STRIDE = 4
ROUNDS = 5
NEAR = 1.1
"""A choice counts as right up to this many times the seconds of the fastest kernel."""
WORST = 15
"""Number of layers listed in the table of those that lose most."""


# ---- what is measured


@dataclass(frozen=True)
class Contest:
    """One layer of a network, and seconds of a launch by kernel, as ``measured`` and as ``estimated``."""

    network: str
    layer: Layer
    measured: Mapping[str, float]
    estimated: Mapping[str, float]

    @property
    def best(self) -> str:
        """The fastest kernel."""
        return min(self.measured, key=lambda kernel: self.measured[kernel])

    @property
    def total(self) -> tuple[float, float]:
        """Thread-seconds for the whole map by the chosen kernel, and by the fastest."""
        chosen, best = (self.layer.launches * self.measured[kernel] for kernel in (self.layer.chosen, self.best))
        return chosen, best

    @property
    def lost(self) -> float:
        """Thread-seconds for the whole map that the fastest kernel would save."""
        chosen, best = self.total
        return chosen - best

    @property
    def near(self) -> bool:
        """Whether the chosen kernel is within NEAR of the fastest."""
        chosen, best = self.total
        return chosen <= NEAR * best

    def as_json(self) -> dict[str, Any]:
        """All fields in terms of :func:`benchmarks.timing.write_json`; boxes and maps are [height, width]."""
        layer, node = self.layer, self.layer.node
        return {
            "network": self.network,
            "layer": node.name,
            "operator": node.operator.label,
            "parameters": dict(node.operator.params()),
            "incremental": layer.incremental,
            "input": {"channels": layer.shape.channels, "box": layer.inputs.extent, "map": layer.shape.size},
            "output": {"channels": node.shape.channels, "box": layer.outputs.extent, "map": node.shape.size},
            "positions": len(layer.outputs),
            "launches": layer.launches,
            "chosen": layer.chosen,
            "best": self.best,
            "seconds": self.measured,
            "estimates": self.estimated,
        }


def plan_of(name: str, engine: Engine, size: Ints | None = None) -> PhysicalPlan:
    """The plan of a heat map of stride STRIDE by the network ``name`` with random weights.

    ``size`` is the (H, W) of the input, None for the network's own.
    """
    options = {"weights": "random"} | ({} if size is None else {"input": size})
    traced = Catalog().traced(zoo.resolve(name, options))
    _, height, width = traced.model.input_shape
    every = grid((height - PATCH[0], width - PATCH[1]), (STRIDE, STRIDE))
    return engine.plan(traced.network, every, tuple(PATCH)).physical


def contests(name: str, plan: PhysicalPlan, profile: CostProfile, rounds: int) -> list[Contest]:
    """Time all distinct layers of a network's plan, each kernel ``rounds`` times."""
    found = []
    for layer in layers(plan):
        measured, kernels = kernel_seconds(plan, layer, rounds), layer.kernels(plan.backend)
        estimated = {name: profile.seconds(layer.work(kernels[name]), len(layer.outputs)) for name in measured}
        found.append(Contest(name, layer, measured, estimated))
    return found


def calibrated_engine(threads: int) -> Engine:
    """An engine that plans by this machine's cost profile, which is measured now unless it is stored already."""
    engine = Engine(default_settings())
    engine.settings.set("threads", threads)
    if calibration.kept(calibration.machine(threads)) is None:
        engine.calibrate()
    return engine


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Exempt all existing objects from garbage collection, which would take longer than a kernel's turn."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


# ---- the report


def network_table(found: Sequence[Contest]) -> str:
    """A Markdown table with a row for each network, and one for all of them."""
    names = list(dict.fromkeys(each.network for each in found))
    rows = [_summary(name, [each for each in found if each.network == name]) for name in names]
    if len(names) > 1:
        rows.append(_summary("all", found))
    near = f"within {NEAR - 1:.0%} of the best"
    headers = ["network", "layers", near, "chosen, s", "best, s", "regret", "estimate / measured", "10 % to 90 %"]
    return markdown_table(headers, rows)


def _summary(name: str, found: Sequence[Contest]) -> list[object]:
    chosen, best = (sum(each.total[i] for each in found) for i in (0, 1))
    near = sum(each.near for each in found) / len(found)
    ratios = [each.estimated[each.layer.chosen] / each.measured[each.layer.chosen] for each in found]
    return [name, len(found), f"{near:.0%}", chosen, best, f"{chosen / best:.3f}", *_spread(ratios)]


def _spread(ratios: Sequence[float]) -> list[object]:
    low, median, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return [f"{median:.2f}", f"{low:.2f} to {high:.2f}"]


def worst_table(found: Sequence[Contest]) -> str:
    """A Markdown table of the layers whose choice of kernel costs most time."""
    rows = []
    losing = [each for each in found if each.lost > 0]
    for each in sorted(losing, key=lambda each: -each.lost)[:WORST]:
        layer, best = each.layer, each.best
        names = [layer.chosen, best]
        times = [f"{1e3 * of[name]:.3g}" for name in names for of in (each.measured, each.estimated)]
        rows.append([each.network, layer.node.name, *_described(layer), *names, *times, each.lost])
    headers = ["network", "layer", "channels", "window", "box", "of", "positions", "chosen", "best"]
    return markdown_table([*headers, "chosen, ms", "estimate", "best, ms", "estimate", "lost, s"], rows)


def _described(layer: Layer) -> list[object]:
    operator, node = layer.node.operator, layer.node
    window = "-"
    if isinstance(operator, Convolution):
        window = "{}x{}".format(*operator.kernel)
        window += f" / {operator.stride[0]}" if operator.stride != (1, 1) else ""
        window += f", {operator.groups} groups" if operator.groups > 1 else ""
    box, whole = ("x".join(map(str, size)) for size in (layer.outputs.extent, node.shape.size))
    return [f"{layer.shape.channels} to {node.shape.channels}", window, box, whole, len(layer.outputs)]


def kernel_table(found: Sequence[Contest]) -> str:
    """A Markdown table of estimated over measured seconds for each kernel, chosen or not."""
    names = dict.fromkeys(name for each in found for name in each.measured)
    ratios = {
        name: [each.estimated[name] / each.measured[name] for each in found if name in each.measured] for name in names
    }
    rows = [[name, len(of), *_spread(of)] for name, of in ratios.items()]
    return markdown_table(["kernel", "layers", "estimate / measured", "10 % to 90 %"], rows)


def describe(rounds: int, threads: int) -> str:
    """The explanation of the figures, in Markdown."""
    return (
        f"The plans of maps of stride {STRIDE} with a patch of {PATCH[0]} x {PATCH[1]}, by the profile of this\n"
        "machine (`CALIBRATE`). Every distinct convolution and dense layer of a plan is launched on random numbers by\n"
        "each kernel that competes for it: on deltas by the operator's delta rule, with the boxes of the batch whose\n"
        f"multiply-adds are the median; after the cut on whole maps. {threads} threads run the same launch at once,\n"
        f"as in a query; the kernels take turns, and the least of {rounds} counts. Layouts of weights exist.\n\n"
        "- chosen, best: thread-seconds of all launches of the map, by the plan's kernels, and by those that are the\n"
        "  fastest on each layer. Regret is their ratio, 1 where all choices are right; noise can only add to it.\n"
        f"- within {NEAR - 1:.0%} of the best: the share of layers whose kernel takes at most {NEAR:g} times as long.\n"
        "- estimate / measured: of the chosen kernels, the median over the layers, with the 10th and 90th percentile.\n"
        "- lost: thread-seconds for the whole map that the best kernel would save."
    )


def report(found: Sequence[Contest], profile: CostProfile, rounds: int, threads: int, folder: Path) -> None:
    """Write regret.md and regret.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "What is measured": describe(rounds, threads),
        "Networks": network_table(found),
        "Layers that lose most": worst_table(found),
        "Estimates": kernel_table(found),
    }
    write_markdown(folder / "regret.md", "Regret of the choice of kernels", tables)
    facts = {"rounds": rounds, "threads": threads, "profile": profile.name, "rates": profile.rates}
    write_json(folder / "regret.json", {**facts, "layers": [each.as_json() for each in found]})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    options = _options(arguments)
    threads = options.threads or cores()
    torch.set_num_threads(threads)
    names = chosen_networks(",".join(options.networks) or ",".join(NETWORKS), FULL.networks)
    size = tuple(options.size) if options.size else None
    engine = calibrated_engine(threads)
    profile, found = engine.profile(threads), list[Contest]()
    for name in names:
        plan = plan_of(name, engine, size)
        with frozen_garbage():
            found += contests(name, plan, profile, options.rounds)
        print(network_table([each for each in found if each.network == name]), flush=True)
    print(network_table(found), worst_table(found), kernel_table(found), sep="\n")
    full = names == NETWORKS and size is None and options.rounds >= ROUNDS
    if (folder := options.out or (DOCS if full else None)) is not None:
        report(found, profile, options.rounds, threads, folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regret", description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"networks of the benchmark ({' '.join(NETWORKS)})")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="rounds, in each of which every kernel runs once (%(default)s)"
    )
    parser.add_argument("--threads", type=int, help="of torch and of kdb, all cores by default")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="input size, the networks' own by default"
    )
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
