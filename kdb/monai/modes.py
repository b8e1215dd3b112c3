"""What MONAI's modes make of the part of an image under a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdb.errors import BindError, Error, ExecutionError
from kdb.execution.occlusion import Alteration, Occlusion, Replacement
from kdb.frontends.check import first_line
from kdb.geometry import Size
from kdb.kernels.base import Array

NAMES = ("gaussian", "mean_patch", "mean_img")
SIGMA = 0.25
"""Standard deviation of the Gaussian dip, over the window's length."""


@dataclass(frozen=True)
class Mode:
    """``altered`` takes parts of the image [n, C, *mask] and gives what they become.

    Where that is the same number everywhere, it is the ``constant``.
    """

    altered: Callable[[Tensor], Tensor]
    constant: float | None = None

    def occlusion(self, mask: Size, channels: int) -> Occlusion:
        """The same for the engine, which has channels last."""
        if self.constant is not None:
            return Replacement(np.full((*mask, channels), self.constant, np.float32))

        def altered(under: Array) -> Array:
            part = torch.from_numpy(under).movedim(-1, 1)
            return np.ascontiguousarray(self.altered(part).movedim(1, -1).numpy())

        return Alteration(altered)


def check_mode(mode: Any) -> None:
    """Raise BindError unless there is such a mode."""
    if not (mode in NAMES if isinstance(mode, str) else callable(mode) or _is_number(mode)):
        raise BindError(f"mode = {mode!r}: expected a number, a function, or one of {', '.join(NAMES)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def bind_mode(mode: Any, image: Tensor, mask: Size) -> Mode:
    """From a number, a name or a function of (image, part), as MONAI takes it, for an image [1, C, *size]."""
    if callable(mode):
        return Mode(lambda parts: torch.cat([_called(mode, image, part[None]) for part in parts]))
    if mode == "gaussian":
        dip = gaussian_dip(mask).to(image.device)
        return Mode(lambda parts: parts * dip)
    if mode == "mean_patch":
        # Multiplied by it, not replaced: that is what MONAI 1.6 computes.
        return Mode(lambda parts: parts * parts.mean(tuple(range(1, parts.ndim)), keepdim=True))
    value = float(image.mean()) if mode == "mean_img" else float(mode)
    return Mode(lambda parts: torch.full_like(parts, value), value)


def gaussian_dip(mask: Size) -> Tensor:
    """float32 [*mask]: 0 at the cell ``length // 2``, 1 at the edge farthest from it, by a Gaussian between.

    Along an axis it is the Gaussian's integral over each cell, of a standard deviation of a quarter of the length; a
    single cell is hidden.
    """
    bell = torch.ones((), dtype=torch.float64)
    for length in mask:
        x = torch.arange(length, dtype=torch.float64) - length // 2
        scale = SIGMA * length * math.sqrt(2)
        bell = bell[..., None] * (torch.erf((x + 0.5) / scale) - torch.erf((x - 0.5) / scale)) / 2
    extent = bell.max() - bell.min()
    dip = (bell.max() - bell) / extent if extent > 0 else torch.zeros_like(bell)
    return dip.float()


def _called(mode: Callable[[Tensor, Tensor], Any], image: Tensor, part: Tensor) -> Tensor:
    """What a user's function makes of ``part`` [1, C, *mask]."""
    try:
        made = mode(image, part.clone())
        return torch.as_tensor(made).to(part).broadcast_to(part.shape)
    except Error:
        raise
    except Exception as error:  # it may raise anything
        raise ExecutionError(f"mode fails on a part of {list(part.shape)}: {first_line(error)}") from error
