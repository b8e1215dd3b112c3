"""kdb: an embedded, declarative engine for occlusion-based explanations of convolutional networks.

    import kdb
    db = kdb.connect()
    hm = db.execute("OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING resnet18")

Public names are imported when first used, so that ``import kdb`` is quick.  Log messages go to the logger ``kdb``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kdb.errors import (
    BindError,
    Cancel,
    DeviceError,
    Error,
    ExecutionError,
    Interrupted,
    ModelError,
    ParseError,
    Timeout,
    VerificationWarning,
)
from kdb.version import __version__

if TYPE_CHECKING:
    from kdb import captum, monai
    from kdb.results.maps import HeatMap
    from kdb.results.several import HeatMaps, plot
    from kdb.results.tables import Table
    from kdb.runs.run import Run
    from kdb.session.session import Session, connect
    from kdb.session.shortcut import occlude
    from kdb.ui.widget import widget

__all__ = [
    "BindError",
    "Cancel",
    "DeviceError",
    "Error",
    "ExecutionError",
    "HeatMap",
    "HeatMaps",
    "Interrupted",
    "ModelError",
    "ParseError",
    "Run",
    "Session",
    "Table",
    "Timeout",
    "VerificationWarning",
    "__version__",
    "captum",
    "connect",
    "monai",
    "occlude",
    "plot",
    "widget",
]

logging.getLogger("kdb").addHandler(logging.NullHandler())

_HOMES = {  # the module of each name that is imported when first used
    "HeatMap": "kdb.results.maps",
    "HeatMaps": "kdb.results.several",
    "plot": "kdb.results.several",
    "Run": "kdb.runs.run",
    "Session": "kdb.session.session",
    "connect": "kdb.session.session",
    "occlude": "kdb.session.shortcut",
    "Table": "kdb.results.tables",
    "widget": "kdb.ui.widget",
    "load_ipython_extension": "kdb.ui.magics",  # what %load_ext looks for
}


if not TYPE_CHECKING:  # with a module __getattr__, a type checker would accept any misspelled name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in ("captum", "monai"):
            return import_module(f"kdb.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'kdb' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
