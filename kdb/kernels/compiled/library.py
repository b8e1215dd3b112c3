"""The compiled kernels, where there are any that this processor can run: found, checked and bound by ctypes.

Its functions let go of the interpreter's lock while they compute.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError
from kdb.kernels.compiled import build

log = logging.getLogger(__name__)

SETTING = "KDB_COMPILED"
AUTO, OFF = "auto", "off"
FILE = build.FOLDER / build.NAME

FloatArray = npt.NDArray[np.float32]

_ARRAY, _LONG = ctypes.c_void_p, ctypes.c_long
_EPILOGUE = [*[_ARRAY] * 2, *[_LONG] * 3, *[_ARRAY] * 2, *[_LONG] * 3, _ARRAY]
"""Of a pointwise layer behind: its view, where boxes lie in it, and the program."""
_FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    "winograd_scratch": (_LONG, [_LONG] * 6),
    "winograd_pack": (None, [*[_LONG] * 4, _ARRAY, *[_LONG] * 2, *[_ARRAY] * 3]),
    "winograd": (None, [*[_LONG] * 4, _ARRAY, *[_LONG] * 4, *[_ARRAY] * 3, *[_LONG] * 3, *[_ARRAY] * 2, *_EPILOGUE]),
    "depthwise_applies": (ctypes.c_int, [_LONG] * 2),
    "depthwise": (
        None,
        [*[_LONG] * 2, _ARRAY, *[_LONG] * 4, *[_ARRAY] * 3, *[_LONG] * 2, *[_ARRAY] * 2, *_EPILOGUE],
    ),
    "gathered_pack": (None, [*[_LONG] * 3, _ARRAY, *[_LONG] * 3, _ARRAY]),
    "gathered_scratch": (_LONG, [_LONG]),
    "gathered": (None, [ctypes.c_int, _LONG, *[_ARRAY] * 4, _LONG, _ARRAY, _LONG, *[_ARRAY] * 2]),
    "max_pool": (None, [*[_LONG] * 5, *[_ARRAY] * 13]),
    "sum": (None, [*[_LONG] * 4, *[_ARRAY, _ARRAY, *[_LONG] * 3] * 2, *_EPILOGUE, _ARRAY]),
    "pointwise": (None, [*[_LONG] * 4, _ARRAY, *_EPILOGUE, _ARRAY]),
}
"""Result and arguments of each function that a variant exports."""


class _Scratch(threading.local):
    """A thread's memory for what lies between two steps of a kernel; it goes with the thread."""

    def __init__(self) -> None:
        self.array = np.empty(0, np.float32)


class Library:
    """The functions of one ``variant``, such as avx512, as ctypes calls them.

    ``lanes`` are the float32 numbers of its vectors, ``functions`` the names of those that programs may use, in order,
    ``cellwise`` of those that read all channels of a cell.
    """

    def __init__(self, loaded: ctypes.CDLL, variant: str) -> None:
        def bound(name: str) -> Any:
            function = getattr(loaded, f"kdb_{variant}_{name}")
            function.restype, function.argtypes = _FUNCTIONS[name]
            return function

        self.variant, self.lanes = variant, build.LANES[variant]
        self.winograd, self.winograd_scratch = bound("winograd"), bound("winograd_scratch")
        self.winograd_pack = bound("winograd_pack")
        self.depthwise, self.depthwise_applies = bound("depthwise"), bound("depthwise_applies")
        self.gathered, self.gathered_scratch = bound("gathered"), bound("gathered_scratch")
        self.gathered_pack = bound("gathered_pack")
        self.pointwise, self.sum, self.max_pool = bound("pointwise"), bound("sum"), bound("max_pool")
        self.functions = _text(loaded, f"kdb_{variant}_functions").split()
        self.cellwise = frozenset(_text(loaded, f"kdb_{variant}_cellwise").split())
        self._scratch = _Scratch()

    def scratch(self, numbers: int) -> int:
        """The address of memory for so many float32 numbers, the calling thread's own, until its next call."""
        if len(self._scratch.array) < numbers:
            self._scratch.array = np.empty(numbers, np.float32)
        return self._scratch.array.ctypes.data


def _text(loaded: ctypes.CDLL, name: str) -> str:
    """A text that the library exports."""
    return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(loaded, name))).decode("ascii", "replace")


class Found(NamedTuple):
    """The library, if there is one that can be used, and in words which, or why there is none."""

    library: Library | None
    text: str


def found() -> Found:
    """The variant that ``KDB_COMPILED`` names: auto for the best, off for none.

    Raises BindError where it names no variant, or one that this processor does not have.
    """
    asked = os.environ.get(SETTING, "").strip().lower() or AUTO
    if asked not in (AUTO, OFF, *build.VARIANTS):
        raise BindError(f"{SETTING} is one of {AUTO}, {OFF}, {', '.join(build.VARIANTS)}; not '{asked}'")
    if asked == OFF:
        return Found(None, f"off: {SETTING}={OFF}")
    variants, reason = _variants(FILE)
    if asked == AUTO:
        best = next(iter(variants.values()), None)
        return Found(best, reason if best is None else best.variant)
    if variants and asked not in variants:
        raise BindError(f"{SETTING} is '{asked}', which this processor does not have")
    return Found(variants.get(asked), asked if asked in variants else reason)


@cache
def _variants(file: Path) -> tuple[dict[str, Library], str]:
    """The variants that this processor can run, the best first; or why there are none."""
    try:
        loaded = ctypes.CDLL(str(file))
        current = _text(loaded, "kdb_sources") == build.digest()
    except (OSError, ValueError) as error:
        missing = not file.exists()
        return {}, "none was built" if missing else f"the library cannot be used: {error}"
    if not current:
        log.warning("the compiled kernels are of other sources and are left out; install kdb again")
        return {}, "the library was built of other sources; install kdb again"
    usable = {name: Library(loaded, name) for name in build.VARIANTS if loaded.kdb_supports(name.encode())}
    return usable, "" if usable else "the processor has neither AVX-512 nor AVX2"


def address(array: npt.NDArray[Any] | None) -> int | None:
    """Where a C-contiguous array begins."""
    return None if array is None else array.ctypes.data
