"""Two parts: a million mutated queries, and damaged files of all kinds that kdb opens.

Seeds are fresh for each case and kept in its row: ``hostile.guard.watched(prepare, seed, count)`` repeats it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.robustness.hostile.guard import BYTES, FAULTS, SECONDS, watched
from benchmarks.robustness.hostile.targets import TARGETS
from benchmarks.robustness.part import Part, Row
from benchmarks.timing import markdown_table


def cases(names: Sequence[str]) -> list[str]:
    """The cases of some targets, so many attempts each."""
    return [
        f"{name} {number:03}" for name in names for number in range(1, TARGETS[name].count // TARGETS[name].each + 1)
    ]


def examined(case: str) -> dict[str, Any]:
    """What the attempts of one case led to."""
    name, seed = case.split()[0], random.SystemRandom().randrange(1 << 32)
    found = watched(TARGETS[name].prepare, seed, TARGETS[name].each)
    return {"seed": seed, **vars(found), "outcomes": dict(found.outcomes)}


def failures(rows: Sequence[Row]) -> list[str]:
    """Attempts that led to anything but an answer or an error of kdb's."""
    said = []
    for row in rows:
        bad = {name: row["outcomes"][name] for name in FAULTS if name in row["outcomes"]}
        if bad:
            counts = ", ".join(f"{name} {count}" for name, count in bad.items())
            said.append(f"{row['case']} (seed {row['seed']}): {counts}; {'; '.join(row['details'])}")
    return said


def _added(rows: Sequence[Row]) -> tuple[int, int, int, float, int]:
    """Attempts, answers, faults, the slowest attempt in seconds, the largest growth of a process in bytes."""
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes.update(row["outcomes"])
    faults = sum(outcomes[name] for name in FAULTS)
    slowest, growth = max((row["slowest"] for row in rows), default=0), max((row["growth"] for row in rows), default=0)
    return outcomes.total(), outcomes["answered"], faults, slowest, growth


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Attempts by what they led to."""
    attempts, answered, faults, _, _ = _added(rows)
    return {"attempts": attempts, "answered": answered, "refused": attempts - answered - faults, "faults": faults}


HEADERS = ("target", "attempts", "answered", "refused", *FAULTS, "slowest s", "growth MB")


def report(rows: Sequence[Row]) -> str:
    """A line for each target."""
    lines = []
    for name in dict.fromkeys(row["case"].split()[0] for row in rows):
        mine = [row for row in rows if row["case"].split()[0] == name]
        attempts, answered, faults, slowest, growth = _added(mine)
        kinds = [sum(row["outcomes"].get(kind, 0) for row in mine) for kind in FAULTS]
        lines.append([name, attempts, answered, attempts - answered - faults, *kinds, slowest, round(growth / 1e6)])
    return f"{DESCRIPTION}\n\n{markdown_table(HEADERS, lines)}"


DESCRIPTION = f"""\
Attempts with fresh seeds, each in a process that is watched. There may be none of these:

- raw: an exception that is not kdb's, or an error without a message.
- forbidden: a program was started, a file changed outside the process's folder, or a connection made.
- crashed: the process ended.
- slow: an attempt took over {SECONDS:g} s.
- large: the process grew by over {BYTES >> 30} GB."""

QUERIES = Part("queries", "Mutated queries", lambda: cases(["queries"]), examined, report, failures, totals)
OPENED = [name for name in TARGETS if name != "queries"]
FILES = Part("files", "Damaged files", lambda: cases(OPENED), examined, report, failures, totals)
