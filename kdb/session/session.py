"""The public face and composition root: a session takes query text and gives results.

A session may be shared by threads; executions take turns.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import BindError, Error, did_you_mean
from kdb.execution.engine import Progress
from kdb.execution.settings import Settings
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import Placed, parse_one, parse_script
from kdb.planner.rendering import FORMATS
from kdb.queries import sources
from kdb.results.maps import HeatMap
from kdb.runs.run import Run
from kdb.runs.watch import Progress as RunProgress
from kdb.session import subject
from kdb.session.environment import Environment
from kdb.session.statements import Result, Statements
from kdb.session.study import Study
from kdb.session.subject import Subject
from kdb.system.paths import Root

__all__ = ["Parameters", "Result", "Session", "connect"]

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Session:
    """A connection: its models, images, settings, and the views it keeps between queries.

    ``progress`` is called with (positions finished, positions in all) while a map is computed.  ``study`` is the path
    of a file that keeps models, settings, tunings and calibrations; without one they last as long as the session.
    Under the folder ``root`` no statement reads or writes a file elsewhere; the study is there too.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        study: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        permitted = Root.at(root)
        self._study = Study(None if study is None else permitted.path(study))
        self._environment = Environment(self._study, progress, permitted)
        self._catalog, self._engine = self._environment.catalog, self._environment.engine
        self._statements = Statements(self._environment)

    @property
    def settings(self) -> Settings:
        """The session's settings, as SET changes them."""
        return self._environment.settings

    @property
    def root(self) -> Root:
        """The folder that all paths of statements stay under, if there is one."""
        return self._environment.root

    @property
    def progress(self) -> Progress | None:
        """What is called with (positions finished, positions in all) while a map is computed."""
        return self._environment.on_progress

    @progress.setter
    def progress(self, on_progress: Progress | None) -> None:
        self._environment.on_progress = on_progress

    @property
    def run_progress(self) -> Callable[[RunProgress], None] | None:
        """What is called with the progress of a run after each image, in place of ``progress``."""
        return self._environment.on_run

    @run_progress.setter
    def run_progress(self, on_run: Callable[[RunProgress], None] | None) -> None:
        self._environment.on_run = on_run

    def execute(self, text: str, parameters: Parameters = None, *, progress: Progress | None = None) -> Result:
        """Run a script and return its last statement's result.

        OCCLUDE gives a :class:`HeatMap`, or :class:`HeatMaps` for a glob or a list of images, and INTO RUN a
        :class:`Run`, as RESUME RUN does; all else a :class:`Table`.  ``parameters`` is a dict for ``$name`` and bare
        names, a sequence for ``?``.

        ``progress`` is called with (positions finished, positions in all) in the calling thread, of this script alone.
        If it raises :class:`kdb.Cancel`, the query stops between two batches and the result is the partial heat map,
        whose ``complete`` is False; whatever else it raises is passed on, but for StopIteration,
        which becomes an ExecutionError.  It cannot use this session.

        Raises ParseError, BindError, ModelError, ExecutionError, Timeout or Interrupted, all of them
        :class:`kdb.Error`; that of one statement of several says in which line that begins.
        """
        last = deque(self.run(text, parameters, progress=progress), maxlen=1)
        if not last:
            raise BindError("there is no statement to execute")
        return last[0]

    def run(self, text: str, parameters: Parameters = None, *, progress: Progress | None = None) -> Iterator[Result]:
        """The result of each statement of a script, in order; the whole script is parsed before the first one runs.

        ``progress`` as in :meth:`execute`.
        """
        script = parse_script(text, self._catalog.names)
        arguments = Arguments(parameters, tuple(each.statement for each in script))
        return (self._result(each, arguments, progress, len(script) > 1) for each in script)

    def _result(self, placed: Placed, arguments: Arguments, progress: Progress | None, among: bool) -> Result:
        """Of a statement; ``among`` others, its error says where it stands."""
        try:
            return self._statements.run(placed.statement, arguments, progress)
        except Error as error:
            if among:
                error.args = (f"{error} ({placed})", *error.args[1:])
            raise

    def submit(self, text: str, parameters: Parameters = None) -> Run:
        """Begin, or go on with, the run of ``OCCLUDE .. INTO RUN`` or ``RESUME RUN``, and return it at once.

        The work is done in the background; :meth:`Run.wait` waits for it.  The session is free for other statements.
        Raises ParseError, BindError, ModelError or ExecutionError for what can be told before the first image.
        """
        statement = parse_one(text, self._catalog.names)
        if not isinstance(statement, syntax.Occlude | syntax.ResumeRun):
            raise BindError("only OCCLUDE .. INTO RUN and RESUME RUN can be submitted")
        if isinstance(statement, syntax.Occlude) and statement.run is None:
            raise BindError("a query is submitted as a run: write INTO RUN and a folder, or execute it")
        return self._statements.runs.submit(statement, Arguments(parameters, (statement,)))

    def open_run(self, folder: str | os.PathLike[str]) -> Run:
        """The run in a folder, as it is: to look at, while others work on it or after.

        Raises BindError where there is none.
        """
        return self._statements.runs.opened(os.fspath(folder))

    def stream(
        self, text: str, parameters: Parameters = None, *, progress: Progress | None = None
    ) -> Iterator[HeatMap]:
        """Heat maps of an OCCLUDE query of one image, each better than the one before; the last is the query's result.

        A query that permits no approximation is evaluated in rounds all the same, coarse to fine: its last map is
        exact.  So are parts of a map, the positions of AT, and segments.  Other statements may run between two maps.
        Whoever has seen enough stops iterating.  ``progress`` as in :meth:`execute`; after a :class:`kdb.Cancel` the
        partial map is the last.
        """
        query = self._occlude(text, "has heat maps to stream")
        return self._statements.stream(query, Arguments(parameters, (query,)), progress)

    def explain(self, text: str, parameters: Parameters = None, *, analyze: bool = False, format: str = "text") -> str:
        """The plan of an OCCLUDE query as ``text``, ``json`` or ``dot``; ``analyze`` also runs it and measures."""
        if format not in FORMATS:
            raise BindError(f"unknown format '{format}'{did_you_mean(format, FORMATS)}; there are {', '.join(FORMATS)}")
        statement = parse_one(text, self._catalog.names)
        if isinstance(statement, syntax.Explain):
            statement = statement.query
        if not isinstance(statement, syntax.Occlude):
            raise BindError("only OCCLUDE has a plan to explain")
        return str(
            self._statements.run(syntax.Explain(statement, analyze, format), Arguments(parameters, (statement,)))
        )

    def subject(self, text: str, parameters: Parameters = None) -> Subject:
        """The model of an OCCLUDE query and its image, as it was read and as the model sees it; nothing is run.

        Raises ParseError, BindError, ModelError or ExecutionError as running the query would, and BindError for several
        images.
        """
        query = self._occlude(text, "is about an image")
        with self._environment.turn():
            return subject.subject(self._environment, query, Arguments(parameters, (query,)))

    def region(self, text: str, parameters: Parameters = None) -> NDArray[np.bool_] | None:
        """bool [*size, K]: the cells of a dense output that an OCCLUDE query scores of each class.

        [*size, 1] where they are the same for all classes; None for models that give vectors, and for detections.
        Raises what running the query would.
        """
        query = self._occlude(text, "has a region")
        with self._environment.turn():
            return subject.region(self._environment, query, Arguments(parameters, (query,)))

    def _occlude(self, text: str, only: str) -> syntax.Occlude:
        """The query in a text; raises BindError that says what ``only`` OCCLUDE does for other statements."""
        query = parse_one(text, self._catalog.names)
        if not isinstance(query, syntax.Occlude):
            raise BindError(f"only OCCLUDE {only}")
        return query

    def register_model(self, name: str, module: object, **keywords: object) -> None:
        """Give an ``nn.Module`` that maps [N, C, H, W] to logits [N, K] a name for this session.

        Keywords: ``input_size`` (or ``input``), ``mean``, ``std``, ``transforms``, ``scale``, ``layout``, ``channels``,
        ``n_channels``, ``activation``, ``resize``, ``labels``; see :func:`kdb.models.zoo.make_model`.  What is left out
        is taken from the module where it carries that, as timm's and torchvision's do; otherwise ``input_size`` is
        required, and mean 0 and std 1 are assumed, as ``hm.notes`` then say.  The module is used in eval mode.
        """
        with self._environment.turn():
            self._catalog.register(name, module, **keywords)

    def load_exported(
        self, path: str | os.PathLike[str], name: str | None = None, *, trusted: bool = False, **keywords: object
    ) -> str:
        """Register the model in an exported program (``.pt2``) and return its name, by default that of the file.

        Loading one can run code that the file holds, so that it takes ``trusted=True``; queries never load one.
        Keywords are those of :meth:`register_model`; ``input_size`` defaults to the program's own.
        """
        if not trusted:
            raise BindError(f"'{path}' can run code while it loads; where you trust it, write trusted=True")
        with self._environment.turn():
            name = Path(path).stem if name is None else name
            self._catalog.load_exported(name, path, keywords)
        return name

    def register_image(self, name: str, image: object) -> None:
        """Give an image (path, ``PIL.Image``, array) a bare name; it is read now, as it is now."""
        if not isinstance(name, str) or not name.isidentifier():
            raise BindError(f"an image's name is a word of letters, digits and _; got {name!r}")
        with self._environment.turn():
            self._environment.images[name] = sources.registered(image)

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the images that are registered."""
        return tuple(self._environment.images)

    def models(self) -> list[tuple[str, str, str]]:
        """(name, origin, input) of every model that a bare name finds, as SHOW MODELS lists them."""
        with self._environment.turn():
            return self._catalog.listed()

    def close(self) -> None:
        """Free the views and let go of the study file.

        A session without one stays usable; one with a study runs no statement any more, which is an ExecutionError.
        """
        with self._environment.turn():
            self._engine.views.clear()
            self._study.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    study: str | os.PathLike[str] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Session:
    """A new session, in memory or with the study file at that path, which is made where there is none.

    A study keeps created models, settings, tunings and calibrations; :class:`kdb.session.study.Study` says what it
    raises.  Under the folder ``root`` no statement reads or writes a file elsewhere, links resolved, and the study is
    there too: a path outside is a BindError.  Relative paths are then relative to the root.  What Python calls name
    (``register_image``, ``hm.save``) is not confined, nor the caches of kdb and of the packages that fetch weights.
    """
    return Session(progress, study, root)
