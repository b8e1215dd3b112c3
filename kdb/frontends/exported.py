"""Loads exported programs (``.pt2``), which may run code while they are loaded."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from kdb.errors import ModelError


class Exported(nn.Module):
    """The module of an exported program, whose mode is fixed: without this wrapper ``eval()`` would raise an error."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The program's output for x, [N, C, H, W]."""
        logits: torch.Tensor = self.module(x)
        return logits

    def train(self, mode: bool = True) -> Exported:
        """Set the wrapper's flag alone."""
        self.training = mode
        return self


def load(path: str | os.PathLike[str]) -> tuple[Exported, tuple[int, ...]]:
    """The module and the shape [N, C, H, W] of its only input, where N is symbolic.

    Raises ModelError for a program with other inputs or a fixed batch size, and whatever torch.export.load raises.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the loader logs tracebacks besides raising
    try:
        program = torch.export.load(os.fspath(path))
    finally:
        logging.disable(disabled)
    return Exported(program.module()), _image_shape(program, os.fspath(path))


def _image_shape(program: Any, path: str) -> tuple[int, ...]:
    """[N, C, H, W] of the program's only input."""
    users = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.name in users]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(f"'{path}' must take one tensor [N, C, H, W]; it takes {[list(shape) for shape in shapes]}")
    (shape,) = shapes
    if isinstance(shape[0], int):
        raise ModelError(
            f"'{path}' was exported for batches of {shape[0]} only; export it for any batch size, from two images: "
            "torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim('batch')},))"
        )
    return tuple(shape)
