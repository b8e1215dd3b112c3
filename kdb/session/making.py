"""Makes a run: what its query says is checked, and what it is goes into its folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from kdb.errors import BindError, Error, ExecutionError, did_you_mean
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.queries import clauses, sources
from kdb.queries.assembly import versions
from kdb.queries.bind import BoundQuery
from kdb.queries.scoring import chosen_classes
from kdb.results.formats import EXTENSIONS
from kdb.runs import parameters
from kdb.runs.folder import RunFolder
from kdb.runs.images import Images
from kdb.runs.parameters import PerImage
from kdb.session.binding import Binder
from kdb.session.environment import Environment

TRIED = 10
"""Images whose own parameters the query is tried with before the run is made."""

STORED = "npz"
"""The format of maps where none is asked for."""


class Maker:
    """Makes the runs of one session."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._binder = environment, Binder(environment)

    def make(
        self,
        query: syntax.Occlude,
        into: syntax.RunInto,
        folder: RunFolder,
        arguments: Arguments,
        elsewhere: bool,
    ) -> None:
        """Make the run, or see that the one that is there is the same; its workers are ``elsewhere`` or not.

        Raises BindError for another one, and for whatever is wrong with the query.
        """
        formats = formats_of(into, arguments)
        clauses.check(query)
        device, query = query.device, replace(query, run=None, device="auto")
        catalog, root = self._environment.catalog, self._environment.root
        axes = catalog.find(query.model, arguments).preprocessing.rank
        if not folder.exists():
            folder.check_new()
        images = Images.of(sources.listed(query.source, arguments, lambda: axes, root))
        per_image = PerImage(query, arguments, axes, root)
        bound = self._bound(replace(query, device=device), per_image, images)
        if query.to is None and not isinstance(query.classes, syntax.Detection):
            traced = bound.traced  # a class that it does not have would fail every image
            chosen_classes(query.classes, traced.model, np.zeros(traced.network.output.shape.channels), arguments)
        for each in formats:
            EXTENSIONS[each].check(bound.size, not isinstance(query.region, syntax.At))
        model = self._model(query.model, bound, arguments)
        check_reachable(model, elsewhere)
        located = _located(query, bound, root.folder is None)
        kept = parameters.kept(*parameters.numbered(located, arguments))
        facts = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "query": str(located),
            "score": query.score,
            "device": device,
            "threshold": None if bound.query.threshold is None else bound.query.threshold.tau,
            "class_axis": isinstance(query.classes, syntax.Classes | syntax.TopClasses | syntax.AllClasses),
            "formats": list(formats),
            "images": {"count": len(images), "sha256": images.digest, **self._manifest(query.source)},
            "parameters": {"plain": dict(kept.plain), "modules": list(kept.modules), "sha256": kept.digests()},
            "model": model,
            "settings": self._environment.settings.changed(),
        }
        with folder.making():
            if folder.exists():
                _check_same(folder, facts)
            else:
                folder.create(facts, images, dict(kept.arrays))

    def bound(self, query: syntax.Occlude, arguments: Arguments) -> BoundQuery:
        """The query of a run bound without making one, for EXPLAIN; raises what :meth:`make` raises for it."""
        catalog, root = self._environment.catalog, self._environment.root
        axes = catalog.find(query.model, arguments).preprocessing.rank
        per_image = PerImage(query, arguments, axes, root)
        if not per_image.any:
            return self._binder.bind(query, arguments)
        return self._bound(query, per_image, Images.of(sources.listed(query.source, arguments, lambda: axes, root)))

    def _bound(self, query: syntax.Occlude, per_image: PerImage, images: Images) -> BoundQuery:
        """The query bound; with parameters of each image to the first that has them, of a few."""
        first: Error | None = None
        for number in range(min(TRIED, len(images)) if per_image.any else 1):
            try:
                return self._binder.bind(query, per_image.of(images[number].id))
            except (BindError, ExecutionError) as error:
                first = first or error
        assert first is not None
        raise first

    def _model(self, ref: syntax.ModelRef, bound: BoundQuery, arguments: Arguments) -> dict[str, Any]:
        """What run.json says of the model: whence another process has it, and what it must be."""
        catalog, traced = self._environment.catalog, bound.traced
        value = ref.name if ref.parameter is None else arguments[ref.parameter]
        created = catalog.created(value) if isinstance(value, str) else None
        of_session = not isinstance(value, str) or catalog.is_registered(value)
        return {
            "name": traced.model.name,
            "identity": traced.identity,
            "sha256": traced.parts.weights if created is None else created.sha256,
            "created": None if created is None else asdict(created),
            "of_session": of_session,
        }

    def _manifest(self, source: syntax.Source) -> dict[str, Any]:
        if not isinstance(source, syntax.Manifest):
            return {"manifest": None}
        path = os.path.abspath(self._environment.root.path(source.value))
        return {"manifest": {"path": path, "sha256": sha256_of(path)}}

    def check_manifest(self, folder: RunFolder) -> None:
        """Raise BindError where the manifest of a run is another than when the run was made."""
        manifest = folder.facts["images"]["manifest"]
        if manifest is None:
            return
        path = self._environment.root.path(manifest["path"])
        if os.path.isfile(path) and sha256_of(path) != manifest["sha256"]:
            raise BindError(
                f"the manifest '{manifest['path']}' has changed since the run in '{folder}' was made; a run is of one "
                "list of images: put the old manifest back, or make another run"
            )


