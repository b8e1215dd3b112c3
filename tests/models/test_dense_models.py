"""Networks that users have: segmentations of torchvision, U-Nets of both decoders, embeddings; against float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import kdb
from benchmarks.dense_networks import UNet
from kdb.models.torchvision_compat import import_torchvision

pytestmark = pytest.mark.dense

Size = tuple[int, ...]


def lively(module: nn.Module, channels: int, size: Size) -> nn.Module:
    """The module, whose batch norms have statistics of noise."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
    with torch.no_grad():
        module(torch.randn(4, channels, *size))
    return module.eval()


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import_torchvision()
        from torchvision.models import segmentation

        module: nn.Module = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=5)
        return module.eval()

    return make


SEGMENTATIONS: dict[str, tuple[Callable[[], nn.Module], int, Size, str | None]] = {
    "fcn_resnet50": (of_torchvision("fcn_resnet50"), 3, (80, 96), "out"),
    "deeplabv3_resnet50": (of_torchvision("deeplabv3_resnet50"), 3, (80, 96), "out"),
    "lraspp": (of_torchvision("lraspp_mobilenet_v3_large"), 3, (80, 96), "out"),
    "unet, transposed": (lambda: UNet(2, 3, 4, (8, 16, 32, 64)), 3, (64, 80), None),
    "unet, bilinear": (lambda: UNet(2, 3, 4, (8, 16, 32, 64), interpolated=True), 3, (64, 80), None),
    "unet of volumes": (lambda: UNet(3, 1, 3, (4, 8, 16)), 1, (24, 24, 32), None),
    "unet of volumes, trilinear": (lambda: UNet(3, 1, 3, (4, 8, 16), interpolated=True), 1, (24, 24, 32), None),
}


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_a_segmentation_s_map_of_a_region_is_the_module_s(name: str) -> None:
    make, channels, size, output = SEGMENTATIONS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = lively(make(), channels, size)
    image = np.random.default_rng(0).normal(size=(*size, channels)).astype(np.float32)
    patch = 32 if len(size) == 2 else 12
    start, extent = [n // 3 for n in size], [n // 4 for n in size]
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=channels, mean=0, std=1, output=output)
    text = (
        f"OCCLUDE $x WITH patch({patch}) FILL 0 STRIDE {patch} USING net FOR ALL CLASSES SCORE logit "
        f"OVER box({', '.join(map(str, [*start, *extent]))})"
    )
    found = {}
    for demand in ("on", "off"):
        db.execute(f"SET rule.demand = {demand}")
        found[demand] = db.execute(text, {"x": image})
    positions = found["on"].positions.reshape(-1, len(size))
    images = torch.from_numpy(np.moveaxis(image, -1, 0)).double().repeat(len(positions) + 1, *(1,) * image.ndim)
    for each, at in zip(images[1:], positions, strict=True):
        each[:, *map(slice, at, at + patch)] = 0
    double = copy.deepcopy(module).double()
    with torch.no_grad():
        outputs = torch.cat([double(each[None])[output] if output else double(each[None]) for each in images])
    region = outputs[:, :, *(slice(a, a + n) for a, n in zip(start, extent, strict=True))].flatten(2).mean(2).numpy()
    largest = np.abs(outputs[0].flatten(1).mean(1).numpy()).max()
    for each in found.values():
        error = np.abs(each.values.reshape(len(each.values), -1).T - region[1:]).max(axis=0)
        assert (error <= 1e-4 * np.maximum(np.abs(region).max(axis=0), largest)).all()
        assert (error <= 1e-3 * np.ptp(region, axis=0)).all()
        np.testing.assert_allclose(each.baseline, region[0], rtol=1e-3, atol=1e-5)
    assert found["on"].stats.executed_macs <= found["off"].stats.executed_macs


class Face(nn.Module):
    """An embedding as ArcFace has it: residual blocks with PReLU, a norm of the flattened map, a unit vector."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))
        self.blocks = nn.ModuleList(self._block(width << i, width << (i + 1)) for i in range(3))
        self.short = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width << i, width << (i + 1), 1, 2, bias=False), nn.BatchNorm2d(width << (i + 1)))
            for i in range(3)
        )
        self.last, self.dense = nn.BatchNorm2d(width << 3), nn.Linear((width << 3) * 36, 64)
        self.features = nn.BatchNorm1d(64)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, short in zip(self.blocks, self.short, strict=True):
            x = block(x) + short(x)
        return F.normalize(self.features(self.dense(self.last(x).flatten(1))))


def test_the_likeness_of_two_faces_is_the_module_s() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = lively(Face(), 3, (48, 48))
    one, two = (np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8) for seed in range(2))
    db = kdb.connect()
    db.register_model("face", module, input_size=(48, 48), mean=0.5, std=0.5)
    text = "OCCLUDE $a WITH patch(12) FILL gray STRIDE 6 USING face SCORE cosine TO $b"
    heat_map = db.execute(text, {"a": one, "b": two})
    positions = heat_map.positions.reshape(-1, 2)
    images = np.repeat(one[None], len(positions) + 1, 0)
    for each, (y, x) in zip(images[1:], positions, strict=True):
        each[y : y + 12, x : x + 12] = 128
    tensors = torch.from_numpy(np.moveaxis(np.concatenate([images, two[None]]), -1, 1)).double() / 255
    with torch.no_grad():
        embedded = copy.deepcopy(module).double()((tensors - 0.5) / 0.5)
    cosines = (embedded[:-1] @ embedded[-1]).numpy()
    np.testing.assert_allclose(heat_map.baseline, cosines[0], atol=1e-5)
    np.testing.assert_allclose(heat_map.values.reshape(-1), cosines[1:], atol=2e-5)
