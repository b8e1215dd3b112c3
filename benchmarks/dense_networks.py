"""U-Nets of two and three axes, as segmentation has them: batch norms, skip connections, a decoder of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLS: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


def _block(axes: int, inputs: int, outputs: int) -> nn.Module:
    """Two convolutions, each with a batch norm and a ReLU."""
    parts: list[nn.Module] = []
    for given in (inputs, outputs):
        parts += [CONVOLUTIONS[axes](given, outputs, 3, padding=1, bias=False), NORMS[axes](outputs), nn.ReLU()]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """[N, channels, *size] -> [N, classes, *size]; of ``widths`` channels from the finest level to the coarsest.

    The decoder makes maps finer by transposed convolutions, or where ``interpolated`` by linear interpolation and a
    convolution of one tap (Ronneberger et al. 2015, and as segmentation_models_pytorch has it).
    """

    def __init__(
        self, axes: int, channels: int, classes: int, widths: Sequence[int], interpolated: bool = False
    ) -> None:
        super().__init__()
        inputs = [channels, *widths]
        self.down = nn.ModuleList(_block(axes, given, width) for given, width in zip(inputs, widths, strict=False))
        pairs = list(pairwise(widths))
        self.pool = POOLS[axes](2)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2, mode=LINEAR[axes], align_corners=False), CONVOLUTIONS[axes](coarse, fine, 1)
            )
            if interpolated
            else TRANSPOSED[axes](coarse, fine, 2, 2)
            for fine, coarse in pairs
        )
        self.join = nn.ModuleList(_block(axes, 2 * fine, fine) for fine, _ in pairs)
        self.out = CONVOLUTIONS[axes](widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of each cell."""
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            skipped.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([skipped[level], self.up[level](x)], 1))
        logits: Tensor = self.out(x)
        return logits
