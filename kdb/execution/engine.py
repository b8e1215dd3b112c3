"""Plan, materialize, execute: what every evaluation is made of, be it of a query or of updates that none describes.

The engine owns what outlives a query: materialized views, rewritten networks and recent plans.  It resolves no names
and reads no files.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from kdb.execution.executor import Executor, Measured, Occlusion, Sink
from kdb.execution.settings import Settings, declared
from kdb.execution.views import MaterializedViews, ViewStore, materialize
from kdb.geometry import IntArray, Size
from kdb.kernels.base import Array
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.backend import GpuBackend
from kdb.operators.network import Network
from kdb.planner import calibration
from kdb.planner.cost import GPU_PROFILE, CostModel, CostProfile
from kdb.planner.lower import lower
from kdb.planner.optimize import Applied, Memo, optimize
from kdb.planner.plan import LogicalPlan, PhysicalPlan
from kdb.planner.presets import PRESETS, Preset
from kdb.planner.rules import RULES, Context
from kdb.system.threads import computing, limited_pools

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told (positions finished, positions in all) now and then, in the thread that called."""

PLANS_KEPT = 16
BUFFER_BYTES = 512 << 20
"""Of maps gathered between stages, over all workers."""
DEVICE_BUFFER_BYTES, DEVICE_BUFFER_POSITIONS = 512 << 20, 1024
"""The same on a GPU, and how many positions are gathered at most: its one worker wants few, large batches."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A physical plan, what each rule did, the seconds that planning took, and the context that it was planned in."""

    physical: PhysicalPlan
    history: tuple[Applied, ...]
    seconds: float
    context: Context


def default_settings() -> Settings:
    """All that SET can change, as it is at first."""
    return Settings(declared([(rule.name, rule.summary) for rule in RULES], tuple(PRESETS)))


