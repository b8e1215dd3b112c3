"""Possible speedups: multiply-adds of full inference over those of incremental inference, counted and not timed.

The paper's Figure 3, with a patch in the middle of the image, and beside it the counts for a whole heat map: exact
boxes recomputed, deltas, and what kdb's plan executes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
from matplotlib.figure import Figure

import kdb
from benchmarks.figures.common import BLUE, GREEN, GREY, ORANGE, STRIDE, Json, Scale, panels, prose
from benchmarks.timing import markdown_table
from benchmarks.verify import grid
from kdb.execution.engine import Engine, default_settings
from kdb.geometry import IntArray, Spans, Window
from kdb.models import zoo
from kdb.models.catalog import Catalog, TracedModel
from kdb.operators.convolution import Convolution
from kdb.operators.network import Network, Node
from kdb.operators.sources import Opaque
from kdb.planner.footprints import Geometry

TITLE = "What there is to gain"
NETWORKS = (
    *("alexnet", "vgg11", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101"),
    *("resnext50_32x4d", "wide_resnet50_2", "squeezenet1_0", "squeezenet1_1", "densenet121", "densenet169"),
    *("googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2_x1_0"),
    *("mnasnet1_0", "regnet_y_400mf", "convnext_tiny"),
)
PATCHES = (8, 16, 32, 64)
SHOWN = 16
"""Side of the patch in the plot and in the table with convolutions alone."""
BOUNDS = {
    "centre": "centre (eq. 14)",
    "exact": "exact boxes",
    "deltas": "deltas",
    "plan": "kdb's plan",
}
MARKS = {"centre": (GREY, "D"), "exact": (ORANGE, "s"), "deltas": (GREEN, "^"), "plan": (BLUE, "o")}


# ---- counting


def pairs(window: Window, spans: Spans, length: int, outputs: int) -> IntArray:
    """The number of pairs of an output and a tap that reads a cell of the span, along one axis: int64 [n].

    The input has ``length`` cells, the output ``outputs``; ``n`` is the number of positions.
    """
    cells = np.arange(outputs)[:, None] * window.stride - window.before + np.arange(window.kernel) * window.dilation
    inside = cells[(cells >= 0) & (cells < length)]
    before = np.concatenate([[0], np.cumsum(np.bincount(inside, minlength=length))])
    return spans.spread(before[spans.start + spans.lengths] - before[spans.start])


def recomputed(network: Network, node: Node, geometry: Geometry) -> float:
    """Multiply-adds of all outputs in the layer's boxes (equation 12), summed over the positions."""
    footprint = geometry.footprints[node.name]
    if footprint is None:
        return 0.0
    return node.operator.macs(network.input_shapes(node), node.shape, int(footprint.areas.sum()))


def _free(network: Network, side: int) -> tuple[int, int]:
    height, width = network.source.shape.size
    return height - side, width - side


