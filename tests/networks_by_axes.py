"""Random networks of one axis and of three."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import Branches, Residual

LAYERS: dict[int, dict[str, Any]] = {
    1: {"conv": nn.Conv1d, "norm": nn.BatchNorm1d, "max": nn.MaxPool1d, "mean": nn.AvgPool1d},
    3: {"conv": nn.Conv3d, "norm": nn.BatchNorm3d, "max": nn.MaxPool3d, "mean": nn.AvgPool3d},
}
ADAPTIVE: dict[int, dict[str, Any]] = {
    1: {"mean": nn.AdaptiveAvgPool1d, "max": nn.AdaptiveMaxPool1d},
    3: {"mean": nn.AdaptiveAvgPool3d, "max": nn.AdaptiveMaxPool3d},
}
PADS: dict[int, Any] = {1: nn.ConstantPad1d, 3: nn.ConstantPad3d}


class Gate(nn.Module):
    """A gate made of the mean of the whole map, as squeeze-and-excitation has it."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.rank, self.mix = rank, LAYERS[rank]["conv"](channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.mix(x.mean(tuple(range(2, 2 + self.rank)), keepdim=True)))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def networks(draw: st.DrawFn, rank: int, channels: int) -> nn.Module:
    """Strided, dilated, grouped and padded convolutions, pools, a residual, branches, a gate, two kinds of head."""
    layers, width = LAYERS[rank], 4
    kernel = tuple(draw(st.sampled_from([1, 2, 3])) for _ in range(rank))
    stride, dilation = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    parts = [layers["conv"](channels, width, kernel, stride, 1, dilation), nn.ReLU()]
    body = nn.Sequential(layers["conv"](width, width, 3, padding=1, groups=draw(st.sampled_from([1, 2, width]))))
    choices = [
        layers["norm"](width),
        layers["max"](3, 2, 1, ceil_mode=draw(st.booleans())),
        layers["mean"](2, 2, 1, count_include_pad=draw(st.booleans())),
        Residual(body),
        nn.Sequential(Branches(layers["conv"](width, 2, 1)), layers["conv"](width + 2, width, 1)),
        PADS[rank]((1, 0) * rank, 0.5),
        nn.Upsample(scale_factor=2),
        Gate(rank, width),
        nn.SiLU(),
    ]
    parts += draw(st.lists(st.sampled_from(choices), max_size=4, unique_by=id))
    size = draw(st.sampled_from([1, 2, 3]))
    parts += [ADAPTIVE[rank][draw(st.sampled_from(["mean", "max"]))](size if size < 3 else 1), nn.Flatten()]
    return nn.Sequential(*parts, nn.LazyLinear(3)).eval()
