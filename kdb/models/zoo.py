"""Builds models: by name, or from any module and keywords that describe it.

``resolve`` builds the bundled models, torchvision's classifiers and timm's.  ``make_model`` implements
``register_model`` and CREATE MODEL.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from torch import nn

from kdb.errors import BindError, ModelError, UnknownName, behind_of, did_you_mean, looked_in, reason
from kdb.frontends.check import first_line
from kdb.geometry import Size, spelled
from kdb.images.preprocessing import SIZES, Preprocessing, as_size, choice
from kdb.models import carried, efficientnet_lite
from kdb.models.detection import HEADS, IOU, refused
from kdb.models.model import ACTIVATIONS, Model, check_finite
from kdb.models.torchvision_compat import import_torchvision

RESOLVE_OPTIONS = ("weights", "input", "input_size", "resize", "window")
_PREPROCESSING_KEYWORDS = (
    "mean",
    "std",
    "scale",
    "channels",
    "n_channels",
    "resize",
    "transforms",
    "axes",
    "window",
    "orientation",
)
MODEL_KEYWORDS = (
    *("input", "input_size", *_PREPROCESSING_KEYWORDS),
    *("layout", "output", "fixed", "activation", "labels", "background", "head", "iou"),
)
_REACH_SECONDS = 10.0


def known_names() -> tuple[str, ...]:
    """The names of bundled models whose packages are installed, and of torchvision's classifiers; not timm's."""
    return (*efficientnet_lite.available(), *torchvision_names())


def default_preprocessing(name: str) -> Preprocessing:
    """The preprocessing of one of ``known_names`` with its default weights."""
    if name in efficientnet_lite.NAMES:
        return efficientnet_lite.preprocessing(name)
    return _torchvision_preprocessing(import_torchvision().models.get_model_weights(name).DEFAULT)


def resolve(name: str, options: Mapping[str, object] | None = None) -> Model:
    """A bundled model, a torchvision classifier, or timm's for ``timm/NAME``.

    Options: ``weights`` ('default', a name in torchvision's enumeration, or for tests 'random', which is seeded),
    ``input`` or ``input_size`` (height, width), ``resize`` ('crop', 'stretch' or 'bilinear') and ``window``.

    Raises BindError for an unknown name or option, and ModelError if packages or weights are missing or damaged.
    """
    options = dict(options or {})
    refuse_unknown(f"model '{name}'", options, RESOLVE_OPTIONS)
    weights = options.get("weights", "default")
    if not isinstance(weights, str):
        raise BindError(f"weights = {weights!r} is not a name")
    with torch.random.fork_rng(devices=[]):  # building a module draws random weights
        if name in efficientnet_lite.NAMES:
            choice("weights", weights, ("default",))
            model = efficientnet_lite.load(name, _adapted(efficientnet_lite.preprocessing(name), options))
        elif name.startswith("timm/"):
            model = _from_timm(name, weights, options)
        elif name in torchvision_names():
            model = _from_torchvision(name, weights, options)
        else:
            known = "; kdb knows torchvision's classifiers and timm/NAME"
            raise UnknownName.of_model(name, known_names(), known)
    check_finite(model.module.eval())
    model.recipe = recipe_of(name, options)
    model.facts = ("mean, std, input: of its weights",)
    return model


def recipe_of(name: str, options: Mapping[str, object]) -> str | None:
    """An identifier of the code that builds a model: its name, all options, and the versions of the packages."""
    packages = ["torchvision"]
    if name in efficientnet_lite.NAMES:
        packages.append("efficientnet-lite-pytorch")
    elif name.startswith("timm/"):
        packages.append("timm")
    try:
        return repr((name, sorted(options.items()), [(package, version(package)) for package in packages]))
    except PackageNotFoundError:  # code that was not installed as a package may change without a new version
        return None


def make_model(name: str, module: object, /, **keywords: object) -> Model:
    """A model of any ``nn.Module`` that maps [N, C, *size] to logits [N, K] or [N, K, *size'], of one to three axes.

    Keywords: ``input`` (alias ``input_size``; one number is for all axes), ``mean``, ``std``, ``resize`` ('bilinear',
    'stretch' or 'crop'), or ``transforms`` for all of these: those of torchvision's weights, or a Compose; by default
    what the module carries (:mod:`kdb.models.carried`), or else mean 0 and std 1, while ``input`` is then required;
    ``scale`` (of each image: 255 for integers, 1 for floats), ``layout`` (where the module takes the channels, as in
    'NHWC' or 'NTCHW'), ``channels`` ('RGB' or 'BGR'), ``n_channels`` (default that of the module's first convolution,
    of two axes up to 4), ``axes`` (a letter for each; by default as many as that convolution has), ``window`` and
    ``orientation`` as of :class:`~kdb.images.preprocessing.Preprocessing`, ``activation`` ('softmax', 'sigmoid' or
    'none'), ``labels`` (a sequence, a dict of indices, or a file with one per line or JSON of either), ``output`` (of a
    dict, tuple or list of outputs the one that is meant), ``background`` (of a dense output, the class that PREDICTED
    and TOP leave out), ``fixed`` (a dict of the module's inputs besides the image, by name: tensors, of one row each or
    as they are), ``head`` (of a detector, 'yolo' or 'retinanet': :mod:`kdb.models.detection`) and ``iou`` (of boxes of
    a class that overlap more, one is suppressed; 0.7).

    The model's ``facts`` say whose each part of the preprocessing is, its ``notes`` what is assumed.

    Raises BindError for a keyword that is unknown or invalid, ModelError for weights that are not finite.
    """
    module = unwrapped(module)
    if not isinstance(module, nn.Module):
        raise BindError(f"a model is a torch.nn.Module, not {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError("a scripted module cannot be traced; give the module that it was compiled from")
    refuse_unknown(f"model '{name}'", keywords, MODEL_KEYWORDS)
    size = input_size(keywords, _axes(module, keywords))
    check_finite(module)  # before its layers are looked at: those that are not initialised have no channels yet
    given = {key: keywords[key] for key in _PREPROCESSING_KEYWORDS if key in keywords}
    described = carried.described(name, module, size, given)
    activation = keywords.get("activation")
    labels = keywords.get("labels")
    model = Model(
        name,
        module,
        described.preprocessing,
        None if labels is None else _labels(labels),
        None if activation is None else choice("activation", activation, ACTIVATIONS),
        layout=keywords.get("layout"),
        output=_key("output", keywords.get("output")),
        background=_key("background", keywords.get("background")),
        fixed=_fixed(keywords.get("fixed")),
        head=_head(keywords, module, described.preprocessing.rank),
        iou=_iou(keywords),
    )
    model.facts, model.notes, model.remark = described.facts, described.notes, refused(module)
    return model


def _key(what: str, value: object) -> str | int | None:
    """An option that is a text or a whole number; raises BindError for another."""
    if value is None or isinstance(value, str):
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise BindError(f"{what} is a text or a whole number, not {value!r}") from None


def _head(keywords: Mapping[str, object], module: nn.Module, axes: int) -> str | None:
    """The option ``head``; raises BindError for another, for a module that it is not of, and where it has no use."""
    if keywords.get("head") is None:
        if "iou" in keywords:
            raise BindError("iou is of detectors: give their head too, as head = 'yolo'")
        return None
    head = choice("head", keywords["head"], tuple(HEADS))
    if axes != 2:
        raise BindError(f"head = '{head}' is of images of two axes; the input has {axes}")
    if "background" in keywords:
        raise BindError("background is of segmentations, and head of detectors: give one of them")
    HEADS[head](module)
    return head


def _iou(keywords: Mapping[str, object]) -> float:
    """The option ``iou``; raises BindError for what is no share."""
    iou = keywords.get("iou", IOU)
    if isinstance(iou, bool) or not isinstance(iou, int | float) or not 0 < iou <= 1:
        raise BindError(f"iou is a number above 0, at most 1, not {iou!r}")
    return float(iou)


def _fixed(value: object) -> Mapping[str, torch.Tensor]:
    """Copies of the inputs besides the image; raises BindError for what is no dict of tensors or arrays by names."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise BindError("fixed is a dict of tensors by the names of the module's inputs")
    try:
        return {name: torch.as_tensor(each).detach().clone() for name, each in value.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise BindError(
            f"fixed is a dict of tensors by the names of the module's inputs: {first_line(error)}"
        ) from None


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise BindError for an option that is not ``known``."""
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            raise BindError(f"{what} has no option '{key}'{hint}")


def input_size(options: Mapping[str, object], axes: int | None) -> Size | None:
    """The option ``input``, or ``input_size``, one number for all ``axes``; None if neither is given."""
    if "input" in options and "input_size" in options:
        raise BindError("input and input_size are the same option; give one of them")
    value = options.get("input", options.get("input_size"))
    return None if value is None else as_size("input", value, axes)


def picture_size(options: Mapping[str, object]) -> tuple[int, int] | None:
    """The same of models that take images of two axes alone."""
    size = input_size(options, 2)
    return None if size is None else (size[0], size[1])


def _axes(module: nn.Module, options: Mapping[str, object]) -> int | None:
    """The axes of a model's input, where its option ``axes`` or its first convolution says them."""
    names = options.get("axes")
    if isinstance(names, str) and 1 <= len(names) <= len(SIZES):
        return len(names)
    size = options.get("input", options.get("input_size"))
    if isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 1:
        return 1
    known = carried.axes(module)
    one = isinstance(size, int)
    return 2 if known is None and one else known


def unwrapped(module: object) -> object:
    """The module inside a wrapper that cannot be traced: DataParallel, or the result of torch.compile."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return module.module
    return getattr(module, "_orig_mod", module)


def _labels(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, Path)):
        try:
            text = Path(value).read_text(encoding="utf-8-sig")
            value = json.loads(text) if str(value).lower().endswith(".json") else text.rstrip().splitlines()
        except (OSError, ValueError) as error:
            raise BindError(f"labels = '{value}' cannot be read: {reason(error)}{looked_in(value)}") from error
    if not isinstance(value, Iterable):
        raise BindError(f"labels are a sequence of names, or a file with one a line, not {type(value).__name__}")
    labels = tuple(_by_index(value) if isinstance(value, Mapping) else value)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise BindError("labels must be names, at least one")
    return tuple(label.strip() for label in labels)


def _by_index(named: Mapping[Any, Any]) -> list[Any]:
    """The names in order, from {0: name}, whose keys are strings in JSON, or {name: 0}, as datasets' class_to_idx."""
    swapped = all(isinstance(value, str) for value in named.values())
    pairs = [(value, key) if swapped else (key, value) for key, value in named.items()]
    try:
        names = {int(index) if isinstance(index, str) else operator.index(index): name for name, index in pairs}
    except (TypeError, ValueError):
        names = {}
    if sorted(names) != list(range(len(named))):
        raise BindError("a dict of labels must number all classes from 0: {0: 'cat', 1: 'dog'} or {'cat': 0, 'dog': 1}")
    return [names[i] for i in range(len(names))]


def _adapted(preprocessing: Preprocessing, options: Mapping[str, object]) -> Preprocessing:
    """The preprocessing with the options ``input`` and ``resize``; the crop's margin is scaled with the input."""
    size = picture_size(options) or preprocessing.input_size
    margin = preprocessing.resize_size
    if margin is not None:
        margin = carried.scaled_margin(margin, preprocessing.input_size, size)
    resize: Any = options.get("resize", preprocessing.resize)
    window: Any = options.get("window")
    return dataclasses.replace(preprocessing, input_size=size, resize_size=margin, resize=resize, window=window)


def torchvision_names() -> tuple[str, ...]:
    """The names of torchvision's classifiers."""
    models = import_torchvision().models
    return tuple(models.list_models(module=models))


def _from_torchvision(name: str, asked: str, options: Mapping[str, object]) -> Model:
    models = import_torchvision().models
    entries = models.get_model_weights(name).__members__
    random = asked.casefold() == "random"
    weights = entries["DEFAULT" if random else choice("weights", asked, (*entries, "random"))]
    wanted = _adapted(_torchvision_preprocessing(weights), options)
    if random:
        # As the trained inception_v3 and googlenet, these renormalise their input, which torchvision's untrained ones
        # do not by default.  Their own initialisation is slow.
        extra = {"transform_input": True, "init_weights": False} if name in ("inception_v3", "googlenet") else {}
        module = _random(name, lambda: models.get_model(name, weights=None, **extra), wanted.input_size)
    else:
        module = _fetched(name, weights)
    note = "random" if random else weights.name
    return Model(name, module, wanted, weights.meta["categories"], "softmax", note)


def _torchvision_preprocessing(weights: Any) -> Preprocessing:
    return _whole(carried.of_preset(weights.transforms(), ""))


def _whole(said: carried.Carried) -> Preprocessing:
    """The preprocessing of a model of which all is known."""
    return Preprocessing(**{**said.colours.values, **said.geometry.values})


def needs(name: str) -> str:
    """What one of ``known_names`` needs before it can be used here, in words; empty where all is on this machine."""
    if name in efficientnet_lite.NAMES:
        return ""
    weights = import_torchvision().models.get_model_weights(name).DEFAULT
    return "" if _file_of(weights).exists() else "needs a download"


def _file_of(weights: Any) -> Path:
    """Where PyTorch keeps what it has downloaded of torchvision's weights."""
    return Path(torch.hub.get_dir(), "checkpoints", os.path.basename(urlparse(weights.url).path))


def _unfetched(error: Exception, url: str) -> str:
    """Why weights could not be had from ``url``: mostly there is no network, which Python says in its own way."""
    unreached = (URLError, TimeoutError, ConnectionError)
    if isinstance(error, HTTPError) or not any(isinstance(each, unreached) for each in behind_of(error)):
        return f"could not be fetched ({error})"
    return f"could not be fetched, as {urlparse(url).hostname} cannot be reached: this machine may be offline"


def _fetched(name: str, weights: Any) -> nn.Module:
    """A torchvision model with trained weights, from PyTorch's cache or downloaded."""
    file = _file_of(weights)
    cached = file.exists()
    try:
        if not cached:  # PyTorch's download has no timeout
            urlopen(Request(weights.url, method="HEAD"), timeout=_REACH_SECONDS).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = import_torchvision().models.get_model(
                name, weights=weights, progress=sys.stderr.isatty()
            )
            return module
    except Exception as error:  # the network, the cache folder and unpickling damaged data may raise anything
        if cached:
            raise ModelError(f"the weights of '{name}' in {file} do not load: {error}; delete that file") from error
        raise ModelError(
            f"the weights of '{name}' ({weights.name}) are not on this machine, and {_unfetched(error, weights.url)}; "
            f"download {weights.url} and put it at {file}, or, for tests only, write {name} (weights = 'random')"
        ) from error


def _random(name: str, build: Callable[[], nn.Module], size: Size) -> nn.Module:
    """An untrained module with seeded weights, whose batch norms have statistics of four images of smooth noise.

    Without these, activations shrink from layer to layer, until the response to the image is below the rounding of the
    last bias (inception_v3: 1e-7 of the logits).
    """
    torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPUs' generators too
    module = build().eval()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = None  # a plain average
    coarse = torch.randn(4, 3, math.ceil(size[0] / 16), math.ceil(size[1] / 16))
    images = nn.functional.interpolate(coarse, size, mode="bilinear") + 0.3 * torch.randn(4, 3, *size)
    try:
        with torch.no_grad():
            module(images if norms else images[:1])
    except Exception as error:  # a module may raise anything
        raise ModelError(f"'{name}' cannot run on an input of {spelled(size)} pixels: {error}") from error
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module.eval()


def timm_named(name: str) -> tuple[Any, str]:
    """The package timm, and its own name for the model ``timm/...``.

    Raises ModelError if timm is not installed, BindError if it has no such model.
    """
    import_torchvision()  # before timm imports it, which would fail if torchvision's operators do not load
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise ModelError(f"'{name}' needs timm; pip install timm") from error
    bare = name.removeprefix("timm/")
    known = [*timm.list_models(), *timm.list_pretrained()]
    if bare not in known:
        raise UnknownName.of_model(name, ("timm/" + other for other in known))
    return timm, bare


def _ask_hub(config: Any) -> None:
    """Ask the hub that has a model's weights once whether it answers, unless some are cached: it is tried long.

    Raises OSError if it does not.
    """
    repository = getattr(config, "hf_hub_id", None)
    if not repository or getattr(config, "file", None) or getattr(config, "state_dict", None):
        return
    hub: Any = import_module("huggingface_hub")
    folder = Path(hub.constants.HF_HUB_CACHE) / ("models--" + repository.strip("/").split("@")[0].replace("/", "--"))
    if hub.constants.HF_HUB_OFFLINE or folder.exists():
        return
    with suppress(HTTPError):  # an answer
        urlopen(Request(hub.constants.ENDPOINT, method="HEAD"), timeout=_REACH_SECONDS).close()


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Without the log lines of some libraries: what matters in them is in the error."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _from_timm(name: str, asked: str, options: Mapping[str, object]) -> Model:
    timm, bare = timm_named(name)
    random = choice("weights", asked, ("default", "random")) == "random"
    try:
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(bare).to_dict())
    except Exception as error:
        raise ModelError(f"timm has no preprocessing for '{name}': {error}") from error
    said = carried.of_timm(config, f"timm's {bare}")
    if said.geometry.doubt and "resize" not in options:
        how = config["crop_mode"]
        raise BindError(f"'{name}' crops its images by '{how}', which kdb does not have; write resize = 'stretch'")
    preprocessing = _adapted(_whole(said), options)
    if random:
        module = _random(name, lambda: timm.create_model(bare, pretrained=False), preprocessing.input_size)
    else:
        try:
            with _silent("huggingface_hub", "timm"):
                _ask_hub(timm.get_pretrained_cfg(bare))
                module = timm.create_model(bare, pretrained=True)
        except Exception as error:
            raise ModelError(
                f"the weights of '{name}' are not on this machine, and {_unfetched(error, 'https://huggingface.co')}; "
                f"for tests only, write {name} (weights = 'random')"
            ) from error
    labels = None
    if subset := timm.data.infer_imagenet_subset(module):
        labels = timm.data.ImageNetInfo(subset).label_descriptions()
    return Model(name, module, preprocessing, labels, None, "random" if random else "pretrained")
