"""Occlusions that no query describes: the way into the engine for adapters to other libraries, such as captum's.

An adapter has a network, images as arrays and patches of its own making; it wants the logits of every position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdb.execution.cancellation import Doubts
from kdb.execution.engine import Engine, Progress
from kdb.execution.executor import Sink
from kdb.execution.occlusion import Occlusion
from kdb.execution.verification import OTHERS, Checked, CheckFailed, Reference, Rows, allowed, chosen, wanted, worst
from kdb.execution.views import MaterializedViews
from kdb.frontends.check import agree
from kdb.geometry import IntArray, Size
from kdb.kernels.base import Array
from kdb.operators.network import Network
from kdb.planner.memory import Memory


@dataclass(frozen=True)
class Work:
    """Multiply-adds: of full inference for each position, and those made."""

    naive_macs: int
    executed_macs: int


@dataclass(frozen=True, eq=False)
class ViewedImage:
    """An ``image`` float32 [H, W, C] whose views are at hand; ``baseline`` float32 [1, K] are its logits."""

    image: Array
    views: MaterializedViews
    baseline: Array


class Occluder:
    """Runs a network with patches of one size at ``positions`` int64 [n, 2], the (y, x) of each, planned once.

    ``reference`` is the model itself, ``identity`` a digest of the network's graph and weights.  With ``uniform`` the
    caller promises that each patch is of one colour.
    """

    def __init__(
        self,
        engine: Engine,
        network: Network,
        identity: str,
        reference: Reference,
        positions: IntArray,
        patch: Size,
        *,
        uniform: bool,
    ) -> None:
        self._engine, self._network, self._identity, self._reference = engine, network, identity, reference
        self._positions, self._patch = positions, patch
        self._planned = engine.plan(network, positions, patch, uniform=uniform)
        self._finished, self._executed = 0, 0

    @property
    def work(self) -> Work:
        """Of all runs so far, and of making the views that these needed."""
        return Work(self._network.macs * self._finished, self._executed)

    @property
    def memory(self) -> Memory:
        """What the plan takes."""
        return self._planned.memory

    def view(self, image: Array, output: Tensor) -> ViewedImage:
        """Make or find the views of ``image``, float32 [H, W, C] as the network takes it.

        ``output`` float32 [K] is what the module itself gives for the image.  Raises CheckFailed where the network
        gives something else altogether, as after a change of the module that its trace does not have, so that there is
        no point in going on; ExecutionError where the network's output is not finite.
        """
        plan = self._planned.physical
        views, kept = self._engine.materialize(self._planned, self._identity, image)
        self._executed += 0 if kept else self._network.macs
        baseline = plan.backend.memory.download(views[plan.logical.network.output.name]).reshape(1, -1)
        if not agree(output.reshape(1, -1), torch.from_numpy(baseline)):
            raise CheckFailed(Checked(0, math.inf), None, unmodified=True)
        return ViewedImage(image, views, baseline)

    def run(self, viewed: ViewedImage, occlusion: Occlusion, sink: Sink, on_progress: Progress | None = None) -> Doubts:
        """Hand the logits of every position to ``sink``; raises what it raises, ExecutionError and Interrupted.

        Returns how far each may not be trusted, for :meth:`check`.
        """
        duplicates = self._planned.physical.logical.duplicates
        each = sink if duplicates is None else _spread(sink, duplicates)
        outcome = self._engine.execute(self._planned, viewed.views, occlusion, each, on_progress)
        self._executed += outcome.measured.macs
        self._finished += len(self._positions)
        return outcome.doubts if duplicates is None else outcome.doubts[duplicates]

    def check(
        self,
        viewed: ViewedImage,
        occlusions: Sequence[Occlusion],
        found: Rows,
        doubts: Doubts,
        rows: Callable[[Rows], Rows],
    ) -> Checked | None:
        """Compare with the model itself, as the setting ``verify`` says, what was ``found`` of one image.

        ``found`` [rows, occlusions, n] are numbers that ``rows`` makes of logits [n, K], ``doubts`` [occlusions, n]
        what :meth:`run` returned.  Raises CheckFailed where they differ by more than Exact allows.
        """
        settings, (_, _, n) = self._engine.settings, found.shape
        count = wanted(settings["verify"], doubts.size)
        if count is None:
            return None
        numbers, unmodified = found.reshape(len(found), -1), rows(viewed.baseline.astype(np.float64))
        # The maps of the occlusions one below the other.
        places = np.tile(self._positions, (len(occlusions), 1))
        below = np.arange(len(occlusions)) * (int(self._positions[:, 0].max(initial=0)) + 1)
        places[:, 0] += np.repeat(below, n)
        logical = self._planned.physical.logical
        ends = [int(batch[at]) for batch in logical.batches for at in (0, -1)] if logical.duplicates is None else []
        at = chosen(numbers, doubts.reshape(-1), count, settings["seed"], places, ends=ends)

        def occluded(which: IntArray) -> list[Array]:
            return [occlusions[i // n].applied(viewed.image, self._positions[[i % n]], self._patch) for i in which]

        others = np.random.default_rng(settings["seed"]).permutation(doubts.size)[:OTHERS]
        ratios = worst(
            self._reference,
            rows,
            np.concatenate([viewed.image[None], *occluded(at)]),
            np.concatenate([unmodified, numbers[:, at]], axis=1),
            allowed(np.concatenate([unmodified, numbers], axis=1)),
            settings["threads"],
            lambda: np.concatenate(occluded(others)),
            self._planned.memory.checked,
        )
        checked = Checked(len(at), float(ratios.max()))
        if checked.failed:
            raise CheckFailed(checked, self._blamed(viewed, occlusions, ratios, at), bool(ratios[0] > 1))
        return checked

    def _blamed(self, viewed: ViewedImage, occlusions: Sequence[Occlusion], ratios: Rows, at: IntArray) -> str | None:
        """In words, what first gives other values than the model itself."""
        which, position = 0, None
        if ratios[0] <= 1:
            which, position = divmod(int(at[ratios[1:].argmax()]), len(self._positions))
            duplicates = self._planned.physical.logical.duplicates
            position = position if duplicates is None else int(duplicates[position])
        return self._engine.to_blame(self._planned, self._reference, viewed.image, occlusions[which], position)


def _spread(sink: Sink, duplicates: IntArray) -> Sink:
    """A sink of the positions that are evaluated, which hands ``sink`` all that were asked for.

    ``duplicates`` [n] says of each of these which one stands for it.
    """
    asked = np.argsort(duplicates, kind="stable")
    bounds = np.searchsorted(duplicates[asked], np.arange(int(duplicates.max(initial=-1)) + 2))

    def take(members: IntArray, logits: Array) -> None:
        which = [asked[bounds[member] : bounds[member + 1]] for member in members.tolist()]
        sink(np.concatenate(which), np.repeat(logits, list(map(len, which)), axis=0))

    return take
