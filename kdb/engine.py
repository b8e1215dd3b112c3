"""One OCCLUDE query on one image, from bound clauses to the heat map: plan, materialize, execute, score.

The first three stand by themselves too, for updates that no query describes.

The engine owns what outlives a query: materialized views, rewritten networks and recent plans.  It resolves no names
and reads no files.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from scipy import special

from kdb import calibration, query
from kdb.allocation import retained
from kdb.catalog import TracedModel
from kdb.errors import BindError, ExecutionError, Interrupted
from kdb.executor import Executor, Measured, Occlusion, Sink
from kdb.geometry import IntArray, Size
from kdb.heatmap import HeatMap, Score, Stats
from kdb.kernels.base import Array
from kdb.kernels.cpu import CpuBackend
from kdb.models.model import Model
from kdb.network import Network
from kdb.planner.bind import DEFAULT_STRIDE, Arguments, Selection, fill_pixels, is_uniform
from kdb.planner.cost import CostModel, CostProfile
from kdb.planner.lower import lower
from kdb.planner.optimize import Applied, Memo, optimize
from kdb.planner.plan import LogicalPlan, PhysicalPlan
from kdb.planner.presets import PRESETS
from kdb.planner.rules import RULES, Context
from kdb.preprocessing import Prepared
from kdb.settings import Settings, declared
from kdb.threads import computing, limited_pools, quiet
from kdb.version import __version__
from kdb.views import MaterializedViews, ViewStore, materialize

Progress = Callable[[int, int], None]
"""Told (positions finished, positions in all) now and then, in the thread that called."""

PLANS_KEPT = 16
BUFFER_BYTES = 512 << 20
"""Of maps gathered between stages, over all workers."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A physical plan, what each rule did, and the seconds that planning took."""

    physical: PhysicalPlan
    history: tuple[Applied, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Task:
    """An OCCLUDE query bound to a model, a set of positions and one prepared image, called ``source``."""

    asked: query.Occlude
    traced: TracedModel
    selection: Selection
    prepared: Prepared
    source: str | None
    arguments: Arguments
    traced_in: float = 0.0
    """Seconds it took to find and trace the model."""

    @property
    def patch(self) -> Size:
        """The patch's extent."""
        return Size(self.asked.patch.height, self.asked.patch.width)


def default_settings() -> Settings:
    """All that SET can change, as it is at first."""
    return Settings(declared([(rule.name, rule.summary) for rule in RULES], tuple(PRESETS)))


class Engine:
    """Plans and runs queries under ``settings``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._profiles: dict[int, CostProfile] = {}
        self.views = ViewStore(0)
        self._rewritten: Memo = WeakKeyDictionary()
        self._plans: OrderedDict[Hashable, tuple[Network, Planned]] = OrderedDict()

    def profile(self, threads: int) -> CostProfile:
        """What plans for so many threads are costed by: the machine's own profile where one was measured."""
        if threads not in self._profiles:
            self._profiles[threads] = calibration.kept(threads) or CostProfile()
        return self._profiles[threads]

    def calibrate(self) -> CostProfile:
        """Measure this machine with the threads that are set, and keep what is found for later processes too."""
        threads = self.settings["threads"]
        self._profiles[threads] = calibration.measure(threads)
        self._plans.clear()
        calibration.keep(self._profiles[threads], threads)
        return self._profiles[threads]

    def plan(
        self, network: Network, positions: IntArray, patch: Size, precision: str = "fp32", uniform: bool = False
    ) -> Planned:
        """The physical plan; no pixel is looked at.  Recent plans are kept: the images of a glob share one.

        ``positions`` int64 [n, 2] are the (y, x) of the patch, which may be clipped at the image's far edges.
        ``precision`` bf16 permits kernels for deltas that round to fewer bits than float32; tf32 a CPU does not have.
        ``uniform`` promises a patch of one colour.
        """
        chosen = tuple((setting.name, value) for setting, value in self.settings)
        digest = hashlib.sha256(positions.tobytes()).digest()
        key = (id(network), digest, patch, precision, uniform, chosen)
        held = self._plans.get(key)
        if held is None:
            # Kept with its network: as long as it is, no other object takes that id.
            held = self._plans[key] = network, self._plan(network, positions, patch, precision, uniform)
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return held[1]

    def _plan(self, network: Network, positions: IntArray, patch: Size, precision: str, uniform: bool) -> Planned:
        start = time.perf_counter()
        threads, preset = self.settings["threads"], PRESETS[self.settings["preset"]]
        kernels = preset.kernels if self.settings["kernels"] == "auto" else self.settings["kernels"]
        backend = CpuBackend(kernels == "native", reduced=precision == "bf16")
        allowed = None if kernels in ("auto", "native") else kernels
        costs = CostModel(self.profile(threads), backend, allowed, len(positions))
        batch_size = self.settings["batch_size"] or preset.batch_size
        context = Context(costs, threads, batch_size, BUFFER_BYTES // threads)
        switches = {rule.name: self.settings[f"rule.{rule.name}"] and rule.name not in preset.without for rule in RULES}
        naive = LogicalPlan.naive(network, positions, patch, preset.bounded, uniform)
        logical, history = optimize(naive, context, switches, memo=self._rewritten)
        physical = lower(logical, context)
        return Planned(physical, history, time.perf_counter() - start)

    @retained()
    @quiet()
    def run(self, task: Task, progress: Progress | None = None) -> tuple[HeatMap, Planned, Measured]:
        """The heat map, with the plan and what was measured.

        Raises Interrupted with the partial map on Ctrl-C, and ExecutionError where an output is not finite.
        """
        start = time.perf_counter()
        uniform = is_uniform(task.asked.patch.fill)
        network, positions = task.traced.network, task.selection.positions
        planned = self.plan(network, positions, task.patch, task.asked.precision, uniform)
        seconds = {"trace": task.traced_in, "plan": time.perf_counter() - start}
        image = task.traced.model.preprocessing.normalise(task.prepared.pixels)
        begun = time.perf_counter()
        views, shared = self.materialize(planned.physical, task.traced.identity, image)
        seconds["materialize"] = time.perf_counter() - begun

        baseline = np.asarray(views[planned.physical.logical.network.output.name], np.float64).reshape(-1)
        scorer = _Scorer(task, baseline, planned.physical.logical)
        begun = time.perf_counter()
        measured, interrupted = Measured(), None
        try:
            measured = self.execute(planned.physical, views, _occlusion(task), scorer.take, progress)
        except Interrupted as stopped:
            interrupted = stopped
        seconds["execute"] = time.perf_counter() - begun
        seconds["total"] = task.traced_in + time.perf_counter() - start
        if not shared:
            measured.macs += network.macs
        heat_map = scorer.heat_map(_stats(planned.physical, measured, seconds), complete=interrupted is None)
        if interrupted is not None:
            done = int(np.isfinite(scorer.scores[0]).sum())
            message = f"interrupted after {done} of {scorer.scores.shape[1]} positions"
            raise Interrupted(message, heat_map) from interrupted
        return heat_map, planned, measured

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
            with limited_pools(plan.threads), computing(plan.threads):
                return materialize(network, image, plan.backend, wanted)

        return self.views.get(key, plan.views, compute)

    def execute(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        progress: Progress | None = None,
    ) -> Measured:
        """Hand the logits of every position to ``sink``; raises what it does, ExecutionError and Interrupted."""
        total = len(plan.logical.positions)
        tell = None if progress is None else lambda done: progress(done, total)
        return Executor(self.settings["threads"]).run(plan, views, occlusion, sink, tell)


def _occlusion(task: Task) -> Occlusion:
    """The patch, in the units of the network's input."""
    pixels, aligned = fill_pixels(task.asked.patch.fill, task.patch, task.prepared.pixels, task.arguments)
    return Occlusion(task.traced.model.preprocessing.normalise(pixels), aligned)


class _Scorer:
    """Turns logits, as they come, into the scores asked for."""

    def __init__(self, task: Task, baseline: npt.NDArray[np.float64], plan: LogicalPlan) -> None:
        self.task, self.plan = task, plan
        self.model = task.traced.model
        self.kind = task.asked.score
        self.classes, self.has_axis = _classes(task.asked.classes, self.model, baseline, task.arguments)
        self.baseline = self._of(baseline[None])[:, 0]
        self.scores = np.full((len(self.classes), len(plan.positions)), np.nan)

    def _of(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities or logits [n, K] -> [classes, n]."""
        values = logits
        if not self.kind.startswith("logit"):
            values = activate(logits, self.task.traced.activation)
        return np.asarray(values[:, self.classes].T)

    def take(self, members: IntArray, logits: Array) -> None:
        """The sink of an execution: scores of the positions ``members`` from their logits [n, K]."""
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            y, x = self.plan.positions[members[~finite][0]]
            raise ExecutionError(
                f"the output for the patch at ({y}, {x}) is not finite (NaN or infinity); "
                "if only layers within the model overflow, SET rule.incremental = off evaluates it in full"
            )
        values = self._of(np.asarray(logits, np.float64))
        self.scores[:, members] = self.baseline[:, None] - values if self.kind.endswith("drop") else values

    def heat_map(self, stats: Stats, complete: bool) -> HeatMap:
        """All that has come in, on the grid that was asked for."""
        task, grid = self.task, self.task.selection.grid
        asked = self.scores if self.plan.duplicates is None else self.scores[:, self.plan.duplicates]
        values = np.full((len(self.classes), grid[..., 0].size), np.nan, np.float32)
        values[:, task.selection.cells] = asked
        values = values.reshape(len(self.classes), *grid.shape[:-1])
        labels = tuple(self.model.label_of(index) for index in self.classes)
        baseline = tuple(float(value) for value in self.baseline)
        at = isinstance(task.asked.region, query.At)
        kind: Any = self.kind
        score: Score = kind
        several = self.has_axis
        return HeatMap(
            values=values if several else values[0],
            positions=grid,
            baseline=baseline if several else baseline[0],
            class_index=self.classes if several else self.classes[0],
            label=labels if several else labels[0],
            score=score,
            patch=(task.patch.height, task.patch.width),
            stride=None if at else task.asked.stride or DEFAULT_STRIDE,
            image=task.prepared.image,
            source=task.source,
            source_box=task.prepared.source_box,
            source_size=task.prepared.source_size,
            query=str(replace(task.asked, into=None)),
            model=self.model.name,
            model_identity=task.traced.identity,
            version=__version__,
            exact=task.asked.precision == "fp32",
            complete=complete,
            stats=stats,
        )


def activate(logits: npt.NDArray[np.float64], activation: str) -> npt.NDArray[np.float64]:
    """Logits [n, K] -> probabilities by ``softmax`` or ``sigmoid``, or as they are for ``none``."""
    if activation == "softmax":
        return np.asarray(special.softmax(logits, axis=1))
    return np.asarray(special.expit(logits)) if activation == "sigmoid" else logits


def _classes(
    spec: query.ClassSpec, model: Model, baseline: npt.NDArray[np.float64], arguments: Arguments
) -> tuple[tuple[int, ...], bool]:
    """Indices of the classes asked for, and whether the map has a class axis; ties in TOP go to the lower index."""
    count = len(baseline)

    def index(ref: int | str | query.Parameter) -> int:
        return model.resolve_class(arguments[ref] if isinstance(ref, query.Parameter) else ref, count)

    if isinstance(spec, query.ClassOf):
        return (index(spec.ref),), False
    if isinstance(spec, query.Classes):
        return tuple(index(ref) for ref in spec.refs), True
    if isinstance(spec, query.AllClasses):
        return tuple(range(count)), True
    best: Sequence[int] = np.argsort(-baseline, kind="stable").tolist()
    if isinstance(spec, query.TopClasses):
        if spec.k > count:
            raise BindError(f"TOP {spec.k} of {count} classes: '{model.name}' has no more")
        return tuple(best[: spec.k]), True
    return (best[0],), False


def _stats(plan: PhysicalPlan, measured: Measured, seconds: dict[str, float]) -> Stats:
    asked = plan.logical.positions if plan.logical.duplicates is None else plan.logical.duplicates
    kernels = Counter(step.kernel for stage in plan.stages for step in stage.steps)
    # A stage's seconds are summed over its workers.
    stages = {f"{name} (threads)": value for name, value in measured.stages.items()}
    return Stats(
        naive_macs=plan.naive_macs,
        executed_macs=measured.macs,
        positions=len(asked),
        evaluated=measured.evaluated,
        seconds={**seconds, **stages},
        kernels=dict(sorted(kernels.items())),
    )
