"""Where a delta nearly cancels its view before a layer that divides, the position is evaluated in full: exactly."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import kdb
from benchmarks.oracle import exactness
from kdb.execution.cancellation import MOST, doubts
from kdb.geometry import IntArray
from kdb.kernels.base import Array, Instruction
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.kernel import DELTA
from kdb.operators.base import Shape
from kdb.operators.network import Network, ParameterStore
from kdb.operators.pointwise import Pointwise
from kdb.operators.sources import Source
from kdb.queries.found import Found

SIDE = 64
QUERY = "OCCLUDE $i WITH patch(8, 8) STRIDE 3 USING m FOR ALL CLASSES SCORE logit"


def _cosine(net: Headed, x: Tensor) -> Tensor:
    return F.normalize(x.mean((2, 3))) @ F.normalize(net.weight).T


def _generalized_mean(net: Headed, x: Tensor) -> Tensor:
    return x.clamp(min=1e-6).pow(8).mean((2, 3)).pow(1 / 8) @ net.weight.T


def _root_of_powers(net: Headed, x: Tensor) -> Tensor:
    """Deltas may leave the sum slightly below zero, of which there is no root."""
    return x.pow(3).sum((2, 3)).pow(1 / 3) @ net.weight.T


def _log_sum_exp(net: Headed, x: Tensor) -> Tensor:
    return torch.log(torch.exp(4 * x).mean((2, 3))) @ net.weight.T


def _layer_norm(net: Headed, x: Tensor) -> Tensor:
    return F.layer_norm(x.mean((2, 3)), (16,), eps=1e-12) @ net.weight.T


def _logarithm(net: Headed, x: Tensor) -> Tensor:
    return torch.log(x.mean((2, 3)) + 1e-7) @ net.weight.T


def _shares(net: Headed, x: Tensor) -> Tensor:
    x = x.mean((2, 3))
    return x / (x.sum(1, keepdim=True) + 1e-9) @ net.weight.T


def _group_norm(net: Headed, x: Tensor) -> Tensor:
    """Outside the vocabulary."""
    return F.group_norm(x, 2, eps=1e-12).relu().mean((2, 3)) @ net.weight.T


HEADS = (
    _cosine,
    _generalized_mean,
    _root_of_powers,
    _log_sum_exp,
    _layer_norm,
    _logarithm,
    _shares,
    _group_norm,
)


Head = Callable[["Headed", Tensor], Tensor]


class Headed(nn.Module):
    """Convolutions without biases, so that a black image gives nothing, and a head."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 16, 3, bias=False)
            self.weight = nn.Parameter(torch.randn(5, 16))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self, F.relu(self.second(F.max_pool2d(F.relu(self.first(x)), 2))))


def _square() -> np.ndarray:
    """White, 5 x 5, on black."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[30:35, 27:32] = 255
    return image


def _two_squares() -> np.ndarray:
    """Of which the faint one is left where the bright one is covered."""
    image = _square()
    image[8:12, 50:54] = 1
    return image


@functools.lru_cache(2)
def _logits(
    head: Head, image: Callable[[], np.ndarray], positions: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each occluded image, in float64 and in float32."""
    module, pixels = Headed(head), torch.from_numpy(image() / 255).permute(2, 0, 1)
    occluded = pixels.repeat(len(positions), 1, 1, 1)
    for each, (y, x) in zip(occluded, positions, strict=True):
        each[:, y : y + 8, x : x + 8] = 0
    with torch.no_grad():
        return copy.deepcopy(module).double()(occluded).numpy(), module(occluded.float()).numpy()


@pytest.mark.parametrize("kernels", ["auto", "compiled"])  # the latter round most
@pytest.mark.parametrize("image", [_square, _two_squares], ids=["square", "two"])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_a_square_that_the_patch_covers_is_exact(head: Head, image: Callable[[], np.ndarray], kernels: str) -> None:
    db = kdb.connect()
    db.execute(f"SET kernels = {kernels}")
    db.register_model("m", Headed(head), input_size=(SIDE, SIDE))
    hm = db.execute(QUERY, {"i": image()})
    assert isinstance(hm, kdb.HeatMap) and hm.checked is not None and hm.checked[1] <= 1
    exact, plain = _logits(head, image, tuple(map(tuple, hm.positions.reshape(-1, 2).tolist())))
    found = exactness(hm.values.reshape(5, -1).T, exact, plain)
    assert found.range_use <= 1, found
    assert hm.stats.executed_macs < 0.6 * hm.stats.naive_macs  # few positions are evaluated in full


def test_no_group_is_handed_over_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each position is doubted."""
    counts: list[int] = []
    take = Found.take

    def counted(found: Found, members: IntArray, logits: Array) -> None:
        counts.append(len(members))
        take(found, members, logits)

    monkeypatch.setattr(Found, "take", counted)
    db = kdb.connect()
    db.register_model("m", Headed(_cosine), input_size=(SIDE, SIDE))
    covering = [(y, x) for y in range(27, 31) for x in range(24, 28)]
    text = "OCCLUDE $i WITH patch(8, 8) AT $covering USING m FOR ALL CLASSES SCORE logit"
    hm = db.execute(text, {"i": _square(), "covering": covering})
    assert isinstance(hm, kdb.HeatMap) and sum(counts) == 16 and min(counts) > 0


def test_explain_says_how_many_were_evaluated_in_full() -> None:
    db = kdb.connect()
    db.register_model("m", Headed(_cosine), input_size=(SIDE, SIDE))
    assert "that nearly cancel were evaluated in full" in db.explain(QUERY, {"i": _square()}, analyze=True)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    assert "evaluated in full" not in db.explain(QUERY, {"i": noise}, analyze=True).split("check ")[1].split("\n")[0]


def _network(*program: Instruction) -> Network:
    layers = [("image", Source(Shape(6, (1, 1))), ()), ("head", Pointwise(program), ("image",))]
    return Network.build(layers, ParameterStore())


PROGRAMS = {
    "root": (Instruction("sqrt", (0,)),),
    "logarithm": (Instruction("log", (0,)),),
    "quotient": (Instruction("reciprocal", (0,)),),
    "layer norm": (Instruction("normalize", (0, 0.0)),),
}


@given(st.sampled_from(sorted(PROGRAMS)), st.floats(-9, -4.5), st.floats(-1, 0), st.integers(0, 99))
def test_what_nearly_cancels_is_doubted_and_what_does_not_is_not(name: str, low: float, high: float, seed: int) -> None:
    """The logarithm of 1 is zero, and of that any error is a large share: so the numbers are far from 1."""
    network = _network(*PROGRAMS[name])
    view = np.random.default_rng(seed).uniform(20, 90, (1, 1, 6)).astype(np.float32)
    x = np.stack([view * np.float32(10**low), view * np.float32(10**high), view])
    found = doubts(CpuBackend(), network, network["head"], [view], [x], DELTA.noise)
    assert found.shape == (3,) and found[0] > MOST and found[2] < MOST
    assert found[0] > found[1]


def test_beside_the_root_of_zero_there_is_no_bound() -> None:
    network = _network(*PROGRAMS["root"])
    view = np.ones((1, 1, 6), np.float32)
    x = np.stack([view * 0, view * 0 - 1, view])
    assert doubts(CpuBackend(), network, network["head"], [view], [x], DELTA.noise).tolist()[:2] == [np.inf, np.inf]
    nothing = np.zeros((1, 1, 6), np.float32)
    assert doubts(CpuBackend(), network, network["head"], [nothing], [nothing[None]], DELTA.noise).tolist() == [0]
