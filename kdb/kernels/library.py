"""Torch's convolution on numpy arrays, zero copy: the declared competitor ``direct`` of the CPU backend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kdb.kernels import taps
from kdb.kernels.base import Margins, Sliding, Weight

FloatArray = npt.NDArray[np.float32]


def _weight(weight: FloatArray) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(weight))
    return tensor if weight.shape[1] == 1 else tensor.to(memory_format=torch.channels_last)


def _nchw(x: FloatArray) -> torch.Tensor:
    """x [n, h, w, C] as a tensor [n, C, h, w] over the same memory.

    One channel is both layouts at once.  Seen as channels last, stride (1, 2) with outputs one cell wide gives garbage
    (torch 2.13 with oneDNN); seen as channels first it does not.
    """
    n, height, width, channels = x.shape
    if channels == 1:
        return torch.from_numpy(x.reshape(n, 1, height, width))
    return torch.from_numpy(x).permute(0, 3, 1, 2)


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
    if not x.flags.writeable:  # a view repeated for a batch, say; torch warns of memory that it may not write
        x = x.copy()
    # A single tap has no dilation; given one, oneDNN crashes the process on maps one cell wide at stride 2.
    gy, gx = (1 if taps == 1 else gap for taps, gap in zip(sliding.kernel, sliding.dilation, strict=True))
    y = torch.nn.functional.conv2d(
        _nchw(x),
        weight.form("torch", _weight),
        None if bias is None else bias.form("torch", lambda b: torch.from_numpy(np.array(b))),
        stride=sliding.stride,
        padding=(top, left),
        dilation=(gy, gx),
        groups=groups,
    )
    return np.ascontiguousarray(y.permute(0, 2, 3, 1).numpy())
