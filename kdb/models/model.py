"""A model as kdb sees it: a torch module, the preprocessing of its images, its labels, its activation.

Not traced here: a frontend turns the module into a network.  Importing this module does not import torch.
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
_SAMPLES = 64  # elements of each tensor in a fingerprint


class Model:
    """A classifier: ``module`` maps float32 [N, C, H, W] to logits [N, K].

    The module belongs to whoever gave it; it is run in eval mode, and left in the modes that it was in.

    Two models are equal only if they are one object.  ``activation`` turns logits into probabilities; None where it was
    left out: then it is the one that the module ends with, else softmax, or sigmoid where K is 1.  ``weights_note``
    says where the weights come from ('IMAGENET1K_V1', 'random', 'registered', ...).

    ``recipe`` names the code that built the module, with its version and options, so that another process can tell
    whether it has the same forward; None where that is not known, as of any module that a user brings.

    ``remark`` ends the message where the module cannot be traced; empty where there is nothing to say.
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
        """The same module, labels and activation, fed otherwise."""
        note, recipe = self.weights_note, self.recipe
        other = Model(self.name, self.module, preprocessing, self.labels, self.activation, note, recipe)
        other.remark = self.remark
        return other

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the module's input."""
        return self.preprocessing.input_shape

    def fingerprint(self) -> tuple[Hashable, ...]:
        """Of the module; see :func:`fingerprint`."""
        return fingerprint(self.module)

    def weights_digest(self) -> str:
        """Of the module, see :func:`weights_digest`; kept until the weights change."""
        key = self.fingerprint()
        if self._digest is None or self._digest[0] != key:
            self._digest = key, weights_digest(self.module)
        return self._digest[1]

    def resolve_class(self, ref: int | str, n_classes: int) -> int:
        """The index, 0 to n_classes - 1, of a class given by index or label.

        A label matches exactly, then without regard to case, then as one of the comma-separated synonyms of a label.
        Raises :class:`~kdb.errors.BindError` for an index out of range, an unknown label, and one that several
        classes share.
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
        """The label of a class, or ``class 281`` where the model has no labels."""
        return f"class {index}" if self.labels is None else self.labels[index]

    def check_labels(self, n_classes: int) -> None:
        """Raise BindError where there are labels, but not one for each class."""
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
    """One (name, address, version, shape, sample) a parameter or buffer, and one (name, kind, settings, hooks) a layer.

    It differs once any of them has changed.  The version counts changes in place, but not those made through ``.data``
    or a numpy view; up to 64 elements, evenly spread, are compared for those.  Settings are a layer's attributes that
    are plain numbers, texts, or tuples of these: its stride, its epsilon.  Costs some microseconds a tensor or layer.
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
    """sha256, in hexadecimal, of every parameter and buffer: name, dtype, shape and bytes."""
    sha = hashlib.sha256()
    for name, tensor in _state(module):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sha.update(_raw(tensor.reshape(-1)))
    return sha.hexdigest()


def check_finite(module: nn.Module) -> None:
    """Raise ModelError, naming the tensor, where a stored weight or statistic is NaN, infinite or not there at all."""
    import torch
    from torch.nn.parameter import is_lazy

    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            continue
        if is_lazy(value) or value.is_meta:
            raise ModelError(f"the weights of '{name}' do not exist yet; initialise the module, or run it once")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            what = "NaN" if bool(torch.isnan(value).any()) else "an infinity"
            raise ModelError(f"the weights hold {what} in '{name}'")


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # inference tensors keep no count; _sample takes them whole


def _sample(tensor: torch.Tensor) -> bytes:
    step = 1 if tensor.is_inference() else max(1, tensor.numel() // _SAMPLES)
    try:  # a model has hundreds of tensors, and numpy takes a quarter of torch's time for so few elements
        return tensor.detach().numpy().reshape(-1)[::step].tobytes()
    except (TypeError, RuntimeError):  # on another device, or of a type that numpy lacks
        return bytes(_raw(tensor.detach().reshape(-1)[::step]))


def _raw(flat: torch.Tensor) -> memoryview:
    """The bytes of a 1-D tensor of any dtype on any device."""
    import torch

    return flat.detach().cpu().contiguous().view(torch.uint8).numpy().data
