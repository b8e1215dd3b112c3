"""A group of batches through all stages of a plan: patches in, logits out, in whichever thread calls.

The batches of a group pass the delta stage one after another; what crosses the cut is gathered in one buffer, and the
later stages run on that.  Threads, queues and the order of groups are the executor's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdb.execution.cancellation import Doubts
from kdb.execution.changes import Changes
from kdb.execution.measured import Measured
from kdb.execution.occlusion import Occlusion
from kdb.execution.stages import DeltaStage, FullStage, Gathered
from kdb.execution.views import MaterializedViews
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.planner.plan import PhysicalPlan


@dataclass(frozen=True, eq=False)
class GroupResult:
    """The ``logits`` float32 [n, K] of a group's positions, whose indices are ``members`` int64 [n].

    ``doubts`` [n] are how far each may not be trusted; see :mod:`kdb.execution.cancellation`.
    """

    members: IntArray
    logits: Array
    doubts: Doubts
    measured: Measured


class Pipeline:
    """The stages of ``plan`` over the views of one image and under one occlusion; workers share it.

    ``stopped`` is asked between two batches; with ``analyze`` every layer waits for the device, so that its own time
    is measured.  ``changes`` are told of what observed layers read.
    """

    def __init__(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        stopped: Callable[[], bool] = lambda: False,
        analyze: bool = False,
        changes: Changes | None = None,
    ) -> None:
        first, *rest = plan.stages
        self._plan, self._stopped = plan, stopped
        self._deltas = DeltaStage(first, plan, views, occlusion, analyze, changes=changes)
        self._full = [FullStage(stage, plan, views, stopped, analyze, changes) for stage in rest]
        self._output = plan.logical.network.output
        self._baseline = plan.backend.memory.download(views[self._output.name]).reshape(-1)

    def run(self, group: Sequence[int]) -> Callable[[], GroupResult] | None:
        """Run the batches numbered in ``group``; None if stopped on the way.

        What is returned waits for the device, if the results are still being computed there, and gives them.
        """
        batches = [self._plan.logical.batches[i] for i in group]
        gathered = Gathered(self._plan.backend, sum(map(len, batches)))
        measured, evaluated, doubted = Measured(), [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for batch in batches:
            if self._stopped():
                return None
            changed, maps, doubts = self._deltas.run(batch, measured)
            if len(changed):
                evaluated.append(changed)
                doubted.append(doubts)
                gathered.add(maps)
        doubtful = np.concatenate(doubted)
        fetched: Callable[[], Array] | None = None
        if gathered.count:
            maps = gathered.maps()
            for stage in self._full:
                maps = stage.run(maps, doubtful, measured)
            fetched = self._plan.backend.memory.fetch(maps[self._output.name])
        measured.evaluated = gathered.count
        members = np.concatenate(batches)
        return lambda: self._result(members, np.concatenate(evaluated), doubtful, fetched, measured)

    def _result(
        self,
        members: IntArray,
        evaluated: IntArray,
        doubtful: Doubts,
        fetched: Callable[[], Array] | None,
        measured: Measured,
    ) -> GroupResult:
        """That of all ``members``: those that were not ``evaluated`` have the unmodified image's logits."""
        logits = np.empty((len(members), self._output.shape.channels), np.float32)
        logits[:] = self._baseline
        doubts = np.zeros(len(members), np.float32)
        if fetched is not None:
            order = np.argsort(members, kind="stable")
            there = order[np.searchsorted(members, evaluated, sorter=order)]
            logits[there], doubts[there] = fetched().reshape(len(evaluated), -1), doubtful
        if self._plan.logical.cut > 1:  # what is not finite may be so because of the deltas alone
            doubts[~np.isfinite(logits).all(axis=1)] = np.inf
        return GroupResult(members, logits, doubts, measured)
