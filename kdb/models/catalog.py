"""The models of a session by name, and the network that each was traced into.

A trace is kept with its model until the module is changed in any way; then the model is traced anew.  The trace of a
model that kdb built by its name is also kept between processes.  A module that a parameter holds is kept, and all that
was made of it, as long as others hold it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakSet, finalize, ref

import numpy as np
import torch
from torch import nn

from kdb.errors import BindError, ModelError, UnknownName, did_you_mean
from kdb.frontends.activation import without_activation
from kdb.frontends.trace_cache import trace
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models import zoo
from kdb.models.dense import Head, HeadReference
from kdb.models.identity import Parts, joined, labels_digest, unexplained
from kdb.models.model import Model
from kdb.models.reference import Logits, ModuleReference
from kdb.operators.network import Network
from kdb.system.interrupts import deferred
from kdb.system.locks import MODULES
from kdb.system.paths import ANYWHERE, Root

log = logging.getLogger(__name__)

PARAMETER_MODEL = "model"
"""The name of a model that a parameter holds."""


@dataclass(frozen=True, eq=False)
class TracedModel:
    """A model and its network; ``identity`` is a hex digest of graph, weights and preprocessing, never of a name.

    ``parts`` has those of each, and that of the labels.
    ``activation`` makes probabilities of the network's outputs: 'softmax', 'sigmoid' or 'none'.  ``shortened`` says
    that the module ends with it, and the network does not.
    """

    model: Model
    network: Network
    activation: str
    identity: str
    parts: Parts
    shortened: bool = False
    head: Head | None = None
    """Of a dense output, the region that is scored; without one the network gives what the module gives."""
    direction: Logits | None = None
    """float64 [K], of length one: that of another image's output, where scores are cosines with it."""

    @property
    def reference(self) -> ModuleReference | HeadReference:
        """The module itself, which gives what the network should give."""
        return self.whole if self.head is None else HeadReference(self.whole, self.head)

    @property
    def whole(self) -> ModuleReference:
        """The same without a head: all of a dense output."""
        model = self.model
        snapshot = None if model.is_adapted else partial(model.snapshot, weights=False)
        return ModuleReference(model.module, self.shortened, model.shared, snapshot)

    @property
    def dense(self) -> bool:
        """Whether the network gives maps, whose scores are those of a region."""
        return self.network.output.shape.cells > 1

    @property
    def of_scores(self) -> str:
        """The activation that makes probabilities of what the network gives: none where a head has done so."""
        return self.activation if self.head is None else "none"

    def scored(self, head: Head) -> TracedModel:
        """The same with a ``head`` behind the network."""
        return replace(self, network=head.behind(self.network), head=head)


@dataclass(frozen=True)
class CreatedModel:
    """A model out of a file, as a study keeps it: the file's path and hex SHA-256, and the options of CREATE MODEL.

    ``origin`` and ``input`` are texts that SHOW MODELS prints.  ``labels`` is the hex digest of its labels; empty where
    it has none, and for a model that an earlier version kept.
    """

    name: str
    path: str
    sha256: str
    options: Mapping[str, Any]
    origin: str
    input: str
    labels: str = ""

    @classmethod
    def of(cls, model: Model, path: str, options: Mapping[str, Any]) -> CreatedModel:
        """The entry for a ``model`` created from ``path``, with absolute paths."""
        from kdb.models import files

        options = dict(options)
        if isinstance(labels := options.get("labels"), str):
            options["labels"] = os.path.abspath(labels)
        plain = json.loads(json.dumps(options, default=lambda array: np.asarray(array).tolist()))
        size = "x".join(map(str, model.input_shape))
        where, sha256, labels = os.path.abspath(path), files.sha256(path), labels_digest(model.labels)
        return cls(model.name, where, sha256, plain, model.weights_note, size, labels)

    def load(self, root: Root) -> Model:
        """Read the file.

        Raises ModelError where it, or its labels, are no longer those that the model was created from, and BindError
        where it lies outside the ``root``.
        """
        from kdb.models import files  # with all that reads ONNX, which few sessions need

        path, options = root.path(self.path), under(root, self.options)
        if os.path.isfile(path) and files.sha256(path) != self.sha256:
            raise ModelError(
                f"'{self.path}' has changed since the model '{self.name}' was created from it; "
                f"CREATE OR REPLACE MODEL {self.name} takes it as it is now"
            )
        model = files.load_model(self.name, path, options)
        if self.labels and labels_digest(model.labels) != self.labels:
            given = options.get("labels")
            where = f", by '{given}'," if isinstance(given, str) else ""
            raise ModelError(
                f"the labels of the model '{self.name}'{where} have changed since it was created; "
                f"CREATE OR REPLACE MODEL {self.name} takes them as they are now"
            )
        return model


