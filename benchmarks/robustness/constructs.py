"""Tiny modules, each with a construct that a translation may get wrong, as data: families of (name, what is built).

A family puts its constructs between the same layers.  Functions take the module that they are part of and its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Build = Callable[[], nn.Module]
Function = Callable[..., Any]


class Apply(nn.Module):
    """A function of (this module, x); ``parts`` are its attributes: modules, parameters, tensors, whatever they are."""

    def __init__(self, function: Function, **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        """What the function gives."""
        return self.function(self, x)


def apply(function: Callable[[Any], Any], **parts: Any) -> Apply:
    """A function of x alone."""
    return Apply(lambda _, x: function(x), **parts)


@dataclass(frozen=True)
class Construct:
    """A module and the input that it is tried on; ``exact`` and ``batch`` as in a trial."""

    name: str
    build: Build
    size: tuple[int, int] = (24, 28)
    channels: int = 3
    patch: tuple[int, int] | None = None
    exact: torch.dtype = torch.float64
    batch: int = 32

    def module(self, seed: int = 0) -> nn.Module:
        """The module with random weights and statistics, in eval mode."""
        built = self.module_as_built(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            for part in built.modules():
                if isinstance(part, nn.Conv2d | nn.Linear) and type(part) in (nn.Conv2d, nn.Linear):
                    part.weight.data.mul_(3)  # or biases would leave little of the image
                if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.modules.instancenorm._InstanceNorm):
                    _randomise(part)
        return built

    def module_as_built(self, seed: int = 0) -> nn.Module:
        """The module with random weights, in eval mode; statistics stay."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = self.build().eval()
            with torch.no_grad():
                built(torch.randn(2, self.channels, *self.size))  # lazy layers learn their sizes
        return built


def _randomise(norm: Any) -> None:
    with torch.no_grad():
        if norm.running_mean is not None:
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.3, 1.2)
        if norm.affine:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)


# ---- families


def on_map(middle: nn.Module) -> nn.Module:
    """Between two convolutions, on a map [N, 6, H, W]."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), middle, nn.LazyConv2d(5, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4)),
    )


def on_small_map(middle: nn.Module) -> nn.Module:
    """At the end of the maps, [N, 6, 6, 7], of an image of 24 x 28; then all is flattened."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2, padding=1), middle),
        *(nn.Flatten(), nn.LazyLinear(4)),
    )


def on_vector(middle: nn.Module) -> nn.Module:
    """Between pooling and the last layer, on vectors [N, 12]."""
    return nn.Sequential(*_trunk(), middle, nn.LazyLinear(4))


def at_end(middle: nn.Module) -> nn.Module:
    """On the logits [N, 5]."""
    return nn.Sequential(*_trunk(), nn.Linear(12, 5), middle)


def at_start(middle: nn.Module) -> nn.Module:
    """On the image."""
    return nn.Sequential(
        middle, nn.LazyConv2d(12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)
    )


def whole(module: nn.Module) -> nn.Module:
    """The module as it is."""
    return module


def _trunk() -> list[nn.Module]:
    return [
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ]


ACTIVATIONS: Mapping[str, Build] = {
    "relu": nn.ReLU,
    "relu6 of 9 x": lambda: nn.Sequential(apply(lambda x: 9 * x), nn.ReLU6()),
    "leaky relu .3": lambda: nn.LeakyReLU(0.3),
    "prelu, one slope": lambda: nn.PReLU(1, 0.4),
    "prelu, a slope a channel": lambda: nn.PReLU(6, -0.2),
    "rrelu": lambda: nn.RReLU(0.1, 0.4),
    "elu .3": lambda: nn.ELU(0.3),
    "celu .4": lambda: nn.CELU(0.4),
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu, tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus beta 1, threshold .2": lambda: nn.Softplus(1, 0.2),
    "softplus beta .5, threshold 3": lambda: nn.Softplus(0.5, 3),
    "softplus beta 4": lambda: nn.Softplus(4),
    "softsign": nn.Softsign,
    "sigmoid": nn.Sigmoid,
    "log sigmoid": nn.LogSigmoid,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
    "hardtanh -.3 .7": lambda: nn.Hardtanh(-0.3, 0.7),
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "hardshrink .2": lambda: nn.Hardshrink(0.2),
    "softshrink .2": lambda: nn.Softshrink(0.2),
    "threshold .1 -.4": lambda: nn.Threshold(0.1, -0.4),
    "softmin over channels": lambda: nn.Softmin(1),
    "softmax over channels": lambda: nn.Softmax(1),
    "softmax 2d": nn.Softmax2d,
    "log softmax over channels": lambda: nn.LogSoftmax(1),
    "glu": lambda: nn.GLU(1),
    "relu in place": lambda: nn.ReLU(inplace=True),
    "swish, beta 1.702": lambda: apply(lambda x: x * torch.sigmoid(1.702 * x)),
    "swish, learnt beta": lambda: Apply(
        lambda m, x: x * torch.sigmoid(m.beta * x), beta=nn.Parameter(torch.tensor(0.7))
    ),
    "squareplus": lambda: apply(lambda x: (x + torch.sqrt(x * x + 4)) / 2),
    "snake": lambda: apply(lambda x: x + torch.sin(2 * x) ** 2 / 2),
    "gaussian": lambda: apply(lambda x: torch.exp(-x * x)),
    "cosine": lambda: apply(torch.cos),
    "arctangent": lambda: apply(torch.atan),
    "log1p of abs": lambda: apply(lambda x: torch.log1p(x.abs())),
    "signed log": lambda: apply(lambda x: torch.sign(x) * torch.log1p(x.abs())),
    "expm1": lambda: apply(lambda x: torch.expm1(x / 2)),
    "erf": lambda: apply(torch.erf),
    "sinh": lambda: apply(torch.sinh),
    "asinh": lambda: apply(torch.asinh),
    "rational": lambda: apply(lambda x: x / (1 + x**2)),
    "reciprocal root": lambda: apply(lambda x: torch.rsqrt(1 + x * x)),
    "cubic": lambda: apply(lambda x: x**3 - 2 * x),
    "power .7": lambda: apply(lambda x: (x.abs() + 0.1) ** 0.7),
    "power of a number": lambda: apply(lambda x: 1.5**x),
    "squared relu": lambda: apply(lambda x: F.relu(x).square()),
    "crelu": lambda: apply(lambda x: torch.cat([F.relu(x), F.relu(-x)], 1)),
    "maxout": lambda: apply(lambda x: x.unflatten(1, (3, 2)).amax(2)),
    "max of two halves": lambda: apply(lambda x: torch.maximum(x[:, :3], x[:, 3:])),
    "min of two halves": lambda: apply(lambda x: torch.minimum(x[:, :3], x[:, 3:])),
    "clamp between tensors": lambda: Apply(
        lambda m, x: torch.clamp(x, m.low, m.high), low=torch.full((6, 1, 1), -0.2), high=torch.full((6, 1, 1), 0.3)
    ),
    "clip from below": lambda: apply(lambda x: x.clip(min=-0.1)),
    "where": lambda: apply(lambda x: torch.where(x > 0.1, x, 0.5 * x - 0.3)),
    "logit": lambda: apply(lambda x: torch.logit(torch.sigmoid(x) * 0.9 + 0.05)),
    "abs": lambda: apply(torch.abs),
    "hypotenuse": lambda: apply(lambda x: torch.hypot(x[:, :3], x[:, 3:])),
    "angle": lambda: apply(lambda x: torch.atan2(x[:, :3], x[:, 3:] + 2)),
    "softmax over rows": lambda: nn.Softmax(2),
    "softmax over the map": lambda: apply(lambda x: 100 * x.flatten(2).softmax(-1).view_as(x)),
    "lerp": lambda: apply(lambda x: torch.lerp(x, x.relu(), 0.3)),
    "addcmul": lambda: apply(lambda x: torch.addcmul(x, x, x, value=0.3)),
    "addcdiv": lambda: apply(lambda x: torch.addcdiv(x, x, x.abs() + 1, value=-0.7)),
    "subtraction with alpha": lambda: apply(lambda x: torch.sub(x, x.relu(), alpha=1.7)),
    "number minus map": lambda: apply(lambda x: 1 - x),
    "number over map": lambda: apply(lambda x: 1 / (2 + x.abs())),
    "division with floor": lambda: apply(lambda x: x - 0.1 * torch.div(x, 0.5, rounding_mode="floor")),
}

