"""Loads models from files: state dicts and ONNX, without running code from the file.

A state dict has weights only; the option ``arch`` names their network, one of torchvision's or timm's.  Exported
programs may run code while they are loaded, so only :func:`exported_model` reads them, for callers who trust the file.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdb.errors import BindError, ModelError, looked_in, reason
from kdb.frontends import exported
from kdb.frontends.check import first_line
from kdb.geometry import Size
from kdb.models import architectures, carried, onnx_module, pickles, zoo
from kdb.models.model import Model

STATE_KEYWORDS = ("arch", "classes")
PICKLES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (*PICKLES, ".safetensors", ".onnx")
_MAGICS = (b"PK", b"\x80")
"""The first bytes of PyTorch's files: archives, and pickles of versions before 1.6."""
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "ema")
"""Keys under which training scripts save the weights, beside the optimizer's state and others."""
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Prefixes of all names, from DistributedDataParallel, torch.compile and Lightning."""
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Auxiliary classifiers of Inception3 and GoogLeNet, which only training uses."""

State = dict[str, torch.Tensor]


def load_model(name: str, path: str, options: Mapping[str, Any]) -> Model:
    """The model in a state dict or an ONNX file, by the suffix, one of ``SUFFIXES``.

    Options are those of ``register_model``, and for state dicts ``arch`` (required) and ``classes`` (default: the
    outputs of the last layer).  ``input`` defaults to the size of the architecture, with its crop, or the ONNX file.

    Raises BindError for an option that is unknown or invalid, ModelError for a file that is missing, damaged, could run
    code, or does not fit ``arch``.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".pt2":
        raise ModelError(
            f"'{path}' is an exported program, which can run code while it is loaded, so queries do not load it; if "
            f"you trust the file, call db.load_exported('{path}', trusted=True) in Python"
        )
    if suffix not in SUFFIXES:
        raise ModelError(f"kdb cannot read '{path}': the extension must be one of {', '.join(SUFFIXES)}")
    _check_there(path)
    if suffix == ".onnx":
        return _onnx_model(name, path, options)
    read = _read_safetensors if suffix == ".safetensors" else _read_pickle
    return _state_model(name, path, read(path), options)


def exported_model(name: str, path: str | os.PathLike[str], options: Mapping[str, Any]) -> Model:
    """The model in an exported program, a ``.pt2`` file; loading it can run code from the file.

    Raises ModelError for a file that is missing, damaged, or exported for a fixed batch size.
    """
    _check_there(os.fspath(path))
    module, shape = _reading(os.fspath(path), lambda: exported.load(path))
    defaults = {"n_channels": shape[1]} | ({} if "input_size" in options else {"input": shape[2:]})
    return zoo.make_model(name, module, **defaults | dict(options))


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal; raises ModelError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read '{os.fspath(path)}': {reason(error)}") from error


def _check_there(path: str) -> None:
    if not os.path.isfile(path):
        raise ModelError(f"there is no file '{path}'{looked_in(path)}")


# ---- state dicts


def _read_pickle(path: str) -> object:
    def load() -> object:
        pickles.check(path)
        return torch.load(path, map_location="cpu", weights_only=True)

    return _reading(path, load)


def _read_safetensors(path: str) -> object:
    try:
        load_file: Callable[[str], object] = import_module("safetensors.torch").load_file
    except ImportError as error:
        raise ModelError(f"'{path}' needs safetensors; pip install safetensors") from error
    return _reading(path, lambda: load_file(path))


def _reading(path: str, load: Callable[[], Any]) -> Any:
    """The result of ``load``; exceptions, as damaged files cause, become ModelError with an explanation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about archives that are then refused
            return load()
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError(f"there is not enough memory for '{path}'") from error
    except PermissionError as error:
        raise ModelError(f"cannot read '{path}': {reason(error)}") from error
    except Exception as error:
        text, suffix = str(error), Path(path).suffix
        if suffix.lower() in PICKLES and not (head := _head(path)).startswith(_MAGICS):
            says = f"begins with {head.decode('latin-1')!a}" if head else "is empty"
            why = f"it is no PyTorch file: it {says}"
        elif "TorchScript" in text:
            why = "it is a TorchScript archive; save the state_dict() of the module that it was made of"
        elif "weights_only" in text or "Unsupported" in text:
            why = "it holds more than weights, and unpickling that could run code; save the module's state_dict()"
        else:
            said = type(error).__name__ if isinstance(error, LookupError) or not text.strip() else text.strip()
            why = f"it is damaged, or no {suffix} file ({said.splitlines()[0]})"
        raise ModelError(f"cannot load '{path}': {why}") from error


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(24)


