"""The cost model: a machine's profile of rates, and the estimates that rules and lowering compare.

The profile is data, so that plans are reproducible: golden tests pass a fixed one.  Kernels declare the rates of a
machine that was not calibrated; :mod:`kdb.planner.calibration` measures those of one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

from kdb.geometry import Part, Size
from kdb.kernels.base import Backend
from kdb.kernels.cpu import backend as cpu
from kdb.kernels.gpu import backend as gpu
from kdb.kernels.kernel import Kernel, declared_rates
from kdb.kernels.work import ELEMENT, Rates, Work
from kdb.operators.base import Shape
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Pointwise
from kdb.planner.footprints import Core

DEFAULT, DATA_SHEET, MEASURED = "default", "H100, by its data sheet", "measured"
"""The names of profiles: of a CPU and a GPU that were not measured, and of a CPU that was; that of a GPU is its own."""


@dataclass(frozen=True)
class CostProfile:
    """The speed of one thread while all are busy: multiply-adds a second, by kind of work and width of the channels.

    ``bandwidth`` and ``derivation`` are bytes a second, of passes over arrays and of laying out a kernel's own layout
    of its weights; ``call`` is seconds.
    """

    name: str = DEFAULT
    rates: Mapping[str, Rates] = field(default_factory=lambda: declared_rates(cpu.KERNELS))
    bandwidth: float = 8.5e9
    derivation: float = 5e8
    call: float = 12e-6
    measured: str = ""
    """The day of the measurement, as in 2025-12-31; empty for a default, and for profiles of earlier versions."""

    @property
    def origin(self) -> str:
        """Where the rates come from: 'default', 'data sheet' or 'measured'."""
        return {DEFAULT: "default", DATA_SHEET: "data sheet"}.get(self.name, MEASURED)

    def listed(self) -> Iterator[tuple[str, int | None, float, str]]:
        """(work, width, rate, unit) of all it has; there is a width of multiply-adds alone."""
        for kind in sorted(self.rates):
            yield from ((kind, width, rate / 1e9, "Gmac/s") for width, rate in self.rates[kind])
        yield "passes over arrays", None, self.bandwidth / 1e9, "GB/s"
        yield "layouts of weights", None, self.derivation / 1e9, "GB/s"
        yield "a call", None, self.call * 1e6, "us"

    def rate(self, kind: str, width: int) -> float:
        """Multiply-adds a second; between two measured widths it is linear in the logarithm of the width."""
        points = self.rates[kind]
        if width <= points[0][0]:
            return points[0][1]
        for (low, slow), (high, fast) in pairwise(points):
            if width <= high:
                return slow + (fast - slow) * math.log(width / low) / math.log(high / low)
        return points[-1][1]

    def seconds(self, work: Work, n: int) -> float:
        """Estimated seconds of ``work``, which is per position, for a batch of ``n``."""
        arithmetic = work.macs / self.rate(work.kind, work.width) if work.macs else 0.0
        return n * (arithmetic + work.bytes / self.bandwidth) + work.weights / self.bandwidth + work.calls * self.call


def data_sheet_profile() -> CostProfile:
    """The profile of a GPU that was not calibrated: an H100's, by its data sheet."""
    rates = declared_rates(gpu.KERNELS)
    return CostProfile(DATA_SHEET, rates, bandwidth=2.4e12, derivation=1e9, call=1e-5)


TIE = 1.03
"""Estimates within this factor of the least are equal: of those, the kernel that the backend names first is taken."""


FUSED = 0.7
"""What a pointwise layer still takes on a host where the kernel before computes it, relative to a pass of its own: it
reads its view from memory, and computes the same."""


class Choice(NamedTuple):
    """The kernel chosen for a layer, its work for one position, and the estimated seconds of a batch."""

    kernel: Kernel
    work: Work
    seconds: float


def fusable(network: Network, node: Node) -> Node | None:
    """The pointwise layer that a kernel of ``node`` may compute in the same pass, its only reader; None without one."""
    if not node.operator.takes_epilogue:
        return None
    readers = network.readers(node.name)
    return readers[0] if len(readers) == 1 and isinstance(readers[0].operator, Pointwise) else None