POOLS: Mapping[str, Build] = {
    "max 3, 2, 1": lambda: nn.MaxPool2d(3, 2, 1),
    "max 3, 2, ceil": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "max 3, 2, 1, ceil": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "max, dilation 2": lambda: nn.MaxPool2d(3, 1, dilation=2),
    "max, dilation 2, ceil": lambda: nn.MaxPool2d(2, 3, 1, dilation=2, ceil_mode=True),
    "max 2x3, stride 1x2": lambda: nn.MaxPool2d((2, 3), (1, 2), (1, 0)),
    "max of negatives with padding": lambda: nn.Sequential(apply(lambda x: -x.abs() - 1), nn.MaxPool2d(3, 2, 1)),
    "minimum": lambda: apply(lambda x: -F.max_pool2d(-x, 3, 2)),
    "max and unpool": lambda: apply(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2])),
    "average 3, 2": lambda: nn.AvgPool2d(3, 2),
    "average, ceil, padding counted": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average, ceil, padding not counted": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "average, ceil": lambda: nn.AvgPool2d(4, 3, ceil_mode=True),
    "average, divisor 5": lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5),
    "average 2x5": lambda: nn.AvgPool2d((2, 5), (2, 1), (0, 2), count_include_pad=False),
    "lp 2": lambda: nn.Sequential(nn.ReLU(), apply(lambda x: x + 0.1), nn.LPPool2d(2, 3, 2)),
    "lp 3, ceil": lambda: nn.Sequential(nn.ReLU(), apply(lambda x: x + 0.1), nn.LPPool2d(3, 3, 2, ceil_mode=True)),
    "fractional max": lambda: nn.FractionalMaxPool2d(3, output_ratio=0.5),
    "adaptive max, even": lambda: nn.AdaptiveMaxPool2d((6, 7)),
    "adaptive max, uneven": lambda: nn.AdaptiveMaxPool2d((5, 9)),
    "adaptive average, even": lambda: nn.AdaptiveAvgPool2d((8, 7)),
    "adaptive average, uneven": lambda: nn.AdaptiveAvgPool2d((5, 9)),
    "adaptive average, one axis": lambda: nn.AdaptiveAvgPool2d((None, 3)),
    "blur": lambda: Apply(
        lambda m, x: F.conv2d(F.pad(x, (1, 2, 1, 2), mode="reflect"), m.kernel.repeat(6, 1, 1, 1), stride=2, groups=6),
        kernel=nn.Buffer(torch.outer(*[torch.tensor([1.0, 3, 3, 1]) / 8] * 2)[None, None]),
    ),
    "pyramid": lambda: apply(
        lambda x: torch.cat([x, F.interpolate(F.adaptive_avg_pool2d(x, 2), x.shape[2:], mode="nearest")], 1)
    ),
    "moving variance": lambda: apply(lambda x: F.avg_pool2d(x * x, 3, 1) - F.avg_pool2d(x, 3, 1) ** 2),
    "moving log-sum-exp": lambda: apply(lambda x: F.avg_pool2d((4 * x).exp(), 3, 2).log() / 4),
    "contrast": lambda: apply(lambda x: F.max_pool2d(x, 3, 1) + F.max_pool2d(-x, 3, 1)),
    "max over channels": lambda: apply(lambda x: torch.cat([x.amax(1, True), x.mean(1, True)], 1)),
    "soft pool": lambda: apply(lambda x: F.avg_pool2d(x * x.exp(), 2) / F.avg_pool2d(x.exp(), 2)),
}

GLOBAL_POOLS: Mapping[str, Build] = {
    "mean of both axes": lambda: apply(lambda x: x.mean((2, 3))),
    "mean of rows, then columns": lambda: apply(lambda x: x.mean(2).mean(2)),
    "mean of columns alone": lambda: apply(lambda x: x.mean(3)),
    "max": lambda: apply(lambda x: x.amax((2, 3))),
    "adaptive max": lambda: nn.AdaptiveMaxPool2d(1),
    "max of dim": lambda: apply(lambda x: x.flatten(2).max(2)[0]),
    "median": lambda: apply(lambda x: x.flatten(2).median(2).values),
    "standard deviation": lambda: apply(lambda x: x.std((2, 3))),
    "variance, biased": lambda: apply(lambda x: x.var((2, 3), unbiased=False)),
    "mean and max": lambda: apply(lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)),
    "mean of the top 5": lambda: apply(lambda x: x.flatten(2).topk(5).values.mean(2)),
    "quantile": lambda: apply(lambda x: torch.quantile(x.flatten(2), 0.7, dim=2)),
    "log-sum-exp": lambda: apply(lambda x: torch.logsumexp(x * 5, (2, 3)) / 5),
    "generalised mean": lambda: apply(lambda x: x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)),
    "sum": lambda: apply(lambda x: x.sum((2, 3))),
    "sum of a sum": lambda: apply(lambda x: x.sum(-1).sum(-1)),
    "2-norm": lambda: apply(lambda x: x.norm(dim=(2, 3))),
    "1-norm": lambda: apply(lambda x: torch.linalg.vector_norm(x, 1, (2, 3))),
    "infinity norm": lambda: apply(lambda x: torch.linalg.vector_norm(x, math.inf, (2, 3))),
    "softmax pool": lambda: apply(lambda x: (x * x.flatten(2).softmax(-1).view_as(x)).sum((2, 3))),
    "attention pool": lambda: Apply(
        lambda m, x: (x.flatten(2) * m.score(x).flatten(2).softmax(-1)).sum(-1), score=nn.Conv2d(6, 1, 1)
    ),
    "bilinear": lambda: apply(lambda x: torch.einsum("nihw,njhw->nij", x, x) / 42),
    "covariance": lambda: apply(
        lambda x: (
            torch.bmm(
                x.flatten(2) - x.flatten(2).mean(2, keepdim=True),
                (x.flatten(2) - x.flatten(2).mean(2, keepdim=True)).mT,
            )
            / 42
        )
    ),
    "count of positives": lambda: apply(lambda x: (x > 0).float().mean((2, 3))),
    "weighted by coordinates": lambda: apply(lambda x: (x * torch.linspace(-1, 1, x.shape[3])).sum((2, 3))),
    "spatial pyramid": lambda: apply(
        lambda x: torch.cat([F.adaptive_avg_pool2d(x, n).flatten(1) for n in (1, 2, 3)], 1)
    ),
    "product": lambda: apply(lambda x: (1 + 0.01 * x).flatten(2).prod(2)),
    "range": lambda: apply(lambda x: x.amax((2, 3)) - x.amin((2, 3))),
    "flattened": nn.Flatten,
    "flattened by hand": lambda: apply(lambda x: x.reshape(x.size(0), -1)),
    "flattened, channels last": lambda: apply(lambda x: x.permute(0, 2, 3, 1).flatten(1)),
    "flattened, columns first": lambda: apply(lambda x: x.transpose(2, 3).reshape(x.shape[0], -1)),
}

