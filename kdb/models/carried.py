"""What a module says of how its images are prepared, so that nobody need repeat it.

timm's modules have a configuration, torchvision's classifiers are known by their class, an ONNX file may have metadata.
Whatever a user says stands above it; what nobody says is assumed, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from kdb.errors import BindError
from kdb.geometry import Size
from kdb.images.preprocessing import SIZES, Preprocessing
from kdb.models import efficientnet_lite
from kdb.models.torchvision_compat import import_torchvision

COLOURS = ("mean", "std")
_ASSUMED = {"mean": 0, "std": 1}
_CLASSES = 1000
"""Of ImageNet, which all of torchvision's classifiers are trained on."""


@dataclass(frozen=True)
class Part:
    """Some keywords of :class:`Preprocessing`, and in words whose they are; ``doubt`` says where they are a guess."""

    values: Mapping[str, Any]
    origin: str
    doubt: str = ""


@dataclass(frozen=True)
class Carried:
    """What is known of a model's images without its user.

    ``colours`` has mean and std, of pixels divided by 255 and in the order RGB, or ``channels``.  ``geometry`` has
    ``input_size`` and how images get there: ``resize``, ``resize_size``, ``interpolation``.
    """

    colours: Part = field(default_factory=lambda: Part({}, ""))
    geometry: Part = field(default_factory=lambda: Part({}, ""))


@dataclass(frozen=True)
class Described:
    """A model's preprocessing; ``facts`` say whose each part of it is, ``notes`` what is assumed."""

    preprocessing: Preprocessing
    facts: tuple[str, ...]
    notes: tuple[str, ...]


def described(name: str, module: nn.Module, size: Size | None, given: Mapping[str, Any]) -> Described:
    """The preprocessing of a model called ``name`` by what its user has ``given``, and for the rest what it carries.

    ``size`` and ``given`` are keywords of :class:`Preprocessing`; ``given`` may also have ``transforms``, which then
    stand in place of what the module carries.  A size that is given comes without the crop that the module carries.

    Raises BindError where the size is not known, and for what is invalid.
    """
    options = {key: value for key, value in given.items() if key != "transforms"}
    transforms = given.get("transforms")
    carried = of_module(module) if transforms is None else of_transforms(transforms)
    values: dict[str, Any] = {"n_channels": _first_channels(module, size), **options}
    origins = dict.fromkeys((key for key in COLOURS if key in options), "given")
    notes = []

    for key, value in _in_order(carried.colours.values, values).items():
        if key not in options:
            values[key], origins[key] = value, carried.colours.origin
    if carried.colours.origin in origins.values():
        notes.append(carried.colours.doubt)
    if assumed := [key for key in COLOURS if key not in values]:
        notes.append(_assumption(assumed))

    geometry = dict(carried.geometry.values)
    if size is None and not geometry:
        raise BindError(f"model '{name}' needs an input size: input = {SIZES[(axes(module) or 2) - 1]}")
    if size is None:
        origins["input"] = carried.geometry.origin
        notes.append("" if "resize" in options else carried.geometry.doubt)
    elif transforms is None:
        geometry = {"input_size": size}
    elif geometry.get("resize_size") is not None:
        geometry["resize_size"] = scaled_margin(geometry["resize_size"], geometry["input_size"], size)
    geometry["input_size"] = size or geometry["input_size"]
    facts = [
        f"{', '.join(key for key in origins if origins[key] == each)}: {each}"
        for each in dict.fromkeys(origins.values())
    ]
    return Described(Preprocessing(**{**geometry, **values}), tuple(facts), tuple(filter(None, notes)))


def scaled_margin(margin: int, before: Sequence[int], size: Sequence[int]) -> int:
    """A crop's ``margin``, the shorter side that it is cut out of, for another input size."""
    return round(margin * min(size) / min(before))


def _assumption(keys: Sequence[str]) -> str:
    what = " and ".join(f"{key} {_ASSUMED[key]}" for key in keys)
    verb, give = ("are", "give mean = and std =") if len(keys) > 1 else ("is", f"give {keys[0]} =")
    return f"{what} {verb} assumed, since neither the model nor an option says how its images are normalised; {give}"


def _in_order(colours: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What is carried of colours, in the order of the model's channels; nothing of other channels than the model's."""
    found = {}
    reverse = str(values.get("channels", "")).casefold() == "bgr"
    for key, value in colours.items():
        if key in COLOURS:
            if len(value) not in (1, values["n_channels"]):
                continue
            value = tuple(reversed(value)) if reverse else tuple(value)
        found[key] = value
    return found


def axes(module: nn.Module) -> int | None:
    """The axes of the module's first convolution; None if it has none."""
    first = _first_convolution(module)
    return None if first is None else len(first.kernel_size)


def _first_convolution(module: nn.Module) -> nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    return next((part for part in module.modules() if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d)), None)


