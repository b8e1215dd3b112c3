"""What a session binds queries with: its images by name, its models, the tunings that its study keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kdb.errors import BindError, ExecutionError
from kdb.images.image import SourceImage
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.queries import bind, clauses, sources
from kdb.queries.bind import BoundQuery, ImageQuery, Tuned
from kdb.queries.sources import Found
from kdb.sampling.choose import DEFAULT_SSIM
from kdb.session import tuning
from kdb.session.environment import Environment


class Binder:
    """Binds the queries of one session."""

    def __init__(self, environment: Environment) -> None:
        self._catalog, self._images, self._study = environment.catalog, environment.images, environment.study
        self._root = environment.root

    def find_images(self, query: syntax.Occlude, arguments: Arguments) -> tuple[list[Found], bool]:
        """The query's images, not read yet, and whether they are several by form: a glob or a list, even of one.

        All that can be checked without images or a model has been checked then, the file that the query writes too.
        """
        clauses.check(query)
        if query.into is not None:
            sources.check_writable(query.into, self._root)
        found, several = self.find(query.source, query.model, arguments)
        if query.into is not None:
            sources.check_apart(query.into, found, several, self._root)
        return found, several

    def find(self, source: syntax.Source, model: syntax.ModelRef, arguments: Arguments) -> tuple[list[Found], bool]:
        """The images that a source names, for a model."""
        return sources.find(source, arguments, self._images, self._axes(model, arguments), self._root)

    def of_saved(self, query: syntax.Occlude, arguments: Arguments, path: str) -> Found:
        """The image at the path that a map of the query names."""
        return sources.of_saved(query.source, arguments, path, self._axes(query.model, arguments), self._root)

    def _axes(self, model: syntax.ModelRef, arguments: Arguments) -> Callable[[], int]:
        return lambda: self._catalog.find(model, arguments).preprocessing.rank

    def bind(self, query: syntax.Occlude, arguments: Arguments) -> BoundQuery:
        """The query with all but its images looked up and checked."""
        return bind.bind(query, arguments, self._catalog, self._tuned, self._other(query, arguments))

    def _other(self, query: syntax.Occlude, arguments: Arguments) -> Callable[[], SourceImage] | None:
        """What reads the image that a cosine is with; raises BindError unless it is one."""
        if query.to is None:
            return None
        found, several = self.find(query.to, query.model, arguments)
        if several or len(found) != 1:
            raise BindError(f"a cosine is with one image; {query.to} names {len(found)}")
        _, load = found[0]
        return lambda: load(self._catalog.find(query.model, arguments).preprocessing)

    def bind_on(self, query: syntax.Occlude, arguments: Arguments, found: Found) -> ImageQuery:
        """The query bound, on one image."""
        name, load = found
        image = load(self._catalog.find(query.model, arguments).preprocessing)  # before tracing, which takes long
        return self.bind(query, arguments).on(image, name)

    def again(self, bound: BoundQuery) -> BoundQuery:
        """``bound`` for another image, by the model that it was bound to, whatever has that model's name now.

        Raises ExecutionError where the model is not what it was then.
        """
        traced = self._catalog.traced(bound.traced.model)
        if traced.identity != bound.traced.identity:
            raise changed(bound)
        return replace(bound.by(traced), seconds=0.0)  # its model is traced once, not for each image

    def retraced(self, bound: BoundQuery) -> BoundQuery:
        """``bound`` by its model as it was last traced."""
        return bound.by(self._catalog.traced(bound.traced.model))

    def _tuned(self, query: syntax.Occlude, traced: TracedModel, arguments: Arguments) -> Tuned:
        """The threshold that was tuned for such queries; raises BindError where none was."""
        assert query.threshold is not None
        tuned = self._study.tuning(tuning.subject(query, traced, arguments))
        if tuned is None:
            raise tuning.untuned(query)
        ssim = DEFAULT_SSIM if query.threshold.ssim is None else query.threshold.ssim
        tau = tuned.tau(ssim)
        return tau, tuned.note(tau, ssim)


def changed(bound: BoundQuery) -> ExecutionError:
    """The error for a map that would be of another model than those that its query made before."""
    return ExecutionError(
        f"the model '{bound.traced.model.name}' has been changed since the query was run, whose other maps are of the "
        "model as it was; run the query again"
    )
