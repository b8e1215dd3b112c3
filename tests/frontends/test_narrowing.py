"""A slice of the result is taken early: the values stay, and what only serves the rest is no part of the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kdb.frontends.torch_export import trace
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import evaluate
from kdb.operators.network import Network
from tests.support import examples

SHAPE = (3, 6, 7)


class Net(nn.Module):
    """Two branches, one of which is outside the vocabulary, and what ``end`` makes of them."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.kept, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 5, 1)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.kept(x), self.other(x))


def strange(x: Tensor) -> Tensor:
    """Outside the vocabulary."""
    return x.cumsum(2)


ENDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cat": lambda a, b: torch.cat([strange(b), a], 1)[:, 5:],
    "sigmoid": lambda a, b: torch.cat([strange(b), a.sigmoid()], 1)[:, 5:].sigmoid(),
    "behind a sigmoid": lambda a, b: torch.cat([strange(b), a], 1).sigmoid()[:, 5:],
    "in the middle": lambda a, b: torch.cat([strange(b), a, strange(b)], 1)[:, 5:9],
    "a part of it": lambda a, b: torch.cat([strange(b), a], 1)[:, 6:8],
    "twice": lambda a, b: torch.cat([strange(b), a], 1)[:, 4:][:, 1:3],
    "from the end": lambda a, b: torch.cat([strange(b), a], 1)[:, -4:],
    "cells in a row": lambda a, b: torch.cat([strange(b), a], 1).flatten(2)[:, 5:].unsqueeze(-1),
    "levels": lambda a, b: torch.cat(
        [torch.cat([strange(b), a], 1).flatten(2), torch.cat([strange(b), a.tanh()], 1)[:, :, ::2].flatten(2)], 2
    )[:, 5:].unsqueeze(-1),
    "one channel": lambda a, b: torch.cat([strange(b), a], 1)[:, 6][:, None],
    "one cell": lambda a, b: torch.cat([strange(b), a], 1).flatten(2)[:, 5:, 17],
    "one channel of one cell": lambda a, b: torch.cat(
        [torch.cat([strange(b), a], 1).flatten(2), torch.cat([strange(b), a.tanh()], 1)[:, :, ::2].flatten(2)], 2
    )[:, 7, 50][:, None],
    "the last channel": lambda a, b: torch.cat([strange(b), a], 1)[:, -1][:, None],
    "split": lambda a, b: torch.cat([strange(b), a], 1).split((5, 4), 1)[1][:, :],
    "permuted": lambda a, b: torch.cat([strange(b), a], 1).permute(0, 2, 3, 1)[..., 5:].permute(0, 3, 1, 2),
}
WHOLE = {"split", "permuted"}
"""No slice is the result: the network is right, but all of it is there."""


def outputs(network: Network, images: Tensor) -> Tensor:
    maps = evaluate(network, images.movedim(1, -1).contiguous().numpy(), CpuBackend(), {network.output.name})
    return torch.from_numpy(maps[network.output.name]).movedim(-1, 1)


@pytest.mark.parametrize("end", ENDS)
def test_a_slice_is_taken_before_what_is_left_out(end: str) -> None:
    torch.manual_seed(0)
    module = Net(ENDS[end]).eval()
    network = trace(module, SHAPE)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        expected = module(images)
    torch.testing.assert_close(outputs(network, images).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    if end not in WHOLE:
        labels = {node.operator.label for node in network}
        assert "opaque" not in labels and not any(node.name.startswith("other") for node in network)


@settings(max_examples=examples(10, 15), deadline=None)
@given(st.data())
def test_any_slice_of_any_concatenation_is_the_module_s(data: st.DataObject) -> None:
    torch.manual_seed(0)
    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    start = data.draw(st.integers(0, sum(counts) - 1))
    stop = data.draw(st.integers(start + 1, sum(counts)))
    rows = data.draw(st.booleans())

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(3, count, 1) for count in counts)

        def forward(self, x: Tensor) -> Tensor:
            joined = torch.cat([part(x) for part in self.parts], 1)
            return torch.cat([joined, joined.tanh()], 2)[:, start:stop] if rows else joined[:, start:stop]

    module = Joined().eval()
    network = trace(module, SHAPE)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(outputs(network, images), module(images), rtol=1e-4, atol=1e-5)
    used = {int(node.name.split(".")[1].split("#")[0]) for node in network if node.name.startswith("parts.")}
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    assert used == {i for i, end in enumerate(ends) if end > start and end - counts[i] < stop}
