"""Lowering: from a logical plan to stages of steps with chosen kernels, the views they read, and what they free."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from kdb.geometry import Size
from kdb.kernels.base import Backend
from kdb.kernels.kernel import FUSED
from kdb.operators.network import Node
from kdb.operators.pointwise import Pointwise
from kdb.planner.cost import Choice, CostModel, fusable
from kdb.planner.plan import LogicalPlan, Lowered, PhysicalPlan, Stage, Step
from kdb.planner.rules import Context
from kdb.planner.rules.conditioning import watched


def lower(plan: LogicalPlan, context: Context) -> PhysicalPlan:
    """The physical plan of ``plan``, whose stages are found when they are first read."""
    return PhysicalPlan(plan, context.costs.backend, partial(_lowered, plan, context), context.threads)


def _lowered(plan: LogicalPlan, context: Context) -> Lowered:
    """Deltas up to the cut, full evaluation after it, and last the head, which works on vectors."""
    network = plan.network
    extents = plan.extents() if plan.cut > 1 else plan.changing()
    crossing = plan.crossing()
    head = _head(plan)
    n = plan.mean_batch
    views = {network.source.name, *crossing, network.output.name}
    watch = watched(network) if plan.cut > 1 else frozenset()
    watch = frozenset(name for name in watch if extents[name] is not None)
    views |= {source for name in watch for source in network[name].inputs}
    views |= {source for node in network if node.operator.observed for source in node.inputs}
    names = ("deltas", "full", "head")
    bounds = (1, plan.cut, max(head, plan.cut), len(network))
    stages = []
    for i, name in enumerate(names):
        nodes = network.nodes[bounds[i] : bounds[i + 1]]
        keeps = _read_after(plan, bounds[i + 1])
        batch = None if i == 0 else plan.full_batch if i == 1 else sum(len(b) for b in plan.batches)
        if not nodes and i > 0:
            continue
        choices: list[tuple[Node, Choice, bool]] = []
        for node in nodes:
            if extents[node.name] is None:  # nothing that a position changes: its view serves who reads it
                if any(extents[reader.name] is not None for reader in network.readers(node.name)):
                    views.add(node.name)
                continue
            if i == 0:
                choice = context.costs.delta(network, node, extents, n)
                assert choice is not None, "the cut lies before any layer without a delta rule"
                choice = _suited(choice, node, plan, extents)
                changed = [extents[source] is not None for source in node.inputs]
                reads = node.operator.reads(choice.kernel, changed)
                views |= {source for source, read in zip(node.inputs, reads.inputs, strict=True) if read}
                views |= {node.name} if reads.output or node.name in plan.interior else set()
            else:
                choice = context.costs.full(network, node, min(plan.full_batch, len(plan.positions)))
                views |= {source for source in node.inputs if extents[source] is None}
            choices.append((node, choice, i == 0))
        fused = _fused(choices, keeps, plan, watch, context.costs.backend) if i == 0 else {}
        steps = _steps(choices, keeps, extents, plan, context.costs, fused, watch)
        stages.append(Stage(name, steps, keeps, batch))
    return Lowered(tuple(stages), frozenset(views))


def _suited(choice: Choice, node: Node, plan: LogicalPlan, extents: Mapping[str, Size | None]) -> Choice:
    """With the kernel as it is best for the boxes of all batches."""
    shapes, inputs = plan.network.input_shapes(node), [extents[source] for source in node.inputs]
    boxes = partial(plan.geometry.batched(plan.batches).extents, node.inputs[0])
    kernel, extent = node.operator.suited(choice.kernel, shapes, boxes), extents[node.name]
    if kernel is choice.kernel or extent is None:
        return choice
    return choice._replace(kernel=kernel, work=node.operator.delta_work(kernel, shapes, inputs, node.shape, extent))


def _head(plan: LogicalPlan) -> int:
    """Index of the first layer of the head: from there on all layers work on vectors."""
    nodes = plan.network.nodes
    head = len(nodes)
    while head > 1 and nodes[head - 1].shape.cells == 1:
        head -= 1
    # The layer that made the vector reads a map and belongs to the stage before.
    while head < len(nodes) and any(plan.network[s].shape.cells > 1 for s in nodes[head].inputs):
        head += 1
    return head


def _read_after(plan: LogicalPlan, bound: int) -> tuple[str, ...]:
    """Names of layers before ``bound`` that are read after it and that positions change, in order."""
    network = plan.network
    if bound == len(network):
        return (network.output.name,)
    read = {source for node in network.nodes[bound:] for source in node.inputs}
    footprints = plan.geometry.footprints
    return tuple(n.name for n in network.nodes[:bound] if n.name in read and footprints[n.name] is not None)


def _fused(
    choices: Sequence[tuple[Node, Choice, bool]],
    keeps: Collection[str],
    plan: LogicalPlan,
    watch: Collection[str],
    backend: Backend,
) -> dict[str, Node]:
    """By the name of a layer, the pointwise layer that its kernel computes as well.

    None whose input is watched, or has an interior, which no kernel computes.
    """
    names, fused = {node.name for node, _, _ in choices} - {*watch}, {}
    for node, choice, _ in choices:
        alone = node.name in keeps or node.name in plan.interior
        behind = None if alone else fusable(plan.network, node)
        if behind is None or behind.name not in names or not isinstance(behind.operator, Pointwise):
            continue
        if choice.kernel.fuses(backend, behind.operator.program):
            fused[node.name] = behind
    return fused


def _steps(
    choices: Sequence[tuple[Node, Choice, bool]],
    keeps: Sequence[str],
    extents: dict[str, Size | None],
    plan: LogicalPlan,
    costs: CostModel,
    fused: Mapping[str, Node],
    watch: Collection[str],
) -> tuple[Step, ...]:
    """Steps with liveness: an input is donated to its last reader, unless it is kept or shares memory."""
    network = plan.network
    last: dict[str, int] = {}
    for i, (node, _, _) in enumerate(choices):
        last.update(dict.fromkeys(node.inputs, i))

    def shares(name: str) -> bool:
        aliasing = network[name].operator.aliases or any(r.operator.aliases for r in network.readers(name))
        return aliasing or name in keeps

    steps = []
    for i, (node, choice, incremental) in enumerate(choices):
        repeated = len(set(node.inputs)) < len(node.inputs)
        donate = tuple(last[s] == i and not shares(s) and not repeated and extents[s] is not None for s in node.inputs)
        releases = tuple(s for s in dict.fromkeys(node.inputs) if last[s] == i and s not in keeps)
        extent = (extents[node.name] or node.shape.size) if incremental else node.shape.size
        interior = incremental and node.name in plan.interior
        seconds, kernel = choice.seconds, choice.kernel
        if node.inputs and fused.get(node.inputs[0]) is node:
            seconds, kernel = 0.0, FUSED
        if interior:
            seconds = costs.ring(network, node, choice.kernel, plan.cores(node)) / len(plan.batches)
        steps.append(
            Step(
                node=node,
                kernel=kernel,
                incremental=incremental,
                extent=extent,
                work=choice.work,
                seconds=seconds,
                donate=donate,
                releases=releases,
                interior=interior,
                epilogue=fused.get(node.name),
                watched=node.name in watch,
            )
        )
    return tuple(steps)
