"""The one place that imports torchvision, also where its compiled operators do not load.

torchvision declares operators of its own (``torchvision::nms`` and kin) in a compiled library.  Where that library
does not fit the installed torch, ``import torchvision`` fails, although no classification model uses one of them.
Declaring the two schemas that the import asks for is then enough.  This makes no operator usable that was not.
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
    """The torchvision package.  Raises ModelError where it is not installed or cannot be imported."""
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
        del sys.modules[name]  # what the failed import left is half initialised
    try:
        return import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise ModelError(f"torchvision does not fit the installed torch: {error}") from error


@cache
def _declare_operators() -> object:
    """Returns the library that holds the declarations; the cache keeps it alive, and they end with it."""
    library = import_module("torch.library").Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library
