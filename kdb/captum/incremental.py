"""Attributions by kdb's engine: for each image, and each window along the channels, a run over all positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdb.adapters.adapter import OnProgress
from kdb.captum.arguments import Question, Target, Windows
from kdb.errors import ExecutionError
from kdb.execution.engine import Engine
from kdb.execution.occluder import Occluder, Work
from kdb.execution.occlusion import Occlusion, Replacement
from kdb.execution.verification import Checked
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.models.traces import TracedModule
from kdb.system.allocation import retained
from kdb.system.threads import quiet


@retained()
@quiet()
def attributions(
    question: Question, engine: Engine, traced: TracedModule, on_progress: OnProgress
) -> tuple[Sequence[npt.NDArray[np.float64]], Work, Checked | None]:
    """[numbers explained, C, *size] of the only input, the work it took, and how far it was checked.

    Raises CheckFailed where the trace or the attributions are not what the model gives, ExecutionError where an output
    is not finite.
    """
    (images,), (windows,), (baseline,) = question.call.inputs, question.windows, question.baselines
    patch = _Patch(windows, baseline)
    _, *starts = windows.starts
    positions = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(starts))
    occluder = Occluder(
        engine, traced.network, traced.identity, traced.reference, positions, patch.size, uniform=patch.uniform
    )
    found, checks, finished = [], list[Checked | None](), 0
    for i, image in enumerate(images):
        output = question.call.output[i]
        viewed = occluder.view(_channels_last(image), output)
        target = question.target.of_example(i)
        drops = _Drops(viewed.baseline, output.shape, target, len(windows.starts[0]), len(positions))
        occlusions, doubts = list(patch.occlusions(i)), []
        for at, occlusion in enumerate(occlusions):
            report = partial(_report, on_progress, finished)
            doubts.append(occluder.run(viewed, occlusion, partial(drops.take, at), report))
            finished += len(positions)
        checks.append(occluder.check(viewed, occlusions, drops.numbers, np.stack(doubts), drops.rows))
        found.append(windows.mean(drops.values.reshape(-1, *windows.counts)))
    done = [check for check in checks if check is not None]
    worst = Checked(sum(check.positions for check in done), max(check.worst for check in done)) if done else None
    return (np.concatenate(found),), occluder.work, worst


class _Patch:
    """What the windows lay over the images."""

    def __init__(self, windows: Windows, baseline: Tensor) -> None:
        self.windows, self.baseline = windows, baseline
        self.size = tuple(windows.shape[1:])
        # A baseline that is the same everywhere is a patch of one colour; any other is an image behind the image.
        self._first = (slice(1),) * len(self.size)
        self.plain = bool((baseline == baseline[:, :, *self._first]).all())
        self.uniform = self.plain and len(windows.starts[0]) == 1

    def occlusions(self, i: int) -> Iterator[Occlusion]:
        """For image ``i``, one for each window along the channels."""
        behind = _channels_last(self.baseline[i])
        if self.plain:
            behind = np.broadcast_to(behind[self._first], (*self.size, behind.shape[-1]))
        for covered in self.windows.covers[0]:
            yield Replacement(behind, not self.plain, None if covered.all() else covered.astype(np.float32))


class _Drops:
    """Collects, for one image, by how much the explained numbers of its output drop.

    ``values`` float64 [numbers, channels, positions], where ``channels`` counts the windows along the channels.
    ``logits`` float32 [1, K] are the output without occlusion, flattened from its ``shape``.
    """

    def __init__(self, logits: Array, shape: torch.Size, target: Target, channels: int, positions: int) -> None:
        self._shape, self._target = shape, target
        self._baseline = self._explained(logits)
        self.values = np.empty((self._baseline.shape[1], channels, positions))

    def take(self, at: int, members: IntArray, logits: Array) -> None:
        """The sink of the run for window ``at`` along the channels; ExecutionError for logits that are not finite."""
        if not np.isfinite(logits).all():
            raise ExecutionError("the output for an occluded image is not finite (NaN or infinity)")
        self.values[:, at, members] = (self._baseline - self._explained(logits)).T

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """The explained numbers themselves, of which ``values`` are the drops."""
        return self._baseline.T[:, :, None] - self.values

    def rows(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The explained numbers [numbers, n] of logits [n, K]."""
        return self._explained(logits).T

    def _explained(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The numbers that the target chooses from logits [n, K]: [n, numbers]."""
        output = torch.from_numpy(logits).reshape(len(logits), *self._shape)
        return np.asarray(self._target.select(output, len(logits)).double())


def _channels_last(image: Tensor) -> Array:
    return np.ascontiguousarray(image.movedim(0, -1).numpy())


def _report(on_progress: OnProgress, before: int, done: int, total: int) -> None:
    on_progress(before + done)
