"""Torch's convolution on numpy arrays, zero copy: the declared competitor ``direct`` of the CPU backend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kdb.kernels import taps
from kdb.kernels.base import Margins, Sliding, Weight

FloatArray = npt.NDArray[np.float32]


def _channels_last(weight: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.array(weight)).to(memory_format=torch.channels_last)


def convolve(
    x: FloatArray, weight: Weight, bias: Weight | None, sliding: Sliding, groups: int, margins: Margins
) -> FloatArray:
    """Convolution [n, h, w, in] -> [n, h', w', out].

    Channels-last numpy arrays are torch's ``channels_last`` tensors as they lie; symmetric margins are left to the
    library's own padding, others are laid around x first.
    """
    top, left, bottom, right = margins
    if (top, left) != (bottom, right):
        x, top, left = taps.padded(x, margins), 0, 0
    x = (
        x if x.flags.writeable else x.copy()
    )  # a view repeated for a batch, say; torch warns of memory that it may not write
    y = torch.nn.functional.conv2d(
        torch.from_numpy(x).permute(0, 3, 1, 2),
        weight.form("channels_last", _channels_last),
        None if bias is None else bias.form("torch", lambda b: torch.from_numpy(np.array(b))),
        stride=sliding.stride,
        padding=(top, left),
        dilation=sliding.dilation,
        groups=groups,
    )
    return np.ascontiguousarray(y.permute(0, 2, 3, 1).numpy())
