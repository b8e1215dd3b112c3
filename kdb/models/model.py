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
from kdb.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from torch import nn

ACTIVATIONS = ("softmax", "sigmoid", "none")
_SAMPLES = 64  # elements of each tensor in a fingerprint


class Model:
    """A classifier: ``module`` maps float32 [N, C, H, W] to logits [N, K].

    Two models are equal only if they are one object.  ``activation`` turns logits into probabilities; left out, it is
    softmax, or sigmoid where K is 1. ``weights_note`` says where the weights come from ('IMAGENET1K_V1', 'random',
    'registered', ...).

    ``recipe`` names the code that built the module, with its version and options, so that another process can tell
    whether it has the same forward; None where that is not known, as of any module that a user brings.
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
        self._module = module
        self._activation = activation
        self._n_outputs: tuple[Hashable, int] | None = None
        self._digest: tuple[Hashable, str] | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, weights={self.weights_note!r}, input={self.input_shape})"

    @property
    def module(self) -> nn.Module:
        """The module in eval mode: dropout off, batch norm by its stored statistics.

        Set at each access, since a registered module belongs to the caller, who may train it between two queries; the
        training flags are not put back.
        """
        return self._module.eval()

    def with_preprocessing(self, preprocessing: Preprocessing) -> Model:
        """The same module, labels and activation, fed otherwise."""
        note, recipe = self.weights_note, self.recipe
        return Model(self.name, self._module, preprocessing, self.labels, self._activation, note, recipe)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the module's input."""
        return (self.preprocessing.n_channels, *self.preprocessing.input_size)

    @property
    def activation(self) -> str:
        """'softmax', 'sigmoid' or 'none'; where it was left out, n_outputs decides, which takes one inference."""
        return self._activation or self.activation_of(self.n_outputs)

    def activation_of(self, n_outputs: int) -> str:
        """The same for who knows K already."""
        return self._activation or ("sigmoid" if n_outputs == 1 else "softmax")

    @property
    def n_outputs(self) -> int:
        """K, found by one inference of a zero input and remembered.

        Raises :class:`~kdb.errors.ModelError` where the module does not map [N, C, H, W] to [N, K].
        """
        key = self.fingerprint()
        if self._n_outputs is None or self._n_outputs[0] != key:
            self._n_outputs = key, self._probe()
        return self._n_outputs[1]

    def fingerprint(self) -> tuple[Hashable, ...]:
        """One (name, address, version, shape, sample) a parameter or buffer; differs once any of them has changed.

        The version counts changes in place, but not those made through ``.data`` or a numpy view; up to 64 elements,
        evenly spread, are compared for those.  Costs some microseconds a tensor.
        """
        return tuple(
            (name, tensor.data_ptr(), _version(tensor), tuple(tensor.shape), _sample(tensor))
            for name, tensor in _state(self._module)
        )

    def weights_digest(self) -> str:
        """sha256, in hexadecimal, of every parameter and buffer: name, dtype, shape and bytes."""
        key = self.fingerprint()
        if self._digest is None or self._digest[0] != key:
            sha = hashlib.sha256()
            for name, tensor in _state(self._module):
                sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
                sha.update(_raw(tensor.reshape(-1)))
            self._digest = key, sha.hexdigest()
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
        """The label of a class, or ``class 281`` where the model has none for it."""
        return self.labels[index] if self.labels and 0 <= index < len(self.labels) else f"class {index}"

    def _class_of_label(self, label: str, n_classes: int) -> int:
        hint = f"; write {label.strip()} without quotes for an index" if label.strip().isdecimal() else ""
        if self.labels is None:
            raise BindError(f"'{self.name}' has no labels, so class '{label}' is unknown; give an index{hint}")
        if len(self.labels) != n_classes:
            raise BindError(f"'{self.name}' has {len(self.labels)} labels for {n_classes} classes; give an index{hint}")
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

    def _probe(self) -> int:
        import torch

        weight = next((p for p in self._module.parameters() if p.is_floating_point()), torch.empty(0))
        shape = (1, *self.input_shape)
        try:
            with torch.inference_mode():
                output = self.module(torch.zeros(shape, dtype=weight.dtype, device=weight.device))
        except Exception as error:  # a module may raise anything
            raise ModelError(f"'{self.name}' cannot run on an input of shape {list(shape)}: {error}") from error
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != 1:
            got = f"shape {list(output.shape)}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
            raise ModelError(f"'{self.name}' must map [N, C, H, W] to logits [N, K]; for N = 1 it gave {got}")
        return int(output.shape[1])


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