class CostModel:
    """Compares kernels on one backend; ``allowed`` restricts convolutions to one of them where it can.

    ``positions`` is how many a query has in all: what is done once a query is spread over them.
    """

    def __init__(
        self, profile: CostProfile, backend: Backend, allowed: str | None = None, positions: float = math.inf
    ) -> None:
        self.profile = profile
        self.backend = backend
        self.allowed = allowed
        self.positions = positions
        self._known: dict[Hashable, Choice] = {}
        self._inferences: MutableMapping[Network, dict[int, float]] = WeakKeyDictionary()

    def _best(self, kernels: Sequence[Kernel], works: Sequence[Work], n: int, saved: Mapping[Kernel, float]) -> Choice:
        """The kernel with the least seconds less what it has ``saved`` elsewhere; the Choice has its own seconds."""
        choices = [Choice(kernel, work, self._seconds(work, n)) for kernel, work in zip(kernels, works, strict=True)]
        asked = [choice for choice in choices if self.allowed in (None, choice.kernel.setting)] or choices
        totals = [choice.seconds - saved.get(choice.kernel, 0.0) for choice in asked]
        bound = min(totals) + (TIE - 1) * abs(min(totals))
        return next(choice for choice, total in zip(asked, totals, strict=True) if total <= bound)

    def _seconds(self, work: Work, n: int) -> float:
        # Charged to every query, though the model keeps the form for the next one: plans are not to depend on history.
        once = work.derived / self.profile.derivation * min(n / self.positions, 1.0)
        return self.profile.seconds(work, n) + once

    def delta(self, network: Network, node: Node, extents: Mapping[str, Size | None], n: int) -> Choice | None:
        """The cheapest delta rule for a batch of ``n`` with these uniform ``extents``; None where there is none."""
        kernels = node.operator.kernels(self.backend)
        extent = extents[node.name]
        if not kernels or extent is None:
            return None
        shapes, inputs = network.input_shapes(node), tuple(extents[source] for source in node.inputs)
        behind = fusable(network, node) if self.backend.traits.fuses_epilogues else None
        key = (node.operator, *shapes, inputs, extent, n, behind and behind.operator)
        if key not in self._known:
            works = [node.operator.delta_work(kernel, shapes, inputs, node.shape, extent) for kernel in kernels]
            self._known[key] = self._best(kernels, works, n, self._saved(kernels, behind, node.shape, extent, n))
        return self._known[key]

    def _saved(
        self, kernels: Sequence[Kernel], behind: Node | None, shape: Shape, extent: Size, n: int
    ) -> Mapping[Kernel, float]:
        """By kernel, the seconds of the layer ``behind``, if the kernel computes that as well."""
        if behind is None or not isinstance(behind.operator, Pointwise):
            return {}
        by, *_ = behind.operator.kernels(self.backend)
        seconds = self._seconds(behind.operator.delta_work(by, [shape], [extent], shape, extent), n)
        left = seconds * (1 - FUSED if self.backend.traits.computes_on_host else 1)
        return {kernel: left for kernel in kernels if kernel.fuses(self.backend, behind.operator.program)}

    def ring(self, network: Network, node: Node, kernel: Kernel, cores: Sequence[Core]) -> float:
        """Seconds of all batches if ``kernel`` computes only the ring around their cores, which are filled in."""
        shapes, total = network.input_shapes(node), 0.0
        for core, batches in Counter(cores).items():  # most batches are alike
            seconds = 0.0
            # A strip reads about as many cells of the delta as it has itself.
            strips = (
                [Part((0,) * len(core.extent), core.extent)] if core.part is None else core.part.around(core.extent)
            )
            for _, extent in strips:
                work = node.operator.delta_work(kernel, shapes, (extent,), node.shape, extent)
                seconds += self._seconds(work, core.positions)
            if core.part is not None:  # strips are put in place, the constant less the view beside them
                moved = Work(
                    "elementwise", 0, 4 * ELEMENT * math.prod(core.extent) * node.shape.channels, 3 + len(strips)
                )
                seconds += self.profile.seconds(moved, core.positions)
            total += batches * seconds
        return total

    def full(self, network: Network, node: Node, n: int) -> Choice:
        """The cheapest full evaluation for a batch of ``n``."""
        kernels = node.operator.evaluation_kernels(self.backend)
        shapes = network.input_shapes(node)
        key = (node.operator, *shapes, n)
        if key not in self._known:
            works = [node.operator.full_work(kernel, shapes, node.shape) for kernel in kernels]
            self._known[key] = self._best(kernels, works, n, {})
        return self._known[key]

    def inference(self, network: Network, n: int) -> float:
        """Thread-seconds of full inference for a batch of ``n``."""
        known = self._inferences.setdefault(network, {})
        if n not in known:
            known[n] = sum(self.full(network, node, n).seconds for node in network.nodes[1:])
        return known[n]

    def materialize(self, shape: Shape, n: int) -> float:
        """Seconds to superimpose a batch of deltas on whole maps of their view."""
        return self.profile.seconds(Work("elementwise", 0, 3 * ELEMENT * shape.elements, 2), n)
