"""torch.compile: PyTorch's own compiler, with weights as constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.runtimes.base import Run

VARIANTS = 64
"""Compilations of one function: networks of a family share their code, and each shape is one of its own."""


class Inductor:
    """Inductor with frozen weights, so that it lays them out for the processor's convolutions beforehand."""

    name = "inductor"
    packages: tuple[str, ...] = ("torch",)

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        """Compiled at the first call, for the shape and the number of threads of then; needs a C++ compiler."""
        torch._dynamo.config.recompile_limit = VARIANTS
        compiled: Run = torch.compile(module, dynamic=False, fullgraph=True, options={"freezing": True})
        return compiled


INDUCTOR = Inductor()
