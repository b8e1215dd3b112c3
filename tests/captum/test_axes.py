"""captum's Occlusion on signals [N, C, L] and volumes [N, C, D, H, W]: captum's own attributions, by the engine."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as Reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kdb.captum import Occlusion
from kdb.errors import DeviceError, FullInferenceWarning
from kdb.execution.engine import Engine, default_settings
from kdb.frontends.torch_export import trace
from kdb.planner.permissions import Permissions
from tests.networks_by_axes import drawn, networks
from tests.support import examples


@pytest.mark.parametrize("rank", [1, 3])
@settings(max_examples=examples(4, 12), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_random_networks_have_captums_attributions(rank: int, data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 3))
    size = tuple(data.draw(st.integers(6, 40 if rank == 1 else 10)) for _ in range(rank))
    images = drawn(1, channels, *size, seed=data.draw(st.integers(0, 9)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = data.draw(networks(rank, channels))
        module(images)  # the last layer takes its width from it
    window = (data.draw(st.integers(1, channels)), *(data.draw(st.integers(2, n)) for n in size))
    strides = tuple(
        data.draw(st.integers((w + 1) // 2, w if w < n else n)) for w, n in zip(window, (channels, *size), strict=True)
    )
    baseline = data.draw(st.sampled_from([None, 0.7, drawn(1, channels, *size, seed=2)]))
    occlusion = Occlusion(module)
    ours = occlusion.attribute(images, window, strides, baseline, target=1)
    assert occlusion.report is not None and occlusion.report.incremental, occlusion.report
    double = copy.deepcopy(module).double()
    widened = baseline.double() if isinstance(baseline, Tensor) else baseline
    truth = Reference(double).attribute(images.double(), window, strides, widened, target=1, perturbations_per_eval=32)
    plain = Reference(module).attribute(images, window, strides, baseline, target=1, perturbations_per_eval=32)
    with torch.no_grad():
        scale = float(module(images).abs().max())
    bound = max(1e-4 * float(truth.max() - truth.min()), 4 * float((plain - truth).abs().max()), 1e-6 * scale)
    assert ours.shape == images.shape and float((ours - truth).abs().max()) <= bound


def signals() -> nn.Module:
    """Convolutions along time behind one another, as networks for electrocardiograms are built."""
    parts: list[nn.Module] = []
    for inner, outer in ((12, 16), (16, 16), (16, 32)):
        parts += [nn.Conv1d(inner, outer, 15, stride=2, padding=7), nn.BatchNorm1d(outer), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 5)).eval()


def volumes() -> nn.Module:
    """Convolutions in three axes behind one another, as networks for tomographies are built."""
    parts: list[nn.Module] = []
    for inner, outer in ((1, 8), (8, 8), (8, 16)):
        parts += [nn.Conv3d(inner, outer, 3, padding=1), nn.BatchNorm3d(outer), nn.ReLU(), nn.MaxPool3d(2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 2)).eval()


@pytest.mark.parametrize(
    ("module", "shape", "window", "strides", "least"),
    [(signals, (12, 1000), (12, 32), (12, 8), 5), (volumes, (1, 32, 32, 32), (1, 8, 8, 8), (1, 8, 8, 8), 3)],
)
def test_less_is_computed_along_every_axis(
    module: Any, shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...], least: float
) -> None:
    occlusion = Occlusion(module())
    occlusion.attribute(drawn(1, *shape), window, strides, target=0)
    report = occlusion.report
    assert report is not None and report.incremental and report.work is not None and report.checked is not None
    assert report.work.naive_macs / report.work.executed_macs > least


class OfSeveral(nn.Module):
    """A network of a signal, a volume and a vector, which meet before its last layer."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.signal = nn.Sequential(nn.Conv1d(2, 4, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
            self.volume = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten())
            self.last = nn.Linear(11, 3)

    def forward(self, signal: Tensor, volume: Tensor, vector: Tensor) -> Tensor:
        return self.last(torch.cat([self.signal(signal), self.volume(volume), vector], 1))


@pytest.mark.parametrize("batch", [1, 4])
def test_inputs_of_different_axes_are_hidden_one_at_a_time(batch: int) -> None:
    inputs = (drawn(2, 2, 20), drawn(2, 1, 6, 7, 8, seed=1), drawn(2, 3, seed=2))
    asked: dict[str, Any] = {
        "sliding_window_shapes": ((2, 5), (1, 3, 4, 5), (1,)),
        "strides": ((2, 3), (1, 2, 3, 4), 1),
        "baselines": (0.5, drawn(2, 1, 6, 7, 8, seed=3), 0),
        "target": [2, 0],
        "perturbations_per_eval": batch,
    }
    occlusion, model = Occlusion(OfSeveral().eval()), OfSeveral().eval()
    with pytest.warns(FullInferenceWarning, match="several inputs"):
        ours = occlusion.attribute(inputs, **asked)
    for mine, theirs in zip(ours, Reference(model).attribute(inputs, **asked), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert occlusion.report is not None and occlusion.report.windows == 2 * (6 + 3 * 2 * 2 + 3)


def test_a_gpu_takes_two_axes_alone() -> None:
    """Whoever asks for one is told; where the choice is kdb's, it is the CPU."""
    network = trace(volumes(), (1, 16, 16, 16))
    positions = np.array([[0, 0, 0], [4, 8, 8]])
    engine = Engine(default_settings())
    with pytest.raises(DeviceError, match="ON gpu takes networks of 2 axes, as images have; this one has 3"):
        engine.plan(network, positions, (4, 4, 4), Permissions(device="gpu"))
    planned = engine.plan(network, positions, (4, 4, 4), Permissions(device="auto"))
    assert planned.physical.backend.traits.computes_on_host
