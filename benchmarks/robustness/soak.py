"""Part: a process that asks for maps of all kinds for an hour: its memory, threads and open files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.robustness.part import ROOT, Part, Row
from benchmarks.robustness.soaking import STEPS
from benchmarks.timing import markdown_table

MINUTES = int(os.environ.get("SOAK_MINUTES", "60"))
SETTLED = 1 / 6
"""The share of the time in which caches fill: 10 minutes of an hour."""
MOST_GROWTH = 1.05
"""Of memory, from then on."""


def examined(case: str) -> dict[str, Any]:
    """What the process said each minute."""
    command = [sys.executable, "-m", "benchmarks.robustness.soaking", case.split()[0]]
    samples = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            samples.append(json.loads(line))
            print(f"soak {_line(samples[-1])}", flush=True)
    return {"samples": samples, "status": process.returncode}


def settled(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """The least that was held of each at the end of the first minutes and at the end: of three samples each.

    A moment's measure has what the last few steps left for a while; what has leaked stays.
    """
    samples = row["samples"]
    count = max(1, round(len(samples) * SETTLED))
    return _least(samples[max(0, count - 1) : count + 2]), _least(samples[-3:])


def _least(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: min(each[key] for each in samples) for key in ("memory", "threads", "files", "objects", "maps")}


def failures(rows: Sequence[Row]) -> list[str]:
    """What grows, and whatever a step raised that is not an error of kdb's."""
    said = []
    for row in rows:
        if row["status"] or not row["samples"]:
            said.append(f"{row['case']}: the process ended with {row['status']}")
            continue
        before, after = settled(row)
        if after["memory"] > MOST_GROWTH * before["memory"]:
            said.append(f"{row['case']}: memory grew from {_megabytes(before)} to {_megabytes(after)}")
        for key in ("threads", "files"):
            if after[key] > before[key]:
                said.append(f"{row['case']}: {key} grew from {before[key]} to {after[key]}")
        said += [f"{row['case']}: {step}: {problem}" for step, problem in row["samples"][-1]["raw"].items()]
    return said


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Maps made."""
    return {"maps": sum(row["samples"][-1]["maps"] for row in rows if row["samples"])}


def report(rows: Sequence[Row]) -> str:
    """About a dozen samples of each run, and how much memory grew."""
    parts = [DESCRIPTION]
    for row in rows:
        if not row["samples"]:
            continue
        step = max(1, len(row["samples"]) // 12)
        shown = row["samples"][step - 1 :: step]
        lines = [
            [round(each["seconds"] / 60, 1), each["maps"], _megabytes(each), each["threads"], each["files"]]
            for each in shown
        ]
        before, after = settled(row)
        growth = after["memory"] / before["memory"] - 1
        parts += [
            markdown_table(["minutes", "maps", "memory", "threads", "open files"], lines),
            f"After the first {SETTLED:.0%} of the time memory changed by {growth:+.1%}, from {_megabytes(before)} to "
            f"{_megabytes(after)}.",
        ]
    return "\n\n".join(part.rstrip() for part in parts)


def _line(sample: Row) -> str:
    return f"{sample['seconds']} s  {_megabytes(sample)}  {sample['threads']} threads  {sample['maps']} maps"


def _megabytes(sample: Row) -> str:
    return f"{sample['memory'] / 1e6:.0f} MB"


def cases() -> list[str]:
    """One, where the system says what a process holds."""
    return [f"{MINUTES} minutes"] if Path("/proc/self/statm").exists() else []


DESCRIPTION = f"""\
One process runs steps of {len(STEPS)} kinds at random: {", ".join(step.replace("_", " ") for step in STEPS)}. Networks
are small, random, and new again and again. Resident memory may grow by {MOST_GROWTH - 1:.0%} after the first
{SETTLED:.0%} of the time, the threads and open files not at all. `SOAK_MINUTES` sets the time."""

PART = Part("soak", "Soak", cases, examined, report, failures, totals)
