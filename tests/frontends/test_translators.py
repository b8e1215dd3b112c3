"""Every translator: what it honours is matched, what else a node says makes it opaque, and neither is wrong."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdb.frontends import torch_export
from kdb.frontends.aten import TRANSLATORS
from kdb.frontends.functions import is_plain
from kdb.frontends.graph import Graph
from kdb.frontends.torch_export import traced
from kdb.operators.network import Network
from tests.traces import Made, close, culprits, image, logits

pytestmark = pytest.mark.xdist_group("translators")

aten = torch.ops.aten
SHAPE = (4, 6, 8)
SIGNAL, VOLUME = (4, 24), (2, 6, 5, 8)


class Case(NamedTuple):
    """A module of one traced node or a few: its function of the image, its layers, and why it is opaque (None: it is
    not).  ``rounds`` says that the function rounds by itself, so that float64 would be no yardstick; ``shape`` is the
    image's, (C, *size)."""

    function: Callable[..., Tensor]
    because: str | None = None
    layers: Sequence[nn.Module] = ()
    rounds: bool = False
    shape: tuple[int, ...] = SHAPE

    @property
    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return Made(lambda x, *layers: self.function(x, *layers).flatten(1), *self.layers).eval()


def of(x: Tensor, values: Any) -> Tensor:
    """A constant in the image's dtype, so that the module can be computed in float64 too."""
    return torch.as_tensor(values).to(x.dtype)


def ramp(x: Tensor, *shape: int) -> Tensor:
    return torch.linspace(-1, 1.5, int(np.prod(shape))).reshape(shape).to(x.dtype)


def vector(x: Tensor) -> Tensor:
    return x.mean((2, 3))


NORM = nn.BatchNorm2d(4)
for each in (NORM.running_mean, NORM.running_var, NORM.weight, NORM.bias):
    nn.init.uniform_(each, 0.5, 1.5)  # type: ignore[arg-type]

DTYPE = "where the image is float32"

