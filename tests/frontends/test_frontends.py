"""Modules against their networks: a trace evaluated in full equals the module itself in float64, layer by layer."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import photos
from benchmarks.calibrated import calibrated
from kdb.errors import ModelError
from kdb.frontends.torch_export import trace, traced
from kdb.operators.network import Network
from kdb.operators.pooling import GlobalMean
from kdb.operators.sources import Opaque
from tests.traces import Each, Function, Made, close, comes_back, culprits, image, logits


def check(module: nn.Module, shape: tuple[int, int, int] = (4, 9, 12)) -> Network:
    """The network of ``module``, which evaluated equals it."""
    network, x = trace(module, shape), image(shape)
    exact = copy.deepcopy(module).double()(x.double()[None])
    for native in (False, True):
        close(logits(network, x, native), exact)
    return network


def check_each(functions: Mapping[str, Function], shape: tuple[int, int, int] = (4, 9, 12)) -> None:
    """Each function is in the vocabulary, and its own part of the logits equals it."""
    torch.manual_seed(0)
    module, x = Each(functions).eval(), image(shape)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for each in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                if each is not None:
                    nn.init.uniform_(each, 0.5, 1.5)
    network = trace(module, shape)
    assert culprits(network) == []
    for native in (False, True):
        found, start = logits(network, x, native), 0
        for name, exact in zip(functions, module.double().outputs(x.double()[None]), strict=True):
            close(found[start : start + exact.numel()], exact, name)
            start += exact.numel()
        assert start == len(found)


# --- the vocabulary ----------------------------------------------------------------------------------------------


def test_convolutions() -> None:
    check_each(
        {
            "plain": nn.Conv2d(4, 6, 3),
            "without bias": nn.Conv2d(4, 6, (2, 3), bias=False),
            "strided": nn.Conv2d(4, 6, 3, (2, 3), (1, 2)),
            "dilated": nn.Conv2d(4, 6, 3, 1, 2, (2, 3)),
            "grouped": nn.Conv2d(4, 6, 3, groups=2),
            "depthwise": nn.Conv2d(4, 4, 3, padding=1, groups=4),
            "depthwise with a multiplier": nn.Conv2d(4, 8, 3, groups=4),
            "same": nn.Conv2d(4, 6, 4, padding="same"),
            "same, dilated": nn.Conv2d(4, 6, (3, 2), padding="same", dilation=(1, 3)),
            "pointwise": nn.Conv2d(4, 6, 1),
            "over the whole map": nn.Conv2d(4, 6, (9, 12)),
            "to one channel": nn.Conv2d(4, 1, 3),
            "padded before": nn.Sequential(nn.ZeroPad2d((0, 1, 2, 3)), nn.Conv2d(4, 6, 3, 2)),
            "padded by a value": nn.Sequential(nn.ConstantPad2d((1, 2, 0, 1), 0.7), nn.Conv2d(4, 6, 3, 2)),
            "batch-norm": nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)),
            "batch-norm without weights": nn.BatchNorm2d(4, affine=False),
            "batch-norm of one channel": nn.Sequential(nn.Conv2d(4, 1, 3), nn.BatchNorm2d(1)),
        }
    )


def test_activations() -> None:
    check_each(
        {
            "relu": F.relu,
            "relu6": F.relu6,
            "hardtanh": lambda x: F.hardtanh(x, -0.3, 0.8),
            "leaky": lambda x: F.leaky_relu(x, 0.2),
            "leaky, default": F.leaky_relu,
            "elu": lambda x: F.elu(x, 0.7),
            "selu": F.selu,
            "celu": lambda x: F.celu(x, 1.5),
            "sigmoid": torch.sigmoid,
            "silu": F.silu,
            "gelu": F.gelu,
            "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
            "hardswish": F.hardswish,
            "hardsigmoid": F.hardsigmoid,
            "tanh": torch.tanh,
            "clamp": lambda x: x.clamp(max=1.0).clamp(min=-0.5),
            "exp, log, sqrt": lambda x: torch.sqrt(torch.log(1 + torch.exp(x))),
            "rsqrt": lambda x: torch.rsqrt(x.abs() + 1),
            "erf": torch.erf,
            "mish": F.mish,
            "softplus": lambda x: F.softplus(x) + F.softplus(x, 0.5, 15),
            "softsign": F.softsign,
            "prelu": nn.PReLU(init=0.3),
            "prelu by channel": lambda x: F.prelu(x, torch.linspace(-0.5, 1, 4).to(x.dtype)),
            "powers": lambda x: x**2 - 0.1 * x**3 + x.abs() ** 0.5,
            "softmax": lambda x: x.softmax(1),
            "log-softmax": lambda x: x.log_softmax(1),
            "dropout": nn.Dropout(0.5),
        }
    )


def test_pools() -> None:
    check_each(
        {
            "max": nn.MaxPool2d(2),
            "max, padded": nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
            "max, ceil": nn.MaxPool2d(2, 4, ceil_mode=True),
            "max, ceil, padded": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            "max, dilated": nn.MaxPool2d(2, 1, dilation=(2, 3)),
            "average": nn.AvgPool2d((2, 3)),
            "average, padding not counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            "average, padding counted": nn.AvgPool2d(3, 2, 1),
            "average, ceil": nn.AvgPool2d(2, 4, ceil_mode=True),
            "average, ceil, padded": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
            "average, ceil, padding not counted": nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
            "average by another divisor": nn.AvgPool2d(3, 1, divisor_override=5),
            "adaptive, even": nn.AdaptiveAvgPool2d((3, 4)),
            "adaptive, uneven": nn.AdaptiveAvgPool2d((4, 5)),
            "adaptive, larger": nn.AdaptiveAvgPool2d((11, 12)),
            "adaptive, as it is": nn.AdaptiveAvgPool2d((9, 12)),
        }
    )


def test_global_means() -> None:
    check_each(
        {
            "adaptive": nn.AdaptiveAvgPool2d(1),
            "mean": lambda x: x.mean((2, 3)),
            "mean, kept": lambda x: x.mean((-1, -2), keepdim=True) * x,
            "one axis, then the other": lambda x: x.flatten(2).mean(2),
            "channels last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
            "pool over everything": lambda x: F.avg_pool2d(x, x.shape[2:]),
            "of a vector": lambda x: x.mean((2, 3), keepdim=True).mean((2, 3)),
        }
    )


def test_arithmetic() -> None:
    draw = torch.Generator().manual_seed(1)
    channel, maps = torch.rand(4, 1, 1, generator=draw) + 1, torch.rand(4, 9, 12, generator=draw) + 1
    row, rows = torch.rand(12, generator=draw) + 1, torch.rand(1, 1, 9, 1, generator=draw) + 1
    check_each(
        {
            "numbers": lambda x: (2 * x + 1 - x / 3) / 0.7 - 5,
            "number first": lambda x: 1 - 2 / (x.abs() + 1),
            "negated": lambda x: -(x - 3),
            "by channel": lambda x: (x * channel + channel) / channel - channel,
            "channel first": lambda x: channel - channel / (x.abs() + 1),
            "by map": lambda x: (x * maps + maps) / maps - maps * 2,
            "by column and row": lambda x: x * row + rows / 2 - row / rows,
            "one-element tensor": lambda x: x * torch.tensor([[2.0]]) + torch.tensor(1.5),
            "sum": lambda x: x + F.relu(x),
            "difference": lambda x: F.relu(x) - x * x,
            "scaled": lambda x: torch.add(x, F.relu(x), alpha=3) + torch.sub(x, F.relu(x), alpha=0.5),
            "scaled constant": lambda x: torch.add(x, maps, alpha=3) + torch.sub(x, channel, alpha=0.5),
            "constant and scaled": lambda x: torch.add(channel, x, alpha=3) + torch.sub(maps, x, alpha=0.5),
            "reversed": lambda x: torch.rsub(x, 2, alpha=3),
            "gates": lambda x: x * x.mean((2, 3), keepdim=True) + x.mean((2, 3), keepdim=True),
            "a gate by cell": lambda x: x * x[:, :1] + x[:, 1:2],
            "in place": lambda x: F.relu(x.clone(), inplace=True).add_(1).mul_(2),
        }
    )


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def replaced(x: Tensor, channels: slice, by: Callable[[Tensor], Tensor]) -> Tensor:
    """``x`` with some channels put through ``by`` in place."""
    x = F.relu(x)
    part = x[:, channels]
    part += by(part)
    return x


def test_channels() -> None:
    weight = torch.linspace(0.5, 2, 6).reshape(6, 1, 1)
    check_each({
        "cat": lambda x: torch.cat([x, F.relu(x), x[:, :1]], 1),
        "cat of single channels": lambda x: torch.cat([x[:, 3:], x[:, :1]], 1),
        "split": lambda x: torch.cat(x.split([1, 3, 2], 1)[::-1], 1),
        "chunk": lambda x: x.chunk(3, 1)[1] * x.chunk(3, 1)[2],
        "slices": lambda x: torch.cat([x[:, 4:], x[:, 1:5:2], x[:, -1:]], 1),
        "select": lambda x: x[:, 2] - x[:, -1],
        "shuffle": lambda x: shuffled(x, 2) + shuffled(x, 3),
        "stack": lambda x: torch.stack([x, F.relu(x) + 1, x], 1)[:, 1],
        "shuffle, then by channel": lambda x: shuffled(x, 3) * weight,
        "shuffle of a shuffle": lambda x: shuffled(F.relu(shuffled(x, 2)) * weight, 2),
        "first channels in place": lambda x: replaced(x, slice(2), torch.sigmoid),
        "last channels in place": lambda x: replaced(x, slice(-3, None), torch.sigmoid),
        "channels between in place": lambda x: replaced(x, slice(1, 4), torch.sigmoid),
        "all channels in place": lambda x: replaced(x, slice(None), torch.sigmoid),
        "part of a shuffle": lambda x: x.view(-1, 2, 3, 5, 4)[:, 1] * x.view(-1, 3, 2, 5, 4)[:, :, 0],
    }, (6, 5, 4))  # fmt: skip


def test_squeeze_excite() -> None:
    def by_convolutions(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
        return x * torch.sigmoid(up(F.relu(down(x.mean((2, 3), keepdim=True)))))

    def by_vectors(x: Tensor, dense: nn.Module) -> Tensor:
        return x * torch.sigmoid(dense(x.mean((2, 3)))).view(-1, 6, 1, 1).expand_as(x)

    check_each({
        "convolutions": Made(by_convolutions, nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)),
        "dense": Made(by_vectors, nn.Linear(6, 6)),
        "rows": lambda x: x * F.avg_pool2d(x, (5, 1)) + F.avg_pool2d(x, (1, 4)).expand(-1, -1, -1, 4),
        "grey to colours": lambda x: x[:, 2:3].expand(-1, 3, -1, -1) - x[:, 3:],
    }, (6, 5, 4))  # fmt: skip


def test_cells() -> None:
    mirrored = nn.Conv2d(4, 4, 3, 2, padding=1, padding_mode="reflect", groups=4)
    check_each(
        {
            "reflect": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
            "replicate": lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"),
            "a blur": mirrored,
            "nearest": nn.Upsample(scale_factor=2),
            "nearest, by another factor": nn.Upsample(size=(5, 29)),
            "nearest, of a vector": lambda x: F.interpolate(x.mean((2, 3), keepdim=True), (9, 12)) * x,
            "slices": lambda x: x[:, :, 1:, ::2] + x[:, :, :-1, 1::2],
            "one row": lambda x: x[:, :, 2] + x[:, :, -1],
            "one column": lambda x: x[..., 3:4] * x,
            "every other, stacked": lambda x: torch.cat([x[:, :, :8:2, ::2], x[:, :, 1::2, ::2]], 1),
            "rolled": lambda x: x.roll((1, -2), (2, 3)),
            "cropped": lambda x: F.pad(x, (-1, 2, -3, -1)),
            "padded, then cropped": lambda x: F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2)[:, :, 1:, 1:],
            "padded, channels last": lambda x: F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2, 3, -1)).square(),
            "one row padded": lambda x: F.pad(x[:, :, :1], (0, 0, 2, 1)),
            "by indices": lambda x: x[:, :, [3, 0, 0]][..., torch.tensor([11, 5])],
            "by both": lambda x: x[:, :, torch.tensor([[3], [0], [0]]), torch.tensor([11, 5])],
            "channels by indices": lambda x: x[:, [3, 0, 0]] - x[:, 1:],
            "channels last": lambda x: x.permute(0, 2, 3, 1)[:, 0::2, 1::2],
        }
    )


def test_space_to_depth() -> None:
    def folded(x: Tensor, y: int, z: int) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, c, h // y, y, w // z, z).permute(0, 3, 5, 1, 2, 4).reshape(n, c * y * z, h // y, w // z)

    check_each({
        "squares": lambda x: folded(x, 2, 2),
        "rectangles": lambda x: F.relu(folded(x, 4, 1)),
        "columns": lambda x: folded(x, 1, 3),
        "unshuffled": nn.PixelUnshuffle(2),
        "convolved": nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 5, 3), nn.ReLU()),
        "down to one cell": lambda x: folded(x[:, :, :4, :3], 4, 3),
        "channels last": lambda x: x.permute(0, 2, 3, 1).reshape(-1, 4, 2, 6, 3).transpose(1, 3),
    }, (3, 8, 6))  # fmt: skip


def test_reductions() -> None:
    def parts(x: Tensor) -> Tensor:
        return x.view(-1, 3, 2, 5, 4)

    check_each({
        "mean over channels": lambda x: x - x.mean(1, keepdim=True),
        "mean over channels, dropped": lambda x: x.mean(1).unsqueeze(1) * x,
        "sums": lambda x: x.sum(1, keepdim=True) * x + x.sum((2, 3), keepdim=True) / 20,
        "sum of parts": lambda x: parts(x).sum(1) + parts(x).mean(1),
        "sum of other parts": lambda x: parts(x).sum(2),
        "variances": lambda x: x * (x.var(1, keepdim=True) + 1e-3).rsqrt() + x.var((2, 3), keepdim=True),
        "deviation": lambda x: x / x.std((2, 3), keepdim=True, correction=0),
        "root mean square": nn.Sequential(Made(lambda x: x.permute(0, 2, 3, 1)), nn.RMSNorm(6, eps=1e-3)),
        "norms": lambda x: F.normalize(x, dim=1) + x / x.norm(p=2, dim=(2, 3), keepdim=True),
        "response norm": lambda x: x * (n := x.norm(p=2, dim=(2, 3), keepdim=True)) / (n.mean(1, keepdim=True) + 1e-3),
        "global maximum": lambda x: x.amax((2, 3), keepdim=True) * x,
        "pooled maximum": nn.AdaptiveMaxPool2d(1),
        "even maxima": nn.AdaptiveMaxPool2d((5, 2)),
        "a gate along the channels": Made(
            lambda x, conv: x * torch.sigmoid(conv(x.mean((2, 3)).unsqueeze(1))).view(-1, 6, 1, 1),
            nn.Conv1d(1, 1, 3, padding=1),
        ),
        "along the channels, strided": Made(
            lambda x, conv: conv(x.mean((2, 3)).unsqueeze(1)), nn.Conv1d(1, 1, 2, 2, 1, 2, bias=False)
        ),
        "quotient": lambda x: x / (1 + x.abs()),
    }, (6, 5, 4))  # fmt: skip


def test_layouts() -> None:
    def last(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)

    check_each({
        "layer norm": Made(lambda x, norm: norm(last(x)).permute(0, 3, 1, 2), nn.LayerNorm(6)),
        "layer norm without weights": Made(lambda x, norm: norm(last(x)), nn.LayerNorm(6, elementwise_affine=False)),
        "layer norm of tokens": Made(lambda x, norm: norm(x.flatten(2).transpose(1, 2)), nn.LayerNorm(6)),
        "dense at each cell": Made(lambda x, dense: dense(last(x)), nn.Linear(6, 3)),
        "flatten": lambda x: x,
        "flatten, then dense": Made(lambda x, dense: dense(x.flatten(1)), nn.Linear(120, 7)),
        "flatten channels last": Made(lambda x, dense: dense(last(x).flatten(1)), nn.Linear(120, 7)),
        "flatten transposed": Made(lambda x, dense: dense(x.transpose(2, 3).reshape(-1, 120)), nn.Linear(120, 7)),
        "flatten a shuffle": Made(lambda x, dense: dense(shuffled(x, 3).flatten(1)), nn.Linear(120, 7)),
        "to one class": Made(lambda x, dense: dense(x.mean((2, 3))), nn.Linear(6, 1)),
        "a dense layer's output cut": Made(lambda x, dense: dense(x.flatten(1))[:, 2:5], nn.Linear(120, 7)),
        "by a matrix": lambda x: x.mean((2, 3)) @ torch.linspace(0, 1, 12).view(6, 2).to(x.dtype),
    }, (6, 5, 4))  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 1, 5), (3, 6, 1), (3, 1, 1), (1, 1, 1)])
def test_axes_of_length_one(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    norm = nn.BatchNorm2d(channels)
    check_each({
        "convolution": nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU()),
        "batch-norm": norm,
        "mean": lambda x: x.mean((2, 3)) + 2,
        "flatten": nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3)),
        "cat": lambda x: torch.cat([x, x * 2], 1),
        "pool": nn.MaxPool2d(3, 1, 1),
    }, shape)  # fmt: skip


def test_constants_are_folded_into_parameters() -> None:
    class Standardised(nn.Module):
        """Weights computed anew in each forward, from parameters and a buffer that is not saved."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(5, 3, 3, 3))
            self.register_buffer("gain", torch.linspace(1, 2, 5), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            flat = self.weight.flatten(1)
            weight = ((flat - flat.mean(1, True)) / flat.std(1, keepdim=True)).view_as(self.weight)
            bias = torch.zeros(5) + self.gain.cumsum(0)
            return F.conv2d(x, weight * self.gain.view(-1, 1, 1, 1), bias).mean((2, 3))

    network = check(Standardised(), (3, 7, 8))
    assert [type(node.operator).__name__ for node in network] == ["Source", "Convolution", "GlobalMean"]


def test_layers_carry_the_names_of_modules() -> None:
    module = nn.Sequential()
    module.add_module("stem", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU()))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flat", nn.Flatten())
    module.add_module("head", nn.Linear(4, 2))
    network = check(module.eval(), (3, 8, 8))
    assert [node.name for node in network] == ["image", "stem.0", "stem.1", "stem.2", "stem.2#2", "pool", "head"]
    assert network.readers("stem.1") == [network["stem.2"], network["stem.2#2"]]
    assert network.macs == 6 * 6 * 27 * 4 + 4 * 2
    assert trace(module, (3, 8, 8)).digest == network.digest != trace(module, (3, 8, 9)).digest


