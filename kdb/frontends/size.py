"""What running a module takes, told by the shapes of what it makes, before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdb.frontends.check import first_line
from kdb.geometry import cells, spelled
from kdb.kernels.work import ELEMENT
from kdb.system.memory import require

log = logging.getLogger(__name__)

LARGE = 1 << 20
"""Cells of an input from which it is asked at all: smaller ones fit any machine."""
COPIES = 6
"""Of the images, while a module is traced."""


def require_room(module: torch.nn.Module, shape: Sequence[int]) -> None:
    """Raise ExecutionError where there is no memory to run ``module`` on images of ``shape`` (N, C, *size)."""
    size = tuple(shape[2:])
    if math.prod(size) < LARGE:
        return
    images = COPIES * ELEMENT * math.prod(shape)
    what = f"an input of {spelled(size)} {cells(len(size))}"
    require(images, what)
    require(images + 2 * _largest(module, shape), f"the model on {what}")


def _largest(module: torch.nn.Module, shape: Sequence[int]) -> int:
    """Bytes of the largest tensor that ``module`` makes; 0 where it does not run without numbers."""
    sizes = _Sizes()
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.empty(0))
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), sizes, torch.no_grad():
            module(torch.empty(*shape, dtype=weight.dtype, device=weight.device))
    except Exception as error:  # a module may do anything, and what is wrong with it is told when it is run
        log.debug("what the model takes cannot be told: %s", first_line(error))
    return sizes.largest


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.largest = max(self.largest, made.numel() * made.element_size())
        return made
