"""Random convolutional networks for tests: every block of the zoo in small, on maps of any size."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

Ints = tuple[int, int]

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.ReLU6, nn.Sigmoid)


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Shortcut(nn.Module):
    """A residual whose skip is a strided 1x1 convolution: most of its changed cells are read by no output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, 2, 1), nn.ReLU())
        self.skip = nn.Conv2d(channels, channels, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(branch(x) for branch in self.branches)], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 3, 1), nn.Conv2d(3, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class SpatialGate(nn.Module):
    """One gate a cell, for all channels alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x))


class StripGate(nn.Module):
    """A gate made of whole columns: a map of one row, repeated over all rows."""

    def __init__(self, channels: int, height: int) -> None:
        super().__init__()
        self.pool, self.mix = nn.AvgPool2d((height, 1)), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.mix(self.pool(x)))


class Shuffle(nn.Module):
    """Half the channels pass, half are worked on, then both are shuffled."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a, self.body(b)], 1).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.dense = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


@st.composite
def convolutions(draw: st.DrawFn, channels: int, size: Ints, *, keep: bool = False) -> nn.Module:
    """A convolution, perhaps with batch-norm and an activation; ``keep`` keeps the shape."""
    kernel = draw(st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 3, 4])))
    dilation = draw(st.sampled_from([1, 1, 2]))
    reach = [(k - 1) * dilation + 1 for k in kernel]
    groups = draw(st.sampled_from([1, 1, channels, *([2] if channels % 2 == 0 else [])]))
    parts: list[nn.Module] = []
    if keep:
        stride = 1
        top, left = (draw(st.integers(0, r - 1)) for r in reach)
        parts.append(nn.ZeroPad2d((left, reach[1] - 1 - left, top, reach[0] - 1 - top)))
        outputs, padding = channels, (0, 0)
    else:
        stride = draw(st.sampled_from([1, 2, 3])) if min(size) >= 8 else 1
        outputs = draw(st.sampled_from([channels, 2 * channels])) if channels < 12 else channels
        # A pad of the whole reach makes outputs that read nothing but padding.
        padding = tuple(draw(st.integers(max(0, -(-(r - n) // 2)), r)) for r, n in zip(reach, size, strict=True))
    bias = draw(st.booleans())
    parts.append(nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias))
    if draw(st.booleans()):
        parts.append(nn.BatchNorm2d(outputs))
    if draw(st.booleans()):
        parts.append(draw(st.sampled_from(ACTIVATIONS))())
    return nn.Sequential(*parts)


@st.composite
def pools(draw: st.DrawFn, size: Ints) -> nn.Module:
    kernel = tuple(draw(st.integers(1, min(3, n))) for n in size)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    stride, ceil = draw(st.integers(1, 3)), draw(st.booleans())
    if draw(st.booleans()):
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=draw(st.booleans()))


@st.composite
def blocks(draw: st.DrawFn, channels: int, size: Ints) -> nn.Module:
    kinds = ["convolution", "convolution", "pool", "residual", "shortcut", "branches", "squeeze", "gate", "strip"]
    if channels % 2 == 0:
        kinds.append("shuffle")
    if channels >= 6:  # where a patch is plain, few channels may nearly agree, and a norm then magnifies any rounding
        kinds.append("norm")
    kind = draw(st.sampled_from(kinds))
    if kind == "pool":
        return draw(pools(size))
    if kind == "residual":
        return Residual(draw(convolutions(channels, size, keep=True)))
    if kind == "shortcut":
        return Shortcut(channels)
    if kind == "branches":
        bodies = [draw(convolutions(channels, size, keep=True)) for _ in range(draw(st.integers(1, 2)))]
        return Branches(*bodies) if channels < 12 else Residual(bodies[0])
    if kind == "shuffle":
        return Shuffle(draw(convolutions(channels // 2, size, keep=True)))
    simple = {
        "squeeze": lambda: SqueezeExcite(channels),
        "gate": lambda: SpatialGate(channels),
        "strip": lambda: StripGate(channels, size[0]),
        "norm": lambda: ChannelNorm(channels),
    }
    return simple[kind]() if kind in simple else draw(convolutions(channels, size))


@st.composite
def heads(draw: st.DrawFn, channels: int, size: Ints) -> nn.Module:
    kind = draw(st.sampled_from(["mean", "flatten", "uneven", "classes", "maximum"]))
    if kind == "mean":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))
    if kind == "flatten":
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], 4))
    if kind == "classes":
        return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pool = nn.AdaptiveAvgPool2d((2, 3)) if kind == "uneven" else nn.AdaptiveMaxPool2d((2, 3))
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(channels * 6, 4))


@st.composite
def modules(draw: st.DrawFn, size: Ints) -> nn.Module:
    """A classifier of 3-channel images of ``size`` with two to six blocks, weights as torch draws them."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(draw(st.integers(0, 9)))
        parts: list[nn.Module] = []
        x = torch.zeros(1, 3, *size)
        for _ in range(draw(st.integers(2, 6))):
            parts.append(draw(blocks(x.shape[1], (x.shape[2], x.shape[3]))).eval())
            x = parts[-1](x)
        parts.append(draw(heads(x.shape[1], (x.shape[2], x.shape[3]))))
    return nn.Sequential(*parts)