def centred(network: Network, side: int) -> Geometry:
    """The geometry of one square patch of side ``side`` in the middle of the image."""
    return Geometry(network, np.array([_free(network, side)]) // 2, (side, side))


def with_deltas(network: Network, node: Node, geometry: Geometry) -> float:
    """Multiply-adds with deltas, summed over the positions.

    For a convolution these are pairs of a weight and a changed input cell; for others, as :func:`recomputed`.
    """
    changed, convolution = geometry.footprints[node.inputs[0]] if node.inputs else None, node.operator
    if not isinstance(convolution, Convolution) or changed is None:
        return recomputed(network, node, geometry)
    (shape,) = network.input_shapes(node)
    windows = convolution.sliding.windows(convolution.padding)
    met = reduce(np.multiply, map(pairs, windows, changed.spans, shape.size, node.shape.size))
    return float(met.sum()) * (shape.channels // convolution.groups) * node.shape.channels


def is_dense(node: Node) -> bool:
    """Whether the layer is a dense one on vectors; at every cell of a map it would be a 1 x 1 convolution."""
    return not isinstance(node.operator, Convolution) and node.shape.cells == 1


def speedups(traced: TracedModel, engine: Engine, side: int) -> dict[str, dict[str, float]]:
    """The speedup of each of BOUNDS for a square patch, by counting ``convolutions`` alone and ``all`` layers."""
    network, patch = traced.network, (side, side)
    every = grid(_free(network, side), (STRIDE, STRIDE))
    middle = centred(network, side)
    whole = Geometry(network, every, patch)
    planned = engine.plan(network, every, patch).physical
    found: dict[str, dict[str, float]] = {}
    for kind in ("convolutions", "all"):
        nodes = [node for node in network if kind == "all" or not is_dense(node)]
        remaining = [node for node in planned.logical.network if kind == "all" or not is_dense(node)]
        full = sum(node.operator.macs(network.input_shapes(node), node.shape, node.shape.cells) for node in nodes)
        executed = {
            "centre": sum(recomputed(network, node, middle) for node in nodes) * len(every),
            "exact": sum(recomputed(network, node, whole) for node in nodes),
            "deltas": sum(with_deltas(network, node, whole) for node in nodes),
            "plan": sum(planned.macs_by_layer.get(node.name, 0) for node in remaining),
        }
        found[kind] = {bound: len(every) * full / work for bound, work in executed.items()}
    return found


# ---- the part


def measure(scale: Scale) -> Json:
    """Count all networks and patches; networks that kdb does not trace completely are listed with the reason."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    left_out: dict[str, str] = {}
    for name in scale.bounded or NETWORKS:
        try:
            traced = Catalog().traced(zoo.resolve(name, {"weights": "random"}))
        except kdb.Error as error:
            left_out[name] = str(error).partition("\n")[0]
            continue
        if any(isinstance(node.operator, Opaque) for node in traced.network):
            left_out[name] = "part of it is evaluated by PyTorch"
            continue
        engine = Engine(default_settings())
        found[name] = {str(side): speedups(traced, engine, side) for side in PATCHES}
        shown = found[name][str(SHOWN)]["all"]
        print(f"{name:20}" + "".join(f"  {bound} {shown[bound]:.3g}x" for bound in BOUNDS))
        sys.stdout.flush()
    return {"stride": STRIDE, "networks": found, "left out": left_out}


def section(found: Json) -> str:
    """The explanation and the tables, in Markdown."""
    networks: Json = found["networks"]
    rows = [
        [name, *(f"{each[str(SHOWN)][kind][bound]:.3g}" for kind in ("convolutions", "all") for bound in BOUNDS)]
        for name, each in networks.items()
    ]
    headers = ["network", *(f"{bound}, convolutions" for bound in BOUNDS.values()), *BOUNDS.values()]
    by_patch = [
        [name, *(" / ".join(f"{each[str(side)]['all'][bound]:.3g}" for bound in BOUNDS) for side in PATCHES)]
        for name, each in networks.items()
    ]
    text = prose(
        "Multiply-adds of full inference, over those of incremental inference. Counted, not timed: no kernels, no "
        f"memory traffic, no materialization. A square patch, a map of stride {found['stride']} on each network's own "
        "input size; over a map, the sum over all positions of the one, over that of the other.\n\n"
        f"- {BOUNDS['centre']}: the paper's theoretical speedup. One position, in the middle of the image; all "
        "outputs in the box of the change are recomputed.\n"
        f"- {BOUNDS['exact']}: the same at every position of the map, with boxes clipped at the borders.\n"
        f"- {BOUNDS['deltas']}: of a convolution, pairs of a weight and a changed input cell, at every position. What "
        "meets a zero is not counted. Dense layers as before.\n"
        f"- {BOUNDS['plan']}: what kdb's plan executes, by textbook convolutions of its outputs' boxes. Members of a "
        "batch share an extent, and after the cut layers are evaluated in full.\n\n"
        "*convolutions* leaves out the dense layers on vectors; the other columns count all layers. Products of "
        f"activations, pooling and sums are never counted.\n\nPatch {SHOWN} x {SHOWN}:\n\n"
    )
    sides = [f"{side} x {side}" for side in PATCHES]
    every = f"\nBy patch, all layers: {' / '.join(BOUNDS.values())}.\n\n{markdown_table(['network', *sides], by_patch)}"
    without = "".join(f"\n{name} is left out: {reason}.\n" for name, reason in found["left out"].items())
    return text + markdown_table(headers, rows) + every + without


def draw(found: Json) -> Mapping[str, Figure]:
    """A plot with a row for each network, sorted by speedup, and a mark for each bound."""
    shown = {name: each[str(SHOWN)]["all"] for name, each in found["networks"].items()}
    names = sorted(shown, key=lambda name: float(shown[name]["deltas"]))
    figure, (axes,) = panels(1, height=1.4 + 0.22 * len(names), width=6.5)
    for bound, (colour, marker) in MARKS.items():
        values = [shown[name][bound] for name in names]
        axes.plot(values, range(len(names)), marker, color=colour, markersize=5, label=BOUNDS[bound])
    axes.set_xscale("log")
    ticks: Sequence[float] = (1, 1.5, 2, 3, 4, 6, 8, 12)
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"multiply-adds of full inference / of incremental inference, patch {SHOWN} x {SHOWN}")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return {"bounds": figure}
