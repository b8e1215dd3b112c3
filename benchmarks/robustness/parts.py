"""All parts, in the order in which they run."""

from __future__ import annotations

from benchmarks.robustness import cancelling, memory, modules, mutants, sabotage, soak, stale
from benchmarks.robustness.part import Part

PARTS: tuple[Part, ...] = (
    modules.PART,
    cancelling.PART,
    stale.PART,
    sabotage.PART,
    memory.PART,
    soak.PART,
    mutants.PART,
)
