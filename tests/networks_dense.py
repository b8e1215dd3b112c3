"""Random networks that give a map for each class, of one to three axes: down, up again, with what they skipped."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Shuffle(nn.Module):
    """Pixel shuffle behind a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


class Hourglass(nn.Module):
    """One level down and up again, with a skip connection; ``up`` makes the map fine again, or a little larger."""

    def __init__(self, rank: int, width: int, down: nn.Module, inner: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(CONV[rank](2, width, 3, padding=1), NORM[rank](width), nn.ReLU())
        self.down, self.inner, self.up = down, inner, up
        self.last = nn.Sequential(CONV[rank](2 * width, width, 3, padding=1), nn.ReLU(), CONV[rank](width, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.first(x)
        up = self.up(self.inner(self.down(skipped)))
        for axis in range(2, x.ndim):  # what both have
            length = min(up.shape[axis], skipped.shape[axis])
            up, skipped = up.narrow(axis, 0, length), skipped.narrow(axis, 0, length)
        return self.last(torch.cat([skipped, up], 1))


@st.composite
def dense(draw: st.DrawFn, rank: int) -> nn.Module:
    """With random statistics, so that batch norms do something."""
    width = 4
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 99)))
        down = draw(st.sampled_from([MAX[rank](2), CONV[rank](width, width, 3, 2, 1), MAX[rank](2, ceil_mode=True)]))
        inner = draw(
            st.sampled_from(
                [nn.Identity(), nn.ReLU(), nn.Sequential(CONV[rank](width, width, 3, padding=1), nn.ReLU())]
            )
        )
        aligned = draw(st.booleans())
        ups = [
            TRANSPOSED[rank](width, width, 2, 2),
            TRANSPOSED[rank](width, width, 4, 2, 1),
            TRANSPOSED[rank](width, width, 3, 2, 1, 1, groups=2),
            nn.Upsample(scale_factor=2, mode=LINEAR[rank], align_corners=aligned),
            nn.Upsample(scale_factor=2),
        ]
        up = draw(st.sampled_from([*ups, *([Shuffle(width)] if rank == 2 else [])]))
        module = Hourglass(rank, width, down, inner, up)
        for part in module.modules():
            if isinstance(part, tuple(NORM.values())):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.5, 2)
    return module.eval()
