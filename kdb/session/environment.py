"""What the statements of a session work on: its models, images, settings, study and engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock

from kdb.errors import BindError
from kdb.execution.engine import Engine, Progress, default_settings
from kdb.images.reading import SourceImage
from kdb.models.catalog import Catalog
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.session.study import Study
from kdb.system.interrupts import interruptible


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
        self._lock = RLock()
        for name, value in study.settings().items():
            with suppress(BindError):  # of a version that had other settings
                self.settings.set(name, value)
        for created in study.models():
            self.catalog.defer(created)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around whatever uses the session: threads take turns, and Ctrl-C is raised as Interrupted."""
        with self._lock, interruptible():
            yield

    def profile(self, machine: str) -> CostProfile | None:
        """The cost profile stored for the machine of that name, in the study or else the cache, or None."""
        text = self.study.profile(machine)
        return (None if text is None else calibration.decoded(text)) or calibration.kept(machine)
