"""What a worker elsewhere needs to begin: plain texts, so that they travel by a line of JSON or through Ray."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import Any, cast

from kdb.runs.folder import RunFolder
from kdb.runs.worker import Evaluate, Worker


@dataclass(frozen=True)
class Opening:
    """The run's ``folder``, the function that makes maps of its images, the settings and the root of the session.

    ``function`` is spelled ``module:name``; it is called with the RunFolder, the settings and the root, and returns
    what makes the map of an image.
    """

    folder: str
    function: str
    settings: dict[str, Any]
    root: str | None

    def worker(self) -> Worker:
        """The worker; raises what the function raises."""
        module, _, name = self.function.partition(":")
        folder = RunFolder(self.folder)
        evaluate = getattr(importlib.import_module(module), name)(folder, self.settings, self.root)
        return Worker(folder, cast(Evaluate, evaluate))

    def plain(self) -> dict[str, Any]:
        """As a dict, for ``Opening(**plain)``."""
        return asdict(self)
