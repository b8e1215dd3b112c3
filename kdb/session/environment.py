"""What the statements of a session work on: its models, images, settings, study and engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from kdb.errors import BindError
from kdb.execution.engine import Engine, Progress, default_settings
from kdb.images.reading import SourceImage
from kdb.models.catalog import Catalog
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.session.study import Study
from kdb.system.interrupts import interruptible
from kdb.system.paths import ANYWHERE, Root

log = logging.getLogger(__name__)


class Environment:
    """The state of one session, with the settings and models that its ``study`` keeps.

    ``on_progress`` is called with (positions finished, positions in all) while a map is computed.  All paths that
    statements name are opened under the ``root``.
    """

    def __init__(self, study: Study, on_progress: Progress | None = None, root: Root = ANYWHERE) -> None:
        self.study, self.on_progress, self.root = study, on_progress, root
        self.settings = default_settings()
        self.engine = Engine(self.settings, self.profile)
        self.catalog = Catalog(self.engine.forget, root)
        self.images: dict[str, SourceImage] = {}
        self._lock = RLock()
        for name, value in study.settings().items():
            try:
                self.settings.set(name, value)
            except BindError as error:  # of a version that had other settings
                log.warning("the study '%s' has a setting that is passed over: %s", study.path, error)
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
        found = None if text is None else calibration.decoded(text)
        if text is not None and found is None:
            log.warning(
                "the study '%s' has a damaged or outdated calibration; CALIBRATE makes it anew", self.study.path
            )
        return found or calibration.kept(machine)
