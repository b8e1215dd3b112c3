"""Runs a physical plan: workers take groups of batches and send them through the pipeline; nothing is planned here.

Each worker computes on one thread, unless the plan has fewer groups than threads; a device has one worker, on the
device's own thread.  Results depend on the plan alone, never on which worker takes which group, nor when; memory
depends on workers and groups, never on the number of positions.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from kdb.errors import Error, ExecutionError, Interrupted
from kdb.execution.cancellation import MOST, Doubts
from kdb.execution.changes import Changes
from kdb.execution.measured import Measured
from kdb.execution.occlusion import Occlusion
from kdb.execution.pipeline import GroupResult, Pipeline
from kdb.execution.views import MaterializedViews
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.planner.plan import PhysicalPlan
from kdb.system.interrupts import deferred
from kdb.system.threads import checkpoint, computing, limited_pools, start


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an execution measured, and how far each position may not be trusted, ``doubts`` [n].

    The logits of those that are doubted more than :data:`~kdb.execution.cancellation.MOST` were not handed over.
    """

    measured: Measured
    doubts: Doubts


Sink = Callable[[IntArray, Array], None]
"""Takes results: indices of positions [n], and their logits float32 [n, K]; called from any worker, one at a time."""


class Executor:
    """Runs plans on ``threads`` workers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        progress: Callable[[int], None] | None = None,
        analyze: bool = False,
        changes: Changes | None = None,
    ) -> Outcome:
        """Evaluate every group and hand its results to ``sink``, but for positions that are doubted too much.

        ``changes`` are told of what observed layers read, but for the same positions.
        ``progress`` is called with the number of positions finished, in the calling thread.  With ``analyze`` every
        layer waits for the device, so that its own time is measured.

        Raises Interrupted on Ctrl-C, Timeout and whatever ``progress`` raises, once the workers have stopped between
        two batches, and ExecutionError for whatever goes wrong in one of them.
        """
        execution = plan.backend.threads.call(lambda: _Execution(plan, views, occlusion, sink, analyze, changes))
        groups: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        for group in plan.logical.groups:
            groups.put(group)
        count = min(self.threads, len(plan.logical.groups))
        each = plan.threads_per_group
        work = partial(execution.work, groups, each)
        workers = [plan.backend.threads.task(work, f"kdb-worker-{i}") for i in range(count)]
        try:
            with limited_pools(each, plan.backend.traits.computes_on_host):
                try:
                    self._wait(start(workers), execution, progress)
                finally:
                    # A process that ends while a worker runs aborts, so that a second Ctrl-C has to wait for them.
                    with deferred():
                        execution.stop.set()
                        for worker in workers:
                            worker.end()
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error
        if execution.error is not None:
            if isinstance(execution.error, Error):
                raise execution.error
            raise ExecutionError(f"execution failed: {execution.error}") from execution.error
        return Outcome(execution.measured, execution.doubts)

    @staticmethod
    def _wait(workers: int, execution: _Execution, progress: Callable[[int], None] | None) -> None:
        # Not by joining: a join that Ctrl-C breaks off takes a running thread for an ended one (Python 3.11).
        for _ in range(workers):
            ended = False
            while not ended:
                ended = execution.ended.acquire(timeout=0.1)
                if not ended:
                    checkpoint()
                if progress is not None:
                    progress(execution.finished)


class _Execution:
    """What the workers of one execution share: the pipeline, the sink, and whether to stop."""

    def __init__(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        analyze: bool,
        changes: Changes | None,
    ) -> None:
        self.stop = threading.Event()
        self.ended = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.measured = Measured()
        self.doubts = np.zeros(len(plan.logical.positions), np.float32)
        self.finished = 0
        self._backend, self._sink, self._lock = plan.backend, sink, threading.Lock()
        with plan.backend.running():
            self._pipeline = Pipeline(plan, views, occlusion, self.stop.is_set, analyze, changes)

    def work(self, groups: queue.SimpleQueue[tuple[int, ...]], threads: int) -> None:
        """A worker's life: groups off the queue until there are none, on ``threads`` threads."""
        try:
            with computing(threads), self._backend.running():
                # A device computes one group while the host delivers the one before.
                pending: deque[Callable[[], GroupResult]] = deque()
                while not self.stop.is_set():
                    try:
                        group = groups.get_nowait()
                    except queue.Empty:
                        break
                    result = self._pipeline.run(group)
                    if result is not None:
                        pending.append(result)
                    while len(pending) > self._backend.traits.groups_in_flight:
                        self._deliver(pending.popleft()())
                for result in pending:
                    self._deliver(result())
        except BaseException as error:  # whatever it is, the caller raises it
            self.error = self.error or error
            self.stop.set()
        finally:
            self.ended.release()

    def _deliver(self, result: GroupResult) -> None:
        with self._lock:
            self.doubts[result.members] = result.doubts
            sure = result.doubts <= MOST
            if sure.any():
                self._sink(result.members[sure], result.logits[sure])
            self.measured.add(result.measured)
            self.finished += len(result.members)
