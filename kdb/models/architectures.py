"""Builds untrained networks by name, with the classes and input channels of a file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from kdb.errors import BindError, ModelError, did_you_mean
from kdb.geometry import Size
from kdb.models import efficientnet_lite, zoo
from kdb.models.torchvision_compat import import_torchvision


def input_size(arch: str) -> Size:
    """The input size (height, width) of ``arch``; raises BindError for an unknown name."""
    if arch.startswith("timm/"):
        timm, bare = zoo.timm_named(arch)
        height, width = timm.get_pretrained_cfg(bare).input_size[1:]
    else:
        _refuse_unknown(arch)
        height, width = zoo.default_preprocessing(arch).input_size
    return height, width


def _refuse_unknown(arch: str) -> None:
    if arch not in (*efficientnet_lite.NAMES, *zoo.torchvision_names()):
        hint = did_you_mean(arch, zoo.known_names()) or "; kdb knows torchvision's classifiers and timm/NAME"
        raise BindError(f"unknown architecture '{arch}'{hint}")


def build(arch: str, classes: int, size: Size) -> nn.Module:
    """The module with arbitrary weights; raises BindError for an unknown name, ModelError if it cannot be built.

    ``size`` is the input's (height, width), on which a few architectures depend.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            if arch in efficientnet_lite.NAMES:
                return efficientnet_lite.untrained(arch, size, classes)
            if arch.startswith("timm/"):
                timm, bare = zoo.timm_named(arch)
                module: nn.Module = timm.create_model(bare, num_classes=classes)
                return module
            _refuse_unknown(arch)
            module = import_torchvision().models.get_model(arch, weights=None, num_classes=classes, **_keywords(arch))
            return module
        except (BindError, ModelError):
            raise
        except Exception as error:  # a library's own complaint
            raise ModelError(f"'{arch}' with {classes} classes cannot be built: {error}") from error


def with_channels(module: nn.Module, channels: Mapping[str, int]) -> int | None:
    """Change the input channels of the first convolution to those of its weight in ``channels``, by weight name.

    Returns their number, or None if there is no convolution.
    """
    found = next(((name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)), None)
    if found is None:
        return None
    name, first = found
    wanted = channels.get(f"{name}.weight", first.in_channels)
    if wanted != first.in_channels and first.groups == 1:
        first.in_channels = wanted
        first.weight = nn.Parameter(torch.empty(first.out_channels, wanted, *first.kernel_size))
    return first.in_channels


def _keywords(arch: str) -> dict[str, Any]:
    # Their own initialisation takes seconds, and is overwritten.
    return {"init_weights": False} if arch in ("inception_v3", "googlenet") else {}
