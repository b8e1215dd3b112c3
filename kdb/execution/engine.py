"""The engine plans, materializes and executes; it is used by queries and by the captum adapter.

The engine owns what outlives a query: materialized views, rewritten networks and recent plans.  It resolves no names
and reads no files.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from weakref import WeakKeyDictionary

import numpy as np

from kdb.errors import DeviceError, ExecutionError
from kdb.execution.bisection import to_blame
from kdb.execution.cancellation import MOST
from kdb.execution.changes import Changes
from kdb.execution.executor import Executor, Outcome, Sink
from kdb.execution.occlusion import Occlusion
from kdb.execution.settings import Settings, declared, most_threads
from kdb.execution.verification import AT_ONCE, Compared, Reference, wanted
from kdb.execution.views import MaterializedViews, Output, ViewStore
from kdb.geometry import IntArray, Laid
from kdb.kernels.base import Array, Backend
from kdb.kernels.compiled import library as compiled
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.backend import GpuBackend
from kdb.operators.gates import Adjoint, Corrections, Given, Places, summed
from kdb.operators.inference import gradients, materialize
from kdb.operators.network import Network
from kdb.planner import calibration
from kdb.planner.cost import CostModel, CostProfile, data_sheet_profile
from kdb.planner.lower import lower
from kdb.planner.memory import Memory, memory
from kdb.planner.optimize import Applied, Memo, optimize
from kdb.planner.permissions import EXACT, Permissions
from kdb.planner.plan import LogicalPlan, PhysicalPlan
from kdb.planner.presets import PRESETS, Preset
from kdb.planner.rules import RULES, Context, incremental
from kdb.system.memory import ADVICE, MEGABYTE, available, within
from kdb.system.threads import computing, limited_pools, quiet

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (positions finished, positions in all) now and then, in the thread that called the engine."""

PLANS_KEPT = 16
GPU_AXES = 2
"""The kernels on a GPU are of images."""
POSITION_BYTES = 300
"""What planning takes for a position: its boxes in some layers, and its batch of its own before any rule."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A physical plan, what each rule did to it, and the context that it is for.

    ``network`` is the one that was planned for, before any rule rewrote it; ``memory`` is what the plan takes.
    """

    network: Network
    physical: PhysicalPlan
    history: tuple[Applied, ...]
    context: Context
    memory: Memory

    @property
    def naive(self) -> bool:
        """Whether nothing is computed incrementally, on the host, so that the model itself may as well be run."""
        host = self.physical.backend.traits.computes_on_host
        return host and not any(applied.fired for applied in self.history if applied.rule is incremental.RULE)


def default_settings() -> Settings:
    """Every setting, at its default."""
    return Settings(declared([(rule.name, rule.summary) for rule in RULES], tuple(PRESETS)))


