"""Attributions by kdb's engine: for each image, and each window along the channels, a run over all positions."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kdb.captum.arguments import Question, Target, Told, Windows
from kdb.errors import ExecutionError, ModelError
from kdb.execution.engine import Engine
from kdb.execution.stages import Occlusion
from kdb.execution.views import MaterializedViews
from kdb.frontends.check import agree
from kdb.frontends.trace_cache import trace
from kdb.geometry import IntArray, Size
from kdb.kernels.base import Array
from kdb.models.model import fingerprint, weights_digest
from kdb.operators.network import Network
from kdb.planner.plan import PhysicalPlan
from kdb.system.allocation import retained
from kdb.system.interrupts import deferred
from kdb.system.threads import quiet

TRACES_KEPT = 4
"""Of inputs of different sizes."""
MOST_OUTPUTS = 1 << 16
"""Numbers that a model may give for an image: the engine computes all of them, for every window."""


@dataclass(frozen=True)
class Work:
    """Multiply-adds: of full inference for each window, and those made."""

    naive_macs: int
    executed_macs: int


@dataclass(frozen=True, eq=False)
class Traced:
    """A module's network, and a digest of its graph and weights."""

    network: Network
    identity: str


class Traces:
    """Those of one module, for inputs of several sizes, as long as it stays as it is."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._state: Hashable = None
        self._traces: OrderedDict[Hashable, Traced] = OrderedDict()

    def get(self, images: Tensor, output: Tensor) -> Traced:
        """For ``images`` [N, C, H, W], which have this ``output``; raises ModelError where it cannot be traced."""
        # Layers may have been exchanged though all weights are the same: a repr shows those.
        state = (repr(self.module), fingerprint(self.module))
        if state != self._state:
            self._state = state
            self._traces.clear()
        shape: Any = tuple(images.shape[1:])
        key = (shape, output.ndim)
        if key not in self._traces:
            with deferred():
                network = trace(self.module if output.ndim == 2 else _Vectors(self.module), shape, None)
            identity = hashlib.sha256(f"{network.digest} {weights_digest(self.module)}".encode()).hexdigest()
            self._traces[key] = Traced(network, identity)
            if len(self._traces) > TRACES_KEPT:
                self._traces.popitem(last=False)
        self._traces.move_to_end(key)
        return self._traces[key]


class _Vectors(nn.Module):
    """A module whose output [N, ...] is made [N, K]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """The wrapped module's output for x, all axes but the first in one."""
        output: Tensor = self.module(x)
        return output.unsqueeze(-1).flatten(1)


def unsuitable(module: object, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> str | None:
    """Why the engine does not take such a call, as far as can be told without running the model; None if it may."""
    if len(inputs) > 1:
        return "there are several inputs"
    if arguments:
        return "there are additional arguments"
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return "only a plain torch.nn.Module can be traced"
    if any(part.training for part in module.modules()):
        return "the model, or a part of it, is in training mode; call model.eval()"
    images = inputs[0]
    if images.ndim != 4 or not len(images):
        return f"the input {list(images.shape)} is no batch of images [N, C, H, W]"
    state = [("the input", images)]
    state += [(f"'{name}'", weight) for name, weight in (*module.named_parameters(), *module.named_buffers())]
    for name, tensor in state:
        if tensor.device.type != "cpu":
            return f"{name} is on {tensor.device}, and only what lies on the CPU is taken"
        if tensor.dtype != torch.float32 and (tensor is images or tensor.is_floating_point()):
            return f"{name} is of {tensor.dtype}, and kdb computes in float32"
    return None


def unsuitable_output(output: Tensor, images: Tensor) -> str | None:
    """Why the engine does not compute the ``output`` for ``images``; None if it may."""
    if len(output) != len(images) or output.dtype != torch.float32:
        return f"the output {output.dtype} {list(output.shape)} is not float32 [{len(images)}, ...], a row an image"
    if (numbers := math.prod(output.shape[1:])) > MOST_OUTPUTS:
        return f"the output has {numbers} numbers an image, more than {MOST_OUTPUTS}"
    return None


@retained()
@quiet()
def attributions(engine: Engine, traced: Traced, asked: Question, tell: Told) -> tuple[npt.NDArray[np.float64], Work]:
    """[numbers explained, C, H, W], and the work it took.

    Raises ModelError where the trace does not give what the model gives, ExecutionError where an output is not finite.
    """
    (images,), (windows,), (baseline,) = asked.inputs, asked.windows, asked.baselines
    patch = _Patch(windows, baseline)
    _, ys, xs = windows.starts
    positions = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)
    plan = engine.plan(traced.network, positions, patch.size, uniform=patch.uniform).physical
    found, executed, finished = [], 0, 0
    for i, image in enumerate(images):
        views, shared = engine.materialize(plan, traced.identity, _channels_last(image))
        executed += 0 if shared else traced.network.macs
        drops = _Drops(plan, views, asked.output[i], asked.target.of_example(i), len(windows.starts[0]))
        for at, occlusion in enumerate(patch.occlusions(i)):
            told = partial(_tell, tell, finished)
            executed += engine.execute(plan, views, occlusion, partial(drops.take, at), told).macs
            finished += len(positions)
        found.append(windows.mean(drops.values.reshape(-1, *windows.counts)))
    return np.concatenate(found), Work(traced.network.macs * finished, executed)


class _Patch:
    """What the windows lay over the images."""

    def __init__(self, windows: Windows, baseline: Tensor) -> None:
        self.windows, self.baseline = windows, baseline
        self.size = Size(*windows.shape[1:])
        # A baseline that is the same everywhere is a patch of one colour; any other is an image behind the image.
        self.plain = bool((baseline == baseline[:, :, :1, :1]).all())
        self.uniform = self.plain and len(windows.starts[0]) == 1

    def occlusions(self, i: int) -> Iterator[Occlusion]:
        """For image ``i``, one for each window along the channels."""
        behind = _channels_last(self.baseline[i])
        if self.plain:
            behind = np.broadcast_to(behind[:1, :1], (*self.size, behind.shape[2]))
        for covered in self.windows.covers[0]:
            yield Occlusion(behind, not self.plain, None if covered.all() else covered.astype(np.float32))


class _Drops:
    """Collects, for one image, what the explained numbers of the output lose: ``values`` [numbers, channels, n]."""

    def __init__(
        self, plan: PhysicalPlan, views: MaterializedViews, output: Tensor, target: Target, channels: int
    ) -> None:
        self.shape, self.target = output.shape, target
        logits = plan.backend.download(views[plan.logical.network.output.name]).reshape(1, -1)
        if not agree(output.reshape(1, -1), torch.from_numpy(logits)):
            raise ModelError("the model gives other outputs than its trace, as if it had been changed since")
        self.baseline = self._explained(logits)
        self.values = np.empty((self.baseline.shape[1], channels, len(plan.logical.positions)))

    def take(self, at: int, members: IntArray, logits: Array) -> None:
        """The sink of the run for window ``at`` along the channels; ExecutionError for logits that are not finite."""
        if not np.isfinite(logits).all():
            raise ExecutionError("the output for an occluded image is not finite (NaN or infinity)")
        self.values[:, at, members] = (self.baseline - self._explained(logits)).T

    def _explained(self, logits: Array) -> npt.NDArray[np.float64]:
        """Of logits [n, K], what the target chooses: [n, numbers]."""
        output = torch.from_numpy(logits).reshape(len(logits), *self.shape)
        return np.asarray(self.target.select(output, len(logits)).double())


def _channels_last(image: Tensor) -> Array:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _tell(tell: Told, before: int, done: int, total: int) -> None:
    tell(before + done)