def _first_channels(module: nn.Module, size: Size | None) -> int:
    """The input channels of the first convolution, where it has the axes of the input.

    Of two axes up to 4, otherwise it does not read the image, and 3.  A signal may have any number, and by default 1.
    """
    first = _first_convolution(module)
    rank = 2 if size is None else len(size)
    known = first is not None and len(first.kernel_size) == rank and (rank != 2 or first.in_channels <= 4)
    if known:
        assert first is not None
        return first.in_channels
    return 3 if rank == 2 else 1


# ---- modules


def of_module(module: nn.Module) -> Carried:
    """What the module itself says; layers inside it are not asked, since what is around them may normalise too."""
    for asked in (_of_timm, _of_torchvision, _of_efficientnet_lite, _of_onnx):
        if (found := asked(module)) is not None:
            return found
    return Carried()


def _of_timm(module: nn.Module) -> Carried | None:
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if not isinstance(config, Mapping) or not {"mean", "std", "input_size"} <= config.keys():
        return None
    return of_timm(config, "timm's pretrained_cfg")


def of_timm(config: Mapping[str, Any], origin: str) -> Carried:
    """What timm's configuration of a model says.

    A model without a crop is stretched; one whose crop kdb does not have is left without a geometry, but for its size.
    """
    size = tuple(config["input_size"][-2:])
    share, how = config.get("crop_pct") or 0.875, config.get("crop_mode") or "center"
    interpolation = config.get("interpolation") or "bicubic"
    geometry: dict[str, Any] = {
        "input_size": size,
        "resize": "crop" if how == "center" else "stretch",
        "resize_size": math.floor(min(size) / share) if how == "center" else None,
        "interpolation": "bilinear" if interpolation == "random" else interpolation,
    }
    doubt = ""
    if how != "center" and share != 1:
        doubt = (
            f"resize = 'stretch' is assumed, since kdb does not have the crop by '{how}' of {origin}; give resize = "
            "'stretch' or 'crop'"
        )
    colours = {key: tuple(map(float, config[key])) for key in COLOURS}
    return Carried(Part(colours, f"of {origin}"), Part(geometry, f"of {origin}", doubt))


def _of_torchvision(module: nn.Module) -> Carried | None:
    """By the class and the number of parameters, of which a last layer for other classes is counted as ImageNet's."""
    home = type(module).__module__
    if not home.startswith("torchvision.models.") or home.count(".") > 2:
        return None
    models = import_torchvision().models
    builders = [name for name in models.list_models(module=models) if models.get_model_builder(name).__module__ == home]
    known = [each for name in builders for each in models.get_model_weights(name) if each.meta["categories"]]
    counts = _parameters(module)
    own = [each for each in known if each.meta["num_params"] in counts] or (known if len(known) == 1 else [])
    if not own:
        return _of_family(type(module).__name__, known)
    default = type(own[0]).DEFAULT
    chosen = default if default in own else own[-1]
    origin = f"torchvision's {chosen}"
    found = of_preset(chosen.transforms(), f"of {origin}")
    others = [str(each) for each in own if of_preset(each.transforms(), "").geometry.values != found.geometry.values]
    if not others:
        return found
    doubt = (
        f"the crop of {origin} is assumed, since the weights may also be {' or '.join(others)}, with another crop; "
        "give transforms ="
    )
    return Carried(found.colours, Part(found.geometry.values, found.geometry.origin, doubt))


def _parameters(module: nn.Module) -> tuple[int, int]:
    """How many the module has, and would have if its last layer were for ``_CLASSES``."""
    count = sum(each.numel() for each in module.parameters())
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if not layers:
        return count, count
    last = layers[-1]
    classes = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    own = sum(each.numel() for each in last.parameters())
    return count, count - own + own // classes * _CLASSES


def _of_family(kind: str, known: Sequence[Any]) -> Carried | None:
    """What all weights of a class of torchvision's have in common: never their size, and as a rule mean and std."""
    parts = [of_preset(each.transforms(), f"of torchvision's weights for {kind}").colours for each in known]
    if not parts or any(part.values != parts[0].values for part in parts):
        return None
    shown = ", ".join(f"{key} ({', '.join(f'{n:g}' for n in parts[0].values[key])})" for key in COLOURS)
    doubt = (
        f"{shown} are assumed, those of torchvision's weights for the class {kind}, since it is not just as "
        "torchvision builds it; give mean = and std ="
    )
    return Carried(Part(parts[0].values, parts[0].origin, doubt))


def _of_efficientnet_lite(module: nn.Module) -> Carried | None:
    if not type(module).__module__.startswith("efficientnet_lite_pytorch"):
        return None
    size = getattr(getattr(module, "_global_params", None), "image_size", None)
    sizes: dict[object, str] = {
        efficientnet_lite.preprocessing(name).input_size: name for name in efficientnet_lite.NAMES
    }
    name = sizes.get(tuple(size) if isinstance(size, list | tuple) else (size, size))
    said = efficientnet_lite.preprocessing(name or efficientnet_lite.NAMES[0])
    colours = Part({"mean": said.mean[:1], "std": said.std[:1]}, "of the bundled weights")
    return Carried(colours, Part({} if name is None else _geometry(said), "of the bundled weights"))


