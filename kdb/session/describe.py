"""DESCRIBE MODEL: what a model takes and gives, its layers, and how far the change of one patch grows in each."""

from __future__ import annotations

import math
from operator import gt

import numpy as np

from kdb.errors import BindError
from kdb.geometry import Size, spelled
from kdb.images.preprocessing import Preprocessing
from kdb.models.catalog import TracedModel
from kdb.operators.sources import Opaque, Source
from kdb.planner.footprints import Geometry
from kdb.results.tables import Headed
from kdb.results.wording import compared

FEW = 5
"""Labels shown."""


def describe(traced: TracedModel, patch: Size) -> Headed:
    """The description of a model for a ``patch`` in the middle of its image: a row a layer.

    The bound is the paper's theoretical speedup (equations 10 to 14): multiply-adds of full inference over those of
    all outputs that the patch in the middle reaches; every layer is one that the network has before any rewrite.

    Raises BindError for a patch larger than the image.
    """
    network, model = traced.network, traced.model
    size = network.source.shape.size
    if any(map(gt, patch, size)):
        raise BindError(f"the patch, {spelled(patch)}, is larger than the image, {spelled(size)}")
    middle = np.array([np.subtract(size, patch) // 2])
    geometry = Geometry(network, middle, patch)
    rows, recomputed = [], 0
    for node in network:
        footprint, shapes = geometry.footprints[node.name], network.input_shapes(node)
        box = [0 if footprint is None else int(footprint.spans[axis].lengths[0]) for axis in range(len(size))]
        recomputed += node.operator.macs(shapes, node.shape, math.prod(box))
        macs = node.operator.macs(shapes, node.shape, node.shape.cells)
        weights = sum(int(network.parameters[weight].array.size) for weight in node.operator.weights())
        kind = "image" if isinstance(node.operator, Source) else node.operator.label
        share = round(100 * math.prod(box) / node.shape.cells, 1)
        rows.append((node.name, kind, str(node.shape), weights, macs / 1e9, "x".join(map(str, box)), share))
    outside = [node.operator.because for node in network if isinstance(node.operator, Opaque)]
    lines = (
        f"{model.name}: {len(network) - 1} layers, {network.macs / 1e9:.3g} G multiply-adds",
        f"weights: {model.weights_note}; identity {traced.identity[:16]}",
        f"input: {_input(model.preprocessing)}",
        *(["; ".join(model.facts)] if model.facts else []),
        *(f"note: {note}" for note in model.notes),
        f"output: {_output(traced)}",
        f"patch {spelled(patch)} in the middle: {_bound(network.macs, recomputed, bool(outside))}",
        *(f"outside the vocabulary, evaluated in full by torch: {because}" for because in outside),
    )
    return Headed(("layer", "operator", "output", "weights", "Gmac", "box", "% of map"), tuple(rows), lines)


def _bound(macs: int, recomputed: int, partly: bool) -> str:
    if partly:
        return "no bound, since only part of the multiply-adds is counted"
    if not recomputed:
        return "no multiply-adds"
    return f"at most {compared(macs / recomputed)} (equation 14)"


def _input(wanted: Preprocessing) -> str:
    kinds = {1: "grey", 3: wanted.channels} if wanted.rank == 2 else {}
    several = "" if wanted.n_channels == 1 else "s"
    kind = kinds.get(wanted.n_channels, f"x {wanted.n_channels} channel{several}")
    how = f"resize {wanted.resize}"
    if wanted.resize == "crop" and wanted.resize_size is not None:
        how += f" out of {wanted.resize_size}"
    how += f" ({wanted.interpolation})"
    if wanted.orientation is not None:
        how += f", turned to {wanted.orientation}"
    if wanted.window is not None:
        how += ", window ({:g}, {:g})".format(*wanted.window)
    mean, std = (", ".join(f"{number:.6g}" for number in numbers) for numbers in (wanted.mean, wanted.std))
    scale = "255 (floats as they are)" if wanted.scale is None else f"{wanted.scale:g}"
    named = "" if wanted.axes is None else f" ({wanted.axes})"
    return f"{spelled(wanted.input_size)}{named} {kind}, {how}; pixels / {scale}, mean ({mean}), std ({std})"


def _output(traced: TracedModel) -> str:
    model, shape = traced.model, traced.network.output.shape
    maps = f"maps of {spelled(shape.size)}, " if traced.dense else ""
    text = f"{maps}{shape.channels} {'class' if shape.channels == 1 else 'classes'}, {traced.activation}"
    if model.labels is None:
        return f"{text}, no labels"
    shown = ", ".join(f"'{label}'" for label in model.labels[:FEW])
    return f"{text}: {shown}{', ...' if len(model.labels) > FEW else ''}"
