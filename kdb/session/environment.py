"""What the statements of a session work on: its models, images, settings, study and engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kdb.errors import BindError, ExecutionError
from kdb.execution.engine import Engine, Progress, default_settings
from kdb.images.reading import SourceImage
from kdb.language.arguments import Arguments
from kdb.models.catalog import Catalog
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.session.study import Study
from kdb.system import memory
from kdb.system.allowance import Allowance
from kdb.system.interrupts import interruptible
from kdb.system.locks import ProcessLock
from kdb.system.threads import after_fork


@dataclass(frozen=True, eq=False)
class Call:
    """What a statement is run with: its parameters, who is told of its progress, and the time that it may take."""

    arguments: Arguments
    on_progress: Progress | None = None
    allowance: Allowance = field(default_factory=Allowance)


class Environment:
    """The state of one session, with the settings and models that its ``study`` keeps.

    ``on_progress`` is called with (positions finished, positions in all) while a map is computed.
    """

    def __init__(self, study: Study, on_progress: Progress | None = None) -> None:
        self.study, self.on_progress = study, on_progress
        self.settings = default_settings()
        self.engine = Engine(self.settings, self.profile)
        self.catalog = Catalog(self.engine.forget)
        self.images: dict[str, SourceImage] = {}
        self._lock, self._tells = ProcessLock(self._renew), False
        for name, value in study.settings().items():
            with suppress(BindError):  # of a version that had other settings
                self.settings.set(name, value)
        for created in study.models():
            self.catalog.defer(created)

    def call(self, arguments: Arguments, progress: Progress | None = None) -> Call:
        """What a statement is run with that begins now; ``progress`` is of it alone, in place of the session's."""
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
            with interruptible(), memory.told(), after_fork(), (call.allowance if call else Allowance()).running():
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
            finally:
                self._tells = False

        return tell

    def profile(self, machine: str) -> CostProfile | None:
        """The cost profile stored for the machine of that name, in the study or else the cache, or None."""
        text = self.study.profile(machine)
        return (None if text is None else calibration.decoded(text)) or calibration.kept(machine)
