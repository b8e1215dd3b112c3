"""What an execution measures: the time of each layer and stage, the positions evaluated, the multiply-adds made."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Measured:
    """Thread-seconds by layer and by stage, positions evaluated, multiply-adds made.

    ``cancelled`` counts the positions that were evaluated in full because a delta nearly cancelled its view.
    """

    layers: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    evaluated: int = 0
    macs: int = 0
    cancelled: int = 0

    def add(self, other: Measured) -> None:
        """Add what another group or round measured."""
        for mine, theirs in ((self.layers, other.layers), (self.stages, other.stages)):
            for name, seconds in theirs.items():
                mine[name] += seconds
        self.evaluated += other.evaluated
        self.macs += other.macs
        self.cancelled += other.cancelled


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time that the block takes to ``seconds[name]``; a block that raises is not counted."""
    start = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - start
