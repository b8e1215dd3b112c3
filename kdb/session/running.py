"""Runs: what INTO RUN, RESUME RUN and SHOW RUN do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from kdb.errors import (
    BindError,
    Cancel,
    ClauseError,
    Error,
    ExecutionError,
    Interrupted,
    UnknownName,
    did_you_mean,
)
from kdb.execution.engine import Progress
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import CreatedModel
from kdb.queries import clauses, sources
from kdb.queries.assembly import versions
from kdb.queries.bind import BoundQuery
from kdb.results.formats import EXTENSIONS
from kdb.results.frames import import_optional
from kdb.results.tables import Headed
from kdb.runs import parameters
from kdb.runs.driving import Work, alone, by_crew
from kdb.runs.folder import WHOLE, RunFolder
from kdb.runs.images import Images
from kdb.runs.journal import Journal
from kdb.runs.parameters import PerImage
from kdb.runs.run import Run
from kdb.runs.starts import ray
from kdb.runs.starts.opening import Opening
from kdb.runs.starts.processes import Processes
from kdb.runs.state import DEATHS, NONE
from kdb.runs.summary import summary
from kdb.runs.watch import Watch
from kdb.runs.worker import Worker
from kdb.session.binding import Binder
from kdb.session.environment import Environment
from kdb.session.evaluator import OPENED, Evaluator, query_of
from kdb.system.interrupts import interruptible

STORED = "npz"
"""The format of maps where none is asked for."""


@dataclass(frozen=True)
class Asked:
    """A run that a statement asks for: its folder, who is to do the work, and the arguments that it was given."""

    folder: RunFolder
    via: syntax.Via
    arguments: Arguments


class Running:
    """Makes, drives and shows the runs of one session."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._binder = environment, Binder(environment)

    # ---- statements

    def execute(
        self, statement: syntax.Occlude | syntax.ResumeRun, arguments: Arguments, progress: Progress | None = None
    ) -> Run:
        """Do the work of a run in this thread, and return it.

        A callback that raises Cancel stops it.  Raises Interrupted, and what :meth:`Run.wait` raises.
        """
        asked = self._asked(statement, arguments)
        run, drive = self._begin(asked, progress)
        try:
            with interruptible():
                drive()
        except Cancel:
            return run
        except Interrupted as stop:
            how = f"{stop}; {run.progress}; RESUME RUN '{asked.folder}' goes on"
            raise Interrupted(how) from stop
        return run.wait()

    def submit(self, statement: syntax.Occlude | syntax.ResumeRun, arguments: Arguments) -> Run:
        """Do the same in a thread of its own, and return the run at once."""
        run, drive = self._begin(self._asked(statement, arguments), None)
        threading.Thread(target=_quietly(drive), name="kdb run", daemon=True).start()
        return run

    def opened(self, path: str) -> Run:
        """The run in a folder; raises BindError where there is none."""
        folder = self._folder(path)
        _ = folder.facts
        return Run(folder, lambda: self.submit(syntax.ResumeRun(str(folder)), Arguments()))

    def show(self, statement: syntax.ShowRun) -> Headed:
        """How far a run is; see :func:`kdb.runs.summary.summary`."""
        return summary(self._folder(statement.folder))

    def explained(self, query: syntax.Occlude, arguments: Arguments) -> tuple[str, ...]:
        """What EXPLAIN says of a run: who does the work, and what it leaves."""
        assert query.run is not None
        formats = _formats(query.run, arguments)
        via = query.run.via or syntax.Local()
        threads = self._environment.settings["threads"]
        if isinstance(via, syntax.Processes):
            count = _number(via.count, arguments, "processes")
            who = f"by {count} process{'es' if count != 1 else ''} with {_threads_each(threads, count)} threads each"
        elif isinstance(via, syntax.Shard):
            part, parts = _shard(via, arguments)
            who = f"the images of part {part} of {parts}, in this process"
        else:
            who = "by actors of Ray" if isinstance(via, syntax.Ray) else "in this process, one image after another"
        files = ", ".join(f"maps/{{id}}.{each}" for each in formats)
        return (f"a run into '{query.run.folder}': {files}; {who}",)

    # ---- making

    def _folder(self, path: str) -> RunFolder:
        import_optional("pyarrow")
        return RunFolder(self._environment.root.path(path))

    def _asked(self, statement: syntax.Occlude | syntax.ResumeRun, arguments: Arguments) -> Asked:
        if isinstance(statement, syntax.ResumeRun):
            folder = self._folder(statement.folder)
            with self._environment.turn():
                self._check_manifest(folder)
            return Asked(folder, statement.via or syntax.Local(), arguments)
        assert statement.run is not None
        folder = self._folder(statement.run.folder)
        with self._environment.turn():
            self._make(statement, statement.run, folder, arguments)
        return Asked(folder, statement.run.via or syntax.Local(), arguments)

    def _make(self, query: syntax.Occlude, into: syntax.RunInto, folder: RunFolder, arguments: Arguments) -> None:
        """Make the run, or see that the one that is there is the same.

        Raises BindError for another one, and for whatever is wrong with the query.
        """
        formats = _formats(into, arguments)
        clauses.check(query)
        _check_via(into.via or syntax.Local(), arguments)
        device, query = query.device, replace(query, run=None, device="auto")
        catalog, root = self._environment.catalog, self._environment.root
        axes = catalog.find(query.model, arguments).preprocessing.rank
        if not folder.exists():
            folder.check_new()
        images = Images.of(sources.listed(query.source, arguments, lambda: axes, root))
        per_image = PerImage(query, arguments, axes, root)
        bound = self._binder.bind(replace(query, device=device), per_image.of(images[0].id))
        for each in formats:
            EXTENSIONS[each].check(bound.size, not isinstance(query.region, syntax.At))
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
            "model": self._model(query.model, bound, arguments),
            "settings": self._environment.settings.changed(),
        }
        with folder.making():
            if folder.exists():
                _check_same(folder, facts)
            else:
                folder.create(facts, images, dict(kept.arrays))

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
        return {"manifest": {"path": path, "sha256": _sha256(path)}}

    def _check_manifest(self, folder: RunFolder) -> None:
        """Raise BindError where the manifest of a run is another than when the run was made."""
        manifest = folder.facts["images"]["manifest"]
        if manifest is None:
            return
        path = self._environment.root.path(manifest["path"])
        if os.path.isfile(path) and _sha256(path) != manifest["sha256"]:
            raise BindError(
                f"the manifest '{manifest['path']}' has changed since the run in '{folder}' was made; a run is of one "
                "list of images: put the old manifest back, or make another run"
            )

    # ---- driving

    def _begin(self, asked: Asked, progress: Progress | None) -> tuple[Run, Callable[[], None]]:
        """The run, and what does the work; all that can be refused has been refused then."""
        folder, via = asked.folder, asked.via
        _check_via(via, asked.arguments)
        part, of = _shard(via, asked.arguments) if isinstance(via, syntax.Shard) else (1, 1)
        name = WHOLE if of == 1 else f"shard-{part}-of-{of}"
        if folder.facts["model"]["of_session"] and not isinstance(via, syntax.Local | syntax.Shard):
            model = folder.facts["model"]["name"]
            raise BindError(
                f"the model '{model}' lives in this session, and workers elsewhere cannot have it: save it to a file "
                "and name that by CREATE MODEL, or compute VIA local"
            )
        query = query_of(folder.facts)
        with self._environment.turn():
            arguments = self._arguments(folder, query, asked.arguments)
        count = len(range(part - 1, len(folder.images), of))
        watch = Watch(count, self._telling(progress))
        run = Run(folder, lambda: self.submit(syntax.ResumeRun(str(folder), via), asked.arguments), watch)

        def drive() -> None:
            try:
                with folder.driven(name):
                    state = folder.state()
                    numbers = state.pending()
                    numbers = numbers[numbers % of == part - 1]
                    watch.begin(count - len(numbers))
                    work = Work(folder, numbers, state, watch, _deaths(via, asked.arguments))
                    self._drive(work, asked, query, arguments, name)
                    if not watch.cancelled:
                        self._finish(folder)
            except BaseException as error:
                watch.end(None if isinstance(error, Cancel) else error)
                raise
            watch.end()

        return run, drive

    def _drive(self, work: Work, asked: Asked, query: syntax.Occlude, arguments: Arguments, name: str) -> None:
        folder, watch, via = work.folder, work.watch, asked.via
        journal = Journal(folder.journals, f"{name}-driver")
        try:
            if isinstance(via, syntax.Processes):
                count = _number(via.count, asked.arguments, "processes")
                by_crew(work, Processes(count, self._opening(folder, count)), journal)
                return
            if isinstance(via, syntax.Ray):
                by_crew(work, ray.Actors(_ray(via, asked.arguments), self._opening(folder, 1)), journal)
                return

            def stop(done: int, total: int) -> None:
                if watch.cancelled:
                    raise Cancel

            evaluate = Evaluator(self._environment, query, arguments, folder.facts["model"]["identity"], stop)
            worker = Worker(folder, evaluate, name)
            try:
                alone(work, worker, journal)
            finally:
                worker.close()
        finally:
            journal.close()

    def _opening(self, folder: RunFolder, workers: int) -> Opening:
        """For so many workers on this machine."""
        settings = self._environment.settings
        threads = _threads_each(settings["threads"], workers)
        return Opening(str(folder), OPENED, {**settings.changed(), "threads": threads}, self._environment.root.folder)

    def _finish(self, folder: RunFolder) -> None:
        """Write the table of results once every image has a row."""
        state = folder.state()
        if not (state.status == NONE).any():
            folder.write_results(state)

    def _arguments(self, folder: RunFolder, query: syntax.Occlude, given: Arguments) -> Arguments:
        """Those that the run keeps; its modules, and models of this session, are the caller's.

        Raises BindError where they are not given, or not what they were.
        """
        facts = folder.facts
        for name in facts["parameters"]["modules"]:
            if name[1:] not in given.named:
                raise BindError(
                    f"the run in '{folder}' was made with a module for {name}, which its folder cannot keep: "
                    "give it again, in the parameters"
                )
        arguments = parameters.restored(facts["parameters"]["plain"], folder.arrays(), given)
        catalog, created = self._environment.catalog, facts["model"]["created"]
        try:
            model = catalog.find(query.model, arguments)
        except UnknownName as error:
            if created is None:
                raise UnknownName(
                    f"{error}; the run in '{folder}' was made by it: register it as it was", error.name
                ) from None
            catalog.defer(CreatedModel(**created))
            model = catalog.find(query.model, arguments)
        if catalog.traced(model).identity != facts["model"]["identity"]:
            raise BindError(
                f"the model '{model.name}' is not the one that the run in '{folder}' was made with: its network, "
                "weights or preprocessing are others"
            )
        return arguments

    def _telling(self, progress: Progress | None) -> Callable[[Any], None] | None:
        on_run, on_progress = self._environment.on_run, progress or self._environment.on_progress
        if progress is None and on_run is not None:
            return on_run
        if on_progress is None:
            return None
        return lambda now: on_progress(now.done + now.failed, now.total)


