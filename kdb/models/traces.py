"""Modules that are given as they are, without a name or preprocessing: whether they can be traced, and their traces.

Adapters to other libraries, such as captum's, use these; a session has its catalog instead.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdb.frontends.state.snapshot import Snapshot
from kdb.frontends.trace_cache import trace
from kdb.geometry import AXES
from kdb.models.identity import unexplained, weights_digest
from kdb.models.reference import ModuleReference
from kdb.operators.network import Network
from kdb.system.interrupts import deferred
from kdb.system.locks import MODULES

TRACES_KEPT = 4
"""Of one module, for inputs of different sizes."""
MOST_OUTPUTS = 1 << 16
"""Numbers that a model may give for an image: the engine computes all of them, for every position."""


@dataclass(frozen=True, eq=False)
class TracedModule:
    """A module's network, a digest of all that it computes with, and the module itself."""

    network: Network
    identity: str
    reference: ModuleReference


class Traces:
    """The traces of one module for inputs of several sizes, kept until the module changes."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._snapshot: Snapshot | None = None
        self._traces: OrderedDict[Hashable, TracedModule] = OrderedDict()

    def get(self, images: Tensor, output: Tensor) -> TracedModule:
        """The trace for ``images`` [N, C, H, W], for which the module gives ``output`` [N, ...].

        Raises ModelError where the module cannot be traced.
        """
        with MODULES:
            return self._get(images, output)

    def _get(self, images: Tensor, output: Tensor) -> TracedModule:
        if self._snapshot is None or not self._snapshot.same():
            snapshot = Snapshot(self.module)
            if self._snapshot is None or snapshot.fingerprint != self._snapshot.fingerprint:
                self.forget()
            self._snapshot = snapshot
        shape: Any = tuple(images.shape[1:])
        key = (shape, output.ndim)
        if key not in self._traces:
            module = self.module if output.ndim == 2 else _Vectors(self.module)
            with deferred():
                network = trace(module, shape, None)
            parts = [network.digest, weights_digest(self.module), unexplained(network, module)]
            identity = hashlib.sha256(" ".join(filter(None, parts)).encode()).hexdigest()
            self._traces[key] = TracedModule(network, identity, ModuleReference(self.module))
            if len(self._traces) > TRACES_KEPT:
                self._traces.popitem(last=False)
        self._traces.move_to_end(key)
        return self._traces[key]

    def forget(self) -> None:
        """Forget all traces; the next call traces the module anew."""
        self._snapshot = None
        self._traces.clear()


class _Vectors(nn.Module):
    """A module whose output [N, ...] is flattened to [N, K]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """The wrapped module's output for x, all axes but the first in one."""
        output: Tensor = self.module(x)
        return output.unsqueeze(-1).flatten(1)


def why_untraceable(module: object, images: Tensor) -> str | None:
    """Why kdb does not take ``module`` on ``images``, as far as that can be told without running it; None if it may."""
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return "only a plain torch.nn.Module can be traced"
    if any(part.training for part in module.modules()):
        return "the model, or a part of it, is in training mode; call model.eval()"
    if images.ndim - 2 not in AXES or not len(images):
        return f"the input {list(images.shape)} is no batch of images [N, C, H, W], signals or volumes"
    state = [("the input", images)]
    state += [(f"'{name}'", weight) for name, weight in (*module.named_parameters(), *module.named_buffers())]
    for name, tensor in state:
        if tensor.device.type != "cpu":
            return f"{name} is on {tensor.device}, and only what lies on the CPU is taken"
        if tensor.dtype != torch.float32 and (tensor is images or tensor.is_floating_point()):
            return f"{name} is of {tensor.dtype}, and kdb computes in float32"
    return None


def why_unsuitable(output: Tensor, images: Tensor) -> str | None:
    """Why kdb does not compute the ``output`` that a module gives for ``images``; None if it may."""
    if len(output) != len(images) or output.dtype != torch.float32:
        return f"the output {output.dtype} {list(output.shape)} is not float32 [{len(images)}, ...], a row an image"
    if (numbers := math.prod(output.shape[1:])) > MOST_OUTPUTS:
        return f"the output has {numbers} numbers an image, more than {MOST_OUTPUTS}"
    return None
