"""EXPLAIN: describes a physical plan as data, with measured times if it was run.

An :class:`Explanation` is taken from the plan; :mod:`kdb.planner.rendering` prints it and uses nothing
else.  Seconds of layers and stages are thread-seconds over all positions, so that their sums do not depend on the
number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdb.geometry import Size
from kdb.operators.gates import LiveGate
from kdb.operators.indexing import Crop
from kdb.operators.network import Network
from kdb.operators.regions import RegionMean
from kdb.operators.sources import Opaque
from kdb.planner.cost import CostProfile
from kdb.planner.memory import Memory, memory
from kdb.planner.optimize import SETTLED, Applied
from kdb.planner.plan import LogicalPlan, PhysicalPlan, Stage
from kdb.planner.rules import Context, incremental
from kdb.planner.rules.aggregates import first_spread
from kdb.planner.rules.rebatch import full_batch

MODEL = "model"
"""The stage and kernel of layers that are left to the model itself, whatever computes them there."""


@dataclass(frozen=True)
class RuleLine:
    """Whether a rule changed the plan, and if not why; ``approximate`` marks a rule that may change results."""

    name: str
    fired: bool
    reason: str
    milliseconds: float
    approximate: bool


@dataclass(frozen=True)
class LayerLine:
    """One layer: its stage, the kernel that computes it, the mean box of its map that is computed, and the cost.

    With an ``interior`` only a ring of the box is computed.  The ``map`` is what is read of the layer's ``whole``.
    """

    name: str
    operator: str
    params: Mapping[str, str]
    inputs: tuple[str, ...]
    stage: str
    kernel: str
    interior: bool
    box: Size
    map: Size
    whole: Size
    channels: int
    naive_macs: int
    planned_macs: int
    estimated_seconds: float
    measured_seconds: float | None


@dataclass(frozen=True)
class StageLine:
    """Totals of a stage, which takes at most ``batch`` positions at a time."""

    name: str
    layers: int
    batch: int
    naive_macs: int
    planned_macs: int
    estimated_seconds: float
    measured_seconds: float | None


@dataclass(frozen=True)
class Explanation:
    """The content of EXPLAIN; ``measured_seconds`` are None unless the plan was run.

    ``estimated_seconds`` are expected of the plan, ``naive_seconds`` of full inference at each of the ``positions``, by
    the same cost model, whose ``rates`` are described in words; ``rates_origin`` is 'default', 'data sheet' or
    'measured', ``rates_date`` the day of the measurement, as in 2025-12-31, or empty.  ``memory`` is what the plan
    takes.

    ``strategy`` describes the sampling of a map that is evaluated in part, ``tuned`` the origin of a tuned threshold;
    both are empty otherwise.  ``live`` counts the gates that follow the whole map in boxes alone, ``frozen``
    those that keep their values on the unmodified image.  From the layer ``cut`` on, layers are evaluated in full, and
    ``because`` says why; both are None if no layer is.  ``outside`` describes the layers that kdb has no operator for.
    ``check`` says how the map is compared with the model itself; positions at which the inputs of the ``watched``
    layers nearly cancel are evaluated in full.  ``region`` is the part of a dense output that is scored, in words, and
    empty for others; ``unreached`` counts the positions that do not reach it.  ``notes`` say what was assumed, or taken
    otherwise than written.
    """

    query: str
    strategy: str
    positions: int
    distinct: int
    batches: int
    largest_batch: int
    groups: int
    threads: int
    backend: str
    rates: str
    rates_origin: str
    rates_date: str
    naive_macs: int
    planned_macs: int
    memory: Memory
    naive_seconds: float
    estimated_seconds: float
    measured_seconds: float | None
    cut: str | None
    because: str | None
    bounded: bool
    threshold: float
    tuned: str
    live: int
    frozen: int
    outside: tuple[str, ...]
    check: str
    watched: tuple[str, ...]
    region: str
    unreached: int
    notes: tuple[str, ...]
    rules: tuple[RuleLine, ...]
    stages: tuple[StageLine, ...]
    layers: tuple[LayerLine, ...]


def explain(
    text: str,
    plan: PhysicalPlan,
    history: Sequence[Applied],
    context: Context,
    note: str = "",
    tuned: str = "",
    check: str = "",
    measured: Mapping[str, float] | None = None,
    wall: float | None = None,
    taken: Memory | None = None,
    notes: tuple[str, ...] = (),
    network: Network | None = None,
) -> Explanation:
    """The explanation of ``plan``, which was made in ``context`` for the query ``text``.

    ``network`` is the one that was planned for, before any rule; None for the plan's own.

    ``note`` describes the strategy of a sampled map, whose first round ``plan`` is; ``tuned`` says where a tuned
    threshold comes from, ``check`` how the map is checked.  ``measured`` are thread-seconds by layer, over all rounds,
    and ``wall`` the elapsed seconds; ``taken`` is the memory of plan and result, if the latter is known.  ``notes`` are
    the query's.
    """
    logical = plan.logical
    before = logical.network if network is None else network
    n = len(logical.positions)
    queried = n if logical.duplicates is None else len(logical.duplicates)
    macs = plan.macs_by_layer
    lines = []
    measured = None if logical.by_model else measured  # which tells nothing of its layers
    for stage in plan.stages:
        for step in stage.steps:
            node = step.node
            whole = (before[node.name] if node.name in before.graph else node).shape
            naive = node.operator.macs(logical.network.input_shapes(node), whole, whole.cells) * n
            lines.append(
                LayerLine(
                    name=node.name,
                    operator=node.operator.label,
                    params=dict(node.operator.params()),
                    inputs=node.inputs,
                    stage=MODEL if logical.by_model else stage.name,
                    kernel=MODEL if logical.by_model else step.kernel.name,
                    interior=step.interior,
                    box=step.extent,
                    map=node.shape.size,
                    whole=whole.size,
                    channels=node.shape.channels,
                    naive_macs=naive,
                    planned_macs=macs.get(node.name, 0),
                    estimated_seconds=plan.seconds_of(step),
                    measured_seconds=None if measured is None else measured.get(node.name, 0.0),
                )
            )
    largest = max(len(batch) for batch in logical.batches)
    stages = (Stage(MODEL, (), (), logical.full_batch),) if logical.by_model else plan.stages
    return Explanation(
        query=text,
        strategy=note,
        positions=queried,
        distinct=n,
        batches=len(logical.batches),
        largest_batch=largest,
        groups=len(logical.groups),
        threads=plan.threads,
        backend=plan.backend.title,
        rates=_rates(context.costs.profile),
        rates_origin=context.costs.profile.origin,
        rates_date=context.costs.profile.measured,
        naive_macs=plan.naive_macs,
        planned_macs=plan.planned_macs,
        memory=memory(plan) if taken is None else taken,
        naive_seconds=_naive_seconds(before if _region(before) else logical.network, context, queried),
        estimated_seconds=plan.seconds,
        measured_seconds=wall,
        cut=logical.network.nodes[logical.cut].name if logical.cut < len(logical.network) else None,
        because=_why_in_full(logical, history),
        bounded=logical.bounded,
        threshold=logical.threshold,
        tuned=tuned,
        live=sum(isinstance(node.operator, LiveGate) for node in logical.network.nodes[: logical.cut]),
        frozen=len([name for name in logical.frozen if logical.network[name].operator.label == "expand"]),
        outside=tuple(node.operator.because for node in logical.network if isinstance(node.operator, Opaque)),
        check=check,
        watched=tuple(step.node.name for stage in plan.stages for step in stage.steps if step.watched),
        region=_region(before),
        unreached=_unreached(logical),
        notes=notes,
        rules=tuple(
            RuleLine(a.rule.name, a.fired, a.reason, round(a.seconds * 1e3, 3), not a.rule.exact) for a in history
        ),
        stages=tuple(_totals(stage, [line for line in lines if line.stage == stage.name], n) for stage in stages),
        layers=tuple(lines),
    )


def _region(network: Network) -> str:
    """What of a dense output is scored, in words; empty for a network that gives vectors."""
    score = next((node for node in network if isinstance(node.operator, RegionMean)), None)
    if score is None:
        return ""
    crop = next((node for node in network if isinstance(node.operator, Crop)), None)
    (read,) = network.input_shapes(score)
    whole = read if crop is None else network.input_shapes(crop)[0]
    if read.cells == 1:
        return f"one cell of {_by(whole.size)} of the output"
    return f"means over {_by(read.size)} of {_by(whole.size)} cells of the output"


def _unreached(plan: LogicalPlan) -> int:
    """How many of the positions asked for do not reach the output."""
    footprint = plan.geometry.footprints[plan.network.output.name]
    asked = np.arange(len(plan.positions)) if plan.duplicates is None else plan.duplicates
    return 0 if footprint is None else int((footprint.areas == 0)[asked].sum())


def _rates(profile: CostProfile) -> str:
    """Where the rates of the cost model come from."""
    if profile.origin == "default":
        return "defaults; CALIBRATE measures those of this machine"
    if profile.origin == "data sheet":
        return f"those of an {profile.name}; CALIBRATE measures those of this GPU"
    return "measured on this machine" + (f" on {profile.measured}" if profile.measured else "")


def _naive_seconds(network: Network, context: Context, positions: int) -> float:
    """Seconds of full inference at each of the ``positions``, by the context's cost model and on all its threads."""
    batch = min(full_batch(network.nodes[1:], context), positions)
    return context.costs.inference(network, batch) * positions / batch / context.threads