# ---- what is written


def _formats(into: syntax.RunInto, arguments: Arguments) -> tuple[str, ...]:
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


def _number(value: int | syntax.Parameter, arguments: Arguments, what: str) -> int:
    number = arguments.plain(value)
    if isinstance(number, str) and number.strip().isdecimal():  # of the environment, as SLURM gives them
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ClauseError(f"{{{what}}} takes whole numbers from 1; not {number!r}")
    return int(number)


def _shard(via: syntax.Shard, arguments: Arguments) -> tuple[int, int]:
    part, parts = (_number(each, arguments, "shard") for each in (via.part, via.parts))
    if part > parts:
        raise ClauseError(f"{{shard}} counts from 1: part {part} of {parts} is none")
    return part, parts


def _check_via(via: syntax.Via, arguments: Arguments) -> None:
    """Raise BindError for numbers out of range."""
    if isinstance(via, syntax.Processes):
        _number(via.count, arguments, "processes")
    if isinstance(via, syntax.Shard):
        _shard(via, arguments)
    if isinstance(via, syntax.Ray):
        _ray(via, arguments)
        import_optional("ray")


def _ray(via: syntax.Ray, arguments: Arguments) -> ray.Wanted:
    return ray.Wanted.of({key: arguments.plain(value) for key, value in via.options})


def _deaths(via: syntax.Via, arguments: Arguments) -> int:
    """How many workers an image kills before it is put into quarantine."""
    return _ray(via, arguments).retries + 1 if isinstance(via, syntax.Ray) else DEATHS


def _threads_each(threads: int, workers: int) -> int:
    """The threads of each of so many workers that share a machine."""
    return max(1, threads // workers)


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
        "parameters": (there["parameters"]["sha256"], asked["parameters"]["sha256"]),
        "model": (there["model"]["identity"], asked["model"]["identity"]),
        "list of images": (there["images"]["sha256"], asked["images"]["sha256"]),
    }
    differing = [name for name, (before, now) in differences.items() if before != now]
    if differing:
        told = f": {there['query']}" if differing == ["query"] else ""
        raise BindError(
            f"'{folder}' has another run, of another {' and another '.join(differing)}{told}; "
            f"RESUME RUN '{folder}' goes on with that, and a new run takes a folder of its own"
        )


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ExecutionError(f"cannot read '{path}': {error.strerror}") from error


def _quietly(drive: Callable[[], None]) -> Callable[[], None]:
    """In a thread, whose errors are told by whoever waits for the run."""

    def target() -> None:
        with suppress(Error, KeyboardInterrupt):
            drive()

    return target