CASES: dict[str, Case] = {
    # --- pointwise
    "relu": Case(F.relu),
    "sigmoid": Case(torch.sigmoid),
    "silu": Case(F.silu),
    "tanh": Case(torch.tanh),
    "exp": Case(torch.exp),
    "log": Case(lambda x: aten.log(x.square() + 1)),
    "sqrt": Case(lambda x: torch.sqrt(x.square() + 1)),
    "rsqrt": Case(lambda x: torch.rsqrt(x.square() + 1)),
    "reciprocal": Case(lambda x: torch.reciprocal(x.square() + 1)),
    "abs": Case(torch.abs),
    "neg": Case(torch.neg),
    "erf": Case(torch.erf),
    "mish": Case(F.mish),
    "gelu": Case(F.gelu),
    "gelu by tanh": Case(lambda x: F.gelu(x, approximate="tanh")),
    "hardtanh": Case(lambda x: F.hardtanh(x, -0.4, 0.7) + F.hardtanh(x * 2)),
    "leaky relu": Case(lambda x: F.leaky_relu(x) + F.leaky_relu(x, 0.3)),
    "elu": Case(lambda x: F.elu(x) + aten.elu(x, 0.7, 1.2, 0.4)),
    "celu": Case(lambda x: aten.celu(x) + aten.celu(x, 1.7)),
    "softplus": Case(lambda x: aten.softplus(x * 9) + aten.softplus(x * 9, 2.0, 15)),
    "softplus cut off": Case(lambda x: F.softplus(x, 1, 0.2), "a threshold of 0.2, above which it is cut off"),
    "softplus cut off below zero": Case(lambda x: F.softplus(x, 1, -2), "a threshold of -2"),
    "clamp": Case(lambda x: x.clamp(-0.5, 1) + x.clamp(max=0.3) + x.clamp(min=0)),
    "clamp to nothing": Case(lambda x: x + x.clamp(2, 1)),
    "clamp by tensors": Case(lambda x: torch.clamp(x, ramp(x, 4, 1, 1), None), "clamp"),
    "clamp by the image": Case(lambda x: torch.clamp(x, vector(x)[..., None, None], None), "clamp"),
    "minimum by a tensor": Case(lambda x: aten.clamp_min.Tensor(x, ramp(x, 4, 1, 1)), "clamp"),
    "prelu": Case(lambda x: F.prelu(x, of(x, [0.3])) + F.prelu(x, ramp(x, 4))),
    "prelu of a vector": Case(lambda x: F.prelu(vector(x), ramp(x, 4))),
    "prelu along the rows": Case(
        lambda x: F.prelu(x[..., :4].permute(0, 3, 2, 1), ramp(x, 4)), "slopes along another axis"
    ),
    "prelu by the image": Case(lambda x: aten._prelu_kernel(x, vector(x)[..., None, None]), "depend on the image"),
    "powers": Case(lambda x: x**2 + x**3 + x.abs() ** 0.5 + (x.square() + 1) ** -1.5),
    "power of a number": Case(lambda x: 1.5**x, "pow"),
    "power of two": Case(lambda x: (x.square() + 1) ** x, "pow"),
    # --- arithmetic
    "add": Case(lambda x: x + 1 + ramp(x, 4, 1, 1) + ramp(x, 6, 8) + of(x, 0.5) + of(x, [0.25])),
    "add, scaled": Case(lambda x: torch.add(x, ramp(x, 4, 1, 1), alpha=3) + torch.add(ramp(x, 4, 1, 1), x, alpha=-2)),
    "add an integer tensor, scaled": Case(lambda x: torch.add(x, torch.arange(4).view(4, 1, 1), alpha=3)),
    "add a number, scaled": Case(lambda x: aten.add.Scalar(x, 2, 3) + aten.sub.Scalar(x, 2, 3)),
    "add two, scaled": Case(lambda x: torch.add(x, F.relu(x), alpha=0.5) + torch.sub(x, x.tanh(), alpha=3)),
    "subtract": Case(lambda x: (x - 2) - ramp(x, 4, 1, 1) - ramp(x, 6, 8) + (x.tanh() - x)),
    "subtract from": Case(lambda x: (2 - x) + (ramp(x, 4, 1, 1) - x) + torch.sub(ramp(x, 8), x, alpha=2)),
    "reverse": Case(lambda x: aten.rsub.Scalar(x, 2, 3) + aten.rsub.Tensor(x, ramp(x, 4, 1, 1), alpha=2)),
    "reverse, of two": Case(lambda x: torch.rsub(x, F.relu(x), alpha=2)),
    "multiply": Case(lambda x: x * 3 * ramp(x, 4, 1, 1) * ramp(x, 6, 8) + aten.mul.Scalar(x, 2) * x),
    "multiply by itself, each by each": Case(
        lambda x: vector(x)[:, :, None] * vector(x)[:, None, :], "tensors of different layouts"
    ),
    "divide": Case(lambda x: x / 3 / (ramp(x, 4, 1, 1) + 2) / (ramp(x, 6, 8) + 2) + aten.div.Scalar(x, 2)),
    "divide by": Case(lambda x: x / (1 + x.abs()) + 2 / (1 + x.abs()) + ramp(x, 8) / (2 + x.abs())),
    "divide by an integer tensor": Case(lambda x: x / torch.arange(1, 9)),
    "divide, not rounded": Case(
        lambda x: (
            aten.div.Tensor_mode(x, ramp(x, 8) + 2, rounding_mode=None) + aten.div.Scalar_mode(x, 3, rounding_mode=None)
        )
    ),
    "divide, floored": Case(lambda x: torch.div(x, 0.3, rounding_mode="floor"), "a division with rounding"),
    "divide, truncated": Case(
        lambda x: torch.div(9 * x, 1 + x.abs(), rounding_mode="trunc"), "a division with rounding"
    ),
    "broadcast to more": Case(lambda x: (vector(x) + ramp(x, 3, 1, 4)).permute(1, 0, 2), "more dimensions"),
    "broadcast": Case(lambda x: vector(x)[:, None] + ramp(x, 3, 1), "broadcasts the image"),
    "by the batch size": Case(lambda x: x * x.shape[0] / x.shape[0], "arithmetic with the batch size"),
    "where": Case(lambda x: torch.where(x > 0, x, x * 0.5), "gt .*bool, where the image is float32"),
    "where a constant says": Case(lambda x: torch.where(torch.arange(8) > 3, x, -x), "where"),
    # --- layers
    "convolution": Case(lambda x, c: c(x), layers=[nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)]),
    "convolution by the image": Case(
        lambda x: F.conv2d(ramp(x, 1, 1, 6, 8), x[:, :1, :3, :3])[0], "depend on the image"
    ),
    "transposed": Case(lambda x, c: c(x), layers=[nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2)]),
    "transposed, step by step": Case(lambda x, c: c(x), layers=[nn.ConvTranspose2d(4, 2, (4, 3), 1, (2, 0))]),
    "transposed, dilated": Case(
        lambda x, c: c(x), "a transposed convolution with dilation", [nn.ConvTranspose2d(4, 2, 3, dilation=2)]
    ),
    "transposed, one axis": Case(lambda x, c: c(x.flatten(2)), "1-dimensional", [nn.ConvTranspose1d(4, 2, 3)]),
    "interpolated": Case(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "interpolated to a size": Case(lambda x: F.interpolate(x, (5, 17), mode="bilinear", align_corners=True)),
    "interpolated by a fraction": Case(lambda x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear")),
    "interpolated by cubics": Case(lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
    "shuffled into cells": Case(lambda x: F.pixel_shuffle(x, 2)),
    "one axis": Case(lambda x, c: c(x.flatten(2)), "one-dimensional convolution", [nn.Conv1d(4, 2, 3)]),
    "along the channels": Case(lambda x, c: c(vector(x)[:, None]), layers=[nn.Conv1d(1, 1, 3, 2, 1)]),
    "three axes": Case(lambda x, c: c(x[:, None]), "3-dimensional", [nn.Conv3d(1, 2, 3)]),
    "dense": Case(lambda x, d: d(x), layers=[nn.Linear(8, 3)], because="merges some of the axes"),
    "dense of a vector": Case(lambda x, d: d(vector(x)), layers=[nn.Linear(4, 3)]),
    "dense, one output": Case(
        lambda x: F.linear(vector(x), ramp(x, 4))[:, None], "linear|mv|sum|view|reduction|mul|matrix"
    ),
    "dense by the image": Case(lambda x: F.linear(ramp(x, 2, 4), vector(x)).t(), "a constant where"),
    "a product": Case(lambda x: aten.mm(vector(x), ramp(x, 4, 3))),
    "a sum and a product": Case(lambda x: aten.addmm(ramp(x, 3), vector(x), ramp(x, 4, 3), beta=0.5, alpha=-2)),
    "one for all and a product": Case(lambda x: aten.addmm(of(x, [2.0]), vector(x), ramp(x, 4, 3))),
    "a matrix and a product": Case(
        lambda x: aten.addmm(ramp(x, 1, 3), vector(x), ramp(x, 4, 3)), "other than a vector"
    ),
    "of two": Case(lambda x: aten.mm(vector(x), vector(x).t() @ x.flatten(1)) * 0 + x.flatten(1), "batch|mm|permute"),
    "attention": Case(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2), "bmm"),
    "batch norm": Case(lambda x, n: n(x), layers=[NORM]),
    "batch norm of a vector": Case(lambda x: F.batch_norm(vector(x), ramp(x, 4), ramp(x, 4) + 2)),
    "batch norm along the rows": Case(
        lambda x: F.batch_norm(x.transpose(1, 2), ramp(x, 6), ramp(x, 6) + 2), "batch normalization along another axis"
    ),
    "batch norm along an axis of one": Case(
        lambda x: F.batch_norm(x.mean(3, keepdim=True).transpose(1, 3), of(x, [0.5]), of(x, [2.0])),
        "another axis|some of",
    ),
    "batch norm of the image's own": Case(lambda x: F.instance_norm(x), "statistics are those of the whole map"),
    "group norm": Case(lambda x: F.group_norm(x, 2), "statistics are those of the whole map"),
    "layer norm": Case(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,), ramp(x, 4), ramp(x, 4), 1e-2)),
    "layer norm of a map": Case(lambda x: F.layer_norm(x, (6, 8)), "more than the channels"),
    "layer norm by the image": Case(
        lambda x: aten.native_layer_norm(vector(x), [4], vector(x).sum(0) * 0 + 1, None, 1e-3)[0], "sum|layer_norm"
    ),
    "softmax": Case(lambda x: x.softmax(1) + x.log_softmax(-3)),
    "softmax along a row": Case(lambda x: x.softmax(3), "a softmax along another axis"),
    # --- pools
    "max pool": Case(lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True) + F.max_pool2d(x, 2, 2).sum()[None] * 0, "sum"),
    "max pools": Case(lambda x: F.max_pool2d(F.max_pool2d(x, (3, 2), (1, 2), (1, 0), (1, 2)), 2)),
    "where the maximum is": Case(lambda x: F.max_pool2d(x, 2, return_indices=True)[1].to(x.dtype), "int64"),
    "adaptive max pool": Case(lambda x: F.adaptive_max_pool2d(x, (3, 4))),
    "uneven max pool": Case(lambda x: F.adaptive_max_pool2d(x, (4, 3)), "windows of different sizes"),
    "average pool": Case(
        lambda x: F.avg_pool2d(F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 3), 1, 1, True)
    ),
    "average pool by": Case(lambda x: F.avg_pool2d(x, 3, 1, divisor_override=5)),
    "adaptive average pool": Case(lambda x: F.adaptive_avg_pool2d(x, (3, 3)).flatten(1).add(1)),
    "global average pool": Case(lambda x: aten.adaptive_avg_pool2d(x, [1, 1])),
    "padded": Case(lambda x: F.pad(x, (1, 2, 0, 3), value=-2.0) + F.pad(x, (3, 0, 2, 1))),
    "channels padded": Case(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "padding along another axis"),
    # --- reductions
    "mean": Case(lambda x: x.mean((2, 3), keepdim=True) * x + x.mean(1, keepdim=True)),
    "mean of the same dtype": Case(lambda x: x.mean((2, 3), dtype=x.dtype)),
    "mean in half": Case(lambda x: x.mean((2, 3), dtype=torch.float16), DTYPE, rounds=True),
    "mean in double": Case(lambda x: x.mean((2, 3), dtype=torch.float64), DTYPE),
    "mean of a row": Case(lambda x: x.mean(3), "some of the axes"),
    "mean of everything": Case(lambda x: x * 0 + x.mean().sign(), "mean"),
    "sum": Case(lambda x: x.sum((2, 3), keepdim=True) * x + x.sum(1, keepdim=True)),
    "sum of whole numbers": Case(lambda x: (x * 3).sum(1, dtype=torch.int64).to(x.dtype), DTYPE, rounds=True),
    "sum of part of the channels": Case(lambda x: x.view(-1, 2, 2, 6, 8).sum(2)),
    "variance": Case(
        lambda x: (
            x.var(1) + aten.var.correction(x, [1]) + aten.var.correction(x, [2, 3], correction=0, keepdim=True)[:, 0]
        )
    ),
    "variance, by default": Case(lambda x: aten.var.correction(x, [1], correction=None)),
    "variance of too few": Case(lambda x: x.var(1, correction=5).nan_to_num(1, 1, 1) + x.mean(1), "too few values"),
    "norm": Case(
        lambda x: torch.linalg.vector_norm(x, dim=1) + torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)[:, 0]
    ),
    "norm of the first order": Case(lambda x: torch.linalg.vector_norm(x, 1, dim=1), "another order"),
    "norm in double": Case(lambda x: torch.linalg.vector_norm(x, dim=1, dtype=torch.float64), DTYPE),
    "maximum": Case(lambda x: x.amax((2, 3)) + x.amax((2, 3), keepdim=True)[..., 0, 0]),
    "maximum of channels": Case(lambda x: x.amax(1), "a maximum over the channels"),
    # --- shape
    "cat": Case(lambda x: torch.cat([x, x * 2, x[:, 1:3]], 1)),
    "cat, from the end": Case(lambda x: torch.cat([x, x.tanh()], -3)),
    "cat along a row": Case(lambda x: torch.cat([x, x.tanh()], 3)),
    "cat along a column": Case(lambda x: torch.cat([x[:, :, 1:3], x.tanh(), x[:, :, :1]], -2)),
    "cat of cells": Case(
        lambda x: torch.cat([x.flatten(2), x[:, :, :2].flatten(2), x[:, :, :1, :1].flatten(2)], 2)[..., None]
    ),
    "cat of permuted cells": Case(lambda x: torch.cat([x.flatten(2).mT, x.tanh().flatten(2).mT], 1).mT[..., None]),
    "cells in another order": Case(lambda x: torch.cat([x.mT.flatten(2), x.flatten(2)], 2)[..., None], "cat"),
    "cat of a stack of maps": Case(lambda x: torch.cat([x[:, None], x[:, None].tanh()], 1).flatten(1, 2), "cat"),
    "cat with a constant": Case(
        lambda x: torch.cat([x, x * 0 + 1, ramp(x, 1, 4, 6, 8).expand_as(x)], 1)[:, :8], "expand|cat"
    ),
    "split": Case(lambda x: x.split(3, 1)[1] + x.split([1, 3], 1)[0] + x.split([2, 1, 1], -3)[2]),
    "split along a row": Case(lambda x: x.split(4, 3)[1] - x.split(4, -1)[0]),
    "slice": Case(lambda x: x[:, -3:-1] + x[:, :-2] + x[:, 2:] + x[:, 0:100:2]),
    "slice of rows": Case(lambda x: x[:, :, -5:-1:2] + x[:, :, 3:1000][:, :, 1:]),
    "slice of the batch": Case(lambda x: x[: x.shape[0]] + x[0:] + x[:], "slice|selection"),
    "assigned": Case(
        lambda x: aten.slice_scatter(x, x[:, :2].tanh(), 1, -2) + aten.slice_scatter(x, x[:, 1:2], 1, 0, 1)
    ),
    "assigned, in steps": Case(
        lambda x: aten.slice_scatter(x, x[:, :2].tanh(), 1, 0, 4, 2), "an assignment with a step"
    ),
    "assigned whole": Case(lambda x: aten.slice_scatter(x, x.tanh(), 1)),
    "select": Case(lambda x: x[:, -1] + x[:, 0] * x[:, 2] + x.select(-3, 1)),
    "select a row": Case(lambda x: x[:, :, -2] + x.select(2, 1)),
    "index select": Case(
        lambda x: x.index_select(1, torch.tensor([3, 0, 0])) + x[:, 1:].index_select(-3, torch.tensor([2, 1, 0]))
    ),
    "index": Case(lambda x: x[:, torch.tensor([-1, 0])] + x[:, torch.tensor([1, 2], dtype=torch.int32)]),
    "index cells": Case(lambda x: x[:, :, torch.tensor([[-1], [2]]), torch.tensor([1, -3, 0])]),
    "index single cells": Case(
        lambda x: x[:, :, torch.tensor([0, 1]), torch.tensor([2, 3])], "indexing of single cells"
    ),
    "index by the image": Case(lambda x: x.gather(1, x.argsort(1)), "sort"),
    "unsafe index": Case(lambda x: aten._unsafe_index(x, [None, None, torch.tensor([2, 1]), None])),
    "nearest": Case(lambda x: F.interpolate(x, scale_factor=2)),
    "nearest, by size": Case(
        lambda x: aten.upsample_nearest2d(x, [9, 5]) + aten.upsample_nearest2d.vec(x, [9, 5], None)
    ),
    "nearest, by another factor": Case(lambda x: aten.upsample_nearest2d(x, [9, 13], 1.65, 1.6)),
    "nearest, by factors": Case(lambda x: aten.upsample_nearest2d.vec(x, None, [1.6, 1.3])),
    "linear, by size": Case(
        lambda x: (
            F.interpolate(x, (9, 5), mode="bilinear") + F.interpolate(x, (9, 5), mode="bilinear", align_corners=True)
        )
    ),
    "linear, by factors": Case(lambda x: F.interpolate(x, scale_factor=(1.6, 1.3), mode="bilinear")),
    "linear, by factors that are worked out again": Case(
        lambda x: F.interpolate(x, scale_factor=1.65, mode="bilinear", recompute_scale_factor=True)
    ),
    "permute": Case(lambda x: x.permute(0, -2, 3, 1) * 2 + x.transpose(1, 2).transpose(-1, -2)),
    "view": Case(lambda x: x.view(-1, 2, 2, 6, 8).transpose(1, 2).reshape(-1, 4, 6, 8)),
    "view of another dtype": Case(lambda x: x.view(torch.int32).to(x.dtype) * 1e-9, DTYPE, rounds=True),
    "there and back": Case(lambda x: x.view(torch.int32).bitwise_and(-65536).view(torch.float32), DTYPE, rounds=True),
    "unsafe view": Case(lambda x: aten._unsafe_view(x, [x.shape[0], 2, 96])),
    "reshape": Case(lambda x: aten.reshape(x, [x.shape[0], 192])),
    "squeeze": Case(
        lambda x: (
            x.mean((2, 3), True).squeeze(-1).squeeze((2,)).unsqueeze(1)
            + x[:, :1].mean((2, 3), True)[..., 0, 0][:, None]
        )
    ),
    "expand": Case(lambda x: x[:, :1].expand(-1, 4, -1, -1) + vector(x)[..., None, None].expand(-1, -1, 6, 8)),
    "expand implicitly": Case(lambda x: aten.expand(x[:, :1], [-1, 4, 6, 8], implicit=True)),
    "as strided": Case(
        lambda x: aten.as_strided(vector(x), [x.shape[0], 4, 1], [4, 1, 7]).flatten(1), "strides|as_strided"
    ),
    "as strided, the same": Case(lambda x: aten.as_strided(x.mean((2, 3), True), [x.shape[0], 4, 1, 1], [4, 1, 9, 9])),
    "as strided, repeated": Case(lambda x: aten.as_strided(vector(x), [x.shape[0], 4], [4, 0]), "a view by strides"),
    "the same": Case(lambda x: aten.alias(aten.clone(x)) + x.detach()),
    "in another order": Case(lambda x: x.contiguous() + aten.clone(x, memory_format=torch.channels_last)),
    "copied": Case(lambda x: aten._to_copy(x, dtype=x.dtype, device=torch.device("cpu")) + 1),
    # --- dtypes
    "to double and back": Case(lambda x: (x.double() + 1e8 - 1e8).to(x.dtype), DTYPE),
    "double behind": Case(
        lambda x, c: c(x).double() * torch.tensor([1 / 3], dtype=torch.float64), DTYPE, [nn.Conv2d(4, 2, 3)]
    ),
    "to half": Case(lambda x: x.half(), DTYPE, rounds=True),
    "to whole numbers": Case(lambda x: x.to(torch.int32), DTYPE, rounds=True),
    "softmax in double": Case(lambda x: x.softmax(1, dtype=torch.float64), DTYPE),
    "log-softmax in double": Case(lambda x: x.log_softmax(1, dtype=torch.float64), DTYPE),
    "a double constant": Case(lambda x: x + torch.linspace(0, 1, 8, dtype=torch.float64), DTYPE),
    "a double number": Case(lambda x: x + torch.tensor(0.1, dtype=torch.float64)),
    "complex": Case(lambda x: torch.view_as_real(torch.complex(x, x * 2)), DTYPE),
    # --- one axis and three
    "signal": Case(
        lambda x, c: F.avg_pool1d(F.max_pool1d(c(x), 3, 2, 1, ceil_mode=True), 2),
        None,
        [nn.Conv1d(4, 6, 5, 2, 2, groups=2)],
        shape=SIGNAL,
    ),
    "a signal's uneven mean": Case(lambda x: F.adaptive_avg_pool1d(x, 5), shape=SIGNAL),
    "a signal's even maximum": Case(lambda x: F.adaptive_max_pool1d(x, 6), shape=SIGNAL),
    "a signal's mean": Case(lambda x: x * torch.sigmoid(x.mean(2, keepdim=True)), shape=SIGNAL),
    "a signal's vector, along its channels": Case(
        lambda x, c: c(x.mean(2)[:, None]), None, [nn.Conv1d(1, 1, 3, padding=1)], shape=SIGNAL
    ),
    "a signal, nearest": Case(
        lambda x: aten.upsample_nearest1d(x, [31]) + aten.upsample_nearest1d.vec(x, None, [1.3]), shape=SIGNAL
    ),
    "a signal, linear": Case(
        lambda x: F.interpolate(x, 31, mode="linear", align_corners=True) + F.interpolate(x, None, 1.3, "linear"),
        shape=SIGNAL,
    ),
    "a signal, padded and cut": Case(lambda x: F.pad(x, (2, -1), value=0.5)[:, 1:, 3::2], shape=SIGNAL),
    "a signal, folded": Case(lambda x: x.reshape(-1, 4, 12, 2).transpose(2, 3).reshape(-1, 8, 12), shape=SIGNAL),
    "a signal by one of two axes": Case(lambda x, c: c(x[:, None]), ".", [nn.Conv2d(1, 2, 3)], shape=SIGNAL),
    "volume": Case(
        lambda x, c: F.avg_pool3d(F.max_pool3d(c(x), 2, 1, 1), (2, 1, 3), 1, count_include_pad=False),
        None,
        [nn.Conv3d(2, 4, (3, 2, 3), (1, 2, 1), (1, 0, 2), (2, 1, 1), groups=2)],
        shape=VOLUME,
    ),
    "a volume's uneven mean": Case(lambda x: F.adaptive_avg_pool3d(x, (4, 3, 5)), shape=VOLUME),
    "a volume's even mean": Case(lambda x: F.adaptive_avg_pool3d(x, (3, 5, 2)), shape=VOLUME),
    "a volume's even maximum": Case(lambda x: F.adaptive_max_pool3d(x, (3, 1, 4)), shape=VOLUME),
    "a volume, nearest": Case(
        lambda x: aten.upsample_nearest3d(x, [9, 7, 8]) + aten.upsample_nearest3d.vec(x, None, [1.5, 1.4, 1.0]),
        shape=VOLUME,
    ),
    "a volume, linear": Case(
        lambda x: (
            F.interpolate(x, (9, 7, 8), mode="trilinear", align_corners=True)
            + F.interpolate(x, None, (1.5, 1.4, 1.0), "trilinear")
        ),
        shape=VOLUME,
    ),
    "a volume, padded and cut": Case(lambda x: F.pad(x, (1, 0, -1, 2, 0, 1))[:, :, 1:, :, ::3], shape=VOLUME),
    "a volume of constants": Case(lambda x: x * ramp(x, 6, 1, 8) + ramp(x, 2, 1, 1, 1), shape=VOLUME),
    "a volume, flattened": Case(lambda x, c: c(x.flatten(1)), None, [nn.Linear(480, 3)], shape=VOLUME),
    "a volume, transposed": Case(lambda x: x.permute(0, 1, 4, 2, 3).flatten(3).mean(3), ".", shape=VOLUME),
}


