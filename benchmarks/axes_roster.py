"""The networks of signals, volumes and video that are measured: whole maps of some, and how far all are incremental."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn

from benchmarks.signal_networks import Electrocardiogram, InceptionTime
from kdb.models.torchvision_compat import import_torchvision


@dataclass(frozen=True)
class Subject:
    """A network with random weights, the shape of its input (C, *size), and the windows laid over it.

    ``least`` is how many times as fast as full inference it is meant to be.  ``most`` windows, drawn at random, stand
    for all where these take too long.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    least: float = 0
    most: int | None = None


def _video(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import_torchvision()
        made: nn.Module = getattr(import_module("torchvision.models.video"), name)(weights=None)
        return made

    return make


def _monai(name: str, axes: int, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        made: nn.Module = getattr(import_module("monai.networks.nets"), name)(*arguments, spatial_dims=axes, **options)
        return made

    return make


_DENSE: Mapping[str, Any] = {"in_channels": 1, "out_channels": 2}
_RESIDUAL: Mapping[str, Any] = {"n_input_channels": 1, "num_classes": 2}
_OTHERS: Mapping[str, Any] = {"in_channels": 1, "num_classes": 2}

WHOLE_MAPS: Mapping[str, Subject] = {
    "inception_time": Subject(InceptionTime, (12, 1000), (32,), (4,), 4),
    "electrocardiogram": Subject(Electrocardiogram, (12, 4096), (32,), (4,), 8),
    **{
        name: Subject(_video(name), (3, 16, 112, 112), (4, 16, 16), (2, 8, 8), 3.5, 256)
        for name in ("r3d_18", "mc3_18", "r2plus1d_18")
    },
    "s3d": Subject(_video("s3d"), (3, 16, 224, 224), (4, 16, 16), (2, 8, 8), 3.5, 256),
    "densenet121_96": Subject(_monai("DenseNet121", 3, **_DENSE), (1, 96, 96, 96), (16,) * 3, (8,) * 3, 2.5, 256),
    "densenet121_128": Subject(_monai("DenseNet121", 3, **_DENSE), (1, 128, 128, 128), (16,) * 3, (8,) * 3, 3, 256),
    "resnet18_128": Subject(_monai("resnet18", 3, **_RESIDUAL), (1, 128, 128, 128), (16,) * 3, (8,) * 3, 6, 128),
}
"""Those of MONAI are measured where it is installed."""

_CLASSIFIERS: Mapping[str, tuple[tuple[Any, ...], Mapping[str, Any]]] = {
    "DenseNet121": ((), _DENSE),
    "resnet18": ((), _RESIDUAL),
    "resnet50": ((), _RESIDUAL),
    "SEResNet50": ((), _OTHERS),
    "SEResNext50": ((), _OTHERS),
    "SENet154": ((), _OTHERS),
    "EfficientNetBN": (("efficientnet-b0",), {"in_channels": 1, "num_classes": 2, "pretrained": False}),
}

COVERED: Mapping[str, Subject] = {
    **{
        name: Subject(_video(name), (3, 8, 64, 64), (2, 8, 8), (2, 8, 8))
        for name in ("r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t", "swin3d_s", "swin3d_b")
    },
    # The sizes that they are made for, and take no others.
    **{
        name: Subject(_video(name), (3, 16, 224, 224), (4, 16, 16), (4, 16, 16))
        for name in ("s3d", "mvit_v1_b", "mvit_v2_s")
    },
    **{
        f"{name} {axes}-D": Subject(_monai(name, axes, *given, **options), (1, *(64,) * axes), (8,) * axes, (8,) * axes)
        for name, (given, options) in _CLASSIFIERS.items()
        for axes in (2, 3)
    },
}
"""torchvision's networks for video and MONAI's classifiers, on small inputs."""
