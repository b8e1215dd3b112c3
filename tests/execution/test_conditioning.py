"""Layers that would magnify the rounding of deltas: found, and exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdb
from kdb.frontends.torch_export import trace
from kdb.kernels.base import Instruction
from kdb.planner.rules.conditioning import _least_of, ill_conditioned

SIDE = 48


class Local(nn.Module):
    """A convolution, then ``function`` of its activations, then a classifier."""

    def __init__(self, function: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.convolution = function, nn.Conv2d(3, 8, 3, padding=1)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.convolution(x).relu())  # type: ignore[operator]
        logits: Tensor = self.classifier(y.mean((2, 3)))
        return logits


def over_channels(y: Tensor, eps: float) -> Tensor:
    return nn.functional.layer_norm(y.permute(0, 2, 3, 1), (8,), eps=eps).permute(0, 3, 1, 2)


pool = nn.functional.avg_pool2d
NEAR_ZERO = {
    "local generalized mean": lambda y: pool(y.clamp(min=1e-3).pow(3), 4).pow(1 / 3),
    "log of a mean": lambda y: (pool(y**4, 4) + 1e-6).log(),
    "log of a mean of powers": lambda y: pool((10 * y).exp(), 4).log(),
    "root": lambda y: (pool(y * y, 4) + 1e-9).sqrt(),
    "quotient": lambda y: 1 / (pool(y, 4) + 1e-6),
    "layer norm of each cell": lambda y: over_channels(y, 1e-12),
}
HARMLESS = {
    "softplus": nn.functional.softplus,
    "mish": nn.functional.mish,
    "silu": nn.functional.silu,
    "softsign": lambda y: y / (1 + y.abs()),
    "logistic": lambda y: 1 / (1 + (-y).exp()),
    "square": lambda y: y**2,
    "logarithm of a maximum above one": lambda y: nn.functional.max_pool2d(y + 1, 2).log(),
    "layer norm of each cell": lambda y: over_channels(y, 1e-6),
}


@pytest.mark.parametrize(
    ("program", "given", "least"),
    [
        ([("pow", (0, 2.0))], -np.inf, 0.0),
        ([("pow", (0, 3.0))], -np.inf, -np.inf),
        ([("pow", (0, 1.0))], -np.inf, -np.inf),
        ([("pow", (0, 0.5))], -np.inf, None),
        ([("pow", (0, 0.5))], 1.0, -np.inf),
        ([("exp", (0,)), ("pow", (0, 1))], -np.inf, None),  # by a computed exponent, which may be any
        ([("maximum", (0, 0.5)), ("log", (1,))], -np.inf, -np.inf),
        ([("log", (0,))], -np.inf, None),
        ([("div", (0, 0))], 0.0, None),
        ([("div", (0, 2.0))], -np.inf, -np.inf),
        ([("add", (0, 1.0)), ("mul", (1, 1))], 2.0, 0.0),
        ([("add", (0, 1.0)), ("mul", (1, 3.0))], 2.0, 9.0),
        ([("maximum", (0, 0.5)), ("mul", (1, 0.5))], -np.inf, 0.25),
        ([("normalize", (0, 1e-12))], -np.inf, None),
    ],
)
def test_the_least_that_a_program_gives(
    program: list[tuple[str, tuple[int | float, ...]]], given: float, least: float | None
) -> None:
    """None where it takes a root, logarithm or quotient of what may come near zero."""
    assert _least_of(tuple(Instruction(*each) for each in program), given) == least


@pytest.mark.parametrize("name", NEAR_ZERO)
def test_what_magnifies_is_exact(name: str) -> None:
    module = Local(NEAR_ZERO[name]).eval()
    assert ill_conditioned(trace(module, (3, SIDE, SIDE))) is not None
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image[:24] = 0
    db = kdb.connect()
    db.register_model("m", module, input_size=SIDE)
    hm = db.execute("OCCLUDE $i WITH patch(12, 12) STRIDE 12 USING m FOR ALL CLASSES SCORE logit", {"i": image})
    single, double = (_logits(module, image, hm.positions, dtype) for dtype in (torch.float32, torch.float64))
    for values, one, two in zip(hm.values, single, double, strict=True):
        allowed = max(1e-3 * np.ptp(two), 2 * np.abs(one - two).max())
        assert np.abs(values - two).max() <= min(allowed, max(1e-4 * np.abs(two).max(), 2 * np.abs(one - two).max()))
    assert "magnifies rounding" in db.explain("OCCLUDE $i USING m", {"i": image})


def _logits(module: nn.Module, image: np.ndarray, positions: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """[classes, rows, cols]."""
    images = np.repeat(image[None] / 255, positions[..., 0].size, axis=0)
    for each, (y, x) in zip(images, positions.reshape(-1, 2), strict=True):
        each[y : y + 12, x : x + 12] = 0
    with torch.no_grad():
        logits = module.to(dtype)(torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype))
    module.float()
    return logits.double().numpy().T.reshape(-1, *positions.shape[:2])


@pytest.mark.parametrize("name", HARMLESS)
def test_ordinary_functions_stay_incremental(name: str) -> None:
    assert ill_conditioned(trace(Local(HARMLESS[name]).eval(), (3, SIDE, SIDE))) is None
