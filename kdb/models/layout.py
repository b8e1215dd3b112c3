"""Where a module takes the channels of its input and which of its outputs is meant, and how it is adapted to that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from kdb.errors import ModelError
from kdb.frontends.check import outputs


def adapted(
    module: nn.Module,
    layout: str,
    output: str | int | None = None,
    fixed: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """A module that takes [N, C, *size] alone, made of one with that ``layout``, and gives the ``output`` of several.

    Its other inputs are ``fixed``.  Itself where it does so already.
    """
    place = layout.index("C")
    return module if place == 1 and output is None and not fixed else Adapted(module, place, output, fixed or {})


class Adapted(nn.Module):
    """Adapts a module that takes its channels at the ``place`` of an axis, from 0, to inputs [N, C, *size].

    Of a module that gives a dict, a tuple or a list, it gives the ``output`` of that key; None for what is given.  The
    ``fixed`` inputs are passed by their names, those of one row once for each image.
    """

    def __init__(
        self, module: nn.Module, place: int, output: str | int | None, fixed: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__()
        self.module = module
        self._place, self._output, self._names = place, output, tuple(fixed)
        for name, value in fixed.items():
            self.register_buffer(f"fixed_{name}", value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The wrapped module's output for x, float32 [N, C, *size]."""
        others = {name: self._for_each(getattr(self, f"fixed_{name}"), x) for name in self._names}
        given: Any = self.module(with_channels_at(self._place, x), **others)
        if self._output is None:
            logits: torch.Tensor = given
            return logits
        try:
            picked: torch.Tensor = given[self._output]
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(f"the model has no output {self._output!r}; {outputs(given)}") from error
        return picked

    @staticmethod
    def _for_each(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """A row for each image, of one that has a row for one; as it is of any other."""
        return value.expand(x.shape[0], *value.shape[1:]) if value.ndim and value.shape[0] == 1 else value


def with_channels_at(place: int, x: torch.Tensor) -> torch.Tensor:
    """``x`` [N, C, *size] with C at that place among its axes."""
    order = [0, *range(2, x.ndim)]
    order.insert(place, 1)
    return x if place == 1 else x.permute(order)