def check_reachable(model: Mapping[str, Any], elsewhere: bool) -> None:
    """Raise BindError where workers ``elsewhere`` cannot have the model that run.json names."""
    if model["of_session"] and elsewhere:
        raise BindError(
            f"the model '{model['name']}' lives in this session, and workers elsewhere cannot have it: save it to a "
            "file and name that by CREATE MODEL, or compute VIA local"
        )


def formats_of(into: syntax.RunInto, arguments: Arguments) -> tuple[str, ...]:
    """The extensions of a run's maps, that which counts first."""
    options = {key: arguments.plain(value) for key, value in into.options}
    for key in options:
        if key != "format":
            raise BindError(f"INTO RUN has no option '{key}'{did_you_mean(key, ['format'])}; it has format")
    given = options.get("format", STORED)
    formats = tuple(given) if isinstance(given, tuple | list) else (given,)
    known = ", ".join(EXTENSIONS)
    for each in formats:
        if each not in EXTENSIONS:
            raise BindError(f"format = {each!r} is none that a map is saved in; there are {known}")
    if not formats or len(set(formats)) != len(formats):
        raise BindError(f"format takes one or several of {known}")
    return formats


def _located(query: syntax.Occlude, bound: BoundQuery, locate: bool) -> syntax.Occlude:
    """The query as another process would write it, elsewhere: canonical for its axes, with absolute paths."""
    query = replace(query, patch=bound.query.patch, stride=bound.query.stride)
    if not locate:  # under a root all paths are relative to it
        return query
    if isinstance(query.to, syntax.Text):
        query = replace(query, to=replace(query.to, value=os.path.abspath(query.to.value)))

    def absolute(value: syntax.Value) -> syntax.Value:
        return os.path.abspath(value) if isinstance(value, str) and os.path.isfile(value) else value

    options = tuple((key, absolute(value)) for key, value in query.model.options)
    return replace(query, model=replace(query.model, options=options))


def _check_same(folder: RunFolder, asked: dict[str, Any]) -> None:
    """Raise BindError where a run is not what was ``asked`` for; it says what differs."""
    there = folder.facts
    differences = {
        "query": (there["query"], asked["query"]),
        "format": (there["formats"], asked["formats"]),
        "set of parameters": (there["parameters"]["sha256"], asked["parameters"]["sha256"]),
        "model": (there["model"]["identity"], asked["model"]["identity"]),
        "list of images": (there["images"]["sha256"], asked["images"]["sha256"]),
    }
    differing = [name for name, (before, now) in differences.items() if before != now]
    if differing:
        told = f": {there['query']}" if "query" in differing else ""
        raise BindError(
            f"'{folder}' has another run, of another {' and another '.join(differing)}{told}; "
            f"RESUME RUN '{folder}' goes on with that, and a new run takes a folder of its own"
        )


def sha256_of(path: str) -> str:
    """The SHA-256, in hexadecimal, of a file; raises ExecutionError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ExecutionError(f"cannot read '{path}': {error.strerror}") from error
