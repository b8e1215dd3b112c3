"""Where a module takes the channels of its input and which of its outputs is meant, and how it is adapted to that."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kdb.errors import ModelError
from kdb.frontends.check import outputs


def adapted(module: nn.Module, layout: str, output: str | int | None = None) -> nn.Module:
    """A module that takes [N, C, *size], made of one with that ``layout``, and gives the ``output`` of several.

    Itself where it does so already.
    """
    place = layout.index("C")
    return module if place == 1 and output is None else Adapted(module, place, output)


class Adapted(nn.Module):
    """Adapts a module that takes its channels at the ``place`` of an axis, from 0, to inputs [N, C, *size].

    Of a module that gives a dict, a tuple or a list, it gives the ``output`` of that key; None for what is given.
    """

    def __init__(self, module: nn.Module, place: int, output: str | int | None = None) -> None:
        super().__init__()
        self.module = module
        self._place, self._output = place, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The wrapped module's output for x, float32 [N, C, *size]."""
        given: Any = self.module(with_channels_at(self._place, x))
        if self._output is None:
            logits: torch.Tensor = given
            return logits
        try:
            picked: torch.Tensor = given[self._output]
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(f"the model has no output {self._output!r}; {outputs(given)}") from error
        return picked


def with_channels_at(place: int, x: torch.Tensor) -> torch.Tensor:
    """``x`` [N, C, *size] with C at that place among its axes."""
    order = [0, *range(2, x.ndim)]
    order.insert(place, 1)
    return x if place == 1 else x.permute(order)
