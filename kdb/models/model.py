"""A model: a PyTorch module, the preprocessing of its images, its labels and its activation.

Importing this module does not import torch.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kdb.errors import BindError, ModelError
from kdb.images.preprocessing import Preprocessing, choice
from kdb.system.locks import MODULES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from kdb.frontends.state.snapshot import Snapshot

ACTIVATIONS = ("softmax", "sigmoid", "none")
LAYOUTS = {
    1: ("NCL", "NLC"),
    2: ("NCHW", "NHWC"),
    3: ("NCDHW", "NDHWC", "NCTHW", "NTHWC", "NTCHW"),
}
"""Of a module's input, by the number of its axes; the first is the one by default."""


class Model:
    """A classifier: ``module`` maps float32 [N, C, *size] to logits [N, K].

    The module may be shared with the caller: kdb runs it in eval mode and leaves it as it was.  Models are compared by
    identity.

    ``activation`` turns logits into probabilities; by default it is the one that the module ends with, otherwise
    softmax, or sigmoid if K is 1.  ``weights_note`` is the origin of the weights ('IMAGENET1K_V1', 'random',
    'registered', ...).  ``recipe`` identifies the code that built the module, with versions and options, so that its
    trace can be cached; it is None for modules of the user.  ``layout`` is that of the module's own input, one of
    ``LAYOUTS``.  ``output`` is the key of the output that is meant, where the module gives a dict, a tuple or a list;
    ``background`` the class of a dense output that is nobody's object, by index or label.  ``fixed`` are the module's
    inputs besides the image, by their names: the same for every image.  ``head``, one of
    :data:`kdb.models.detection.HEADS`, says that the module is a detector, which then gives the scores of its anchors;
    boxes of a class that overlap by more than ``iou`` are suppressed.  ``remark`` is appended to the error where the
    module cannot be traced.  ``facts`` say in words whose each part of the preprocessing is, and ``notes`` what is
    assumed of it: every heat map has these.

    ``shared`` says whether code outside kdb may hold the module, and change it between two queries; whoever built the
    module and never hands it out sets it to False.  ``trace`` belongs to the catalog.
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
        layout: object = None,
        output: str | int | None = None,
        background: str | int | None = None,
        fixed: Mapping[str, torch.Tensor] | None = None,
        head: str | None = None,
        iou: float | None = None,
    ) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.labels = None if labels is None else tuple(labels)
        self.weights_note = weights_note
        self.recipe = recipe
        self.activation = activation
        self.remark = ""
        self.facts: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.shared = True
        self.trace: tuple[str, Any] | None = None
        self._held: nn.Module | weakref.ref[nn.Module] = module
        self.layout = _layout(layout, preprocessing.rank)
        """Of the module's own input."""
        self.output, self.background, self.fixed = output, background, dict(fixed or {})
        self.head, self.iou = head, iou
        self._fingerprint: str | None = None
        self._snapshot: Snapshot | weakref.ref[Snapshot] | None = None
        self._digest: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, weights={self.weights_note!r}, input={self.input_shape})"

    @property
    def module(self) -> nn.Module:
        """The module, adapted to [N, C, *size] and of a detector to the scores of its anchors [N, K, A, 1].

        Raises ModelError if it was let go and does not exist any more.
        """
        from kdb.models.detection import ClassScores

        return self.whole if self.head is None else ClassScores(self.whole)

    @property
    def whole(self) -> nn.Module:
        """The module, adapted to [N, C, *size]: of a detector with boxes and scores, [N, 4 + K, A]."""
        from kdb.models.detection import HEADS
        from kdb.models.layout import adapted

        module = adapted(self._bare, self.layout, self.output, self.fixed)
        return module if self.head is None else HEADS[self.head](module)

    @property
    def is_adapted(self) -> bool:
        """Whether :attr:`module` is another one around the module that was given."""
        return self.module is not self._bare

    @property
    def _bare(self) -> nn.Module:
        held = self._held() if isinstance(self._held, weakref.ref) else self._held
        if held is None:
            raise ModelError(f"the module of '{self.name}' does not exist any more")
        return held

    @property
    def is_let_go(self) -> bool:
        """Whether others alone hold the module."""
        return isinstance(self._held, weakref.ref)

    def let_go(self) -> None:
        """Keep the module no longer than others do."""
        self._held, self._snapshot = weakref.ref(self._bare), None

    def with_preprocessing(self, preprocessing: Preprocessing) -> Model:
        """A model of the same module, labels and activation with another preprocessing."""
        other = Model(
            self.name,
            self._bare,
            preprocessing,
            self.labels,
            self.activation,
            self.weights_note,
            self.recipe,
            self.layout,
            self.output,
            self.background,
            self.fixed,
            self.head,
            self.iou,
        )
        other.remark, other.shared, other.facts, other.notes = self.remark, self.shared, self.facts, self.notes
        return other

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, *size) of the module's input."""
        return self.preprocessing.input_shape

    def fingerprint(self) -> str:
        """That of the module's :class:`~kdb.frontends.state.snapshot.Snapshot` as it is now."""
        if self.shared or self._fingerprint is None:
            self._fingerprint = self.snapshot().fingerprint
        return self._fingerprint

    def snapshot(self, weights: bool = True) -> Snapshot:
        """The module's as it is now, kept until something changes, other than ``weights`` if these do not count.

        That of a module that was let go is kept as long as another holds it, since it holds the module; that of one
        which nobody else holds is asked for once.
        """
        from kdb.frontends.state.snapshot import Snapshot

        with MODULES:
            found = self._snapshot() if isinstance(self._snapshot, weakref.ref) else self._snapshot
            if found is None or not found.same(weights):
                found = Snapshot(self._bare)
                self._snapshot = found if self.shared and not self.is_let_go else weakref.ref(found)
            return found

    def weights_digest(self) -> str:
        """The :func:`kdb.models.identity.weights_digest` of the module, cached until the fingerprint changes."""
        from kdb.models.identity import weights_digest

        key = self.fingerprint()
        if self._digest is None or self._digest[0] != key:
            self._digest = key, weights_digest(self.module)
        return self._digest[1]

    def forget(self) -> None:
        """Forget the trace and what was cached of the module."""
        self.trace = self._fingerprint = self._digest = self._snapshot = None

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


def _layout(layout: object, axes: int) -> str:
    """The ``layout`` of an input of so many ``axes``, of None the usual one; raises BindError for another."""
    known = LAYOUTS[axes]
    return known[0] if layout is None else choice("layout", layout, known)


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
