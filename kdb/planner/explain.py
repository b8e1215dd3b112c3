"""EXPLAIN: a physical plan as text, JSON or a graph in dot, with measurements beside the estimates where there are any.

An :class:`Explanation` is plain data, taken from the plan; the renderers below it know nothing else.  Seconds are
thread-seconds over all positions, so that they add up whatever the number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdb.geometry import Size
from kdb.kernels.work import ELEMENT
from kdb.operators.sources import Opaque
from kdb.planner.optimize import Applied
from kdb.planner.plan import LogicalPlan, PhysicalPlan
from kdb.planner.rules import incremental
from kdb.planner.rules.aggregates import first_spread
from kdb.results.tables import Table

FORMATS = ("text", "json", "dot")


@dataclass(frozen=True)
class RuleLine:
    """What became of a rule; ``approximate`` marks one that may change results."""

    name: str
    fired: bool
    reason: str
    milliseconds: float
    approximate: bool


@dataclass(frozen=True)
class LayerLine:
    """One layer: where it stands, how it is computed, on what part of its map, and what that costs.

    With an ``interior`` only the ring around it is computed.
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
    channels: int
    naive_macs: int
    planned_macs: int
    estimated_seconds: float
    measured_seconds: float | None


@dataclass(frozen=True)
class Explanation:
    """All that EXPLAIN tells; ``measured_seconds`` is None unless the plan was run.

    ``strategy`` says how a map comes about of which only a part is evaluated, ``tuned`` where the threshold comes from;
    both are empty for others.  ``frozen`` counts gates that keep the unmodified image's values.  From ``cut`` on
    layers are evaluated in full, ``because`` of what; both are None where deltas go all the way.
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
    naive_macs: int
    planned_macs: int
    view_bytes: int
    estimated_seconds: float
    measured_seconds: float | None
    cut: str | None
    because: str | None
    bounded: bool
    threshold: float
    tuned: str
    frozen: int
    outside: tuple[str, ...]
    rules: tuple[RuleLine, ...]
    layers: tuple[LayerLine, ...]


def explain(
    text: str,
    plan: PhysicalPlan,
    history: Sequence[Applied],
    note: str = "",
    tuned: str = "",
    measured: Mapping[str, float] | None = None,
    wall: float | None = None,
) -> Explanation:
    """The explanation of ``plan`` for the query ``text``.

    ``note`` says how a map comes about that takes more rounds than this plan's, ``tuned`` where a threshold comes
    from; ``measured`` holds thread-seconds by
    layer, of all rounds, ``wall`` the seconds that they took.
    """
    logical = plan.logical
    n = len(logical.positions)
    macs = plan.macs_by_layer
    lines = []
    for stage in plan.stages:
        for step in stage.steps:
            node, shapes = step.node, logical.network.input_shapes(step.node)
            naive = node.operator.macs(shapes, node.shape, node.shape.size.area) * n
            lines.append(
                LayerLine(
                    name=node.name,
                    operator=node.operator.label,
                    params=dict(node.operator.params()),
                    inputs=node.inputs,
                    stage=stage.name,
                    kernel=step.kernel.name,
                    interior=step.interior,
                    box=step.extent,
                    map=node.shape.size,
                    channels=node.shape.channels,
                    naive_macs=naive,
                    planned_macs=macs.get(node.name, 0),
                    estimated_seconds=plan.seconds_of(step),
                    measured_seconds=None if measured is None else measured.get(node.name, 0.0),
                )
            )
    views = sum(logical.network[name].shape.elements for name in plan.views) * ELEMENT
    asked = logical.positions if logical.duplicates is None else logical.duplicates
    return Explanation(
        query=text,
        strategy=note,
        positions=len(asked),
        distinct=n,
        batches=len(logical.batches),
        largest_batch=max(len(batch) for batch in logical.batches),
        groups=len(logical.groups),
        threads=plan.threads,
        backend=plan.backend.name,
        naive_macs=plan.naive_macs,
        planned_macs=plan.planned_macs,
        view_bytes=views,
        estimated_seconds=plan.seconds,
        measured_seconds=wall,
        cut=logical.network.nodes[logical.cut].name if logical.cut < len(logical.network) else None,
        because=_why_in_full(logical, history),
        bounded=logical.bounded,
        threshold=logical.threshold,
        tuned=tuned,
        frozen=len([name for name in logical.frozen if logical.network[name].operator.label == "expand"]),
        outside=tuple(node.operator.because for node in logical.network if isinstance(node.operator, Opaque)),
        rules=tuple(
            RuleLine(a.rule.name, a.fired, a.reason, round(a.seconds * 1e3, 3), not a.rule.exact) for a in history
        ),
        layers=tuple(lines),
    )


def _why_in_full(logical: LogicalPlan, history: Sequence[Applied]) -> str | None:
    """What ends the deltas at the cut; None where nothing does."""
    network, extents = logical.network, logical.extents()
    rest = [node for node in network.nodes[logical.cut :] if extents[node.name] is not None]
    if not rest:
        return None
    for applied in history:
        if applied.rule.name == incremental.RULE.name and not applied.fired:
            return f"rule {applied.rule.name}: {applied.reason}"
    node = rest[0]
    if isinstance(node.operator, Opaque):
        return "it is outside the vocabulary"
    spread = first_spread(network, logical.frozen)
    if spread < len(network) and not any(
        _fills(extents[each.name], each.shape.size) for each in network.nodes[logical.cut : spread]
    ):
        if isinstance(network.nodes[spread].operator, Opaque):
            return "what is outside the vocabulary needs whole maps"
        return f"{network.nodes[spread].name} brings what changed to every cell"
    box, size = extents[node.name] or node.shape.size, node.shape.size
    if size.area == 1:
        return "from here on there are only vectors, which change as a whole"
    return f"boxes there take {box.height}x{box.width} of {size.height}x{size.width} cells"


def _fills(box: Size | None, size: Size) -> bool:
    """Whether a box takes half of a map or more; a vector is no map."""
    return box is not None and size.area > 1 and 2 * box.area >= size.area


def render(explanation: Explanation, format: str) -> str:
    """The explanation in one of ``FORMATS``."""
    return {"text": _text, "json": _json, "dot": _dot}[format](explanation)


def _json(explanation: Explanation) -> str:
    return json.dumps(asdict(explanation), indent=2)


def _text(e: Explanation) -> str:
    positions = f"{e.positions:,} positions" + (
        f", {e.distinct:,} of them distinct" if e.distinct < e.positions else ""
    )
    ratio = f"ratio {e.naive_macs / e.planned_macs:.3g}" if e.planned_macs else "none to make"
    head = [
        e.query,
        "",
        f"{positions}, in {e.batches} batches of up to {e.largest_batch}, {e.groups} groups",
        f"multiply-adds: {_count(e.naive_macs)} naive, {_count(e.planned_macs)} planned, {ratio}",
        f"views: {e.view_bytes / 2**20:.1f} MiB; backend {e.backend}, threads {e.threads}",
        f"seconds: {e.estimated_seconds:.3g} estimated"
        + ("" if e.measured_seconds is None else f", {e.measured_seconds:.3g} measured"),
    ]
    head += [f"outside the vocabulary, evaluated in full by torch: {because}" for because in e.outside]
    if e.strategy:
        head.append(f"approximate: {e.strategy}")
    if e.threshold < 1:
        head.append(
            f"approximate: boxes take at most {e.threshold:g} of a map on either axis (equations 23 to 29)"
            + (f"; {e.tuned}" if e.tuned else "")
        )
    if e.frozen:
        head.append(f"approximate: {e.frozen} gates by the whole map keep the unmodified image's values")
    if e.bounded:
        head.append("boxes by the paper's upper bound (equations 15, 16 and 33)")
    if e.cut is not None:
        head.append(f"evaluated in full from {e.cut} on" + (f": {e.because}" if e.because else ""))
    return "\n".join([*head, "", str(_rules(e)), "", str(_layers(e))])


def _rules(e: Explanation) -> Table:
    timed = e.measured_seconds is not None  # only then, so that EXPLAIN alone prints the same each time
    rows = [
        (
            rule.name + (" [approx]" if rule.approximate else ""),
            "fired" if rule.fired else "no",
            *([rule.milliseconds] if timed else []),
            rule.reason,
        )
        for rule in e.rules
    ]
    return Table(("rule", "outcome", *(["ms"] if timed else []), "why not"), tuple(rows))


def _layers(e: Explanation) -> Table:
    timed = e.measured_seconds is not None
    rows = []
    for line in e.layers:
        params = " ".join(f"{key}={value}" for key, value in line.params.items())
        box, whole = (f"{size[0]}x{size[1]}" for size in (line.box, line.map))
        kernel = f"{line.kernel}, ring" if line.interior else line.kernel
        row: list[Any] = [line.stage, line.name, line.operator, kernel, box, whole, line.channels]
        numbers = [line.naive_macs / 1e9, line.planned_macs / 1e9, line.estimated_seconds]
        numbers += [line.measured_seconds or 0.0] if timed else []
        row += [float(f"{number:.3g}") for number in numbers]
        rows.append((*row, params))
    columns = ["stage", "layer", "operator", "kernel", "box", "of", "channels", "naive Gmac", "Gmac", "est s"]
    return Table((*columns, *(["real s"] if timed else []), "parameters"), tuple(rows))


def _count(number: int) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)


def _dot(e: Explanation) -> str:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    colours = {"deltas": "lightblue", "full": "lightyellow", "head": "lightgrey"}
    lines = ["digraph plan {", f"  label={quoted(e.query)};", "  node [shape=box, style=filled];"]
    names = {line.name for line in e.layers}
    for line in e.layers:
        box, whole = (f"{size[0]}x{size[1]}" for size in (line.box, line.map))
        label = f"{line.name}\n{line.operator} by {line.kernel}\n{box} of {whole} x {line.channels}"
        lines.append(f"  {quoted(line.name)} [label={quoted(label)}, fillcolor={colours.get(line.stage, 'white')}];")
    for line in e.layers:
        for source in line.inputs:
            style = "" if source in names else " [style=dashed]"  # the image, or a view that no position changes
            lines.append(f"  {quoted(source)} -> {quoted(line.name)}{style};")
    return "\n".join([*lines, "}"])
