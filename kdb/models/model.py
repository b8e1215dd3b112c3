"""A model: a PyTorch module, the preprocessing of its images, its labels and its activation.

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Hashable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kdb.errors import BindError, ModelError
from kdb.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from torch import nn

ACTIVATIONS = ("softmax", "sigmoid", "none")
_SAMPLES = 64  # elements of each tensor that are part of a fingerprint


class Model:
    """A classifier: ``module`` maps float32 [N, C, H, W] to logits [N, K].

    The module is shared with the caller: kdb runs it in eval mode and then restores its modes.  Models are compared by
    identity.

    ``activation`` turns logits into probabilities; by default it is the one that the module ends with, otherwise
    softmax, or sigmoid if K is 1.  ``weights_note`` is the origin of the weights ('IMAGENET1K_V1', 'random',
    'registered', ...).  ``recipe`` identifies the code that built the module, with versions and options, so that its
    trace can be cached; it is None for modules of the user.  ``remark`` is appended to the error if the module cannot
    be traced.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        preprocessing: Preprocessing,
        labels: Sequence[str] | None = None,
        activation: str | None = None,
        weights_note: str = "registered",
        recipe: str | None = None,
    ) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.labels = None if labels is None else tuple(labels)
        self.weights_note = weights_note
        self.recipe = recipe
        self.module = module
        self.activation = activation
        self.remark = ""
        self._digest: tuple[Hashable, str] | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, weights={self.weights_note!r}, input={self.input_shape})"

    def with_preprocessing(self, preprocessing: Preprocessing) -> Model:
        """A model of the same module, labels and activation with another preprocessing."""
        note, recipe = self.weights_note, self.recipe
        other = Model(self.name, self.module, preprocessing, self.labels, self.activation, note, recipe)
        other.remark = self.remark
        return other

    @property
    def shared(self) -> bool:
        """Whether Python code besides kdb holds the module, and may change it."""
        return self.recipe is None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the module's input."""
        return self.preprocessing.input_shape

    def fingerprint(self) -> tuple[Hashable, ...]:
        """The :func:`fingerprint` of the module."""
        return fingerprint(self.module)

    def weights_digest(self) -> str:
        """The :func:`weights_digest` of the module, cached until the fingerprint changes."""
        key = self.fingerprint()
        if self._digest is None or self._digest[0] != key:
            self._digest = key, weights_digest(self.module)
        return self._digest[1]

    def resolve_class(self, ref: int | str, n_classes: int) -> int:
        """The index, 0 to n_classes - 1, of a class given by its index or label.

        A label matches exactly, or else but for case, or else as one of the comma-separated synonyms of a label.
        Raises :class:`~kdb.errors.BindError` for an index out of range, and for a label that is unknown or ambiguous.
        """
        if isinstance(ref, str):
            return self._class_of_label(ref, n_classes)
        try:
            index = operator.index(ref)
        except TypeError:
            index = None
        if index is None or isinstance(ref, bool):
            raise BindError(f"a class is an index or a label, not {ref!r}")
        if not 0 <= index < n_classes:
            raise BindError(f"class {index} is out of range: the classes of '{self.name}' are 0 to {n_classes - 1}")
        return index

    def label_of(self, index: int) -> str:
        """The label of a class, or ``class 281`` if the model has no labels."""
        return f"class {index}" if self.labels is None else self.labels[index]

    def check_labels(self, n_classes: int) -> None:
        """Raise BindError if the number of labels is not that of the classes."""
        if self.labels is not None and len(self.labels) != n_classes:
            raise BindError(f"'{self.name}' has {n_classes} classes, but {len(self.labels)} labels")

    def _class_of_label(self, label: str, n_classes: int) -> int:
        hint = f"; write {label.strip()} without quotes for an index" if label.strip().isdecimal() else ""
        if self.labels is None:
            raise BindError(f"'{self.name}' has no labels, so class '{label}' is unknown; give an index{hint}")
        synonyms = [{part.strip().casefold() for part in text.split(",")} for text in self.labels]
        folded = label.strip().casefold()
        tests: tuple[Iterable[bool], ...] = (
            (text == label for text in self.labels),
            (text.strip().casefold() == folded for text in self.labels),
            (folded in parts for parts in synonyms),
        )
        for test in tests:
            found = [index for index, matches in enumerate(test) if matches]
            if len(found) == 1:
                return found[0]
            if found:
                which = ", ".join(f"{index} ('{self.labels[index]}')" for index in found)
                raise BindError(f"class '{label}' of '{self.name}' is ambiguous: {which}; give an index")
        known = {part: part for parts in synonyms for part in parts}
        known |= {text.strip().casefold(): text for text in self.labels}
        for close in get_close_matches(folded, known, n=1):
            hint += f"; did you mean '{known[close]}'?"
        raise BindError(f"'{self.name}' has no class '{label}'{hint}")


def fingerprint(module: nn.Module) -> tuple[Hashable, ...]:
    """A value that changes when the module's weights or settings do; it takes some microseconds per tensor and layer.

    It has (name, address, version, shape, sample) of each parameter and buffer.  The version counts in-place changes,
    except those through ``.data`` or numpy views; the sample, up to 64 evenly spaced elements, detects most of these.
    It also has (name, class, settings, hooks) of each layer; settings are attributes that are numbers, strings, or
    tuples of these, such as the stride.
    """
    weights = tuple(
        (name, tensor.data_ptr(), _version(tensor), tuple(tensor.shape), _sample(tensor))
        for name, tensor in _state(module)
    )
    return weights, tuple((name, *_layer(part)) for name, part in module.named_modules())


def _layer(part: nn.Module) -> tuple[Hashable, ...]:
    settings = tuple((key, repr(value)) for key, value in vars(part).items() if key != "training" and _plain(value))
    hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    return id(type(part)), settings, tuple(map(id, hooks))


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def weights_digest(module: nn.Module) -> str:
    """The SHA-256, in hexadecimal, of all parameters and buffers: names, dtypes, shapes and bytes."""
    sha = hashlib.sha256()
    for name, tensor in _state(module):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(_raw(tensor.reshape(-1)))
    return sha.hexdigest()


def check_finite(module: nn.Module) -> None:
    """Raise ModelError, with the tensor's name, if a weight or statistic is NaN, infinite or not initialised."""
    import torch
    from torch.nn.parameter import is_lazy

    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            continue
        if is_lazy(value) or value.is_meta:
            raise ModelError(f"the weights of '{name}' are not initialised; initialise the module, or run it once")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
            raise ModelError(f"the weights contain {what} in '{name}'")


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # they have no version; _sample takes all elements


def _sample(tensor: torch.Tensor) -> bytes:
    step = 1 if tensor.is_inference() else max(1, tensor.numel() // _SAMPLES)
    try:  # numpy, which takes a quarter of PyTorch's time for so few elements
        return tensor.detach().numpy().reshape(-1)[::step].tobytes()
    except (TypeError, RuntimeError):  # on another device, or of a type that numpy lacks
        return bytes(_raw(tensor.detach().reshape(-1)[::step]))


def _raw(flat: torch.Tensor) -> memoryview:
    """The bytes of a 1-D tensor of any dtype on any device."""
    import torch

    return flat.detach().cpu().contiguous().view(torch.uint8).numpy().data
