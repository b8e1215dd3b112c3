"""What a runtime is: it makes of a module something that runs on batches of images of one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]
"""Logits [n, K] of images float32 [n, C, H, W], n as in the example; called in one thread at a time."""


class Runtime(Protocol):
    """Full inference by one library.

    Attributes:
        name: as tables show it.
        packages: distributions that it needs, the first of which is the runtime itself.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def packages(self) -> tuple[str, ...]:
        """See above."""

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        """Prepare the ``module``, in eval mode, for batches like the ``example`` on so many ``threads``, in float32.

        The module has its batch-norms folded where torch can; it is not modified.  Raises whatever the library raises.
        """
