"""An explanation of a plan as text, JSON or a graph in dot."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from kdb.errors import printable
from kdb.planner.explain import Explanation
from kdb.planner.memory import Memory
from kdb.results.tables import Table
from kdb.results.wording import compared, count, seconds, size, times

FORMATS = ("text", "json", "dot")

WIDTH = 100
"""Columns that the table of layers takes at most."""
OPERATOR_WIDTH = 13


def render(explanation: Explanation, format: str) -> str:
    """The explanation in one of ``FORMATS``."""
    return {"text": _text, "json": _json, "dot": _dot}[format](explanation)


def _json(explanation: Explanation) -> str:
    memory = explanation.memory
    sizes: dict[str, int | None] = {
        "view_bytes": memory.views,
        "worker_bytes": memory.worker,
        "scratch_bytes": memory.scratch,
    }
    sizes |= {
        "layout_bytes": memory.layouts,
        "result_bytes": memory.result,
        "peak_bytes": memory.total,
        "memory_limit": memory.limit,
    }
    facts = {**asdict(explanation), "workers": memory.workers, **sizes, "lines": _lines(explanation)}
    del facts["memory"]
    return json.dumps(facts, indent=2)


def _text(e: Explanation) -> str:
    return "\n".join([e.query, "", *_summary(e), *_notes(e), "", str(_rules(e)), "", str(_stages(e)), "", _layers(e)])


def _summary(e: Explanation) -> list[str]:
    distinct = f", {e.distinct:,} of them distinct," if e.distinct < e.positions else ""
    time = f"{seconds(e.estimated_seconds)} expected"
    time += "" if e.measured_seconds is None else f", {seconds(e.measured_seconds)} measured"
    time += f"; full inference {seconds(e.naive_seconds)}"
    if e.estimated_seconds > 0:
        time += f", {times(e.naive_seconds / e.estimated_seconds)} times as long"
    arithmetic = "none"
    if e.planned_macs:
        speedup = compared(e.naive_macs / e.planned_macs, what="")
        arithmetic = f"{speedup}: {count(e.planned_macs)} of {count(e.naive_macs)} multiply-adds"
    return [
        f"positions   {e.positions:,}{distinct} in {_number(e.batches, 'batch', 'batches')} of up to {e.largest_batch}"
        f", {_number(e.groups, 'group')}",
        f"time        {time}",
        f"arithmetic  {arithmetic}",
        *([f"scored      {e.region}{_unreached(e)}"] if e.region else []),
        f"memory      {_memory(e.memory)}",
        f"device      {e.backend}, {_number(e.threads, 'thread')}",
        f"rates       {e.rates}",
        *([f"check       {e.check}"] if e.check else []),
    ]


def _lines(e: Explanation) -> list[str]:
    """What the text says besides numbers and tables."""
    scored = [f"scored: {e.region}{_unreached(e)}"] if e.region else []
    return [*scored, *([f"check: {e.check}"] if e.check else []), f"rates: {e.rates}", *_notes(e)]


def _unreached(e: Explanation) -> str:
    return f"; {_number(e.unreached, 'position does', 'positions do')} not reach it" if e.unreached else ""


def _memory(m: Memory) -> str:
    """What is expected, and of what."""
    parts = [f"{size(m.result)} of result"] if m.result else []
    if m.workers:
        parts.append(f"{size(m.views)} of views")
        parts += [f"{size(m.layouts)} of layouts"] if m.layouts else []
        each = f"each of {m.workers} workers" if m.workers > 1 else "one worker"
        parts.append(f"{size(m.worker)} and {size(m.scratch)} of scratch in {each}")
    else:
        parts.append(f"{size(m.check)} in the model itself")
    text = f"{size(m.total)} beside weights: {', '.join(parts)}"
    # What is available changes all the time, and EXPLAIN prints the same each time.
    return text if m.limit is None or m.is_auto else f"{text}; {size(m.limit)} allowed"


def _number(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def _notes(e: Explanation) -> list[str]:
    """What is approximate, what is evaluated in full, and why; and what was assumed."""
    notes = [f"outside the vocabulary, evaluated by PyTorch: {each}" for each in e.outside]
    if e.strategy:
        notes.append(f"approximate: {e.strategy}")
    if e.threshold < 1:
        notes.append(
            f"approximate: boxes take at most {e.threshold:g} of a map on either axis (equations 23 to 29)"
            + (f"; {e.tuned}" if e.tuned else "")
        )
    if e.live:
        notes.append(
            f"approximate: {e.live} gates by the whole map follow it in the boxes, and to first order outside of them"
        )
    if e.frozen:
        notes.append(f"approximate: {e.frozen} gates by the whole map keep the unmodified image's values")
    if e.watched:
        notes.append(f"positions that nearly cancel what {', '.join(e.watched)} reads are evaluated in full")
    if e.bounded:
        notes.append("boxes by the paper's upper bound (equations 15, 16 and 33)")
    if e.cut is not None:
        notes.append(f"evaluated in full from {e.cut} on" + (f": {e.because}" if e.because else ""))
    return notes + [f"note: {printable(each)}" for each in e.notes]


def _rules(e: Explanation) -> Table:
    timed = e.measured_seconds is not None  # only then, so that EXPLAIN alone prints the same each time
    rows = [
        (
            rule.name + (" [approx]" if rule.approximate else ""),
            "applied" if rule.fired else "no",
            *([rule.milliseconds] if timed else []),
            rule.reason,
        )
        for rule in e.rules
    ]
    return Table(("rule", "outcome", *(["ms"] if timed else []), "why not"), tuple(rows))


def _stages(e: Explanation) -> Table:
    timed = e.measured_seconds is not None
    rows = []
    for stage in (stage for stage in e.stages if stage.layers):
        batch = stage.batch or e.largest_batch
        numbers = [stage.naive_macs / 1e9, stage.planned_macs / 1e9, stage.estimated_seconds]
        numbers += [stage.measured_seconds or 0.0] if timed else []
        rows.append((stage.name, stage.layers, batch, *map(_rounded, numbers)))
    columns = ("stage", "layers", "batch", "naive Gmac", "Gmac", "est s")
    return Table((*columns, *(["real s"] if timed else [])), tuple(rows))


def _layers(e: Explanation) -> str:
    """The table of layers, at most ``WIDTH`` columns wide: long names are shortened."""
    timed = e.measured_seconds is not None
    rows: list[tuple[Any, ...]] = []
    for line in e.layers:
        box, whole = ("x".join(map(str, each)) for each in (line.box, line.map))
        kernel = f"{line.kernel}, ring" if line.interior else line.kernel
        numbers = [line.planned_macs / 1e6, line.estimated_seconds * 1e3]
        numbers += [(line.measured_seconds or 0.0) * 1e3] if timed else []
        operator = _shortened(line.operator, OPERATOR_WIDTH)
        read = f"{whole}x{line.channels}" if line.map == line.whole else f"{whole} of {'x'.join(map(str, line.whole))}"
        rows.append((line.stage, line.name, operator, kernel, box, read, *map(_rounded, numbers)))
    columns: tuple[str, ...] = ("stage", "layer", "operator", "kernel", "box", "of map", "Mmac", "est ms")
    columns += ("real ms",) if timed else ()
    text = str(Table(columns, tuple(rows)))
    if (excess := max(map(len, text.splitlines())) - WIDTH) > 0:
        room = max(len(line.name) for line in e.layers) - excess
        text = str(Table(columns, tuple((row[0], _shortened(row[1], room, tail=True), *row[2:]) for row in rows)))
    return text


def _shortened(text: str, width: int, tail: bool = False) -> str:
    if len(text) <= width:
        return text
    return "..." + text[3 - width :] if tail else text[: width - 3] + "..."


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")


def _dot(e: Explanation) -> str:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'

    colours = {"deltas": "lightblue", "full": "lightyellow", "head": "lightgrey"}
    lines = ["digraph plan {", f"  label={quoted(e.query)};", "  node [shape=box, style=filled];"]
    names = {line.name for line in e.layers}
    for line in e.layers:
        box, whole = ("x".join(map(str, each)) for each in (line.box, line.map))
        label = f"{line.name}\n{line.operator} by {line.kernel}\n{box} of {whole} x {line.channels}"
        lines.append(f"  {quoted(line.name)} [label={quoted(label)}, fillcolor={colours.get(line.stage, 'white')}];")
    for line in e.layers:
        for source in line.inputs:
            style = "" if source in names else " [style=dashed]"  # the image, or a view that no position changes
            lines.append(f"  {quoted(source)} -> {quoted(line.name)}{style};")
    return "\n".join([*lines, "}"])
