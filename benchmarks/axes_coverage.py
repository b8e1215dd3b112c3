"""How much of torchvision's video networks and MONAI's classifiers is incremental, what ends that, and whether it is
exact: on small inputs, at a few windows against the module in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.axes_case import Case
from benchmarks.axes_roster import Subject
from benchmarks.coverage import left_out
from benchmarks.timing import markdown_table
from kdb.execution.verification import CheckFailed
from kdb.operators.sources import Opaque
from kdb.planner.explain import explain

COMPARED = 3
"""Windows that are compared with float64."""
MAGNIFIED = 1e-2
"""Of the largest logit: a network with random weights whose own float32 is further off float64 tells nothing."""
HEADERS = (
    *(
        "network",
        "input",
        "window",
        "layers",
        "opaque",
        "incremental",
        "fewer multiply-adds",
        "in full from",
        "because",
    ),
    *("error", "verdict"),
)
DESCRIPTION = f"""\
Random weights, a lattice of windows next to one another.

- opaque: layers outside the vocabulary; PyTorch evaluates them in full.
- incremental: of all multiply-adds, those in layers that carry deltas.
- fewer multiply-adds: those of full inference for each window over those planned.
- error: the worst at {COMPARED} windows and of the image itself against the same module in float64, over what Exact
  allows.

A network is *incremental* if deltas are carried up to where its structure ends them: no layer outside the vocabulary
reads a map of which only a part changes.
"""


def covered(name: str, subject: Subject, threads: int) -> dict[str, Any]:
    """A row of the table."""
    case = Case(subject, threads, COMPARED)
    magnified = 0.0
    try:
        case.kdb()
    except CheckFailed:
        magnified = case.rounding()
        if magnified < MAGNIFIED:  # then it is not the module's own
            raise
    planned = case.engine.plan(case.traced.network, case.grid, subject.window, uniform=True)
    explained = explain("", planned.physical, planned.history, planned.context)
    network = planned.physical.logical.network
    deltas = sum(line.naive_macs for line in explained.layers if line.stage == "deltas")
    return {
        "network": name,
        "input": "x".join(map(str, subject.shape)),
        "window": "x".join(map(str, subject.window)),
        "layers": len(explained.layers),
        "opaque": sum(isinstance(node.operator, Opaque) for node in network),
        "share": deltas / max(explained.naive_macs, 1),
        "macs": explained.naive_macs / max(explained.planned_macs, 1),
        "cut": explained.cut or "-",
        "because": "; ".join(filter(None, [*explained.outside, explained.because])) or "-",
        "left_out": left_out([asdict(line) for line in explained.layers]),
        "error": 0.0 if magnified else case.error(np.arange(len(case.positions))),
        "magnified": magnified,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a row for each network."""
    return markdown_table(HEADERS, list(map(cells, rows)))


def cells(row: Mapping[str, Any]) -> list[Any]:
    """Those of a row."""
    keys = ("network", "input", "window", "layers", "opaque")
    reach = [f"{row['share']:.1%}", f"{row['macs']:.2f}x", row["cut"], row["because"]]
    verdict = "FAILS" if row["error"] > 1 else "in full, exact" if row["left_out"] else "incremental, exact"
    if row.get("magnified"):
        verdict = f"not comparable: its own float32 is {row['magnified']:.0%} off"
    return [*(row[key] for key in keys), *reach, row["error"], verdict]