WHOLE: dict[str, Case] = {
    "silu": Case(F.silu),
    "minimum and maximum": Case(lambda x: aten.clamp_min(x, -0.2) + aten.clamp_max(x, 0.5)),
    "reverse": Case(lambda x: aten.rsub.Scalar(x, 2, 3) + aten.rsub.Tensor(x, ramp(x, 4, 1, 1), alpha=2)),
    "divide by a number": Case(lambda x: aten.div.Scalar(x, 3) + aten.div.Scalar_mode(x, 2, rounding_mode=None)),
    "global average pool": Case(lambda x: aten.adaptive_avg_pool2d(x, [1, 1])),
    "split": Case(lambda x: x.split(3, 1)[1]),
    "unsafe index": Case(lambda x: aten._unsafe_index(x, [None, None, torch.tensor([2, 1]), None])),
    "views": Case(lambda x: aten._unsafe_view(x, [x.shape[0], 2, 96])),
    "squeeze": Case(
        lambda x: aten.squeeze(x.mean((2, 3), True)).view(-1, 4) + x.mean((2, 3), True).squeeze(3).squeeze(2)
    ),
    "transpose": Case(lambda x: x.transpose(1, -1).detach()),
    "a signal's means": Case(
        lambda x: F.avg_pool1d(x, 3, 2, 1, True, False) + F.adaptive_avg_pool1d(x, 13), shape=SIGNAL
    ),
    "a volume's means": Case(lambda x: aten.adaptive_avg_pool3d(x, [3, 5, 2]), shape=VOLUME),
    "a signal, nearest by factors": Case(lambda x: aten.upsample_nearest1d.vec(x, None, [1.3]), shape=SIGNAL),
    "a volume, nearest by factors": Case(lambda x: aten.upsample_nearest3d.vec(x, None, [1.5, 1.4, 1.0]), shape=VOLUME),
}
"""Nodes that PyTorch decomposes into others, and may not in another version."""


