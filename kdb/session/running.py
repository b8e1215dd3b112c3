"""Runs: what INTO RUN, RESUME RUN and SHOW RUN do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kdb.errors import BindError, Cancel, Error, Interrupted, UnknownName
from kdb.execution.engine import Progress
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import CreatedModel
from kdb.queries.bind import BoundQuery
from kdb.results.frames import import_optional
from kdb.results.tables import Headed
from kdb.runs import parameters
from kdb.runs.driving import Work, alone, by_crew
from kdb.runs.folder import RunFolder
from kdb.runs.journal import Journal
from kdb.runs.run import Run
from kdb.runs.starts.opening import Opening
from kdb.runs.state import NONE
from kdb.runs.summary import summary
from kdb.runs.watch import Watch
from kdb.runs.worker import Worker
from kdb.session.environment import Environment
from kdb.session.evaluator import OPENED, Evaluator, query_of
from kdb.session.making import Maker, check_reachable, formats_of, sha256_of
from kdb.session.starting import Start, start
from kdb.system.interrupts import interruptible


@dataclass(frozen=True)
class Asked:
    """A run that a statement asks for: its folder, who is to do the work, and the arguments that it was given."""

    folder: RunFolder
    via: syntax.Via | None
    start: Start
    arguments: Arguments


class Running:
    """Makes, drives and shows the runs of one session."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._maker = environment, Maker(environment)

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
        return run

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

    def bound(self, query: syntax.Occlude, arguments: Arguments) -> BoundQuery:
        """The query of a run bound, for EXPLAIN."""
        return self._maker.bound(replace(query, run=None), arguments)

    def explained(self, query: syntax.Occlude, arguments: Arguments) -> tuple[str, ...]:
        """What EXPLAIN says of a run: who does the work, and what it leaves."""
        assert query.run is not None
        files = ", ".join(f"maps/{{id}}.{each}" for each in formats_of(query.run, arguments))
        return (f"a run into '{query.run.folder}': {files}; {self._start(query.run.via, arguments).said}",)

    # ---- what is asked for

    def _folder(self, path: str) -> RunFolder:
        import_optional("pyarrow")
        if not path:
            raise BindError("a run's folder has a name; '' is none")
        return RunFolder(self._environment.root.path(path))

    def _start(self, via: syntax.Via | None, arguments: Arguments) -> Start:
        return start(via, arguments, self._environment.settings["threads"])

    def _asked(self, statement: syntax.Occlude | syntax.ResumeRun, arguments: Arguments) -> Asked:
        if isinstance(statement, syntax.ResumeRun):
            folder, via = self._folder(statement.folder), statement.via
            asked = Asked(folder, via, self._start(via, arguments), arguments)
            with self._environment.turn():
                self._maker.check_manifest(folder)
            return asked
        assert statement.run is not None
        folder, via = self._folder(statement.run.folder), statement.run.via
        asked = Asked(folder, via, self._start(via, arguments), arguments)
        with self._environment.turn():
            self._maker.make(statement, statement.run, folder, arguments, asked.start.crew is not None)
        return asked

    # ---- driving

    def _begin(self, asked: Asked, progress: Progress | None) -> tuple[Run, Callable[[], None]]:
        """The run, and what does the work; all that can be refused has been refused then."""
        folder, start = asked.folder, asked.start
        check_reachable(folder.facts["model"], start.crew is not None)
        query = query_of(folder.facts)
        with self._environment.turn():
            arguments = self._arguments(folder, query, asked.arguments)
        count = len(range(start.part - 1, len(folder.images), start.parts))
        watch = Watch(count, self._telling(progress))
        run = Run(folder, lambda: self.submit(syntax.ResumeRun(str(folder), asked.via), asked.arguments), watch)

        def drive() -> None:
            try:
                with folder.driven(start.name), folder.told():
                    state = folder.state()
                    numbers = state.pending()
                    numbers = numbers[numbers % start.parts == start.part - 1]
                    watch.begin(count - len(numbers))
                    work = Work(folder, numbers, state, watch, start.deaths)
                    self._drive(work, start, query, arguments)
                    if not watch.cancelled:
                        self._finish(folder)
            except BaseException as error:
                watch.end(None if isinstance(error, Cancel) else error)
                raise
            watch.end()

        return run, drive

    def _drive(self, work: Work, start: Start, query: syntax.Occlude, arguments: Arguments) -> None:
        folder, watch = work.folder, work.watch
        journal = Journal(folder.journals, f"{start.name}-driver")
        try:
            if start.crew is not None:
                by_crew(work, start.crew(self._opening(folder, start)), journal)
                return

            def stop(done: int, total: int) -> None:
                if watch.cancelled:
                    raise Cancel

            evaluate = Evaluator(self._environment, query, arguments, folder.facts["model"]["identity"], stop)
            worker = Worker(folder, evaluate, start.name)
            try:
                alone(work, worker, journal)
            finally:
                worker.close()
        finally:
            journal.close()

    def _opening(self, folder: RunFolder, start: Start) -> Opening:
        settings = {**self._environment.settings.changed(), "threads": start.threads}
        return Opening(str(folder), OPENED, settings, self._environment.root.folder)

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
        if created is not None and not self._is_same_file(created):
            raise BindError(
                f"the file '{created['path']}' of the model '{created['name']}' is gone, or another than when the run "
                f"in '{folder}' was made: put it back, or make another run"
            )
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

    def _is_same_file(self, created: Mapping[str, Any]) -> bool:
        path = self._environment.root.path(created["path"])
        return os.path.isfile(path) and sha256_of(path) == created["sha256"]

    def _telling(self, progress: Progress | None) -> Callable[[Any], None] | None:
        on_run, on_progress = self._environment.on_run, progress or self._environment.on_progress
        if progress is None and on_run is not None:
            return on_run
        if on_progress is None:
            return None
        return lambda now: on_progress(now.done + now.failed, now.total)


def _quietly(drive: Callable[[], None]) -> Callable[[], None]:
    """In a thread, whose errors are told by whoever waits for the run."""

    def target() -> None:
        with suppress(Error, KeyboardInterrupt):
            drive()

    return target
