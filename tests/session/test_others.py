"""What the caller's thread, or others, do beside a query does not change its map, nor the module."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdb

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 28, 3), dtype=np.uint8)
QUERY = "OCCLUDE $i WITH patch(6) STRIDE {} USING $m (input = (24, 28)) SCORE logit FOR CLASS 0"


class Counting(nn.Module):
    """Counts its calls, in training mode."""

    def __init__(self, shared: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = shared or nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.last = nn.Linear(6, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.count = 0
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.calls += 1
        return self.last(self.body(x).relu().mean((2, 3)))


@pytest.mark.parametrize("stride", [24, 4])
@pytest.mark.parametrize("shares", ["the module", "a part"])
def test_sessions_of_several_threads_take_turns_on_a_module(shares: str, stride: int) -> None:
    first = Counting()
    modules = [first, first if shares == "the module" else Counting(first.body)]
    expected = [kdb.connect().execute(QUERY.format(stride), {"i": IMAGE, "m": m}).values for m in modules]
    barrier = threading.Barrier(2)

    def ask(which: int) -> list[np.ndarray]:
        db = kdb.connect()
        barrier.wait()
        return [db.execute(QUERY.format(stride), {"i": IMAGE, "m": modules[which]}).values for _ in range(4)]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(ask, range(2)))
    for maps, right in zip(found, expected, strict=True):
        assert all(np.allclose(values, right, rtol=1e-5, atol=1e-6) for values in maps)
    for module in modules:
        assert all(part.training for part in module.modules())
        assert module.count == 0 and int(module.calls) == 0


@pytest.mark.parametrize("stride", [24, 4])
@pytest.mark.parametrize("traced", [False, True])
def test_a_caller_s_autocast_does_not_round_a_map(stride: int, traced: bool) -> None:
    module = Counting().eval()
    expected = kdb.connect().execute(QUERY.format(stride), {"i": IMAGE, "m": module}).values
    db = kdb.connect()

    def ask() -> np.ndarray:
        values: np.ndarray = db.execute(QUERY.format(stride), {"i": IMAGE, "m": module}).values
        return values

    if traced:
        ask()
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(ask(), expected, rtol=1e-5, atol=1e-6)
        assert torch.is_autocast_enabled("cpu")