@cache
def trace_of(name: str, whole: bool) -> tuple[Case, nn.Module, Network, Graph]:
    case = (WHOLE if whole else CASES)[name]
    module = case.module
    with pytest.MonkeyPatch.context() as patch:
        if whole:
            patch.setattr(torch_export, "_decompositions", dict)
        return case, module, *traced(module, case.shape)


NAMES = [*((name, False) for name in CASES), *((name, True) for name in WHOLE)]


@pytest.mark.parametrize(("name", "whole"), NAMES)
def test_what_a_node_says_is_honoured_or_left_to_the_module(name: str, whole: bool) -> None:
    case, module, network, _ = trace_of(name, whole)
    found, x = culprits(network), image(case.shape)[None]
    assert bool(found) == bool(case.because), found
    assert not found or re.search(case.because or "", found[0]), found
    exact = module(x) if case.rounds else copy.deepcopy(module).double()(x.double())
    close(logits(network, x[0]), exact.double())


def test_every_translator_has_a_case() -> None:
    seen = {call.overload for name, whole in NAMES for call in trace_of(name, whole)[3].calls}
    refusals = {name for name, translator in TRANSLATORS.items() if "refused" in translator.__qualname__}
    assert set(TRANSLATORS) - seen - refusals == set()


def test_a_trace_of_functions_that_have_translators_may_be_cached() -> None:
    traces = [trace_of(name, whole)[2:] for name, whole in NAMES]
    targets = {call.target for network, graph in traces if not culprits(network) for call in graph.calls}
    assert len(targets) > 50 and [target for target in targets if not is_plain(target)] == []