def under(root: Root, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a statement, with the file of labels under the ``root``; raises BindError for one outside."""
    labels = options.get("labels")
    return {**options, "labels": root.path(labels)} if isinstance(labels, str | os.PathLike) else dict(options)


class Catalog:
    """Finds models: registered ones, those of a study, and those that kdb builds by their names; keeps their traces.

    ``on_forgotten`` is called with each network that no query will get any more, possibly in the midst of other work:
    when a module ends its life, for one.  Files that statements name are read under the ``root``.
    """

    def __init__(self, on_forgotten: Callable[[Network], object] = lambda network: None, root: Root = ANYWHERE) -> None:
        self.on_forgotten, self._root = on_forgotten, root
        self._registered: dict[str, Model] = {}
        self._created: dict[str, CreatedModel] = {}
        self._files: dict[str, Callable[[], CreatedModel]] = {}
        self._resolved: dict[tuple[Hashable, str], Model] = {}
        self._given: dict[int, dict[str, Model]] = {}
        self._traced: WeakSet[Model] = WeakSet()

    def register(self, name: str, module: object, **keywords: object) -> Model:
        """Give ``module`` a name, in place of any model that had it; keywords as of :func:`zoo.make_model`."""
        if not isinstance(name, str) or not name.strip():
            raise BindError(f"a model's name is a text that is not empty; got {name!r}")
        model = zoo.make_model(name, module, **keywords)
        self._add(name, model)
        return model

    def defer(self, created: CreatedModel) -> None:
        """Give a study's model its name; its file is read when it is first used."""
        self._created[created.name] = created

    def _add(self, name: str, model: Model) -> None:
        replaced = self._registered.get(name)
        self._registered[name] = model
        self._created.pop(name, None)
        self._files.pop(name, None)
        if replaced is not None:
            self._unregistered(replaced)
        for each in (*model.facts, *model.notes):
            log.info("model '%s': %s", name, each)

    def _add_own(self, name: str, model: Model) -> Model:
        """Give a model its name whose module nobody outside kdb holds."""
        model.shared = False
        self._add(name, model)
        return model

    def _unregistered(self, model: Model) -> None:
        """Forget the traces of a model that no name finds any more, and of those with other options."""
        others = [key for key in self._resolved if key[0] is model]
        for each in (model, *(self._resolved.pop(key) for key in others)):
            self.forget(each)

    def create(
        self,
        name: str,
        path: str,
        options: Mapping[str, Any],
        replace: bool,
        keep: Callable[[Model], object] = lambda model: None,
    ) -> Model:
        """Give the model in a file a name; options as of :func:`kdb.models.files.load_model`.

        ``keep`` is called with it before it has the name; if that raises, the name is what it was.  Raises BindError
        where there is one of that name, unless it is to be replaced.
        """
        if (name in self._registered or name in self._created) and not replace:
            raise BindError(f"there is a model '{name}'; write CREATE OR REPLACE MODEL, or DROP MODEL {name} first")
        from kdb.models import files  # with all that reads ONNX, which few sessions need

        model = files.load_model(name, path, options)
        keep(model)
        self._add_own(name, model)
        self._files[name] = partial(CreatedModel.of, model, path, options)
        return model

    def load_exported(self, name: str, path: str | os.PathLike[str], options: Mapping[str, Any]) -> Model:
        """Give the model in an exported program a name; loading it can run code that the file holds."""
        from kdb.models import files

        return self._add_own(name, files.exported_model(name, path, options))

    def check_registered(self, name: str) -> None:
        """Raise BindError where no model of that name was registered or created."""
        known = [*self._registered, *self._created]
        if name not in known:
            raise BindError(f"no model '{name}' was registered{did_you_mean(name, known)}")

    def drop(self, name: str) -> None:
        """Forget a registered model; raises BindError where there is none of that name."""
        self.check_registered(name)
        self._created.pop(name, None)
        self._files.pop(name, None)
        if (model := self._registered.pop(name, None)) is not None:
            self._unregistered(model)

    def created(self, name: str) -> CreatedModel | None:
        """The file that the model of that name was made from by CREATE MODEL; None for any other."""
        if name in self._created:
            return self._created[name]
        return self._files[name]() if name in self._files else None

    def is_registered(self, name: str) -> bool:
        """Whether a module of this process has that name, which no other process finds by it."""
        return name in self._registered and name not in self._files

    def names(self) -> list[str]:
        """Every name that finds a model here; timm's are too many to list."""
        return [*self._registered, *self._created, *zoo.known_names()]

    def listed(self) -> list[tuple[str, str, str]]:
        """(name, origin, input) of every model that a bare name finds; timm's are too many to list."""
        found = [(name, model.weights_note, model.preprocessing) for name, model in self._registered.items()]
        taken = self._registered.keys() | self._created.keys()
        built_in = (name for name in zoo.known_names() if name not in taken)
        created = [(name, model.origin, model.input) for name, model in self._created.items()]
        found += [(name, "built in", zoo.default_preprocessing(name)) for name in built_in]
        return created + [(name, origin, "x".join(map(str, wanted.input_shape))) for name, origin, wanted in found]

    def find(self, ref: syntax.ModelRef, arguments: Arguments) -> Model:
        """The model that a query names: registered here, else a bundled one, torchvision's or timm's.

        Raises BindError for an unknown name or option, ModelError where it cannot be loaded.
        """
        options = under(self._root, {key: arguments.plain(value) for key, value in ref.options})
        if ref.parameter is not None:
            value = arguments[ref.parameter]
            if not isinstance(value, str):
                return self._of_module(value, options)
            return self._named(value, options)
        return self._named(ref.name, options)

    def _of_module(self, module: object, options: Mapping[str, Any]) -> Model:
        """The model of a module that a parameter holds: the same for the same module and options, while it lives."""
        module = zoo.unwrapped(module)
        key = _spelled(options)
        models = self._given.get(id(module), {})
        if key not in models:
            model = zoo.make_model(PARAMETER_MODEL, module, **options)
            model.let_go()
            if not models:
                assert isinstance(module, nn.Module), "others make no model"
                finalize(module, _forget_module, ref(self), id(module)).atexit = False
            self._given.setdefault(id(module), models)[key] = model
        return models[key]

    def _named(self, name: str, options: Mapping[str, Any]) -> Model:
        if name in self._created:
            created = self._created[name]
            self._add_own(name, created.load(self._root))
            self._files[name] = lambda: created
        registered = self._registered.get(name)
        key = (registered or name, _spelled(options))
        if registered is not None and not options:
            return registered
        if key not in self._resolved:
            self._resolved[key] = _resized(registered, options) if registered else self._built_in(name, options)
        return self._resolved[key]

    def _built_in(self, name: str, options: Mapping[str, Any]) -> Model:
        try:
            model = zoo.resolve(name, options)
        except UnknownName as error:
            if error.name.startswith("timm/"):  # timm's own names are nearer
                raise
            listed = "; SHOW MODELS lists those there are, besides timm/NAME"
            raise UnknownName.of_model(name, self.names(), listed) from None
        model.shared = False
        return model

    def retraced(self, model: Model) -> TracedModel:
        """The network of ``model`` traced anew, though its fingerprint is the same; the one known if it is the same."""
        known = model.trace
        model.forget()
        traced = self.traced(model)
        if known is None:
            return traced
        before: TracedModel = known[1]
        if before.identity != traced.identity:
            self.on_forgotten(before.network)
            return traced
        model.trace = model.fingerprint(), before
        return before

    def traced(self, model: Model, fingerprint: str | None = None) -> TracedModel:
        """The network of ``model`` as its module is now; raises ModelError where it cannot be traced.

        Whoever has just asked for the ``fingerprint`` of its module gives it.
        """
        fingerprint = fingerprint or model.fingerprint()
        if model.trace is None or model.trace[0] != fingerprint:
            if model.trace is not None:
                self.forget(model)
            with MODULES:
                model.trace = fingerprint, self._trace(model)
            self._traced.add(model)
        traced: TracedModel = model.trace[1]
        return traced

    def forget(self, model: Model | None = None) -> None:
        """Forget the trace of a model, or of all, and what was cached of the module; the next query traces it anew."""
        for each in [model] if model is not None else list(self._traced):
            forgotten = each.trace
            each.forget()
            if forgotten is not None:
                self.on_forgotten(forgotten[1].network)

    def _trace(self, model: Model) -> TracedModel:
        module = model.module
        try:
            with deferred():
                network = trace(module, model.input_shape, model.recipe)
        except ModelError as error:
            if not model.remark:
                raise
            raise ModelError(f"{error}; {model.remark}") from error.__cause__
        classes = network.output.shape.channels
        model.check_labels(classes)
        logits, own = without_activation(network)
        usual = "none" if model.head is not None else "sigmoid" if classes == 1 else "softmax"
        activation = model.activation or own or usual
        if activation == own:
            network = logits
        graph, weights, preprocessing = network.digest, model.weights_digest(), model.preprocessing.digest()
        # The rest of a model of kdb's own is what its code says, and changes with that alone.
        rest = [found] if model.shared and (found := unexplained(network, module)) else []
        identity = joined(graph, weights, preprocessing, *rest)
        parts = Parts(joined(graph, *rest), weights, preprocessing, labels_digest(model.labels))
        return TracedModel(model, network, activation, identity, parts, activation == own)


def _spelled(options: Mapping[str, Any]) -> str:
    """Options as a text that is equal for equal ones alone: of tensors, whose own is cut, with a digest."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, torch.Tensor | np.ndarray):
            array = np.asarray(value)
            return array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest()
        return value

    return repr([(name, plain(value)) for name, value in sorted(options.items())])


def _forget_module(catalog: ref[Catalog], key: int) -> None:
    """Forget the models of a module whose life ends."""
    if (living := catalog()) is not None:
        for model in living._given.pop(key, {}).values():
            living.forget(model)


def _resized(model: Model, options: Mapping[str, Any]) -> Model:
    """A registered model with the query's own ``resize``."""
    unknown = [key for key in options if key != "resize"]
    if unknown:
        raise BindError(f"'{model.name}' is registered with its options; a query may add resize, not '{unknown[0]}'")
    preprocessing = replace(model.preprocessing, resize=options["resize"])
    return model.with_preprocessing(preprocessing)