def _state_model(name: str, path: str, loaded: object, options: Mapping[str, Any]) -> Model:
    keywords = dict(options)
    arch, classes = keywords.pop("arch", None), keywords.pop("classes", None)
    zoo.refuse_unknown(f"model '{name}'", keywords, (*zoo.MODEL_KEYWORDS, *STATE_KEYWORDS))
    state = _state(path, loaded)
    if arch is None:
        raise BindError(f"'{path}' has only weights; name their network: arch = 'resnet18', or any of kdb's models")
    if not isinstance(arch, str):
        raise BindError(f"arch = {arch!r} is not a name")
    size = zoo.picture_size(keywords) or architectures.input_size(arch)
    if classes is None:
        classes = _outputs(arch, size, state)
    elif isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise BindError(f"classes = {classes!r} is not a number of classes")
    module = architectures.build(arch, classes, size)
    shapes = {key: value.shape[1] for key, value in state.items() if value.ndim == 4}
    if (channels := architectures.with_channels(module, shapes)) is not None:
        keywords.setdefault("n_channels", channels)
    _fill(module, state, path, arch, classes)
    if not {"input", "input_size"} & {*keywords} and not carried.of_module(module).geometry.values:
        keywords["input"] = size
    model = zoo.make_model(name, module, **keywords)
    model.check_labels(classes)
    made = {"classes": classes, "input": size, "layout": model.layout, "output": model.output}
    made |= {} if model.head is None else {"head": model.head}
    model.recipe, model.weights_note = None if model.fixed else zoo.recipe_of(arch, made), path
    return model


def _state(path: str, loaded: object) -> State:
    """The tensors by name, without the prefixes of wrappers; they may be below one of the keys ``_WRAPPERS``."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if isinstance(loaded, nn.Module) or not isinstance(loaded, Mapping):
        raise ModelError(f"'{path}' holds no state dict but {type(loaded).__name__}; save the module's state_dict()")
    state = {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not state:
        optimizers = [key for key, value in loaded.items() if _is_optimizer(value)]
        below = [key for key, value in loaded.items() if isinstance(value, Mapping | nn.Module)]
        below = [key for key in below if key not in optimizers]
        if _is_optimizer(loaded) or (optimizers and not below):
            raise ModelError(f"'{path}' holds an optimizer's state and no weights; save the module's state_dict()")
        hint = f", but more under {_few(map(str, below))} there; save that alone" if below else ""
        raise ModelError(f"'{path}' holds no tensors at its top{hint}")
    for key, value in state.items():
        if not _is_held(value):
            raise ModelError(f"'{key}' in '{path}' is no plain tensor of numbers that the file holds")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _is_held(value: torch.Tensor) -> bool:
    """Whether all elements are in the file: views, sparse and quantized tensors may have any number of others."""
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _is_optimizer(value: object) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()


def _outputs(arch: str, size: Size, state: State) -> int:
    """The number of outputs K of the last layer of ``arch``, from its bias [K] or weight [K, ...] in ``state``."""
    usual = 1000
    with torch.device("meta"):
        names = [name for name in architectures.build(arch, usual, size).state_dict() if _matters(name)]
    last = state.get(names[-1])
    return usual if last is None or not last.ndim else int(last.shape[0])


def _matters(name: str) -> bool:
    return not name.startswith(_AUXILIARY) and not name.endswith("num_batches_tracked")


def _fill(module: nn.Module, state: State, path: str, arch: str, classes: int) -> None:
    """Copy ``state`` into the module; raises ModelError unless names and shapes match."""
    own = module.state_dict()
    needed, given = set(filter(_matters, own)), set(filter(_matters, state))
    problems = []
    if missing := sorted(needed - given):
        problems.append(f"{_few(missing)} missing")
    if unknown := sorted(given - needed):
        problems.append(f"{_few(unknown)} unknown to it")
    problems += [
        f"'{key}' is {list(state[key].shape)}, not {list(own[key].shape)}"
        for key in sorted(needed & given)
        if state[key].shape != own[key].shape
    ][:2]
    if problems:
        advice = "register a modified network in Python, by db.register_model"
        if prefix := _prefix(needed, given):
            advice = f"the names of {arch} begin with '{prefix}' there: save the state_dict() of that part"
        raise ModelError(
            f"the weights in '{path}' are not those of {arch} with {classes} classes: {'; '.join(problems)}; {advice}"
        )
    try:
        module.load_state_dict({key: state[key] for key in needed}, strict=False)
    except RuntimeError as error:  # of types that cannot be converted
        raise ModelError(f"the weights in '{path}' do not go into {arch}: {first_line(error)}") from error


def _prefix(needed: Collection[str], given: Collection[str]) -> str:
    """A prefix that ends with a dot and that at least half of the ``needed`` names have in ``given``, or ''."""
    ends = ((key, at + 1) for key in given for at, letter in enumerate(key) if letter == ".")
    found = Counter(key[:end] for key, end in ends if key[end:] in needed)
    prefix, count = max(found.items(), key=lambda item: item[1], default=("", 0))
    return prefix if 2 * count >= len(needed) else ""


def _few(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - 3} more are" if len(names) > 3 else " is" if len(names) == 1 else " are"
    return ", ".join(map(repr, names[:3])) + rest


# ---- ONNX


def _onnx_model(name: str, path: str, options: Mapping[str, Any]) -> Model:
    for key in STATE_KEYWORDS:
        if key in options:
            raise BindError(f"{key} belongs to state dicts; '{path}' holds its network itself")
    model = onnx_module.onnx_model(name, path, **options)
    model.weights_note = path
    return model