def test_a_translator_takes_no_argument_that_it_does_not_name() -> None:
    for name, translator in TRANSLATORS.items():
        kinds = {each.kind for each in inspect.signature(translator).parameters.values()}
        catches = kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        assert not catches or "refused" in translator.__qualname__, name


def test_an_argument_that_a_translator_does_not_know_is_left_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSLATORS, "leaky_relu", lambda b, shape, x: b.pointwise("leaky_relu", x, 0.01))
    assert "arguments that kdb does not know" in culprits(traced(CASES["leaky relu"].module, SHAPE)[0])[0]


def test_a_translator_that_fails_leaves_its_node_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSLATORS, "relu", lambda b, shape, x: x.nothing)
    assert "relu: relu (AttributeError" in culprits(traced(CASES["relu"].module, SHAPE)[0])[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_module_of_another_dtype_is_matched_as_a_whole(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3), nn.Softmax(1)
    ).eval()
    network, x = traced(module.to(dtype), SHAPE)[0], image(SHAPE)
    assert culprits(network) == []
    close(logits(network, x), module.double()(x.double()[None]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_its_tail_computes_in_its_dtype(dtype: torch.dtype) -> None:
    def tail(x: Tensor, conv: nn.Module) -> Tensor:
        return conv(x).cumsum(1).mean((2, 3)) * torch.ones(6, dtype=dtype)

    module = Made(tail, nn.Conv2d(4, 6, 3)).eval().to(dtype)
    network, x = traced(module, SHAPE)[0], image(SHAPE)
    assert culprits(network) == ["cumsum: cumsum"]
    expected = module(x.to(dtype)[None]).double()
    assert np.abs(logits(network, x) - expected.detach().numpy()).max() < 4 * torch.finfo(dtype).eps + 1e-6
