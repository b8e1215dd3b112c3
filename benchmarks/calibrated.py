"""Torchvision's and timm's networks with random weights through which an image still comes out at the other end.

Left as they are initialised, deep networks answer every image alike: the patch changes the logits by less than
float32 can tell, and then any engine agrees with any other.  Here each layer is set, in the order of execution and in
one pass over real photographs, so that its output varies (data-dependent initialisation: LSUV, Mishkin and Matas 2016,
and Krähenbühl et al. 2016).  Not trained networks: they classify nothing.
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
"""One part of every photograph: networks with squeeze-excite blow up on kinds of image that they were not set on."""
NEXT_TO_ZERO = 1e-4

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def input_size(name: str) -> tuple[int, int]:
    """The (height, width) the network was made for."""
    return (299, 299) if name == "inception_v3" else (224, 224)


def calibrated(name: str, size: tuple[int, int] | None = None, *, seed: int = 0) -> nn.Module:
    """The torchvision classifier ``name``, or timm's as ``timm/NAME``: float32 on the CPU, in eval mode.

    Weights are drawn from ``seed``.  ``size`` is the (height, width) of the photographs it is calibrated on, by default
    the network's own.  Auxiliary heads, which inference never reads, are left out; ``inception_v3`` and ``googlenet``
    keep ``transform_input``, as with trained weights.  One name, size and seed gives the same bits on one machine.  A
    few seconds on one core.

    Raises:
        ValueError: torchvision has no such model.
        RuntimeError: timm has no such model.
    """
    size = size or input_size(name)
    images = photos.normalised(photos.crops(size, CROPS, seed))
    with _alone(seed):
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
    """What ``name`` is built with; the slow initialisations are left out, every scale is set here anyway."""
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "aux_logits": False, "init_weights": False}
    if name.startswith("vit"):
        return {"image_size": size[0]}
    return {"init_weights": False} if name.startswith("vgg") else {}


def calibrate(module: nn.Module, images: Tensor) -> nn.Module:
    """Set the module's layers, in place, from one pass over ``images`` [N, C, H, W] in eval mode.

    When a layer is first reached, its inputs being those that calibrated layers give it:

    - a convolution or dense layer is scaled to unit output variance and, if it has a bias, centred for each channel;
    - a batch-norm takes the mean and variance of what it is given; its weight is drawn from [0.5, 1.5] and its bias
      from [0.2, 0.8]: with biases about zero a deep network is chaotic, and its fp32 rounding far from a trained one's;
    - the last layer gives each class a level of its own, drawn from [1, 3], that images move by about 1/4: no class is
      zero all over a map, where no error relative to its logits could be small;
    - a scale that is next to zero at first, as a residual branch's, becomes 0.5, or the branch would do nothing, and a
      layer's weights that are, as a transformer's last, are drawn.
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
        _set_levels([layer for layer in seen if isinstance(layer, _CONVOLUTIONS)][-1])
    return module


def _next_to_zero(weight: Tensor) -> bool:
    return float(weight.abs().max()) <= NEXT_TO_ZERO


def signal(
    module: nn.Module, image: Tensor, *, patch: tuple[int, int] = (16, 16), positions: int = 24, seed: int = 0
) -> float:
    """What a patch does to the logits: the range over random positions, relative to the logits' scale.

    ``image`` is [C, H, W], normalised; the patch is zero, the mean colour.  The median over the classes of
    (max - min over positions) / (largest absolute logit).  Below 1e-3 a comparison of maps says little.
    """
    draw = np.random.default_rng(seed)
    free = [image.shape[-2] - patch[0] + 1, image.shape[-1] - patch[1] + 1]
    corners = draw.integers(0, free, size=(positions, 2))
    logits = full_inference(module, image, torch.zeros(image.shape[0]), patch, corners)
    return float(np.median(relative_range(logits.cpu().numpy())))


def _set_statistics(layer: nn.Module, given: Tensor) -> None:
    """Give a batch-norm the statistics of its input, and a weight and a bias of its own."""
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
    # Weights that are standardised in each forward have their scale apart.
    weight = getattr(layer, "gain", layer.weight)
    assert isinstance(weight, Tensor)
    weight.mul_(scale)
    if isinstance(layer.bias, Tensor):
        layer.bias.sub_(mean).mul_(scale)
        rows = rows - mean
    return (rows * scale).movedim(-1, axis)


def _set_levels(last: nn.Module) -> None:
    """Give each class a level of its own, and the images a smaller part in its logit."""
    assert isinstance(last.weight, Tensor)
    last.weight.mul_(0.25)
    if isinstance(last.bias, Tensor):
        last.bias.mul_(0.25).add_(torch.empty_like(last.bias).uniform_(1, 3))


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Seeded random numbers and one thread inside, both as they were outside: the sums' order fixes the bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
