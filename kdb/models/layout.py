"""Where a module takes the channels of its input, and how it is adapted to take them second."""

from __future__ import annotations

import torch
from torch import nn


def adapted(module: nn.Module, layout: str) -> nn.Module:
    """A module that takes [N, C, *size], made of one with that ``layout``; itself where it does so already."""
    place = layout.index("C")
    return module if place == 1 else ChannelsAt(module, place)


class ChannelsAt(nn.Module):
    """Adapts a module that takes its channels at the ``place`` of an axis, from 0, to inputs [N, C, *size]."""

    def __init__(self, module: nn.Module, place: int) -> None:
        super().__init__()
        self.module = module
        self._place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The wrapped module's output for x, float32 [N, C, *size]."""
        logits: torch.Tensor = self.module(with_channels_at(self._place, x))
        return logits


def with_channels_at(place: int, x: torch.Tensor) -> torch.Tensor:
    """``x`` [N, C, *size] with C at that place among its axes."""
    order = [0, *range(2, x.ndim)]
    order.insert(place, 1)
    return x if place == 1 else x.permute(order)
