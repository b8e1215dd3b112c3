"""Traces for tests: modules made of functions, and networks evaluated in full beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from kdb.frontends.functions import is_plain
from kdb.frontends.graph import Graph
from kdb.frontends.trace_cache import _no_tail
from kdb.frontends.translate import translate
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import materialize
from kdb.operators.network import Network
from kdb.operators.sources import Opaque

TOLERANCE = 1e-5
"""Relative to the largest output: a hundred or so float32 roundings."""

Function = Callable[[Tensor], Tensor]


class Each(nn.Module):
    """The outputs of several functions of one image, flattened, side by side: one trace serves them all."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        super().__init__()
        self.functions = list(functions.values())
        self.layers = nn.ModuleList([f for f in self.functions if isinstance(f, nn.Module)])

    def outputs(self, x: Tensor) -> list[Tensor]:
        return [function(x).flatten(1) for function in self.functions]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.outputs(x), 1)


class Made(nn.Module):
    """A module made of a function of the image and of layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def image(shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.5, shape)).float()


def logits(network: Network, x: Tensor, native: bool = False) -> np.ndarray:
    hwc = np.ascontiguousarray(x.movedim(0, -1).numpy())
    return materialize(network, hwc, CpuBackend(native), [network.output.name])[network.output.name].reshape(-1)


def culprits(network: Network) -> list[str]:
    return [node.operator.because for node in network if isinstance(node.operator, Opaque)]


def close(found: np.ndarray, exact: Tensor, where: str = "") -> None:
    expected = exact.detach().numpy().reshape(-1)
    assert np.abs(expected).max() > 0.01, f"{where} says nothing"
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=where)


def same(one: Network, other: Network) -> None:
    assert one.digest == other.digest
    assert {**one.parameters}.keys() == {**other.parameters}.keys()
    for name, weight in one.parameters.items():
        assert np.array_equal(weight.array, other.parameters[name].array), name


def comes_back(module: nn.Module, shape: tuple[int, ...], network: Network, graph: Graph) -> None:
    """What was traced of ``module`` is the same when it is read from its text."""
    text = graph.to_json()
    again = Graph.from_json(text)
    assert all(is_plain(call.target) for call in graph.calls)
    assert again == graph and again.to_json() == text
    same(network, translate(again, again.state(module), shape, _no_tail))
