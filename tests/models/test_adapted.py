"""Models of several inputs and of several outputs, adapted to one image and one output."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdb
from kdb.errors import BindError, ModelError

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
PLAIN: dict[str, Any] = {"mean": 0, "std": 1, "score": "logit"}


class Clinical(nn.Module):
    """An image, and numbers about the patient beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 + 2, 3)

    def forward(self, image: Tensor, about: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        features = self.body(image)
        logits = self.head(torch.cat([features, about], 1))
        return logits if weight is None else logits * weight, features


def own(module: nn.Module, positions: np.ndarray, about: Tensor, weight: Tensor | None = None) -> np.ndarray:
    """[n, K] in float64."""
    images = torch.from_numpy(IMAGE / 255).movedim(-1, 0).repeat(len(positions), 1, 1, 1)
    for each, (y, x) in zip(images, positions, strict=True):
        each[:, y : y + 4, x : x + 4] = 0
    with torch.no_grad():
        double = copy.deepcopy(module).double()
        return double(images, about.double().expand(len(images), -1), weight)[0].numpy()


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return Clinical().eval()


@pytest.mark.parametrize("about", [torch.tensor([[0.3, -1.0]]), torch.tensor([[5.0, 2.0]])])
def test_other_inputs_are_held_fixed(module: nn.Module, about: Tensor) -> None:
    heat_map = kdb.occlude(IMAGE, module, 4, 4, target=1, output=0, fixed={"about": about}, **PLAIN)
    exact = own(module, heat_map.positions.reshape(-1, 2), about)[:, 1]
    np.testing.assert_allclose(heat_map.values.reshape(-1), exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    assert heat_map.stats.executed_macs < heat_map.stats.naive_macs


def test_what_has_no_row_for_an_image_is_given_as_it_is(module: nn.Module) -> None:
    about, weight = np.array([[0.3, -1.0]], np.float32), torch.tensor([2.0, 1.0, -1.0])
    fixed = {"about": about, "weight": weight}
    heat_map = kdb.occlude(IMAGE, module, 4, 4, target=2, output=0, fixed=fixed, **PLAIN)
    exact = own(module, heat_map.positions.reshape(-1, 2), torch.from_numpy(about), weight.double())[:, 2]
    np.testing.assert_allclose(heat_map.values.reshape(-1), exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_a_model_with_other_fixed_inputs_is_another_model(module: nn.Module) -> None:
    db, identities = kdb.connect(), set()
    for age in (0.1, 0.2):
        about = torch.tensor([[age, 0.0]])
        db.register_model("clinic", module, input_size=20, output=0, fixed={"about": about}, mean=0, std=1)
        about[0, 0] = 7  # kdb has a copy
        identities.add(db.execute("OCCLUDE $x STRIDE 4 USING clinic", {"x": IMAGE}).model_identity)
    options = [{"about": torch.zeros(1, 2) + age} for age in (0.1, 0.2)]
    text = "OCCLUDE $x STRIDE 4 USING $m (input = 20, output = 0, fixed = $f, mean = 0, std = 1)"
    maps = [db.execute(text, {"x": IMAGE, "m": module, "f": each}) for each in options]
    assert len(identities | {each.model_identity for each in maps}) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ModelError, "the model fails"),
        ({"fixed": {"about": torch.zeros(1, 2)}}, ModelError, "it returns 2 outputs, counted from 0: name the one"),
        ({"fixed": {"about": torch.zeros(1, 2)}, "output": 2}, ModelError, "the model has no output 2; it returns 2"),
        ({"fixed": {"age": torch.zeros(1, 2)}, "output": 0}, ModelError, "unexpected keyword argument 'age'"),
        ({"fixed": [1]}, BindError, "fixed is a dict of tensors by the names of the module's inputs"),
        ({"fixed": {"about": "old"}}, BindError, "fixed is a dict of tensors by the names"),
        ({"output": 1.5}, BindError, "output is a text or a whole number, not 1.5"),
    ],
)
def test_what_does_not_fit_is_said(
    module: nn.Module, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        kdb.occlude(IMAGE, module, 4, 4, **options, **PLAIN)
    assert message in str(raised.value)
