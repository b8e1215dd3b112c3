"""OcclusionSensitivity by kdb beside MONAI's own: the same maps, in one, two and three axes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdb.errors import FullInferenceWarning
from kdb.monai import OcclusionSensitivity

visualize = pytest.importorskip("monai.visualize")
pytestmark = [pytest.mark.volumes, pytest.mark.filterwarnings("ignore:Using a non-tuple:UserWarning")]

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES: dict[int, tuple[int, ...]] = {1: (61,), 2: (23, 30), 3: (13, 12, 16)}
MASKS: dict[int, Any] = {1: 9, 2: (8, 7), 3: [5, 4, 6]}
BOXES: dict[int, list[int]] = {1: [3, 20], 2: [-1, 5, 3, -1], 3: [2, 9, -1, -1, 0, 3]}


def classifier(axes: int, channels: int) -> nn.Module:
    convolution = CONVOLUTIONS[axes]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [convolution(channels, 6, 3, padding=1), nn.ReLU(), convolution(6, 8, 3, stride=2), nn.ReLU()]
        return nn.Sequential(*parts, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def compared(model: Any, image: Tensor, b_box: Any = None, keywords: Any = None, **asked: Any) -> OcclusionSensitivity:
    """Ours and MONAI's agree in shape, type and value, and in the classes that are no tie; what computed ours."""
    asked = {"verbose": False, **asked}
    ours = OcclusionSensitivity(model, **asked)
    found, most = ours(image, b_box, **(keywords or {}))
    given, highest = visualize.OcclusionSensitivity(model, **asked)(image, b_box, **(keywords or {}))
    assert found.dtype == given.dtype and most.dtype == highest.dtype
    assert type(found) is Tensor and most.shape == highest.shape
    torch.testing.assert_close(found, given.as_tensor(), rtol=1e-5, atol=1e-6)
    if given.shape[1] > 1:
        first, second = given.as_tensor().topk(2, dim=1).values.unbind(1)
        assert ((most == highest) | (first - second < 1e-5)[:, None]).all()
    return ours


@pytest.mark.parametrize("mode", ["gaussian", "mean_patch", "mean_img", 0.3])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_maps_are_monais(axes: int, mode: Any) -> None:
    channels = 1 if mode == "mean_img" else 2  # a sigmoid, and softmaxes
    image = drawn(1, channels, *SIZES[axes])
    ours = compared(classifier(axes, channels), image, mask_size=MASKS[axes], mode=mode, overlap=0.55, n_batch=5)
    assert ours.report is not None and ours.report.incremental and ours.report.checked is not None


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_boxes_cut_the_map_and_windows_of_single_cells_hide_them(axes: int) -> None:
    model, image = classifier(axes, 2), drawn(1, 2, *SIZES[axes])
    compared(model, image, BOXES[axes], mask_size=MASKS[axes], mode="mean_patch", activate=False)
    compared(model, image, [4, 6] * axes, mask_size=1, overlap=0.0, mode="gaussian")
    compared(model, image, [4, 6] * axes, mask_size=8, overlap=(0.25,) * axes, activate=lambda outputs: outputs[:, 1:])


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = classifier(2, 2)

    def forward(self, x: Tensor, shift: float = 0.0) -> Tensor:
        return self.model(x) + shift


@pytest.mark.filterwarnings("ignore::kdb.errors.FullInferenceWarning")
@pytest.mark.parametrize(
    ("model", "dtype", "keywords"),
    [(classifier(2, 2).double(), torch.float64, {}), (Shifted().eval(), torch.float32, {"shift": 0.5})],
    ids=["float64", "keywords"],
)
@pytest.mark.parametrize("mode", ["gaussian", "mean_patch", 0.3])
def test_full_inference_gives_the_same(model: nn.Module, dtype: torch.dtype, keywords: Any, mode: Any) -> None:
    ours = compared(model, drawn(1, 2, 14, 11).to(dtype), None, keywords, mask_size=5, mode=mode)
    assert ours.report is not None and not ours.report.incremental


def test_a_module_in_training_mode_and_metatensors() -> None:
    from monai.data.meta_tensor import MetaTensor

    model = nn.Sequential(nn.Dropout(0.5), classifier(2, 2), nn.Dropout(0.5).eval()).train()
    model[2].eval()
    ours = compared(nn.Sequential(*model).eval(), MetaTensor(drawn(1, 2, 14, 11)), mask_size=5)
    model.train()
    model[2].eval()
    with pytest.warns(FullInferenceWarning):  # the function has no modes; the module is put into eval mode
        plain = OcclusionSensitivity(lambda x: model[1](x), mask_size=5, verbose=False)(drawn(1, 2, 14, 11))[0]
    found, _ = OcclusionSensitivity(model, mask_size=5, verbose=False)(drawn(1, 2, 14, 11))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    assert model.training and model[0].training and not model[2].training
    assert ours.report is not None and ours.report.incremental


def test_a_network_of_monai_takes_fewer_multiply_adds() -> None:
    from monai.networks.nets import DenseNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        options: dict[str, Any] = {"init_features": 4, "growth_rate": 4, "block_config": (2, 2)}
        model = DenseNet(spatial_dims=3, in_channels=1, out_channels=3, **options).eval()
    ours = compared(model, drawn(1, 1, 32, 32, 32), [0, 8, 0, 16, -1, -1], mask_size=8, overlap=0.0, activate=False)
    work = ours.report and ours.report.work
    assert work is not None and work.naive_macs > 1.5 * work.executed_macs


def test_the_call_is_monais() -> None:
    theirs = inspect.signature(visualize.OcclusionSensitivity).parameters
    ours = inspect.signature(OcclusionSensitivity).parameters
    assert [(each.name, each.default) for each in ours.values()] == [(e.name, e.default) for e in theirs.values()]
    called = inspect.signature(OcclusionSensitivity.__call__).parameters
    assert list(called) == list(inspect.signature(visualize.OcclusionSensitivity.__call__).parameters)