CONVOLUTIONS: Mapping[str, Build] = {
    "3 groups": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "depthwise, two each": lambda: nn.Conv2d(6, 12, 5, padding=2, groups=6, stride=2),
    "dilation 2": lambda: nn.Conv2d(6, 4, 3, dilation=2),
    "dilation 3x1": lambda: nn.Conv2d(6, 4, 3, dilation=(3, 1), padding=(3, 1)),
    "stride 3": lambda: nn.Conv2d(6, 4, 3, 3),
    "stride 3 of 2": lambda: nn.Conv2d(6, 4, 2, 3),
    "stride 1x2": lambda: nn.Conv2d(6, 4, (3, 5), (1, 2), (0, 2)),
    "same": lambda: nn.Conv2d(6, 4, 3, padding="same"),
    "same, even kernel": lambda: nn.Conv2d(6, 4, 4, padding="same"),
    "same, dilation 2": lambda: nn.Conv2d(6, 4, (2, 3), padding="same", dilation=2),
    "reflect": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(6, 4, 3, padding=(2, 1), padding_mode="replicate"),
    "circular": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
    "zeros on two sides": lambda: nn.Sequential(nn.ZeroPad2d((0, 2, 1, 0)), nn.Conv2d(6, 4, 3)),
    "padding of 1.5": lambda: nn.Sequential(nn.ConstantPad2d((1, 0, 2, 1), 1.5), nn.Conv2d(6, 4, 3)),
    "cropped": lambda: nn.Sequential(nn.ConstantPad2d((-1, 2, 1, -3), 0.0), nn.Conv2d(6, 4, 3)),
    "reflection pad": lambda: nn.Sequential(nn.ReflectionPad2d((2, 1, 1, 2)), nn.Conv2d(6, 4, 4)),
    "replication pad": lambda: nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(6, 4, 3)),
    "more padding than kernel": lambda: nn.Conv2d(6, 4, 2, padding=3),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1),
    "transposed, groups, dilation": lambda: nn.ConvTranspose2d(6, 4, 2, 1, groups=2, dilation=2),
    "1x7 and 7x1": lambda: nn.Sequential(nn.Conv2d(6, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 6, (7, 1))),
    "1x1": lambda: nn.Conv2d(6, 4, 1, bias=False),
    "1x1, stride 2": lambda: nn.Conv2d(6, 4, 1, 2),
    "even kernel": lambda: nn.Conv2d(6, 4, 4, 2, 1),
    "7x7 on 5x5": lambda: nn.Sequential(nn.Conv2d(6, 4, 5, padding=2), nn.Conv2d(4, 4, 7, padding=3)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 4, 3)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 4, 3)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Conv2d(6, 4, 3)),
    "standardised weights": lambda: Apply(
        lambda m, x: F.conv2d(
            x, (m.c.weight - m.c.weight.mean((1, 2, 3), True)) / m.c.weight.std(), m.c.bias, padding=1
        ),
        c=nn.Conv2d(6, 4, 3),
    ),
    "weights from the image": lambda: Apply(
        lambda m, x: x * m.gate(x.mean((2, 3)))[:, :, None, None] + x, gate=nn.Linear(6, 6)
    ),
    "one mixture of experts": lambda: Apply(
        lambda m, x: sum(
            w[:, None, None, None] * c(x) for w, c in zip(m.g(x.mean((2, 3))).softmax(1).unbind(1), m.c, strict=True)
        ),
        g=nn.Linear(6, 2),
        c=nn.ModuleList([nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3)]),
    ),
    "unfold and product": lambda: Apply(
        lambda m, x: (m.w @ F.unfold(x, 3)).view(-1, 4, x.shape[2] - 2, x.shape[3] - 2),
        w=nn.Parameter(torch.randn(4, 54) / 7),
    ),
    "unfolded views": lambda: apply(lambda x: x.unfold(2, 3, 1).unfold(3, 3, 1).mean((4, 5))),
    "fold": lambda: apply(lambda x: F.fold(F.unfold(x, 2, stride=2), x.shape[2:], 2, stride=2)),
    "dense layer along channels": lambda: Apply(
        lambda m, x: m.l(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), l=nn.Linear(6, 4)
    ),
    "dense layer along rows": lambda: Apply(lambda m, x: m.l(x), l=nn.Linear(28, 9)),
    "dense layer along columns": lambda: Apply(lambda m, x: m.l(x.mT).mT, l=nn.Linear(24, 9)),
    "3-d": lambda: Apply(lambda m, x: m.c(x.unsqueeze(1)).flatten(1, 2), c=nn.Conv3d(1, 2, 3)),
    "1-d along the map": lambda: Apply(
        lambda m, x: m.c(x.flatten(2)).unflatten(2, (24, 28)), c=nn.Conv1d(6, 4, 3, padding=1)
    ),
    "einsum": lambda: Apply(lambda m, x: torch.einsum("nchw,oc->nohw", x, m.w), w=nn.Parameter(torch.randn(4, 6) / 3)),
    "Sobel": lambda: Apply(
        lambda m, x: torch.sqrt(
            F.conv2d(x, m.k, groups=6) ** 2 + F.conv2d(x, m.k.mT.contiguous(), groups=6) ** 2 + 0.1
        ),
        k=torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).expand(6, 1, 3, 3).contiguous(),
    ),
    "half of the channels": lambda: Apply(
        lambda m, x: torch.cat([m.c(x[:, :2]), x[:, 2:]], 1), c=nn.Conv2d(2, 2, 3, padding=1)
    ),
    "octave": lambda: Apply(
        lambda m, x: m.high(x) + F.interpolate(m.low(F.avg_pool2d(x, 2)), scale_factor=2, mode="nearest"),
        high=nn.Conv2d(6, 4, 3, padding=1),
        low=nn.Conv2d(6, 4, 3, padding=1),
    ),
}

NORMS: Mapping[str, Build] = {
    "batch": lambda: nn.BatchNorm2d(6),
    "batch, eps .1": lambda: nn.BatchNorm2d(6, eps=0.1),
    "batch, not affine": lambda: nn.BatchNorm2d(6, affine=False),
    "batch, before the activation": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6), nn.ReLU()),
    "batch, its own statistics": lambda: nn.BatchNorm2d(6, track_running_stats=False),
    "batch, twice": lambda: nn.Sequential(nn.BatchNorm2d(6), nn.BatchNorm2d(6)),
    "group 2": lambda: nn.GroupNorm(2, 6),
    "group 6, not affine": lambda: nn.GroupNorm(6, 6, affine=False),
    "layer over all": lambda: nn.LayerNorm([6, 24, 28]),
    "layer over channels": lambda: Apply(
        lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(6, eps=1e-3)
    ),
    "layer over channels, by hand": lambda: Apply(
        lambda m, x: (x - x.mean(1, True)) / torch.sqrt((x - x.mean(1, True)).pow(2).mean(1, True) + 1e-3)
    ),
    "layer over a row": lambda: nn.LayerNorm(28),
    "instance, affine": lambda: nn.InstanceNorm2d(6, affine=True),
    "instance, tracking": lambda: nn.InstanceNorm2d(6, track_running_stats=True),
    "rms over channels": lambda: Apply(
        lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.RMSNorm(6, eps=1e-2)
    ),
    "local response": lambda: nn.LocalResponseNorm(3, 0.3, 0.75, 1.0),
    "unit vectors of channels": lambda: apply(lambda x: F.normalize(x, dim=1, eps=0.1)),
    "global response": lambda: Apply(
        lambda m, x: (
            x * (m.g * x.norm(dim=(2, 3), keepdim=True)) / (x.norm(dim=(2, 3), keepdim=True).mean(1, True) + 1e-6) + x
        ),
        g=nn.Parameter(torch.rand(6, 1, 1)),
    ),
    "layer scale": lambda: Apply(
        lambda m, x: x * m.s + m.t, s=torch.rand(6, 1, 1), t=nn.Parameter(torch.rand(6, 1, 1))
    ),
    "scale a row": lambda: Apply(lambda m, x: x * m.s, s=torch.rand(24, 1)),
    "bias map": lambda: Apply(lambda m, x: x + m.b, b=nn.Parameter(torch.randn(6, 24, 28))),
    "standardised image": lambda: apply(lambda x: (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True)),
    "peak": lambda: apply(lambda x: x / (x.abs().amax((1, 2, 3), True) + 0.1)),
    "weight norm, by hooks": lambda: nn.utils.weight_norm(nn.Conv2d(6, 4, 3)),
    "spectral norm, by hooks": lambda: nn.utils.spectral_norm(nn.Conv2d(6, 4, 3)),
    "dropout": lambda: nn.Sequential(nn.Dropout2d(0.5), nn.AlphaDropout(0.2), nn.Dropout(0.1)),
    "dropout that stays on": lambda: apply(lambda x: F.dropout(x, 0.5, training=True)),
    "noise": lambda: apply(lambda x: x + 0.1 * torch.randn_like(x)),
}


