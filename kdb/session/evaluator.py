"""The map of each image of a run: in the session that began it, or in a worker that opens it from its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kdb.errors import ExecutionError, ModelError
from kdb.execution.engine import Progress
from kdb.images.readers.series import Series
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.models.catalog import CreatedModel
from kdb.queries import evaluation, sources
from kdb.queries.bind import BoundQuery
from kdb.results.maps import HeatMap
from kdb.runs import parameters
from kdb.runs.folder import RunFolder
from kdb.runs.images import Item
from kdb.runs.parameters import PerImage
from kdb.session.binding import Binder
from kdb.session.environment import Environment
from kdb.session.study import Study
from kdb.system.paths import Root

OPENED = "kdb.session.evaluator:opened"
"""What workers elsewhere are told to call."""


class Evaluator:
    """Makes the map of an image, by a query that is bound once, but for images with parameters of their own.

    ``identity`` is that of the model that the run is of; ``on_progress`` is called within a map, and may stop it.
    """

    def __init__(
        self,
        environment: Environment,
        query: syntax.Occlude,
        arguments: Arguments,
        identity: str,
        on_progress: Progress | None = None,
    ) -> None:
        self._environment, self._query, self._identity = environment, query, identity
        self._binder, self._on_progress = Binder(environment), on_progress
        self._arguments = arguments
        axes = environment.catalog.find(query.model, arguments).preprocessing.rank
        self._per_image = PerImage(query, arguments, axes, environment.root)
        self._options = sources.of_reader(query.source, arguments)
        self._bound: BoundQuery | None = None

    def prepare(self) -> None:
        """Load and trace the model, and see that it is the run's, before the first image; raises what that raises."""
        if not self._per_image.any:
            with self._environment.turn():
                self._check(self._of(None))

    def __call__(self, item: Item) -> HeatMap:
        """The map; raises ModelError where the model is not the run's any more, and any Error of the image."""
        environment = self._environment
        call = environment.call(self._arguments, self._on_progress)
        with environment.turn(call), environment.engine.views.passing():
            bound = self._of(item)
            self._check(bound)
            path = environment.root.path(item.path)
            value = path if item.files is None else Series(path, tuple(map(environment.root.path, item.files)))
            _, load = sources.one(item.path, value, self._options)
            image = load(bound.traced.model.preprocessing)
            heat_map = evaluation.run(environment.engine, bound.on(image, item.path), call.on_progress).heat_map
            if heat_map.model_identity != self._identity:
                raise self._other(bound)
            return heat_map

    def _of(self, item: Item | None) -> BoundQuery:
        if item is not None and self._per_image.any:
            return self._binder.bind(self._query, self._per_image.of(item.id))
        if self._bound is None:
            self._bound = self._binder.bind(self._query, self._arguments)
        else:
            try:
                self._bound = self._binder.again(self._bound)
            except ExecutionError as error:  # no other image would fare better
                raise ModelError(str(error)) from error
        return self._bound

    def _check(self, bound: BoundQuery) -> None:
        if bound.traced.identity != self._identity:
            raise self._other(bound)

    def _other(self, bound: BoundQuery) -> ModelError:
        return ModelError(
            f"the model '{bound.traced.model.name}' is not the one that the run was begun with: its network, weights "
            "or preprocessing are others"
        )


def query_of(facts: Mapping[str, Any]) -> syntax.Occlude:
    """The query of a run, on the device that was asked for, its threshold the one that was tuned when it was made."""
    query = parse_one(facts["query"])
    assert isinstance(query, syntax.Occlude), "it was written by kdb"
    if facts["threshold"] is not None:
        query = replace(query, threshold=syntax.Threshold(facts["threshold"]))
    return replace(query, device=facts["device"])


def opened(folder: RunFolder, settings: Mapping[str, Any], root: str | None) -> Callable[[Item], HeatMap]:
    """What makes the maps of a run in this process, which knows nothing but its folder.

    Raises ModelError where the model cannot be loaded, or is not the one that the run was begun with.
    """
    facts = folder.facts
    environment = Environment(Study(None), None, Root(root))
    environment.settings.take(settings)
    if facts["model"]["created"] is not None:
        environment.catalog.defer(CreatedModel(**facts["model"]["created"]))
    arguments = parameters.restored(facts["parameters"]["plain"], folder.arrays())
    evaluator = Evaluator(environment, query_of(facts), arguments, facts["model"]["identity"])
    evaluator.prepare()
    return evaluator
