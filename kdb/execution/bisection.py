"""Finds the layer or rule at which a map begins to differ from the model itself: for a warning, when a check failed.

Three pairs are compared layer by layer, for the image as it is at one position: the model's own parts with the network
traced of it, that network with what the rules made of it, and the rewritten network with its deltas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from kdb.execution.measured import Measured
from kdb.execution.occlusion import Occlusion
from kdb.execution.stages import DeltaStage
from kdb.execution.verification import Reference
from kdb.execution.views import MaterializedViews
from kdb.kernels.base import Array
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import materialize
from kdb.operators.network import Network
from kdb.planner.optimize import Memo
from kdb.planner.plan import PhysicalPlan
from kdb.planner.rules import RULES

NOISE = 1e-5
"""Differences relative to a layer's largest value that rounding may make."""
JUMP = 10
"""How many times as far as all layers before it a layer is off that is to blame."""


def to_blame(
    network: Network,
    plan: PhysicalPlan,
    rewritten: Memo,
    reference: Reference,
    image: Array,
    occlusion: Occlusion,
    position: int | None,
) -> str | None:
    """In words, what first gives other values than the model itself; None where that cannot be told.

    ``network`` is as it was traced and ``rewritten`` what rules made of it; ``image`` [H, W, C] is unmodified,
    ``position`` an index of the plan's positions, None for the image as it is.
    """
    logical = plan.logical
    given = image
    if position is not None:
        given = occlusion.applied(image, logical.positions[[position]], logical.patch)[0]
    own, traced = reference.layers(given), _layers(network, given)
    # A part that was translated into several layers gives what the last of them gives.
    last = {node.name.split("#")[0]: node.name for node in network}
    layer = _first_difference({last[path]: own[path] for path in own if path in last}, traced, last.values())
    if layer is not None:
        return f"layer {layer} ({network[layer].operator.label})"
    before, values = network, traced
    for rule in RULES:
        after = rewritten.get(before, {}).get(rule.name)
        if isinstance(after, Network):
            found = _layers(after, given)
            if _differ(values[before.output.name], found[after.output.name]) > NOISE:
                return f"the rule {rule.name}"
            before, values = after, found
    if position is None or before is not logical.network or logical.cut <= 1:
        return None
    deltas = _by_deltas(plan, MaterializedViews(_layers(before, image)), occlusion, position)
    layer = _first_difference(values, deltas, (node.name for node in before))
    if layer is None:
        return None
    kernels = {step.node.name: step.kernel.name for stage in plan.stages for step in stage.steps}
    return f"the delta of layer {layer} ({before[layer].operator.label}, kernel {kernels[layer]})"


def _layers(network: Network, image: Array) -> Mapping[str, Array]:
    """Every layer's output [h, w, c] for ``image``, by full inference on the host."""
    return materialize(network, image, CpuBackend(), [node.name for node in network])


def _by_deltas(
    plan: PhysicalPlan, views: MaterializedViews, occlusion: Occlusion, position: int
) -> Mapping[str, Array]:
    """The layers before the cut [h, w, c] at one position, as its batch computes them."""
    found: dict[str, Array] = {}

    def note(name: str, members: Array, maps: Array) -> None:
        found[name] = maps[members == position][0]

    batch = next(batch for batch in plan.logical.batches if position in batch)
    stage = DeltaStage(plan.stages[0], plan, views, occlusion, analyze=False, note=note)
    stage.run(batch, Measured())
    return found


def _first_difference(right: Mapping[str, Array], given: Mapping[str, Array], order: Iterable[str]) -> str | None:
    """The first layer that is off by more than rounding, and much more than all before it."""
    worst = 0.0
    for name in order:
        if name not in right or name not in given or right[name].shape != given[name].shape:
            continue
        off = _differ(right[name], given[name])
        if off > max(NOISE, JUMP * worst):
            return name
        worst = max(worst, off)
    return None


def _differ(right: Array, given: Array) -> float:
    """The largest difference, relative to the largest value."""
    scale = float(np.abs(right).max())
    off = float(np.abs(right - given).max())
    return off / scale if scale else float(off > 0)
