"""The CUDA sources as data: each kernel's parameters, read from its declaration, and the instances that are compiled.

A kernel is a template; its declaration is what the guarded launch checks arguments by, so that there is no second list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product

from kdb.kernels.gpu.programs import INTERPRETED

Types = tuple[str, ...]
"""Template arguments as C++ writes them."""

_STORED = ("float", "bf16")
_CONVERTED = (("float", "float"), ("bf16", "bf16"), ("bf16", "float"))
_WIDTHS = ("1", "4")

INSTANCES: Mapping[str, tuple[Types, ...]] = {
    "superimpose": tuple((*types, v) for types, v in product(_CONVERTED, _WIDTHS)),
    "occlude": tuple(product(_STORED, _WIDTHS)),
    "pointwise": tuple((*types, v) for types, v in product((*_CONVERTED[:2], ("float", "bf16")), _WIDTHS)),
    "product_delta": tuple(product(_STORED, _WIDTHS)),
    "take_cells": tuple(product(_STORED, _WIDTHS)),
    "take_channels": tuple((stored,) for stored in _STORED),
    "expand": tuple((stored,) for stored in _STORED),
    "max_pool": tuple(product(_STORED, _WIDTHS)),
    "average_pool": tuple(product(_STORED, _WIDTHS)),
    "mean": tuple((stored,) for stored in _STORED),
    "resample": tuple((stored,) for stored in _STORED),
    "over_channels": (("NORMALIZE",), ("SOFTMAX",), ("LOG_SOFTMAX",)),
    "convolve": tuple(
        (*math, v) for math, v in product((("float", "F32"), ("float", "TF32"), ("bf16", "BF16")), _WIDTHS)
    ),
    "depthwise": tuple(product(_STORED, _WIDTHS)),
}
"""The template arguments that each kernel is compiled for."""


@dataclass(frozen=True)
class Kernel:
    """A kernel's ``file``, the names of its template's parameters, and its own as (type, name) in order."""

    name: str
    file: str
    template: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]

    def expression(self, types: Types) -> str:
        """The C++ name of an instance."""
        return f"{self.name}<{', '.join(types)}>"

    def typed(self, types: Types) -> tuple[tuple[str, str], ...]:
        """The parameters of an instance: types without ``const``."""
        known = dict(zip(self.template, types, strict=True))
        return tuple((re.sub(r"\w+", lambda m: known.get(m[0], m[0]), type_), name) for type_, name in self.parameters)


_DECLARATION = re.compile(r"template <([^>]*)>\s*__global__ void\s+(?:__launch_bounds__\(\w+\)\s+)?(\w+)\(([^)]*)\)")
_FOLDER = resources.files("kdb.kernels") / "cuda"


@cache
def text(file: str) -> str:
    """A source with its headers included, each once: one text, so that a cache of binaries sees all of it."""
    seen: set[str] = set()

    def included(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        source = (_FOLDER / name).read_text().replace("#pragma once\n", "")
        return re.sub(r'#include "([\w.]+)"\n', lambda m: included(m[1]), source)

    return included(file)


def files() -> tuple[str, ...]:
    """The names of all sources, without headers."""
    return tuple(sorted(entry.name for entry in _FOLDER.iterdir() if entry.name.endswith(".cu")))


@cache
def kernels() -> Mapping[str, Kernel]:
    """Every kernel by its name."""
    found = {}
    for file in files():
        for template, name, parameters in _DECLARATION.findall((_FOLDER / file).read_text()):
            names = tuple(part.split()[-1] for part in template.split(","))
            split = (part.replace("const ", "").strip().rsplit(" ", 1) for part in parameters.split(","))
            found[name] = Kernel(name, file, names, tuple((type_.strip(), own) for type_, own in split))
    return found


def options() -> tuple[str, ...]:
    """The compiler's options: the language, and the numbers of the functions in programs."""
    return ("-std=c++17", *(f"-DFUNCTION_{name}={number}" for number, name in enumerate(INTERPRETED)))


def expressions(file: str) -> list[str]:
    """All instances of a source's kernels, as C++ names them."""
    own = (kernel for kernel in kernels().values() if kernel.file == file)
    return [kernel.expression(types) for kernel in own for types in INSTANCES[kernel.name]]
