"""All parts, in the order in which they run."""

from __future__ import annotations

from benchmarks.robustness import cancelling, crashes, fuzzed, memory, modules, mutants, sabotage, soak, stale
from benchmarks.robustness.part import Part

PARTS: tuple[Part, ...] = (
    modules.PART,
    cancelling.PART,
    stale.PART,
    sabotage.PART,
    fuzzed.QUERIES,
    fuzzed.FILES,
    crashes.PART,
    memory.PART,
    soak.PART,
    mutants.PART,
)
