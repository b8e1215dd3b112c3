"""PyTorch as it is, in either memory layout."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.runtimes.base import Run


@dataclass(frozen=True)
class Eager:
    """The module itself, its weights and images in ``layout``."""

    name: str
    layout: torch.memory_format
    packages: tuple[str, ...] = ("torch",)

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        """A copy of the module in the layout; whoever calls it sets torch's threads."""
        laid = copy.deepcopy(module).to(memory_format=self.layout)  # type: ignore[call-overload]
        return lambda images: laid(images.contiguous(memory_format=self.layout))


CHANNELS_FIRST = Eager("torch eager", torch.contiguous_format)
CHANNELS_LAST = Eager("torch eager, channels last", torch.channels_last)