class Engine:
    """Plans and runs queries under ``settings``; ``kept`` finds the profile that was measured on a machine so named."""

    def __init__(self, settings: Settings, kept: Callable[[str], CostProfile | None] = calibration.kept) -> None:
        self.settings, self._kept = settings, kept
        self._profiles: dict[str, CostProfile] = {}
        self.views = ViewStore(0)
        self._rewritten: Memo = WeakKeyDictionary()
        self._plans: OrderedDict[Hashable, tuple[Network, Planned]] = OrderedDict()

    def profile(self, threads: int) -> CostProfile:
        """What plans for so many threads are costed by: the machine's own profile where one was measured."""
        return self._profile(calibration.machine(threads), CostProfile())

    def _profile(self, machine: str, default: CostProfile) -> CostProfile:
        if machine not in self._profiles:
            self._profiles[machine] = found = self._kept(machine) or default
            log.debug("plans for machine %s are costed by the profile %r", machine, found.name)
        return self._profiles[machine]

    def calibrate(self) -> Mapping[str, CostProfile]:
        """Measure this machine with the threads that are set, and its GPU if any; kept for later processes too.

        By the machines' names.
        """
        threads, device = self.settings["threads"], gpu.found()
        measured = {calibration.machine(threads): calibration.measure(threads)}
        if device is not None:
            measured[calibration.device_machine(device)] = calibration.measure_device(device)
        for machine, profile in measured.items():
            self._profiles[machine] = profile
            calibration.keep(profile, machine)
        self._plans.clear()
        return measured

    def plan(
        self,
        network: Network,
        positions: IntArray,
        patch: Size,
        precision: str = "fp32",
        uniform: bool = False,
        threshold: float | None = None,
        freeze: bool = False,
        device: str = "cpu",
    ) -> Planned:
        """The physical plan; no pixel is looked at.  Recent plans are kept: the images of a glob share one.

        ``positions`` int64 [n, 2] are the (y, x) of the patch, which may be clipped at the image's far edges.
        ``precision`` bf16 permits kernels for deltas that round to fewer bits than float32; tf32 a CPU does not have.
        ``device`` is cpu, gpu, or auto: a GPU where there is one and it is expected to take less time.  Raises
        DeviceError where there is none and gpu is asked for.
        ``uniform`` promises a patch of one colour; ``threshold`` permits boxes of that share of a map at most,
        ``freeze`` gates that keep the unmodified image's values.
        """
        chosen = tuple((setting.name, value) for setting, value in self.settings)
        digest = hashlib.sha256(positions.tobytes()).digest()
        key = (id(network), digest, patch, precision, uniform, threshold, freeze, device, chosen)
        found = self._plans.get(key)
        if found is None:
            # Kept with its network: as long as it is, no other object takes that id.
            naive = LogicalPlan.naive(network, positions, patch, self._preset.bounded, uniform)
            contexts = self._contexts(device, precision, threshold, freeze, len(positions))
            planned = min((self._plan(naive, context) for context in contexts), key=lambda p: p.physical.seconds)
            found = self._plans[key] = network, planned
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return found[1]

    @property
    def _preset(self) -> Preset:
        return PRESETS[self.settings["preset"]]

    def _contexts(
        self, asked: str, precision: str, threshold: float | None, freeze: bool, positions: int
    ) -> Iterator[Context]:
        """The surroundings to plan in, one for each device that comes into question."""
        preset = self._preset
        kernels = preset.kernels if self.settings["kernels"] == "auto" else self.settings["kernels"]
        native, allowed = kernels == "native", None if kernels in ("auto", "native") else kernels
        batch_size = self.settings["batch_size"]
        if asked != "gpu":
            threads = self.settings["threads"]
            backend = CpuBackend(native, reduced=precision == "bf16")
            costs = CostModel(self.profile(threads), backend, allowed, positions)
            size, room = batch_size or preset.batch_size, BUFFER_BYTES // threads
            yield Context(costs, threads, size, room, threshold=threshold, freeze=freeze)
        device = None if asked == "cpu" else gpu.found() if asked == "auto" else gpu.opened()
        if device is not None:
            megabytes = self.settings["memory_limit"]
            limit = None if megabytes is None else megabytes << 20
            profile = self._profile(calibration.device_machine(device), GPU_PROFILE)
            costs = CostModel(profile, GpuBackend(device, native, precision, limit), allowed, positions)
            room = DEVICE_BUFFER_BYTES if limit is None else min(DEVICE_BUFFER_BYTES, limit // 8)
            size = batch_size or preset.device_batch_size
            size = None if size is None else min(size, gpu.MOST_POSITIONS)
            yield Context(costs, 1, size, room, DEVICE_BUFFER_POSITIONS, threshold, freeze)

    def _plan(self, naive: LogicalPlan, context: Context) -> Planned:
        start = time.perf_counter()
        without = self._preset.without
        switches = {rule.name: self.settings[f"rule.{rule.name}"] and rule.name not in without for rule in RULES}
        logical, history = optimize(naive, context, switches, memo=self._rewritten)
        physical = lower(logical, context)
        return Planned(physical, history, time.perf_counter() - start, context)

    def materialize(self, plan: PhysicalPlan, identity: str, image: Array) -> tuple[MaterializedViews, bool]:
        """The views that ``plan`` reads, of ``image`` [H, W, C] as the network takes it, and whether they were there.

        ``identity`` tells this model from all others, by its weights too.  Raises ExecutionError where the output for
        the image is not finite.
        """
        network = plan.logical.network
        self.views.budget = self.settings["view_budget"] << 20
        self.views.trim()  # the budget may have been lowered since
        # The rewritten network's digest, since views are of its layers; the identity, since digests name no weights.
        digest = hashlib.sha256(image).hexdigest()
        key = (identity, network.digest, plan.backend.name, image.shape, digest)

        def compute(wanted: Collection[str]) -> MaterializedViews:
            def work() -> MaterializedViews:
                with computing(plan.threads), plan.backend.running():
                    return materialize(network, image, plan.backend, wanted)

            with limited_pools(plan.threads, plan.backend.host):
                return plan.backend.threads.call(work)

        return self.views.get(key, plan.views, compute)

    def execute(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        progress: Progress | None = None,
        analyze: bool = False,
    ) -> Measured:
        """Hand the logits of every position to ``sink``; raises what it does, ExecutionError and Interrupted.

        To ``analyze`` is to measure a device's own time, layer by layer, at the price of waiting for each.
        """
        total = len(plan.logical.positions)
        tell = None if progress is None else lambda done: progress(done, total)
        return Executor(plan.threads).run(plan, views, occlusion, sink, tell, analyze)
