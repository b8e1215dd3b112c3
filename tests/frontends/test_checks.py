"""What a model must be to be explained: a function of each image alone, and the same each time; nor is it changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from kdb.errors import ModelError
from kdb.frontends.check import check_independence, examples, logits_of
from kdb.frontends.state.untouched import untouched
from kdb.frontends.torch_export import trace

SHAPE = (3, 10, 12)


class Applied(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def around(*layers: nn.Module) -> nn.Module:
    """A classifier with ``layers`` in its middle, called body.0, body.1, ..."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
    module.add_module("body", nn.Sequential(*layers))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flat", nn.Flatten())
    module.add_module("head", nn.Linear(6, 4))
    return module


def applied(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return around(nn.SiLU(), nn.Sequential(Applied(function)))


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.rand_like(x)


BATCHED: dict[str, tuple[nn.Module, str]] = {
    "batch norm without statistics": (around(nn.BatchNorm2d(6, track_running_stats=False)), "layer 'body.0' differs"),
    "batch norm by batch": (applied(lambda x: F.batch_norm(x, None, None, training=True)), "layer 'body.1.0' differs"),
    "softmax over the wrong axis": (applied(lambda x: x.softmax(0)), "layer 'body.1.0' differs"),
    "the batch's mean of each pixel": (applied(lambda x: x - x.mean(0)), "layer 'body.1.0' differs"),
    "the mean of everything": (Applied(lambda x: (x - x.mean()).amax((2, 3))), "the model's output differs"),
    "the variance of everything": (Applied(lambda x: (x / x.std()).amax((2, 3))), "the model's output differs"),
    "the image before": (applied(lambda x: x + x.roll(1, 0)), "layer 'body.1.0' differs"),
    "the number of images": (applied(lambda x: x * x.shape[0]), "layer 'body.1.0' differs"),
}

CHANCE: dict[str, tuple[nn.Module, str]] = {
    "dropout by function": (applied(lambda x: F.dropout(x, 0.5, training=True)), r"layer 'body\.1\.0' draws"),
    "dropout that nearly never drops": (applied(lambda x: F.dropout(x, 1e-9, training=True)), r"'body\.1\.0' draws"),
    "noise": (applied(noisy), r"layer 'body\.1\.0' draws random numbers \(rand"),
    "noise outside of layers": (Applied(lambda x: noisy(x).mean((2, 3))), "the model draws"),
    "a random permutation": (Applied(lambda x: x.mean((2, 3))[:, torch.randperm(3)]), "the model draws"),
    "noise of numpy's": (
        applied(lambda x: x + torch.from_numpy(np.random.rand(*x.shape[1:])).to(x.dtype)),
        r"layer 'body\.1\.0' differs from run to run",
    ),
}


@pytest.mark.parametrize("name", BATCHED)
def test_what_depends_on_the_batch_is_refused_by_layer(name: str) -> None:
    module, message = BATCHED[name]
    with pytest.raises(ModelError, match=f"{message} .*in a batch; it may not depend on the other images of its batch"):
        trace(module, SHAPE)


@pytest.mark.parametrize("name", CHANCE)
def test_what_depends_on_chance_is_refused_by_layer(name: str) -> None:
    module, message = CHANCE[name]
    with pytest.raises(ModelError, match=f"{message}.*may not depend on chance"):
        trace(module, SHAPE)


def test_control_flow_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    for condition in (lambda x: x.sum() > 0, lambda x: int(x.argmax()) > 3, lambda x: bool((x > 0).any())):
        with pytest.raises(ModelError, match=r"cannot be traced: .*branches on the values of a tensor") as caught:
            trace(around(Applied(lambda x, condition=condition: x if condition(x) else -x)), SHAPE)  # type: ignore[misc]
        assert "\n" not in str(caught.value) and caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_a_batch_of_one_must_do() -> None:
    """Batch norm by the batch has no variance to go by."""
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten())
    with pytest.raises(ModelError, match=r"layer '1' fails on an input of shape \(1, 3, 10, 12\)"):
        trace(module, SHAPE)


def test_chance_that_does_not_bear_on_the_result_is_no_matter() -> None:
    def forward(x: Tensor) -> Tensor:
        torch.rand(3)
        return F.dropout(x, 0.5, training=False).mean((2, 3))

    trace(Applied(forward), SHAPE)
    trace(around(nn.Dropout(0.5), nn.Dropout2d(0.5), nn.BatchNorm2d(6)), SHAPE)


def test_a_forward_that_counts_its_calls_is_no_matter() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x.mean((2, 3))

    assert trace(Counting(), SHAPE).output.shape.channels == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_rounding_is_no_dependence_in_any_type_and_at_any_size(dtype: torch.dtype, size: float) -> None:
    module = around(*(layer for _ in range(6) for layer in (nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()))).to(dtype)
    scaled = nn.Sequential(module, Applied(lambda x: x * size))
    images = examples(module, (2, *SHAPE))
    assert images.dtype == dtype
    check_independence(scaled, images, logits_of(scaled, images))


def test_values_that_are_not_finite_agree_with_themselves() -> None:
    module = Applied(lambda x: torch.stack([x.mean((1, 2, 3)) / 0, x.mean((1, 2, 3)), (x - x).mean((1, 2, 3)) / 0], 1))
    images = examples(module, (2, *SHAPE))
    check_independence(module, images, logits_of(module, images))


def test_the_callers_random_numbers_stay_as_they_were() -> None:
    state = torch.random.get_rng_state()
    trace(around(), SHAPE)
    assert torch.equal(torch.random.get_rng_state(), state)


@given(st.lists(st.booleans(), min_size=7, max_size=7), st.booleans())
def test_every_module_is_left_in_the_mode_that_it_was_in(modes: list[bool], fails: bool) -> None:
    module = around(nn.Dropout())
    parts = list(module.modules())
    for part, mode in zip(parts, modes, strict=False):
        part.training = mode
    before = [part.training for part in parts]
    try:
        with untouched(module):
            assert not any(part.training for part in parts)
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert [part.training for part in parts] == before


def test_a_module_that_does_more_when_its_mode_changes_is_told_so() -> None:
    """As low-rank adapters do, which merge their weights for inference."""

    class Merging(nn.Module):
        merged = False

        def train(self, mode: bool = True) -> Merging:
            self.merged = not mode
            return super().train(mode)

    module = Merging().train()
    with untouched(module):
        assert module.merged
    assert not module.merged and module.training