# --- outside the vocabulary --------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(4, 8, 3, 2), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.stem(x).flatten(2).transpose(1, 2))
        return (tokens + self.attention(tokens, tokens, tokens)[0]).mean(1)


def behind(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """``function`` of a convolution with six channels."""
    return Made(lambda x, conv: function(conv(x)).flatten(1), nn.Conv2d(4, 6, 3))


def layered(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 3), *layers, nn.Flatten())


def by_its_means(x: Tensor) -> Tensor:
    """Each image's channels are convolved with weights of its own."""
    n, c, h, w = x.shape
    return F.conv2d(x.reshape(1, -1, h, w), x.mean((2, 3)).reshape(-1, 1, 1, 1), groups=n * c).reshape(n, c, h, w)


OPAQUE: dict[str, tuple[nn.Module, str]] = {
    "fft": (behind(lambda x: torch.fft.rfft2(F.relu(x)).abs()), "fft"),
    "attention": (Attention(), "attention"),
    "uneven maxima": (layered(nn.AdaptiveMaxPool2d(2)), "^1: adaptive_max_pool2d .windows of different sizes"),
    "maximum over channels": (behind(lambda x: x.amax(1, keepdim=True) * x), "maximum over the channels"),
    "computed weights": (behind(by_its_means), "weights that depend on the image"),
    "a maximum that knows where": (behind(lambda x: x.max(1).values), "max"),
    "cells one by one": (behind(lambda x: x[:, :, torch.tensor([0, 1]), torch.tensor([2, 3])]), "of single cells"),
    "windows": (behind(lambda x: F.pad(x, (0, 0, 0, 1)).view(-1, 6, 2, 4, 2, 5).cumsum(3)), "cuts an axis"),
    "small windows": (behind(lambda x: F.pad(x, (0, 0, 0, 1)).view(-1, 6, 4, 2, 5, 2).cumsum(3)), "cumsum"),
    "along the map": (
        behind(lambda x: F.conv1d(x.mean(2), torch.ones(2, 6, 3).to(x.dtype))),
        "reduction over some of the axes",
    ),
    "group norm": (layered(nn.GroupNorm(2, 6)), "^1: .*statistics are those of the whole map"),
    "instance norm": (layered(nn.InstanceNorm2d(6)), "^1: .*statistics are those of the whole map"),
    "transposed": (layered(nn.ConvTranspose2d(6, 2, 3, dilation=2)), "^1: convolution .a transposed"),
    "rounded": (behind(lambda x: torch.div(x, 0.1, rounding_mode="floor")), "a division with rounding"),
    "stacked": (behind(lambda x: torch.cat([x.unsqueeze(1), F.relu(x).unsqueeze(1)], 1)), "cat"),
    "by strides": (behind(lambda x: x.as_strided((x.shape[0], 6, 7, 10), (420, 70, 1, 7))), "as_strided"),
    "transposed batch": (behind(lambda x: x.flatten(1).t().cumsum(0).t()), "cumsum"),
    "several crossings": (behind(lambda x: x.mean((2, 3)).cumsum(1) + x.permute(0, 2, 3, 1).mean((1, 2))), "cumsum"),
    "shuffled before": (behind(lambda x: shuffled(x, 3).cumsum(1)), "cumsum"),
    "merged batch": (behind(lambda x: x.flatten(0, 1).cumsum(1).unflatten(0, (-1, 6))), ""),
    "batch size": (behind(lambda x: (x.mean((2, 3)) + torch.zeros(x.shape[0], 6)).cumsum(1)), "batch size"),
    "integers": (behind(lambda x: x.argsort(1).float() + x), "sort"),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_outside_the_vocabulary_is_left_to_the_module_and_named(name: str) -> None:
    module, because = OPAQUE[name]
    network = check(module)
    assert len(culprits(network)) == 1 and isinstance(network.output.operator, Opaque)
    assert re.search(because, culprits(network)[0]), culprits(network)
    assert any(node.operator.label == "convolution" for node in network)


def test_only_what_the_logits_need_crosses_into_the_opaque_tail() -> None:
    """A cast leaves an assert on the image in the trace, outside the vocabulary and read by nothing."""

    def forward(x: Tensor, conv: nn.Module) -> Tensor:
        return torch.cumsum(conv(x.to(x.dtype)).mean((2, 3)), 1)

    network = check(Made(forward, nn.Conv2d(4, 6, 3)))
    assert [network[name].operator for name in network.output.inputs] == [GlobalMean()]


# --- refusals ----------------------------------------------------------------------------------------------------


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "a layer that fails": (layered(nn.Sequential(nn.ReLU(), nn.Conv2d(5, 2, 1))), r"layer '1\.1' fails"),
    "the model itself": (Made(lambda x: x @ torch.zeros(5, 5)), "the model fails on an input of shape"),
    "a map of one axis": (Made(lambda x: x.mean(3)), r"as many axes as its input; it returns \[2, 4, 9\]"),
    "a tuple": (
        Made(lambda x: (x.mean((2, 3)), x)),
        "it returns 2 outputs, counted from 0: name the one that is meant",
    ),  # type: ignore[arg-type,return-value]
    "no outputs": (Made(lambda x: x.mean((2, 3))[:, :0]), r"must return logits \[N, K\].*; it returns \[2, 0\]"),
    "no batch": (Made(lambda x: x.mean((0, 2, 3))), "must return logits"),
    "control flow": (Branching(), "cannot be traced: its forward branches on the values of a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_is_refused(name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        trace(module, (4, 9, 12))


# --- torchvision's networks --------------------------------------------------------------------------------------

MODELS = {
    "squeezenet1_1": 64,
    "resnet18": 64,
    "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64,
    "googlenet": 80,
}


@pytest.mark.parametrize("name", MODELS)
def test_torchvisions_networks(name: str) -> None:
    size = (MODELS[name], MODELS[name])
    module = calibrated(name, size)
    (network, graph), x = traced(module, (3, *size)), photos.normalised(photos.photo("chelsea", size))
    assert culprits(network) == []
    comes_back(module, (3, *size), network, graph)
    exact = copy.deepcopy(module).double()(x.double()[None]).detach().numpy()[0]
    plain = module(x[None]).detach().numpy()[0]
    error, allowed = np.abs(logits(network, x) - exact).max(), 3 * np.abs(plain - exact).max()
    assert error <= max(allowed, 1e-6 * np.abs(exact).max())
    assert np.ptp(exact) > 0.1