_RANGES = {"normalized_0_1": (0.0, 1.0), "normalized_1_1": (0.5, 0.5), "nominalrange_0_255": (0.0, 1 / 255)}
"""Mean and std of pixels / 255 by the ONNX standard's Image.NominalPixelRange."""
_FORMATS = {"rgb8": "RGB", "bgr8": "BGR"}


def _of_onnx(module: nn.Module) -> Carried | None:
    """By the standard's metadata of images, whose keys and values are written in any case."""
    metadata = getattr(module, "metadata", None)
    if not isinstance(metadata, Mapping):
        return None
    said = {str(key).casefold(): str(value).casefold() for key, value in metadata.items()}
    colours: dict[str, Any] = {}
    if (span := _RANGES.get(said.get("image.nominalpixelrange", ""))) is not None:
        colours = {key: (value,) for key, value in zip(COLOURS, span, strict=True)}
    if (channels := _FORMATS.get(said.get("image.bitmappixelformat", ""))) is not None:
        colours["channels"] = channels
    return Carried(Part(colours, "of the file's metadata")) if colours else None


# ---- transforms


def of_transforms(transforms: Any) -> Carried:
    """What a transform of torchvision's says: the one of its weights, or a Compose of resize, crop and normalisation.

    Raises BindError for any other.
    """
    origin = "of the transforms given"
    if all(hasattr(transforms, name) for name in ("mean", "std", "crop_size", "resize_size", "interpolation")):
        return of_preset(transforms, origin)
    steps = getattr(transforms, "transforms", None)
    if callable(transforms) and isinstance(steps, Iterable):
        return _of_steps(list(steps), origin)
    raise BindError(
        f"transforms = {type(transforms).__name__}: expected those of torchvision's weights, as in "
        "ResNet18_Weights.DEFAULT.transforms(), or a Compose of Resize, CenterCrop, ToTensor and Normalize"
    )


def of_preset(preset: Any, origin: str) -> Carried:
    """What one of torchvision's ImageClassification presets says."""
    colours = {key: _floats(getattr(preset, key)) for key in COLOURS}
    geometry = {
        "input_size": (preset.crop_size[0], preset.crop_size[-1]),
        "resize": "crop",
        "resize_size": preset.resize_size[0],
        "interpolation": preset.interpolation.value,
    }
    return Carried(Part(colours, origin), Part(geometry, origin))


_SCALING = ("ToTensor", "MaybeToTensor", "ConvertImageDtype", "ToDtype")
_NEUTRAL = ("PILToTensor", "MaybePILToTensor", "ToImage")


def _of_steps(steps: Sequence[Any], origin: str) -> Carried:
    colours: dict[str, Any] = {}
    resize = crop = None
    scaled = False
    for step in steps:
        kind = type(step).__name__
        if kind == "Resize" and resize is None and crop is None:
            resize = step
        elif kind == "CenterCrop" and resize is not None and crop is None:
            crop = _pair(step.size)
        elif kind in _SCALING and getattr(step, "scale", True):
            scaled = True
        elif kind == "Normalize" and scaled and not colours:
            colours = {key: _floats(getattr(step, key)) for key in COLOURS}
        elif kind not in _NEUTRAL:
            raise _unread(f"{kind} there")
    if scaled and not colours:
        colours = {"mean": (0.0,), "std": (1.0,)}
    return Carried(Part(colours, origin), Part({} if resize is None else _of_resize(resize, crop), origin))


def _of_resize(resize: Any, crop: tuple[int, int] | None) -> dict[str, Any]:
    sizes = [resize.size] if isinstance(resize.size, int) else list(resize.size)
    interpolation = getattr(resize.interpolation, "value", resize.interpolation)
    if len(sizes) == 2 and crop in (None, tuple(sizes)):
        return {"input_size": tuple(sizes), "resize": "stretch", "interpolation": interpolation}
    if len(sizes) == 1 and crop is not None:
        return {"input_size": crop, "resize": "crop", "resize_size": sizes[0], "interpolation": interpolation}
    raise _unread("Resize without CenterCrop" if crop is None else "CenterCrop behind a Resize to two sides")


def _unread(what: str) -> BindError:
    return BindError(f"transforms: kdb does not read {what}; give input =, mean =, std = and resize = instead")


def _pair(size: Any) -> tuple[int, int]:
    sides = [size] if isinstance(size, int) else list(size)
    return sides[0], sides[-1]


def _floats(values: Any) -> tuple[float, ...]:
    """Numbers as they were written: those of a float32 tensor are not exactly them."""
    if isinstance(values, torch.Tensor):
        values = [float(str(each)) for each in values.reshape(-1).numpy()]
    return tuple(map(float, np.atleast_1d(values)))


def _geometry(said: Preprocessing) -> dict[str, Any]:
    return {key: getattr(said, key) for key in ("input_size", "resize", "resize_size", "interpolation")}
