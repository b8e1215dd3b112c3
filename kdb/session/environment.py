"""What the statements of a session work on: its models, images, settings, study and engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from kdb.errors import BindError, ExecutionError
from kdb.execution.engine import Engine, Progress, default_settings
from kdb.language.arguments import Arguments
from kdb.models.catalog import Catalog
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.queries.sources import Load
from kdb.runs.watch import Progress as RunProgress
from kdb.session.study import Study
from kdb.system import memory
from kdb.system.allowance import Allowance
from kdb.system.interrupts import interruptible
from kdb.system.locks import ProcessLock
from kdb.system.paths import ANYWHERE, Root
from kdb.system.threads import after_fork

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Call:
    """What a statement is run with: its parameters, who is told of its progress, and the time that it may take."""

    arguments: Arguments
    on_progress: Progress | None = None
    allowance: Allowance = field(default_factory=Allowance)


class Environment:
    """The state of one session, with the settings and models that its ``study`` keeps.

    ``on_progress`` is called with (positions finished, positions in all) while a map is computed.  All paths that
    statements name are opened under the ``root``.
    """

    def __init__(self, study: Study, on_progress: Progress | None = None, root: Root = ANYWHERE) -> None:
        self.study, self.on_progress, self.root = study, on_progress, root
        self.on_run: Callable[[RunProgress], None] | None = None
        """Called with the progress of a run, in place of ``on_progress``."""
        self.settings = default_settings()
        self.engine = Engine(self.settings, self.profile)
        self.catalog = Catalog(self.engine.forget, root)
        self.images: dict[str, Load] = {}
        self._lock, self._tells = ProcessLock(self._renew), False
        for name, value in study.settings().items():
            try:
                self.settings.set(name, value)
            except BindError as error:  # of a version that had other settings
                log.warning("the study '%s' has a setting that is passed over: %s", study.path, error)
        for created in study.models():
            self.catalog.defer(created)

    def call(self, arguments: Arguments, progress: Progress | None = None) -> Call:
        """What a statement is run with that begins now; ``progress`` is of it alone, in place of the session's.

        Raises ExecutionError where the study is closed.
        """
        if self.study.closed:
            raise ExecutionError(
                f"the session is closed, and with it its study '{self.study.path}'; kdb.connect opens it again"
            )
        seconds = self.settings["statement_timeout"]
        return Call(arguments, self._telling(progress or self.on_progress), Allowance(seconds or None))

    @contextmanager
    def turn(self, call: Call | None = None) -> Iterator[None]:
        """Around whatever uses the session, for the statement of a ``call`` if it is one.

        Threads take turns.  Ctrl-C is raised as Interrupted, a lack of memory as ExecutionError, and Timeout once the
        statement has taken longer than it may.  Raises ExecutionError in a progress callback, whose statement is not
        done yet.
        """
        with self._lock:
            if self._tells:
                raise ExecutionError(
                    "a progress callback cannot use the session whose query it is called by; "
                    "give it a session of its own, kdb.connect()"
                )
            allowance = call.allowance if call else Allowance()
            with interruptible(), memory.told(), after_fork(), allowance.running(), _in_float32():
                yield

    def _renew(self) -> None:
        """In a forked process: no callback runs there."""
        self._tells = False

    def _telling(self, progress: Progress | None) -> Progress | None:
        """A callback that keeps others of its thread out of the session while it runs."""
        if progress is None:
            return None

        def tell(done: int, total: int) -> None:
            self._tells = True
            try:
                progress(done, total)
            except StopIteration as error:  # no generator lets it through
                raise ExecutionError("the progress callback raised StopIteration; raise kdb.Cancel to stop") from error
            finally:
                self._tells = False

        return tell

    def profile(self, machine: str) -> CostProfile | None:
        """The cost profile stored for the machine of that name, in the study or else the cache, or None."""
        text = self.study.profile(machine)
        found = None if text is None else calibration.decoded(text)
        if text is not None and found is None:
            log.warning(
                "the study '%s' has a damaged or outdated calibration; CALIBRATE makes it anew", self.study.path
            )
        return found or calibration.kept(machine)


@contextmanager
def _in_float32() -> Iterator[None]:
    """Where a caller's autocast is off: it would round what maps are made of, and the model itself, to 16 bits."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield
