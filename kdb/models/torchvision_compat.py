"""Imports torchvision, even if its compiled operators do not load.

torchvision's compiled library declares operators such as ``torchvision::nms``.  If it does not fit the installed
PyTorch, ``import torchvision`` fails, although no classification model uses these operators.  Declaring the two schemas
that the import looks up is enough for it to succeed; the operators remain unusable.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import ModuleType

from kdb.errors import ModelError

_SCHEMAS = tuple(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms"))


@cache
def import_torchvision() -> ModuleType:
    """The package torchvision; raises ModelError if it is not installed or cannot be imported."""
    try:
        return import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise ModelError(f"torchvision cannot be imported: {error}") from error
        raise ModelError("this model needs torchvision; pip install torchvision") from error
    except (ImportError, RuntimeError) as error:
        if "operator torchvision::" not in str(error):
            raise ModelError(f"torchvision cannot be imported: {error}") from error
    _declare_operators()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half initialised by the failed import
    try:
        return import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise ModelError(f"torchvision does not fit the installed torch: {error}") from error


def misfit() -> bool:
    """Whether torchvision was imported though its compiled operators do not load."""
    return _declare_operators.cache_info().currsize > 0


@cache
def _declare_operators() -> object:
    """The library with the declarations, which last as long as it does; the cache keeps it alive."""
    library = import_module("torch.library").Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library
