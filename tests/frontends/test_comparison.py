"""A trace is compared with its module before it is used: whatever was translated wrong is left to torch, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdb.errors import ModelError
from kdb.frontends import fallback, torch_export
from kdb.frontends.aten import TRANSLATORS
from kdb.frontends.comparison import Comparison
from kdb.frontends.torch_export import trace
from kdb.operators.network import Network
from kdb.operators.sources import Opaque
from tests.traces import Made, close, culprits, image, logits

SHAPE = (4, 9, 12)


def network_of(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    return nn.Sequential(nn.Conv2d(4, 6, 3), *middle, nn.Conv2d(6, 6, 3), *head).eval()


def exact(module: nn.Module, network: Network) -> None:
    x = image(SHAPE)
    close(logits(network, x), copy.deepcopy(module).double()(x.double()[None]))


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a translator wrong: ``change(builder, its value)`` is what it gives instead."""

    def apply(name: str, change: Callable[[Any, Any], Any]) -> None:
        right = TRANSLATORS[name]
        monkeypatch.setitem(TRANSLATORS, name, lambda b, *args, **kwargs: change(b, right(b, *args, **kwargs)))

    return apply


@pytest.mark.parametrize(
    ("name", "change", "layer"),
    [
        ("hardtanh", lambda b, x: b.pointwise("minimum", x, 0.5), "1"),
        ("leaky_relu", lambda b, x: b.pointwise("mul", x, 1.01), "2"),
        ("sigmoid", lambda b, x: x.with_dims([x.dims[0], x.dims[1], x.dims[2], x.dims[3]]), None),
        ("convolution", lambda b, x: b.pointwise("add", x, 0.01), "0"),
        ("mean.dim", lambda b, x: b.pointwise("sqrt", x), "5"),
    ],
)
def test_a_node_that_is_translated_wrong_is_left_to_torch(
    name: str, change: Callable[[Any, Any], Any], layer: str | None, wrong: Callable[..., None]
) -> None:
    module = network_of(nn.Hardtanh(-0.3, 0.9), nn.LeakyReLU(0.2), nn.Sigmoid())
    wrong(name, change)
    network = trace(module, SHAPE)
    if layer is None:
        assert culprits(network) == []
    else:
        (because,) = culprits(network)
        assert because.startswith(f"{layer}: ") and "its translation gives other values" in because
    exact(module, network)


def test_the_axes_of_a_node_are_compared_too(wrong: Callable[..., None]) -> None:
    """Values are right, but rows are taken for columns."""
    module = Made(lambda x, conv: F.relu(conv(x).transpose(2, 3)).flatten(1)[:, 3:9], nn.Conv2d(4, 6, (1, 4))).eval()
    wrong("permute", lambda b, x: x.with_dims([x.dims[0], x.dims[1], x.dims[3], x.dims[2]]))
    network = trace(module, SHAPE)
    assert "permute (its translation gives other values)" in culprits(network)[0]
    exact(module, network)


def test_several_are_found_one_after_another(wrong: Callable[..., None]) -> None:
    def forward(x: Tensor, a: nn.Module, c: nn.Module) -> Tensor:
        return (torch.tanh(a(x)) + torch.exp(c(x))).mean((2, 3))

    module = Made(forward, nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)).eval()
    for name in ("tanh", "exp"):
        wrong(name, lambda b, x: b.pointwise("mul", x, 0.9))
    network = trace(module, SHAPE)
    assert len(network.output.inputs) == 2 and culprits(network)
    exact(module, network)


def test_a_translation_that_stays_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparison, "differs", lambda self, network: True)
    monkeypatch.setattr(Comparison, "culprit", lambda self, network, values: "mean")
    with pytest.raises(ModelError, match="its network gives other logits, for mean"):
        trace(network_of(), SHAPE)


class Exporting(nn.Module):
    """Another function while it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * (2 if torch.compiler.is_exporting() else 1)


def test_a_module_that_is_another_when_exported_is_refused() -> None:
    with pytest.raises(ModelError, match=r"torch.export makes of the model gives other logits"):
        trace(Exporting().eval(), SHAPE)


def test_a_tail_that_is_cut_out_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fallback.TorchTail._run
    monkeypatch.setattr(fallback.TorchTail, "_run", lambda self, tensors, n: 1.01 * right(self, tensors, n))
    with pytest.raises(ModelError, match="its layers agree with the network's, its logits do not"):
        trace(network_of(nn.GroupNorm(2, 6)), SHAPE)


def test_rounding_that_the_module_magnifies_is_no_difference() -> None:
    """Four digits are lost in a large sum, by the module as by the network."""

    def forward(x: Tensor, conv: nn.Module) -> Tensor:
        y = conv(x).mean((2, 3))
        return (y + 1e4) - (y.mean(1, keepdim=True) + 1e4)

    assert culprits(trace(Made(forward, nn.Conv2d(4, 6, 3)).eval(), SHAPE)) == []


def test_logits_that_are_not_finite_are_not_compared() -> None:
    network = trace(Made(lambda x: torch.log(x.mean((2, 3)) - 9)).eval(), SHAPE)
    assert culprits(network) == []


def test_multiply_adds_of_what_torch_evaluates_are_those_that_it_counts() -> None:
    module = network_of(nn.GroupNorm(2, 6))
    network = trace(module, SHAPE)
    assert isinstance(network.output.operator, Opaque)
    assert network.output.operator.macs((), network.output.shape, 1) == 5 * 8 * 6 * 6 * 9 + 6 * 3
    assert network.macs == 7 * 10 * 4 * 6 * 9 + 5 * 8 * 6 * 6 * 9 + 6 * 3
    assert "multiply_adds" not in network.output.operator.signature + str(network.output.operator.params())


def test_what_is_compared_leaves_no_layouts_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch_export.traced(network_of(), SHAPE)[0]
    assert all(weight._layouts == {} for weight in network.parameters.values())