class Attention(nn.Module):
    """One head over the cells of a map, as a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """The map [N, C, H, W] with what its cells attend to."""
        q, k, v = (part(x).flatten(2) for part in (self.q, self.k, self.v))
        attended: Tensor = (v @ (q.mT @ k / q.shape[1] ** 0.5).softmax(-1).mT).view_as(x)
        return x + attended


def _squeeze(squash: nn.Module) -> nn.Module:
    return Apply(
        lambda m, x: x * m.gate(x),
        gate=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1), nn.ReLU(), nn.Conv2d(3, 6, 1), squash),
    )


GATES: Mapping[str, Build] = {
    "squeeze-excite": lambda: _squeeze(nn.Sigmoid()),
    "squeeze-excite, hard": lambda: _squeeze(nn.Hardsigmoid()),
    "squeeze-excite, by views": lambda: Apply(
        lambda m, x: x * m.l(x.mean((2, 3))).sigmoid().view(x.shape[0], -1, 1, 1), l=nn.Linear(6, 6)
    ),
    "efficient channel": lambda: Apply(
        lambda m, x: x * m.c(x.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1),
        c=nn.Conv1d(1, 1, 3, padding=1, bias=False),
    ),
    "cbam": lambda: Apply(
        lambda m, x: (
            x * m.c(torch.cat([x.mean(1, True), x.amax(1, True)], 1)).sigmoid() * m.l(x.amax((2, 3), True)).sigmoid()
        ),
        c=nn.Conv2d(2, 1, 3, padding=1),
        l=nn.Conv2d(6, 6, 1),
    ),
    "spatial gate": lambda: Apply(lambda m, x: x * m.c(x).sigmoid(), c=nn.Conv2d(6, 1, 3, padding=1)),
    "coordinate": lambda: Apply(
        lambda m, x: x * m.a(x.mean(3, True)).sigmoid() * m.b(x.mean(2, True)).sigmoid(),
        a=nn.Conv2d(6, 6, 1),
        b=nn.Conv2d(6, 6, 1),
    ),
    "selective kernel": lambda: Apply(
        lambda m, x: (
            torch.stack([m.a(x), m.b(x)], 1) * m.l((m.a(x) + m.b(x)).mean((2, 3))).view(-1, 2, 6, 1, 1).softmax(1)
        ).sum(1),
        a=nn.Conv2d(6, 6, 3, padding=1),
        b=nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        l=nn.Linear(6, 12),
    ),
    "attention": lambda: Attention(6),
    "multi-head attention": lambda: Apply(
        lambda m, x: m.a(*[x.flatten(2).mT] * 3, need_weights=False)[0].mT.unflatten(2, (24, 28)),
        a=nn.MultiheadAttention(6, 2, batch_first=True),
    ),
    "transformer layer": lambda: Apply(
        lambda m, x: m.a(F.avg_pool2d(x, 4).flatten(2).mT).mT.unflatten(2, (6, 7)),
        a=nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    ),
    "mixer": lambda: Apply(
        lambda m, x: x + m.b(F.gelu(m.a(x.flatten(2)))).view_as(x), a=nn.Linear(672, 8), b=nn.Linear(8, 672)
    ),
    "bilinear gate": lambda: Apply(lambda m, x: m.a(x) * m.b(x), a=nn.Conv2d(6, 4, 3), b=nn.Conv2d(6, 4, 3)),
    "non-local mean": lambda: apply(lambda x: x - x.mean((2, 3), keepdim=True)),
    "film": lambda: Apply(
        lambda m, x: (
            x * (1 + m.l(x.amax((2, 3))).chunk(2, 1)[0][..., None, None])
            + m.l(x.amax((2, 3))).chunk(2, 1)[1][..., None, None]
        ),
        l=nn.Linear(6, 12),
    ),
    "recurrent rows": lambda: Apply(
        lambda m, x: m.r(x.mean(2).mT)[0].mT.unsqueeze(2).expand(-1, -1, 4, -1), r=nn.GRU(6, 4, batch_first=True)
    ),
}

SHAPES: Mapping[str, Build] = {
    "channel shuffle": lambda: nn.ChannelShuffle(3),
    "channel shuffle, by views": lambda: apply(
        lambda x: x.view(-1, 2, 3, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
    ),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(6, 8, 1), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.PixelUnshuffle(2),
    "nearest x2": lambda: nn.Upsample(scale_factor=2),
    "nearest to 31x17": lambda: nn.Upsample((31, 17)),
    "nearest-exact": lambda: nn.Upsample((31, 37), mode="nearest-exact"),
    "bilinear x2": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear, aligned corners": lambda: nn.Upsample((15, 40), mode="bilinear", align_corners=True),
    "bilinear, antialias": lambda: apply(lambda x: F.interpolate(x, (11, 9), mode="bilinear", antialias=True)),
    "bicubic": lambda: nn.Upsample((15, 19), mode="bicubic"),
    "area": lambda: apply(lambda x: F.interpolate(x, (11, 9), mode="area")),
    "scale 1.5": lambda: apply(lambda x: F.interpolate(x, scale_factor=(1.5, 0.7))),
    "roll": lambda: apply(lambda x: x.roll((2, -3), (2, 3))),
    "roll of channels": lambda: apply(lambda x: x.roll(2, 1)),
    "flip": lambda: apply(lambda x: x.flip(3)),
    "flip of all": lambda: apply(lambda x: x.flip(1, 2, 3)),
    "sum with its mirror": lambda: apply(lambda x: x + 0.5 * x.flip(3)),
    "transposed": lambda: apply(lambda x: x.transpose(2, 3)),
    "rotated": lambda: apply(lambda x: torch.rot90(x, 1, (2, 3))),
    "concatenated": lambda: apply(lambda x: torch.cat([x, x.relu(), x[:, 2:3]], 1)),
    "concatenated along rows": lambda: apply(lambda x: torch.cat([x, x.flip(2)], 2)),
    "stacked": lambda: apply(lambda x: torch.stack([x, -x], 2).flatten(1, 2)),
    "split unevenly": lambda: apply(lambda x: torch.cat(x.split([1, 3, 2], 1)[::-1], 1)),
    "chunks": lambda: apply(lambda x: torch.cat([part.relu() for part in x.chunk(4, 1)], 1)),
    "chunks of rows": lambda: apply(lambda x: x.chunk(2, 2)[0] * x.chunk(2, 2)[1]),
    "unbound": lambda: apply(lambda x: torch.stack([part * k for k, part in enumerate(x.unbind(1))], 1)),
    "narrow": lambda: apply(lambda x: x.narrow(2, 3, 12).narrow(1, 1, 4)),
    "index select": lambda: apply(lambda x: x.index_select(1, torch.tensor([5, 0, 0, 2]))),
    "fancy index": lambda: apply(lambda x: x[:, [3, 1, 1], 2:]),
    "index of rows and columns": lambda: apply(
        lambda x: x[:, :, torch.arange(0, 24, 3)[:, None], torch.arange(28).flip(0)]
    ),
    "boolean index of channels": lambda: Apply(lambda m, x: x[:, m.keep], keep=torch.tensor([1, 0, 1, 1, 0, 1]).bool()),
    "gather": lambda: apply(
        lambda x: x.gather(1, torch.tensor([2, 5, 0]).view(1, 3, 1, 1).expand(x.shape[0], 3, 24, 28))
    ),
    "take along": lambda: apply(lambda x: torch.take_along_dim(x, x.argsort(1), 1)),
    "masked fill": lambda: Apply(lambda m, x: x.masked_fill(m.mask, 0.7), mask=torch.rand(24, 28) < 0.3),
    "masked by itself": lambda: apply(lambda x: x.masked_fill(x > 0.2, -0.5)),
    "cumulative sum": lambda: apply(lambda x: x.cumsum(3) / 28),
    "cumulative sum of channels": lambda: apply(lambda x: x.cumsum(1)),
    "cumulative max": lambda: apply(lambda x: x.cummax(2)[0]),
    "sorted": lambda: apply(lambda x: x.sort(1, descending=True).values),
    "top 3 of channels": lambda: apply(lambda x: x.topk(3, 1).values),
    "strided slices": lambda: apply(lambda x: torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)),
    "slices from behind": lambda: apply(lambda x: x[:, -4:-1, 3:-5, -9:]),
    "repeated": lambda: apply(lambda x: x.repeat(1, 2, 1, 1)),
    "tiled": lambda: apply(lambda x: x.tile(1, 1, 2, 1)),
    "repeat interleave": lambda: apply(lambda x: x.repeat_interleave(2, dim=1)),
    "circular pad": lambda: apply(lambda x: F.pad(x, (3, 2, 0, 4), mode="circular")),
    "differences": lambda: apply(lambda x: x.diff(dim=3)[:, :, 1:] + x.diff(dim=2)[..., 1:]),
    "triangle": lambda: apply(lambda x: x.tril() - 2 * x.triu(3)),
    "space to depth": lambda: apply(lambda x: x.view(-1, 6, 12, 2, 14, 2).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)),
    "windows": lambda: apply(lambda x: x.view(-1, 6, 4, 6, 4, 7).amax((3, 5))),
    "windows, their means": lambda: apply(lambda x: x.unflatten(3, (4, 7)).unflatten(2, (4, 6)).mean((3, 5))),
    "coordinates": lambda: apply(lambda x: torch.cat([x, torch.linspace(-1, 1, 28).expand(x.shape[0], 1, 24, 28)], 1)),
    "grid sample": lambda: Apply(
        lambda m, x: F.grid_sample(x, m.grid.expand(x.shape[0], -1, -1, -1), align_corners=False),
        grid=F.affine_grid(torch.tensor([[[0.8, 0.2, 0.1], [-0.2, 0.9, 0.0]]]), [1, 6, 20, 20], align_corners=False),
    ),
    "spectrum": lambda: apply(lambda x: torch.fft.rfft2(x, norm="ortho").abs()),
    "low pass": lambda: Apply(
        lambda m, x: torch.fft.irfft2(torch.fft.rfft2(x) * m.keep, s=x.shape[2:]), keep=torch.rand(24, 15)
    ),
    "channels last memory": lambda: apply(lambda x: (2 * x).contiguous(memory_format=torch.channels_last)),
    "view as strided": lambda: apply(lambda x: x.contiguous().as_strided((x.shape[0], 6, 12, 28), (4032, 672, 56, 1))),
    "einsum over rows": lambda: apply(lambda x: torch.einsum("nchw,nchv->ncwv", x, x) / 24),
    "outer sums": lambda: apply(lambda x: x.mean(3, True) + x.mean(2, True)),
}

REDUCED_DTYPES: Mapping[str, Build] = {
    "sum as int64": lambda: apply(lambda x: (10 * x).sum((2, 3), dtype=torch.int64).to(x.dtype) / 100),
    "mean as float16": lambda: apply(lambda x: x.mean((2, 3), dtype=torch.float16).to(x.dtype)),
    "mean as float64": lambda: apply(lambda x: x.mean((2, 3), dtype=torch.float64).to(x.dtype)),
    "sum of float16": lambda: apply(lambda x: x.half().sum((2, 3)).to(x.dtype)),
    "double in the middle of a map": lambda: apply(lambda x: (x.double() + 1e8 - 1e8).to(x.dtype).mean((2, 3))),
    "one hot of argmax": lambda: apply(
        lambda x: F.one_hot(x.argmax(1), 6).permute(0, 3, 1, 2).to(x.dtype).mean((2, 3))
    ),
    "variance as float64": lambda: apply(lambda x: x.double().var((2, 3)).to(x.dtype)),
}

DTYPES: Mapping[str, Build] = {
    "int64 and back": lambda: apply(lambda x: (20 * x).to(torch.int64).to(x.dtype) / 20),
    "double in the middle": lambda: apply(lambda x: (x.double() + 1e8 - 1e8).to(x.dtype)),
    "1e4 and back": lambda: apply(lambda x: x + 1e4 - 1e4),
    "half and back": lambda: apply(lambda x: x.half().to(x.dtype)),
    "bfloat16 and back": lambda: apply(lambda x: x.bfloat16().to(x.dtype)),
    "half, squared": lambda: apply(lambda x: (x.half() * 3).square().to(x.dtype)),
    "round": lambda: apply(lambda x: torch.round(8 * x) / 8),
    "round to decimals": lambda: apply(lambda x: torch.round(x, decimals=1)),
    "floor": lambda: apply(lambda x: torch.floor(8 * x) / 8),
    "ceil": lambda: apply(lambda x: (8 * x).ceil() / 8),
    "trunc": lambda: apply(lambda x: (8 * x).trunc() / 8),
    "fraction": lambda: apply(lambda x: (2 * x).frac()),
    "fmod": lambda: apply(lambda x: torch.fmod(x, 0.3)),
    "remainder": lambda: apply(lambda x: torch.remainder(x, 0.3)),
    "floor division": lambda: apply(lambda x: x // 0.25),
    "sign": lambda: apply(lambda x: torch.sign(x - 0.1)),
    "heaviside": lambda: apply(lambda x: torch.heaviside(x - 0.1, torch.tensor(0.5, dtype=x.dtype)) * x),
    "compared": lambda: apply(lambda x: (x > 0.1).to(x.dtype) * x),
    "logical": lambda: apply(lambda x: torch.logical_and(x > 0.05, x < 0.4) * x),
    "straight through": lambda: apply(lambda x: x + (torch.round(4 * x) / 4 - x).detach()),
    "fake quantised": lambda: apply(
        lambda x: torch.fake_quantize_per_tensor_affine(x.float(), 0.05, 0, -128, 127).to(x.dtype)
    ),
    "embedding of buckets": lambda: Apply(
        lambda m, x: m.e(torch.bucketize(x, m.edges)).flatten(1),
        e=nn.Embedding(5, 2),
        edges=torch.tensor([0.0, 0.1, 0.2, 0.4]),
    ),
    "bytes": lambda: apply(lambda x: (50 * x.clamp(0, 4)).to(torch.uint8).to(x.dtype) / 50),
    "nan to number": lambda: apply(lambda x: torch.nan_to_num((x - 10).log(), nan=0.25) + x),
    "complex": lambda: apply(lambda x: torch.view_as_real(torch.polar(x.abs() + 1, x)).flatten(2)[..., :40].flatten(1)),
    "float64 weights": lambda: Apply(
        lambda m, x: (x.double() * m.w).to(x.dtype), w=torch.rand(12, dtype=torch.float64)
    ),
    "softmax as float64": lambda: apply(lambda x: x.flatten(1).softmax(1, dtype=torch.float64).to(x.dtype) * 100),
    "autocast": lambda: Apply(_autocast, l=nn.LazyLinear(7)),
}


CONSTANTS: Mapping[str, Build] = {
    "an integer tensor": lambda: apply(lambda x: x * torch.arange(1, 7)[:, None, None] + torch.tensor(2)),
    "a mask of booleans": lambda: Apply(lambda m, x: x * m.mask, mask=torch.rand(24, 28) < 0.6),
    "over an integer tensor": lambda: apply(lambda x: x / torch.arange(1, 7)[:, None, None]),
    "a float64 number": lambda: apply(lambda x: x * (1 / 3) + math.pi),
    "a float64 tensor of no axes": lambda: apply(lambda x: x * torch.tensor(1 / 3, dtype=torch.float64)),
    "large, then small": lambda: apply(lambda x: (x * 1e30) * 1e-30),
    "below float32": lambda: apply(lambda x: x * 1e-50 + x),
    "bounded by infinity": lambda: apply(lambda x: x.clamp(-math.inf, math.inf).clamp(max=0.4)),
    "minus zero": lambda: apply(lambda x: x * -0.0 + x),
    "batch of one": lambda: Apply(lambda m, x: x + m.t, t=torch.randn(1, 6, 1, 28)),
    "subtracted from, with alpha": lambda: apply(lambda x: torch.rsub(x, 0.3, alpha=1.5)),
    "added with alpha": lambda: Apply(lambda m, x: torch.add(x, m.t, alpha=-0.4), t=torch.randn(6, 1, 1)),
    "a slope above 1": lambda: nn.LeakyReLU(2.5),
    "a negative power": lambda: apply(lambda x: (x.abs() + 0.5) ** -1.5),
    "power of a tensor": lambda: Apply(lambda m, x: (x.abs() + 0.1) ** m.p, p=torch.rand(6, 1, 1) + 0.5),
    "norm as float64": lambda: apply(
        lambda x: x / torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64).to(x.dtype).add(0.1)
    ),
    "softmax as half": lambda: apply(lambda x: x.softmax(1, dtype=torch.bfloat16).to(x.dtype)),
    "mean of channels as half": lambda: apply(lambda x: x * x.mean(1, keepdim=True, dtype=torch.bfloat16).to(x.dtype)),
    "sum of channels as integers": lambda: apply(
        lambda x: x + (4 * x).sum(1, keepdim=True, dtype=torch.int32).to(x.dtype)
    ),
    "deviation of channels": lambda: apply(lambda x: x / (x.std(1, keepdim=True, correction=0) + 0.2)),
    "one cell assigned": lambda: apply(lambda x: x.select_scatter(x[:, :, 0] * 0 + 0.5, 2, 7)),
    "diagonal assigned": lambda: apply(lambda x: x.diagonal_scatter(x.diagonal(0, 2, 3) * 2, 0, 2, 3)),
    "added at an index": lambda: apply(lambda x: x.index_add(1, torch.tensor([0, 0, 3]), x[:, 2:5], alpha=0.5)),
}


def _autocast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out: Tensor = m.l(x.flatten(1))
    return out.to(x.dtype)


def _bits(x: Tensor) -> Tensor:
    """The absolute value, by the bits: without that of the sign."""
    return (x.contiguous().view(torch.int32) & 0x7FFFFFFF).view(torch.float32)


def _written(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0.3
    x[:, 1, 3:9, ::2] *= 2
    x[..., -1] += x[..., 0]
    return x


def _channel_written(x: Tensor) -> Tensor:
    x[:, 1] = x[:, 0] * 0.5
    return x


def _in_place(x: Tensor) -> Tensor:
    return x.mul_(2).add_(0.1).relu_().clamp_(max=1.5).sub_(0.2)


def _many(m: Any, x: Tensor) -> Tensor:
    for step in range(3):
        x = x + m.c(x) * 0.5**step
    return x


def _counted(m: Any, x: Tensor) -> Tensor:
    m.calls += 1
    counted: Tensor = x * m.calls
    return counted


def _moving(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        m.mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
    less: Tensor = x - m.mean[:, None, None]
    return less


def _inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x * 2 + 1


def _asserted(x: Tensor) -> Tensor:
    assert x.ndim == 4 and x.shape[1] == 6, "six channels"
    torch._assert(x.shape[2] == 24, "24 rows")  # type: ignore[no-untyped-call]
    return x * 2


def _custom(x: Tensor) -> Tensor:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x.clamp(-0.2, 0.4)

    return Doubled.apply(x)  # type: ignore[no-untyped-call,no-any-return]


def _out(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    torch.mul(x, 3, out=out)
    return out


SCALE = torch.tensor([1.5, -0.5, 2.0])
"""What a module may read from outside."""

STATE: Mapping[str, Build] = {
    "buffer": lambda: Apply(lambda m, x: x * m.b, b=nn.Buffer(torch.rand(6, 1, 1))),
    "buffer that is not saved": lambda: Apply(
        lambda m, x: x * m.b, b=nn.Buffer(torch.rand(1, 6, 1, 1), persistent=False)
    ),
    "plain tensor": lambda: Apply(lambda m, x: x * m.t, t=torch.rand(6, 1, 1)),
    "number": lambda: Apply(lambda m, x: x * m.t + m.u, t=0.37, u=2),
    "list of numbers": lambda: Apply(lambda m, x: sum(x * t for t in m.t), t=[0.3, -0.7, 1.1]),
    "dict of tensors": lambda: Apply(
        lambda m, x: x * m.d["scale"] + m.d["shift"], d={"scale": torch.rand(6, 1, 1), "shift": torch.tensor(0.2)}
    ),
    "parameter list": lambda: Apply(
        lambda m, x: sum(x.pow(k + 1) * p for k, p in enumerate(m.p)),
        p=nn.ParameterList([torch.rand(6, 1, 1), torch.rand(1)]),
    ),
    "parameter dict": lambda: Apply(
        lambda m, x: x * m.p["a"] - m.p["b"], p=nn.ParameterDict({"a": torch.rand(1), "b": torch.rand(6, 1, 1)})
    ),
    "module dict": lambda: Apply(
        lambda m, x: m.d["a"](x) + m.d["b"](x), d=nn.ModuleDict({"a": nn.Conv2d(6, 4, 3), "b": nn.Conv2d(6, 4, 3)})
    ),
    "one convolution twice": lambda: Apply(lambda m, x: m.c(F.relu(m.c(x))), c=nn.Conv2d(6, 6, 3, padding=1)),
    "one weight in two ways": lambda: Apply(
        lambda m, x: F.conv_transpose2d(F.relu(m.c(x)), m.c.weight, padding=1), c=nn.Conv2d(6, 4, 3, padding=1)
    ),
    "loop": lambda: Apply(_many, c=nn.Conv2d(6, 6, 3, padding=1)),
    "in place": lambda: apply(_in_place),
    "assigned slices": lambda: apply(_written),
    "out=": lambda: apply(_out),
    "global tensor": lambda: apply(lambda x: x[:, :3] * SCALE[:, None, None]),
    "made on the way": lambda: apply(
        lambda x: x * torch.arange(6)[:, None, None] + torch.eye(24, 28) + torch.full((1,), 0.1)
    ),
    "like itself": lambda: apply(lambda x: torch.ones_like(x) * x.new_tensor([0.4]) + x + x.new_zeros(1)),
    "function of its own": lambda: apply(_custom),
    "checkpoint": lambda: Apply(
        lambda m, x: torch.utils.checkpoint.checkpoint(m.c, x, use_reentrant=False), c=nn.Conv2d(6, 4, 3)
    ),
    "branch on a number": lambda: Apply(lambda m, x: m.a(x) if m.n > 2 else x, a=nn.Conv2d(6, 4, 3), n=3),
    "branch on the image": lambda: apply(lambda x: x * 2 if x.sum() > 0 else x - 1),
    "hook": lambda: _hooked(nn.Conv2d(6, 4, 3)),
    "pre-hook": lambda: _prehooked(nn.Conv2d(6, 4, 3)),
    "identity": nn.Identity,
    "counts its calls": lambda: Apply(_counted, calls=nn.Buffer(torch.zeros(()))),
    "moves its mean": lambda: Apply(_moving, mean=nn.Buffer(torch.zeros(6))),
    "cond": lambda: apply(lambda x: torch.cond(x.mean() > 0, lambda x: x * 2, lambda x: x - 1, (x,))),
    "a scripted part": lambda: Apply(lambda m, x: m.s(x), s=torch.jit.script(nn.Conv2d(6, 4, 3))),
    "vmap": lambda: Apply(lambda m, x: torch.vmap(lambda image: image * image.amax())(x)),
    "inference mode": lambda: apply(_inference),
    "reads its mode": lambda: Apply(lambda m, x: F.dropout(x, 0.5, m.training) * (1 if m.training else 2)),
    "a default argument": lambda: Apply(lambda m, x, gain=1.5: x * gain),
    "assert": lambda: apply(_asserted),
    "conditional expression": lambda: apply(lambda x: x if x.shape[1] == 5 else x[:, :5]),
    "keyword arguments": lambda: apply(lambda x: F.leaky_relu(input=x, negative_slope=0.2)),
    "partial": lambda: apply(partial(F.hardtanh, min_val=-0.1, max_val=0.2)),
    "frozen weights": lambda: nn.Conv2d(6, 4, 3).requires_grad_(False),
    "statistics used in training too": lambda: Apply(
        lambda m, x: F.batch_norm(x, m.mean, m.var), mean=torch.rand(6), var=torch.rand(6) + 0.5
    ),
}


def _hooked(part: nn.Module) -> nn.Module:
    part.register_forward_hook(lambda m, given, made: made * 2 - 0.1)
    return part


def _prehooked(part: nn.Module) -> nn.Module:
    part.register_forward_pre_hook(lambda m, given: (given[0].relu() + 0.1,))
    return part


def _conv(inner: int, outer: int, kernel: int = 3, **keywords: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False, **keywords), nn.BatchNorm2d(outer), nn.ReLU()
    )


BLOCKS: Mapping[str, Build] = {
    "residual": lambda: Apply(
        lambda m, x: F.relu(x + m.b(x)), b=nn.Sequential(_conv(6, 6), nn.Conv2d(6, 6, 3, padding=1))
    ),
    "residual with projection": lambda: Apply(
        lambda m, x: F.relu(m.p(x) + m.b(x)), b=nn.Conv2d(6, 8, 3, 2, 1), p=nn.Conv2d(6, 8, 1, 2)
    ),
    "pre-activation": lambda: nn.Sequential(
        Apply(lambda m, x: x + m.b(x), b=nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)))
    ),
    "dense": lambda: Apply(
        lambda m, x: torch.cat([x, m.a(x), m.b(torch.cat([x, m.a(x)], 1))], 1), a=_conv(6, 4), b=_conv(10, 4)
    ),
    "inception": lambda: Apply(
        lambda m, x: torch.cat([m.a(x), m.b(x), m.c(F.max_pool2d(x, 3, 1, 1))], 1),
        a=_conv(6, 2, 1),
        b=_conv(6, 3, 5),
        c=_conv(6, 2, 1),
    ),
    "inverted residual": lambda: Apply(
        lambda m, x: x + m.b(x), b=nn.Sequential(_conv(6, 18, 1), _conv(18, 18, 3, groups=18), nn.Conv2d(18, 6, 1))
    ),
    "ConvNeXt": lambda: Apply(
        lambda m, x: x + (m.g * m.b(m.n(m.d(x).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2),
        d=nn.Conv2d(6, 6, 7, padding=3, groups=6),
        n=nn.LayerNorm(6, eps=1e-6),
        b=nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)),
        g=nn.Parameter(torch.rand(6)),
    ),
    "ShuffleNet": lambda: Apply(
        lambda m, x: torch.stack([x.chunk(2, 1)[0], m.b(x.chunk(2, 1)[1])], 2).flatten(1, 2), b=_conv(3, 3)
    ),
    "fire": lambda: Apply(
        lambda m, x: torch.cat([m.a(m.s(x)), m.b(m.s(x))], 1), s=_conv(6, 3, 1), a=_conv(3, 4, 1), b=_conv(3, 4)
    ),
    "ghost": lambda: Apply(
        lambda m, x: torch.cat([m.a(x), m.b(m.a(x))], 1), a=_conv(6, 4, 1), b=_conv(4, 4, 3, groups=4)
    ),
    "RepVGG": lambda: Apply(
        lambda m, x: F.relu(m.a(x) + m.b(x) + m.n(x)),
        a=nn.Conv2d(6, 6, 3, padding=1),
        b=nn.Conv2d(6, 6, 1),
        n=nn.BatchNorm2d(6),
    ),
    "highway": lambda: Apply(
        lambda m, x: m.t(x).sigmoid() * m.h(x).tanh() + (1 - m.t(x).sigmoid()) * x,
        t=nn.Conv2d(6, 6, 3, padding=1),
        h=nn.Conv2d(6, 6, 1),
    ),
    "reversible": lambda: Apply(
        lambda m, x: torch.cat([x[:, :3] + m.f(x[:, 3:]), x[:, 3:] + m.g(x[:, :3] + m.f(x[:, 3:]))], 1),
        f=_conv(3, 3),
        g=_conv(3, 3),
    ),
    "hourglass": lambda: Apply(
        lambda m, x: x + F.interpolate(m.b(F.max_pool2d(x, 2)), x.shape[2:], mode="nearest"), b=_conv(6, 6)
    ),
    "U-net": lambda: Apply(
        lambda m, x: torch.cat([x, m.up(m.b(F.max_pool2d(x, 2)))], 1), b=_conv(6, 8), up=nn.ConvTranspose2d(8, 4, 2, 2)
    ),
    "feature pyramid": lambda: Apply(
        lambda m, x: m.a(x) + F.interpolate(m.b(x), x.shape[2:], mode="bilinear", align_corners=False),
        a=nn.Conv2d(6, 4, 1),
        b=nn.Conv2d(6, 4, 3, 2, 1),
    ),
    "split attention, one path": lambda: Apply(
        lambda m, x: sum(p * w for p, w in zip(m.a(x).chunk(2, 1), m.g(x).chunk(2, 1), strict=True)),
        a=nn.Conv2d(6, 8, 3, groups=2),
        g=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 8, 1), nn.Sigmoid()),
    ),
    "differences of Gaussians": lambda: Apply(
        lambda m, x: m.a(x) - m.b(x), a=nn.AvgPool2d(3, 1, 1), b=nn.AvgPool2d(5, 1, 2)
    ),
    "Siamese": lambda: Apply(lambda m, x: (m.c(x) - m.c(x.flip(3))).abs(), c=nn.Conv2d(6, 4, 3)),
    "product of branches": lambda: Apply(
        lambda m, x: m.a(x) * m.b(x).tanh(), a=_conv(6, 4), b=nn.Conv2d(6, 4, 3, padding=1)
    ),
}


def _quantised(module: nn.Module) -> nn.Module:
    quantise: Any = torch.ao.quantization.quantize_dynamic
    quantised: nn.Module = quantise(module, {nn.Linear})
    return quantised


VECTORS: Mapping[str, Build] = {
    "layer norm": lambda: nn.LayerNorm(12),
    "batch norm": lambda: nn.BatchNorm1d(12),
    "rms norm": lambda: nn.RMSNorm(12, eps=1e-3),
    "group norm": lambda: nn.GroupNorm(3, 12),
    "unit length": lambda: apply(F.normalize),
    "unit sum": lambda: apply(lambda x: x / x.sum(1, keepdim=True)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(12, 7)),
    "self-product": lambda: apply(lambda x: torch.einsum("ni,nj->nij", x, x).flatten(1)),
    "pairs": lambda: apply(lambda x: torch.cdist(x[:, :6, None], x[:, 6:, None]).flatten(1)),
    "nn.Bilinear": lambda: Apply(lambda m, x: m.b(x, x), b=nn.Bilinear(12, 12, 5)),
    "sorted": lambda: apply(lambda x: x.sort(1)[0]),
    "running maximum": lambda: apply(lambda x: x.cummax(1)[0]),
    "max pool 1d": lambda: apply(lambda x: F.max_pool1d(x.unsqueeze(1), 3, 2).squeeze(1)),
    "average pool 1d": lambda: apply(lambda x: F.avg_pool1d(x.unsqueeze(1), 3, 2).squeeze(1)),
    "hidden layers": lambda: nn.Sequential(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, 9), nn.Tanh()),
    "dense, no bias": lambda: nn.Linear(12, 7, bias=False),
    "tied layers": lambda: Apply(lambda m, x: F.linear(m.l(x).relu(), m.l.weight.t()), l=nn.Linear(12, 7)),
    "matmul": lambda: Apply(lambda m, x: x @ m.w, w=nn.Parameter(torch.randn(12, 7))),
    "baddbmm": lambda: Apply(
        lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=2), w=torch.randn(12, 7), b=torch.randn(7)
    ),
    "a sparse matrix": lambda: Apply(
        lambda m, x: torch.sparse.mm(m.s.to(x.dtype), x.T).T, s=torch.eye(12).roll(1, 0).to_sparse()
    ),
    "quantised by itself": lambda: _quantised(nn.Sequential(nn.Linear(12, 7))),
    "mixture of experts": lambda: Apply(
        lambda m, x: (m.g(x).softmax(1).unsqueeze(1) @ torch.stack([e(x) for e in m.e], 1)).squeeze(1),
        g=nn.Linear(12, 3),
        e=nn.ModuleList([nn.Linear(12, 7) for _ in range(3)]),
    ),
    "the best expert alone": lambda: Apply(
        lambda m, x: torch.stack([e(x) for e in m.e], 1)[torch.arange(x.shape[0]), m.g(x).argmax(1)],
        g=nn.Linear(12, 3),
        e=nn.ModuleList([nn.Linear(12, 7) for _ in range(3)]),
    ),
    "recurrent": lambda: Apply(lambda m, x: m.r(x.view(-1, 4, 3))[0].flatten(1), r=nn.LSTM(3, 5, batch_first=True)),
    "capsules": lambda: apply(
        lambda x: (x.view(-1, 4, 3) * (n := x.view(-1, 4, 3).norm(dim=2, keepdim=True)) / (1 + n * n)).flatten(1)
    ),
}

HEADS: Mapping[str, Build] = {
    "softmax": lambda: nn.Softmax(1),
    "softmax, last dimension": lambda: nn.Softmax(-1),
    "log softmax": lambda: nn.LogSoftmax(1),
    "sigmoid": nn.Sigmoid,
    "temperature .05": lambda: apply(lambda x: x / 0.05),
    "temperature, then softmax": lambda: apply(lambda x: (x / 0.2).softmax(1)),
    "cosine": lambda: Apply(lambda m, x: 16 * F.normalize(x) @ F.normalize(m.w).T, w=nn.Parameter(torch.randn(4, 5))),
    "cosine similarity": lambda: Apply(
        lambda m, x: F.cosine_similarity(x[:, None], m.w[None], dim=2), w=nn.Parameter(torch.randn(4, 5))
    ),
    "prototypes": lambda: Apply(lambda m, x: -torch.cdist(x, m.w), w=nn.Parameter(torch.randn(4, 5))),
    "prototypes, squared": lambda: Apply(
        lambda m, x: -(x[:, None] - m.w).square().sum(2), w=nn.Parameter(torch.randn(4, 5))
    ),
    "clamped": lambda: apply(lambda x: (x + 3).clamp(-0.5, 0.5)),
    "bounded": lambda: apply(lambda x: 10 * torch.tanh(x / 10)),
    "centred": lambda: apply(lambda x: x - x.mean(1, keepdim=True)),
    "over the largest": lambda: apply(lambda x: x - x.max(1, keepdim=True)[0]),
    "ratios": lambda: apply(lambda x: x[:, :4] / (x[:, 4:].abs() + 0.5)),
    "evidence": lambda: apply(lambda x: F.softplus(x) + 1),
    "ordinal": lambda: apply(lambda x: torch.sigmoid(x[:, :1] - torch.arange(4.0).to(x.dtype) / 10)),
    "one of two sigmoids": lambda: apply(lambda x: torch.cat([x[:, :1].sigmoid(), 1 - x[:, :1].sigmoid()], 1)),
    "one class": lambda: apply(lambda x: x[:, :1]),
    "one class, kept dimension": lambda: apply(lambda x: x.sum(1, keepdim=True)),
    "two classes": lambda: apply(lambda x: torch.stack([x[:, 0] - x[:, 1], x[:, 2]], 1)),
    "several heads": lambda: Apply(
        lambda m, x: torch.cat([m.a(x), m.b(x.relu())], 1), a=nn.Linear(5, 2), b=nn.Linear(5, 3)
    ),
    "mean of an ensemble": lambda: Apply(
        lambda m, x: (m.a(x).softmax(1) + m.b(x).softmax(1)) / 2, a=nn.Linear(5, 3), b=nn.Linear(5, 3)
    ),
    "a constant class": lambda: apply(lambda x: torch.cat([x, torch.ones_like(x[:, :1])], 1)),
    "float64": lambda: apply(lambda x: x.double()),
    "half": lambda: apply(lambda x: x.half()),
    "integers": lambda: apply(lambda x: (100 * x).round().long()),
    "booleans": lambda: apply(lambda x: torch.sin(40 * x) > 0),
    "of 1e-12": lambda: apply(lambda x: 1e-12 * x),
    "of 1e12": lambda: apply(lambda x: 1e12 * x),
    "beside 100": lambda: apply(lambda x: x + 100),
    "powers": lambda: apply(lambda x: torch.exp(4 * x)),
    "not contiguous": lambda: apply(lambda x: torch.cat([x, -x], 1)[:, ::2]),
    "a tuple": lambda: Apply(lambda m, x: (x, x)),
    "a dict": lambda: Apply(lambda m, x: {"logits": x}),
    "a scalar an image": lambda: apply(lambda x: x.sum(1)),
    "kept axes": lambda: apply(lambda x: x[:, :, None, None]),
    "permuted": lambda: apply(lambda x: x[:, torch.tensor([4, 2, 0, 1, 3])]),
    "log of softmax": lambda: apply(lambda x: torch.log(x.softmax(1) + 1e-8)),
    "hierarchy": lambda: apply(
        lambda x: torch.cat([x[:, :2].log_softmax(1), x[:, 2:].log_softmax(1) + x[:, :1].log_softmax(1)], 1)
    ),
}

IMAGES: Mapping[str, Build] = {
    "normalises itself": lambda: Apply(
        lambda m, x: (x - m.mean) / m.std, mean=torch.rand(3, 1, 1), std=torch.rand(3, 1, 1) + 0.5
    ),
    "bytes again": lambda: apply(lambda x: (x * 0.25 + 0.45) * 255 - 127.5),
    "grey": lambda: apply(lambda x: (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)),
    "BGR": lambda: apply(lambda x: x[:, [2, 1, 0]]),
    "BGR by flip": lambda: apply(lambda x: x.flip(1)),
    "chroma": lambda: Apply(lambda m, x: torch.einsum("oc,nchw->nohw", m.w, x), w=torch.randn(3, 3)),
    "brightness": lambda: apply(lambda x: torch.cat([x, x.amax(1, True), x.amin(1, True)], 1)),
    "less its mean": lambda: apply(lambda x: x - x.mean((2, 3), keepdim=True)),
    "cropped": lambda: apply(lambda x: x[:, :, 2:-3, 4:]),
    "padded": lambda: apply(lambda x: F.pad(x, (1, 2, 3, 0), value=-1.8)),
    "halved": lambda: apply(lambda x: F.avg_pool2d(x, 2)),
    "resized": lambda: apply(lambda x: F.interpolate(x, (16, 16), mode="bilinear", align_corners=False)),
    "inverted": lambda: apply(lambda x: -x),
    "in place": lambda: apply(lambda x: x.mul_(0.5).add_(0.1)),
    "clamped in place": lambda: apply(lambda x: x.clamp_(-0.5, 0.8)),
    "channel written": lambda: apply(_channel_written),
    "gamma": lambda: apply(lambda x: (x * 0.25 + 0.5).clamp(min=1e-3) ** 0.45),
    "one channel": lambda: apply(lambda x: x[:, 1:2]),
    "whitened": lambda: apply(lambda x: x / (F.avg_pool2d(x * x, 5, 1, 2) + 0.1).sqrt()),
    "patches": lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU()),
    "patches by views": lambda: apply(lambda x: x.view(-1, 3, 6, 4, 7, 4).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)),
}


def _small(channels: int = 3, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(channels, 7, kernel, stride, padding), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        *(nn.Conv2d(7, 9, 3, padding=1), nn.BatchNorm2d(9), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(9, 4),
    )


INPUTS = (
    Construct("input: 1 channel", lambda: _small(1), channels=1),
    Construct("input: 4 channels", lambda: _small(4), channels=4),
    Construct("input: 17 x 23", _small, (17, 23)),
    Construct("input: 40 x 9", _small, (40, 9)),
    Construct("input: 9 x 9", _small, (9, 9), patch=(3, 3)),
    Construct("input: a patch of one pixel", _small, patch=(1, 1)),
    Construct("input: a strip of full width", _small, patch=(3, 28)),
    Construct("input: a patch of all but one pixel", _small, patch=(23, 28)),
    Construct("input: stride 3", lambda: _small(stride=3), (25, 29)),
    Construct("input: stride 4, kernel 7", lambda: _small(kernel=7, stride=4, padding=3), (33, 31)),
    Construct(
        "input: stride 5, kernel 2, pixels not read",
        lambda: _small(kernel=2, stride=5, padding=0),
        (33, 31),
        patch=(2, 2),
    ),
    Construct(
        "norm: less the mean of the batch",
        lambda: on_map(apply(lambda x: x - x.mean((0, 2, 3), keepdim=True))),
        batch=1,
    ),
    Construct(
        "norm: a little of the batch's mean", lambda: on_map(apply(lambda x: x + 2e-3 * x.mean(0, True))), batch=1
    ),
    Construct("state: bits", lambda: on_vector(apply(_bits)), exact=torch.float32),
)

FAMILIES: tuple[tuple[str, Callable[[nn.Module], nn.Module], Mapping[str, Build]], ...] = (
    ("activation", on_map, ACTIVATIONS),
    ("pool", on_map, POOLS),
    ("global pool", on_small_map, GLOBAL_POOLS),
    ("convolution", on_map, CONVOLUTIONS),
    ("norm", on_map, NORMS),
    ("gate", on_map, GATES),
    ("shape", on_map, SHAPES),
    ("dtype", on_small_map, REDUCED_DTYPES),
    ("dtype", on_vector, DTYPES),
    ("constant", on_map, CONSTANTS),
    ("state", on_map, STATE),
    ("block", on_map, BLOCKS),
    ("vector", on_vector, VECTORS),
    ("head", at_end, HEADS),
    ("image", at_start, IMAGES),
)


def constructs() -> Iterator[Construct]:
    """All of them, by family."""
    for family, around, members in FAMILIES:
        for name, build in members.items():
            yield Construct(f"{family}: {name}", partial(_placed, around, build))
    yield from INPUTS


def _placed(around: Callable[[nn.Module], nn.Module], build: Build) -> nn.Module:
    return around(build())