class Engine:
    """Plans and runs queries under ``settings``.

    ``kept`` takes the name of a machine and returns the cost profile stored for it, or None.  Raises BindError where
    KDB_COMPILED names no compiled kernels that there are.
    """

    def __init__(self, settings: Settings, kept: Callable[[str], CostProfile | None] = calibration.kept) -> None:
        compiled.found()  # a wrong KDB_COMPILED is told at once
        self.settings, self._kept = settings, kept
        self._profiles: dict[str, CostProfile] = {}
        self.views = ViewStore(0)
        self.compared = Compared()
        self._rewritten: Memo = WeakKeyDictionary()
        self._serial, self._serials = count(), WeakKeyDictionary[Network, int]()
        self._plans: OrderedDict[Hashable, tuple[Network, Planned]] = OrderedDict()
        self._costs: OrderedDict[Hashable, CostModel] = OrderedDict()

    def profile(self, threads: int) -> CostProfile:
        """The cost profile of this machine at ``threads`` workers: the measured one if stored, else the default."""
        return self._profile(calibration.machine(threads), CostProfile())

    def _profile(self, machine: str, default: CostProfile) -> CostProfile:
        if machine not in self._profiles:
            self._profiles[machine] = found = self._kept(machine) or default
            log.debug("plans for machine %s are costed by the profile %r", machine, found.name)
        return self._profiles[machine]

    def calibrate(self) -> Mapping[str, CostProfile]:
        """Measure this machine at the number of threads that is set, and its GPU if any; store it for later processes.

        Returns the profiles by the machines' names.
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

    def rates(self) -> Mapping[str, tuple[str, CostProfile]]:
        """By their machines' names, the devices that are planned for and the profiles that they are costed by."""
        threads, device = self.settings["threads"], gpu.found()
        found = {calibration.machine(threads): ("cpu", self.profile(threads))}
        if device is not None:
            name = calibration.device_machine(device)
            found[name] = device.title, self._profile(name, data_sheet_profile())
        return found

    def machines(self) -> list[str]:
        """The names of this machine with any number of threads, and that of its GPU."""
        device = gpu.found()
        on_host = calibration.machines(most_threads())
        return on_host if device is None else [*on_host, calibration.device_machine(device)]

    def forget_profiles(self) -> None:
        """Forget what was measured of all :meth:`machines`, also for later processes."""
        for machine in self.machines():
            self._profiles.pop(machine, None)
            calibration.forget(machine)
        self._plans.clear()

    def plan(
        self,
        network: Network,
        positions: IntArray,
        patch: Laid,
        permissions: Permissions = EXACT,
        *,
        uniform: bool = False,
        result: int = 0,
        asked: int | None = None,
    ) -> Planned:
        """The physical plan; no pixel is looked at.  Recent plans are kept: the images of a glob share one.

        ``positions`` int64 [n, axes] are the corners of the ``patch``, which may be clipped at the image's far edges,
        or the places by which segments are known.
        With ``uniform`` the caller promises that the patch is of one colour; a plan that relies on it is wrong for
        any other.  Batches are as small as it takes for the plan, the ``result`` in bytes, and the check of the map to
        fit into memory; the map has ``asked`` positions in all its rounds, by default those of this plan.

        Raises DeviceError where a GPU is asked for and there is none, or none for so many axes, ExecutionError where no
        batch is small enough.
        """
        limit = self._limit()
        most = available() if limit is None else limit
        within(result + POSITION_BYTES * len(positions), f"a map of {len(positions):,} positions", most, limit is None)
        planned = self._kept_plan(network, positions, patch, permissions, uniform)
        logical = planned.physical.logical
        size = logical.full_batch if logical.by_model else max(map(len, logical.batches))
        compared = min((wanted(self.settings["verify"], len(positions) if asked is None else asked) or 0) + 1, AT_ONCE)
        while True:
            taken = memory(planned.physical, result, most, limit is None, compared, network)
            if taken.fits or most is None or not planned.physical.backend.traits.computes_on_host:
                return replace(planned, memory=taken)
            if size == 1:
                derives = "; SET kernels = direct derives no layouts" if taken.layouts else ""
                raise ExecutionError(f"the query needs {taken.said()}; {ADVICE}{derives}")
            size = -(-size // 2)
            # A power of two, so that plans are found again though what is available changes all the time.
            room = 1 << (most // (4 * planned.physical.threads)).bit_length() >> 1
            planned = self._kept_plan(network, positions, patch, permissions, uniform, size, room)

    def _limit(self) -> int | None:
        """What SET memory_limit allows, in bytes; None for what is available."""
        limit: int | None = self.settings["memory_limit"]
        return None if limit is None else limit * MEGABYTE

    def _kept_plan(
        self,
        network: Network,
        positions: IntArray,
        patch: Laid,
        permissions: Permissions,
        uniform: bool,
        size: int | None = None,
        room: int | None = None,
    ) -> Planned:
        """The plan with batches of at most ``size`` positions, and ``room`` bytes for what a worker gathers."""
        chosen = tuple((setting.name, value) for setting, value in self.settings)
        digest = hashlib.sha256(positions.tobytes()).digest()
        key = (id(network), digest, patch, uniform, permissions, chosen, size, room)
        found = self._plans.get(key)
        if found is None:
            # Kept with its network: as long as it is, no other object takes that id.
            naive = LogicalPlan.naive(network, positions, patch, self._preset.bounded, uniform)
            contexts = self._contexts(permissions, *positions.shape)
            if size is not None and room is not None:
                contexts = (
                    replace(each, batch_size=size, buffer_bytes=min(each.buffer_bytes, room)) for each in contexts
                )
            planned = min((self._plan(naive, context) for context in contexts), key=lambda p: p.physical.seconds)
            found = self._plans[key] = network, planned
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return found[1]

    def forget(self, network: Network) -> None:
        """Let go of the plans of a network and of what the rules made of it; views of recent images stay."""
        for key, (held, _) in list(self._plans.items()):
            if held is network:
                self._plans.pop(key, None)
        self._rewritten.pop(network, None)
        self._costs.clear()

    @property
    def _preset(self) -> Preset:
        return PRESETS[self.settings["preset"]]

    def _contexts(self, permissions: Permissions, positions: int, axes: int) -> Iterator[Context]:
        """A context to plan in for each device that the query permits, for so many ``positions`` in so many axes."""
        preset = self._preset
        kernels = preset.kernels if self.settings["kernels"] == "auto" else self.settings["kernels"]
        native, allowed = kernels == "native", None if kernels in ("auto", "native") else kernels
        for backend, profile in self._backends(permissions, native, axes):
            traits, costs = backend.traits, self._cost_model(profile, backend, allowed, positions)
            workers = traits.workers or self.settings["threads"]
            usual = preset.batch_size if traits.computes_on_host else preset.device_batch_size
            size = self.settings["batch_size"] or usual
            if size is not None and traits.most_positions is not None:
                size = min(size, traits.most_positions)
            room = traits.buffer_bytes // workers
            compared = (wanted(self.settings["verify"], positions) or 0) + (self.settings["verify"] is not False)
            yield Context(costs, workers, size, room, traits.buffer_positions, permissions, compared)

    def _cost_model(self, profile: CostProfile, backend: Backend, allowed: str | None, positions: int) -> CostModel:
        """That of a host is kept, with the costs that it found: they are most of what a plan of few positions takes."""
        positions = 1 << (positions - 1).bit_length()  # what is done once a query weighs about as much
        if not backend.traits.computes_on_host:
            return CostModel(profile, backend, allowed, positions)
        key = backend.title, tuple(kernel.name for kernel in backend.kernels.dense_deltas), allowed, positions
        found = self._costs.get(key)
        if found is None or found.profile is not profile:
            found = self._costs[key] = CostModel(profile, backend, allowed, positions)
            if len(self._costs) > PLANS_KEPT:
                self._costs.popitem(last=False)
        return found

    def together(self, permissions: Permissions, axes: int) -> int:
        """How many positions are evaluated at full speed: a full batch for each worker."""
        return max(
            each.threads * (each.batch_size or traits.usual_batch or traits.batch_sizes[0])
            for each in self._contexts(permissions, 1, axes)
            for traits in (each.costs.backend.traits,)
        )

    def _backends(self, permissions: Permissions, native: bool, axes: int) -> Iterator[tuple[Backend, CostProfile]]:
        """The backends that the query permits and that take so many axes, each with the profile of its device."""
        asked, precision = permissions.device, permissions.precision
        if axes != GPU_AXES:
            if asked == "gpu":
                raise DeviceError(f"ON gpu takes networks of {GPU_AXES} axes, as images have; this one has {axes}")
            asked = "cpu"
        if asked != "gpu":
            yield CpuBackend(native, reduced=precision == "bf16"), self.profile(self.settings["threads"])
        device = None if asked == "cpu" else gpu.found() if asked == "auto" else gpu.opened()
        if device is not None:
            profile = self._profile(calibration.device_machine(device), data_sheet_profile())
            yield GpuBackend(device, native, precision, self._limit()), profile

    def _plan(self, naive: LogicalPlan, context: Context, off: Collection[str] = ()) -> Planned:
        without = {*self._preset.without, *off}
        switches = {rule.name: self.settings[f"rule.{rule.name}"] and rule.name not in without for rule in RULES}
        logical, history = optimize(naive, context, switches, memo=self._rewritten)
        physical = lower(logical, context)
        return Planned(naive.network, physical, history, context, memory(physical))

    def materialize(self, planned: Planned, identity: str, image: Array) -> tuple[MaterializedViews, bool]:
        """The views that a plan reads, and whether they were in the store.

        ``image`` float32 [H, W, C] is the network's input; ``identity`` is a digest of the model's graph and weights.
        Raises ExecutionError where the output for the image is not finite.
        """
        plan = planned.physical
        network = plan.logical.network
        wanted = {name for name in plan.views if not isinstance(network[name].operator, Given)}
        self._set_budget(planned.memory)

        def compute(wanted: Collection[str]) -> MaterializedViews:
            return self._computed(plan, lambda: materialize(network, image, plan.backend, wanted))

        return self.views.get(self._views_key(plan, identity, image), wanted, compute)

    def with_corrections(
        self,
        planned: Planned,
        views: MaterializedViews,
        identity: str,
        image: Array,
        corrections: Callable[[], Corrections],
    ) -> MaterializedViews:
        """The ``views`` that :meth:`materialize` gave, and what the plan's live gates need, if it has any.

        The ``corrections`` are asked for then alone; their gradients are taken once for an image and kept as views are.
        """
        plan, network = planned.physical, planned.physical.logical.network
        given = {name: network[name].operator for name in plan.views}
        adjoints = {name: each.of for name, each in given.items() if isinstance(each, Adjoint)}
        if not adjoints:
            return views
        wanted = corrections()
        (logits, *_) = network.output.inputs

        def compute(names: Collection[str]) -> MaterializedViews:
            def work() -> dict[str, Array]:
                of = [adjoints[name] for name in names]
                found = gradients(network, image, logits, wanted.seeds, of)
                return {name: plan.backend.memory.upload(summed(found[adjoints[name]])) for name in names}

            return self._computed(plan, work)

        digest = hashlib.sha256(wanted.seeds.tobytes()).hexdigest()
        found, _ = self.views.get((*self._views_key(plan, identity, image), digest), list(adjoints), compute)
        placed = wanted.places.reshape(*network.output.shape.size, -1)
        places = {name: plan.backend.memory.upload(placed) for name, each in given.items() if isinstance(each, Places)}
        return MaterializedViews({**views.arrays, **found.arrays, **places})

    def _views_key(self, plan: PhysicalPlan, identity: str, image: Array) -> tuple[Hashable, ...]:
        # Views are of one network as the rules left it; another of the same identity may round its weights otherwise.
        serial = self._serials.setdefault(plan.logical.network, next(self._serial))
        return serial, identity, plan.backend.name, image.shape, hashlib.sha256(image).hexdigest()

    @staticmethod
    def _computed(plan: PhysicalPlan, arrays: Callable[[], Mapping[str, Array]]) -> MaterializedViews:
        """Views that are computed as the plan's backend is run."""

        def work() -> MaterializedViews:
            with computing(plan.threads), plan.backend.running():
                return MaterializedViews(arrays())

        with limited_pools(plan.threads, plan.backend.traits.computes_on_host):
            return plan.backend.threads.call(work)

    def _set_budget(self, taken: Memory) -> None:
        """What the settings allow for views, beside what a plan has ``taken``."""
        self.views.budget = self.settings["view_budget"] * MEGABYTE
        if taken.limit is not None and not taken.is_auto:  # views of other images are within it too
            self.views.budget = min(self.views.budget, taken.limit - taken.total + taken.views)
        self.views.trim()  # the budget may have been lowered since

    def output(self, planned: Planned, identity: str, image: Array) -> Output:
        """The model's own output for an ``image`` that it may have seen before; arguments as of :meth:`materialize`."""
        self._set_budget(planned.memory)
        return Output(self.views, (identity, image.shape, hashlib.sha256(image).hexdigest()))

    def execute(
        self,
        planned: Planned,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        progress: Progress | None = None,
        analyze: bool = False,
        changes: Changes | None = None,
    ) -> Outcome:
        """Hand the logits of every position to ``sink``, and to ``changes`` what changes of the layers observed.

        Raises what these raise, ExecutionError and Interrupted.

        Positions at which a delta nearly cancels its view are evaluated in full.  With ``analyze`` every layer waits
        for the device, so that its own time is measured; this costs time.
        """
        plan = planned.physical
        total = len(plan.logical.positions)
        on_finished = None if progress is None else lambda done: progress(done, total)
        outcome = Executor(plan.threads).run(plan, views, occlusion, sink, on_finished, analyze, changes)
        cancelled = np.flatnonzero(outcome.doubts > MOST)
        if len(cancelled):
            rest = self._plan(_naive_part(plan.logical, cancelled), planned.context, ("incremental",)).physical
            found = Executor(rest.threads).run(
                rest, views, occlusion, lambda members, logits: sink(cancelled[members], logits), changes=changes
            )
            outcome.measured.add(replace(found.measured, evaluated=0, cancelled=len(cancelled)))
            outcome.doubts[cancelled] = 0
        return outcome

    def to_blame(
        self, planned: Planned, reference: Reference, image: Array, occlusion: Occlusion, position: int | None
    ) -> str | None:
        """In words, what first gives other values than the model itself; see :func:`kdb.execution.bisection.to_blame`.

        None where that cannot be told, for whatever reason: this serves a warning only.
        """
        try:
            with quiet():
                plan, known = planned.physical, self._rewritten
                return to_blame(planned.network, plan, known, reference, image, occlusion, position)
        except Exception as error:
            log.debug("what is to blame could not be found: %s", error)
            return None


def _naive_part(plan: LogicalPlan, members: IntArray) -> LogicalPlan:
    """Full inference at some of a plan's positions, ``members``."""
    naive = LogicalPlan.naive(plan.network, plan.positions[members], plan.patch, plan.bounded, plan.uniform)
    return replace(naive, frozen=plan.frozen)
