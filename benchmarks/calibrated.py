"""Networks of torchvision and timm with random weights, calibrated so that the logits depend on the image.

With their usual random initialisation, deep networks give nearly the same logits for every image: a patch changes them
by less than float32 resolves, and every engine would appear exact.  Here the layers are scaled one after another, in a
single pass over photographs, so that the output of each varies (data-dependent initialisation: LSUV, Mishkin and Matas
2016, and Krähenbühl et al. 2016).  The networks are not trained, and their classes mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from benchmarks import photos
from benchmarks.oracle import full_inference, relative_range
from kdb.models.torchvision_compat import import_torchvision

CROPS = len(photos.NAMES)
"""One crop of each photograph: networks with squeeze-excite overflow on kinds of images not calibrated on."""
NEXT_TO_ZERO = 1e-4
"""Weights with no larger absolute value count as initialised to zero."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def input_size(name: str) -> tuple[int, int]:
    """The input size (height, width) in pixels that the network ``name`` was designed for."""
    return (299, 299) if name == "inception_v3" else (224, 224)


def calibrated(name: str, size: tuple[int, int] | None = None, *, seed: int = 0) -> nn.Module:
    """A calibrated classifier of torchvision, or of timm as ``timm/NAME``: float32 on the CPU, in eval mode.

    ``size`` is the (height, width) in pixels of the photographs for calibration, by default the network's own; ``seed``
    determines the weights.  Auxiliary heads, which inference never reads, are left out; ``inception_v3`` and
    ``googlenet`` keep ``transform_input``, as with trained weights.  Equal arguments give bitwise equal weights on one
    machine.  Takes a few seconds on one core.

    Raises:
        ValueError: torchvision has no such model.
        RuntimeError: timm has no such model.
    """
    size = size or input_size(name)
    images = photos.normalised(photos.crops(size, CROPS, seed))
    with _reproducible(seed):
        return calibrate(_built(name, size), images)


def _built(name: str, size: tuple[int, int]) -> nn.Module:
    models: Any = import_torchvision().models  # first, as timm imports torchvision too
    if name.startswith("timm/"):
        module = import_module("timm").create_model(name.removeprefix("timm/"), pretrained=False)
    else:
        module = models.get_model(name, weights=None, **_options(name, size))
    assert isinstance(module, nn.Module)
    return module


def _options(name: str, size: tuple[int, int]) -> dict[str, bool | int]:
    """Options of the constructor; without slow initialisations, as calibration sets all scales."""
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "aux_logits": False, "init_weights": False}
    if name.startswith("vit"):
        return {"image_size": size[0]}
    return {"init_weights": False} if name.startswith("vgg") else {}


def calibrate(module: nn.Module, images: Tensor) -> nn.Module:
    """Calibrate the module in place, in one pass over normalised ``images`` [N, C, H, W] in eval mode; returns it.

    Each layer is adjusted when it is first reached, so that its inputs come from calibrated layers:

    - a convolution or dense layer is scaled to unit output variance and, if it has a bias, centred for each channel;
    - a batch-norm takes the mean and variance of its input; its weight is drawn from [0.5, 1.5] and its bias from
      [0.2, 0.8]: with biases around zero, a deep network amplifies rounding far more than a trained one;
    - the last layer gives each class a mean logit drawn from [1, 3], which images change by about 1/4: a class whose
      logits are near zero everywhere would have a large error relative to them;
    - scales initialised to zero, as those of residual branches, are set to 0.5, and weights initialised to zero, as
      those of a transformer's last layer, are drawn at random; otherwise these layers would have no effect.
    """
    seen: list[nn.Module] = []

    def adjust(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if layer in seen:
            return None
        seen.append(layer)
        if isinstance(layer, _BATCH_NORMS):
            _set_statistics(layer, inputs[0])
            return layer.forward(inputs[0])
        return _standardise(layer, output)

    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _CONVOLUTIONS) and _next_to_zero(layer.weight):
                layer.weight.normal_()
        for name, parameter in module.named_parameters():
            if not name.endswith("bias") and _next_to_zero(parameter):
                parameter.fill_(0.5)
        handles: list[RemovableHandle] = [
            layer.register_forward_hook(adjust)
            for layer in module.modules()
            if isinstance(layer, (*_CONVOLUTIONS, *_BATCH_NORMS))
        ]
        try:
            module.eval()(images)
        finally:
            for handle in handles:
                handle.remove()
        _set_class_levels([layer for layer in seen if isinstance(layer, _CONVOLUTIONS)][-1])
    return module


def _next_to_zero(weight: Tensor) -> bool:
    return float(weight.abs().max()) <= NEXT_TO_ZERO


def signal(
    module: nn.Module, image: Tensor, *, patch: tuple[int, int] = (16, 16), positions: int = 24, seed: int = 0
) -> float:
    """How much a patch changes the logits: the median over classes of their range relative to the largest logit.

    The range is (max - min) over ``positions`` random positions of a patch (h, w) filled with zeros, the mean colour;
    it is divided by the largest absolute logit.  ``image`` is normalised, [C, H, W].  Below 1e-3 a comparison of maps
    says little.
    """
    draw = np.random.default_rng(seed)
    free = [image.shape[-2] - patch[0] + 1, image.shape[-1] - patch[1] + 1]
    corners = draw.integers(0, free, size=(positions, 2))
    logits = full_inference(module, image, torch.zeros(image.shape[0]), patch, corners)
    return float(np.median(relative_range(logits.cpu().numpy())))


def _set_statistics(layer: nn.Module, given: Tensor) -> None:
    """Set a batch-norm's statistics to those of its input, and draw its weight and bias."""
    dims = [dim for dim in range(given.ndim) if dim != 1]
    if isinstance(layer.running_mean, Tensor) and isinstance(layer.running_var, Tensor):
        layer.running_mean.copy_(given.mean(dims))
        layer.running_var.copy_(given.var(dims, correction=0))
    if isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor):
        layer.weight.uniform_(0.5, 1.5)
        layer.bias.uniform_(0.2, 0.8)


def _standardise(layer: nn.Module, output: Tensor) -> Tensor:
    """Scale a convolution's or dense layer's weights, centre its bias if it has one, and return its new output."""
    axis = -1 if isinstance(layer, nn.Linear) else 1
    rows = output.movedim(axis, -1)
    mean = rows.flatten(0, -2).mean(0)
    scale = 1 / (rows - mean).std().clamp_min(1e-6)
    # Layers that standardise their weights in each forward pass have a separate scale, ``gain``.
    weight = getattr(layer, "gain", layer.weight)
    assert isinstance(weight, Tensor)
    weight.mul_(scale)
    if isinstance(layer.bias, Tensor):
        layer.bias.sub_(mean).mul_(scale)
        rows = rows - mean
    return (rows * scale).movedim(-1, axis)


def _set_class_levels(last: nn.Module) -> None:
    """Draw the mean logit of each class, and reduce the influence of the image on it."""
    assert isinstance(last.weight, Tensor)
    last.weight.mul_(0.25)
    if isinstance(last.bias, Tensor):
        last.bias.mul_(0.25).add_(torch.empty_like(last.bias).uniform_(1, 3))


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch and limit it to one thread, which fixes the order of sums; both are restored afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
