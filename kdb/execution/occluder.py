"""Occlusions that no query describes: the way into the engine for adapters to other libraries, such as captum's.

An adapter has a network, images as arrays and patches of its own making; it wants the logits of every position.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdb.errors import ModelError
from kdb.execution.engine import Engine, Progress
from kdb.execution.executor import Sink
from kdb.execution.stages import Occlusion
from kdb.execution.views import MaterializedViews
from kdb.frontends.check import agree
from kdb.geometry import IntArray, Size
from kdb.kernels.base import Array
from kdb.operators.network import Network


@dataclass(frozen=True)
class Work:
    """Multiply-adds: of full inference for each position, and those made."""

    naive_macs: int
    executed_macs: int


@dataclass(frozen=True, eq=False)
class ViewedImage:
    """An image whose views are at hand; ``baseline`` float32 [1, K] are its logits without any patch."""

    views: MaterializedViews
    baseline: Array


class Occluder:
    """Runs a network with patches of one size at ``positions`` int64 [n, 2], the (y, x) of each, planned once.

    ``identity`` is a digest of the network's graph and weights.  With ``uniform`` the caller promises that each patch
    is of one colour.
    """

    def __init__(
        self, engine: Engine, network: Network, identity: str, positions: IntArray, patch: Size, *, uniform: bool
    ) -> None:
        self._engine, self._network, self._identity = engine, network, identity
        self._planned = engine.plan(network, positions, patch, uniform=uniform)
        self._finished, self._executed = 0, 0

    @property
    def work(self) -> Work:
        """Of all runs so far, and of making the views that these needed."""
        return Work(self._network.macs * self._finished, self._executed)

    def view(self, image: Array, output: Tensor) -> ViewedImage:
        """Make or find the views of ``image``, float32 [H, W, C] as the network takes it.

        ``output`` float32 [K] is what the module itself gives for the image.  Raises ModelError where the network
        gives something else, as after a change of the module that its trace does not have; ExecutionError where the
        network's output is not finite.
        """
        plan = self._planned.physical
        views, kept = self._engine.materialize(plan, self._identity, image)
        self._executed += 0 if kept else self._network.macs
        baseline = plan.backend.memory.download(views[plan.logical.network.output.name]).reshape(1, -1)
        if not agree(output.reshape(1, -1), torch.from_numpy(baseline)):
            raise ModelError("the model gives other outputs than its trace, as if it had been changed since")
        return ViewedImage(views, baseline)

    def run(self, image: ViewedImage, occlusion: Occlusion, sink: Sink, on_progress: Progress | None = None) -> None:
        """Hand the logits of every position to ``sink``; raises what it raises, ExecutionError and Interrupted."""
        outcome = self._engine.execute(self._planned, image.views, occlusion, sink, on_progress)
        self._executed += outcome.measured.macs
        self._finished += len(self._planned.physical.logical.positions)