def _totals(stage: Stage, lines: Sequence[LayerLine], positions: int) -> StageLine:
    measured = [line.measured_seconds for line in lines if line.measured_seconds is not None]
    return StageLine(
        name=stage.name,
        layers=len(lines),
        batch=0 if stage.batch is None else min(stage.batch, positions),
        naive_macs=sum(line.naive_macs for line in lines),
        planned_macs=sum(line.planned_macs for line in lines),
        estimated_seconds=sum(line.estimated_seconds for line in lines),
        measured_seconds=sum(measured) if measured else None,
    )


def _why_in_full(logical: LogicalPlan, history: Sequence[Applied]) -> str | None:
    """Why layers from the cut on are evaluated in full; None if none is."""
    network, extents = logical.network, logical.extents()
    rest = [node for node in network.nodes[logical.cut :] if extents[node.name] is not None]
    if not rest:
        return None
    if logical.by_model:
        return f"{SETTLED}: {logical.by_model.because}"
    for applied in history:
        if applied.rule.name == incremental.RULE.name and not applied.fired:
            return f"rule {applied.rule.name} did not apply: {applied.reason}"
    node = rest[0]
    if isinstance(node.operator, Opaque):
        return "it is outside the vocabulary"
    spread = first_spread(network, logical.frozen)
    if spread < len(network) and not any(
        _fills(extents[each.name], each.shape.size) for each in network.nodes[logical.cut : spread]
    ):
        if isinstance(network.nodes[spread].operator, Opaque):
            return "layers outside the vocabulary need whole maps"
        return f"{network.nodes[spread].name} spreads every change over the whole map"
    box, size = extents[node.name] or node.shape.size, node.shape.size
    if math.prod(size) == 1:
        return "from here on there are only vectors, which change as a whole"
    return f"changes there cover {_by(box)} of {_by(size)} cells"


def _by(size: Size) -> str:
    return "x".join(map(str, size))


def _fills(box: Size | None, size: Size) -> bool:
    """Whether a box covers half of a map or more; of a vector it does not."""
    return box is not None and math.prod(size) > 1 and 2 * math.prod(box) >= math.prod(size)
