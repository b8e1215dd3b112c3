"""What work costs: a profile of rates, and the estimates that rules and lowering compare.

The profile is data, so that plans are reproducible: golden tests pass a fixed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdb.geometry import Size
from kdb.kernels.base import Backend
from kdb.network import Network, Node
from kdb.operators.base import ELEMENT, Shape, Work

DEFAULT_RATES = {
    "direct.wide": 57e9,
    "direct.narrow": 30e9,
    "direct.depthwise": 6e9,
    "winograd": 38e9,
    "taps.wide": 50e9,
    "taps.narrow": 15e9,
    "taps.depthwise": 2e9,
    "dense": 50e9,
    "bf16.wide": 115e9,
    "bf16.narrow": 37e9,
    "bf16.depthwise": 3e9,
    "dense.bf16": 90e9,
}


@dataclass(frozen=True)
class CostProfile:
    """Rates of one thread: multiply-adds a second by kind of work, bytes a second, seconds a call."""

    name: str = "default"
    rates: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_RATES))
    bandwidth: float = 8e9
    call: float = 12e-6

    def seconds(self, work: Work, n: int) -> float:
        """Time of ``work`` (given per position) for a batch of ``n``."""
        arithmetic = work.macs / self.rates[work.kind] if work.macs else 0.0
        return n * (arithmetic + work.bytes / self.bandwidth) + work.calls * self.call


@dataclass(frozen=True)
class Choice:
    """A kernel for one layer, and what a batch of it is expected to cost."""

    kernel: str
    work: Work
    seconds: float


class CostModel:
    """Compares kernels on one backend; ``allowed`` restricts convolutions to one of them where it can."""

    def __init__(self, profile: CostProfile, backend: Backend, allowed: str | None = None) -> None:
        self.profile = profile
        self.backend = backend
        self.allowed = allowed

    def _best(self, kernels: Sequence[str], works: Sequence[Work], n: int) -> Choice:
        choices = [
            Choice(kernel, work, self.profile.seconds(work, n)) for kernel, work in zip(kernels, works, strict=True)
        ]
        asked = [choice for choice in choices if choice.kernel == self.allowed]
        return min(asked or choices, key=lambda choice: choice.seconds)

    def delta(self, network: Network, node: Node, extents: Mapping[str, Size | None], n: int) -> Choice | None:
        """The cheapest delta rule for a batch of ``n`` with these uniform ``extents``; None where there is none."""
        kernels = node.operator.kernels(self.backend)
        extent = extents[node.name]
        if not kernels or extent is None:
            return None
        shapes, inputs = network.input_shapes(node), [extents[source] for source in node.inputs]
        works = [node.operator.delta_work(kernel, shapes, inputs, node.shape, extent) for kernel in kernels]
        return self._best(kernels, works, n)

    def full(self, network: Network, node: Node, n: int) -> Choice:
        """The cheapest full evaluation for a batch of ``n``."""
        kernels = node.operator.evaluation_kernels(self.backend)
        shapes = network.input_shapes(node)
        return self._best(kernels, [node.operator.full_work(kernel, shapes, node.shape) for kernel in kernels], n)

    def materialize(self, shape: Shape, n: int) -> float:
        """Seconds to lay a batch of deltas on whole maps of their view."""
        return self.profile.seconds(Work("elementwise", 0, 3 * ELEMENT * shape.elements, 2), n)
