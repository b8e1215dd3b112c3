"""The documentation is true: what it shows runs, what it links to is there, what a script makes of it is up to date.

Every fenced block of every page is run, or says in the line above it why not::

    <!-- not run: REASON -->

``python`` blocks are executed in a folder with the files that the page names; those of one page share their names, in
order.  ``sql`` blocks are parsed, and executed too where the page has a session by then, called ``db``.  A ``text``
block is what the block before it printed.
"""

from __future__ import annotations

import io
import re
import runpy
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks import photos
from kdb.language.parser import parse
from kdb.models import architectures
from kdb.models.torchvision_compat import import_torchvision

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})(\w*)[^\n]*\n(.*?)^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_REASON = re.compile(r"<!-- not run: \S.* -->\n *\Z")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ---- blocks


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its fence, from 1."""

    line: int
    language: str
    code: str
    excused: bool


def blocks(text: str) -> Iterator[Block]:
    for fence in _FENCE.finditer(text):
        before = text[: fence.start(2)]
        yield Block(before.count("\n") + 1, fence[3], textwrap.dedent(fence[4]), _REASON.search(before) is not None)


def run(page: str, text: str) -> dict[str, Any]:
    """Runs the blocks of a page in the current folder, and returns the names that they leave; fails where one does."""
    names: dict[str, Any] = {"__name__": page}
    printed: str | None = None
    for block in blocks(text):
        where = f"{page}:{block.line}"
        if block.excused:
            printed = None
        elif block.language == "python":
            with redirect_stdout(io.StringIO()) as out:
                exec(compile("\n" * block.line + block.code, page, "exec"), names)  # tracebacks show the page's lines
            printed = out.getvalue()
        elif block.language == "sql":
            assert parse(block.code), f"{where}: there is no statement"
            if "db" in names:
                results = list(names["db"].run(block.code, names.get("parameters")))
                for found in results:
                    assert not isinstance(found, kdb.HeatMaps) or len(list(found)), f"{where}: no images"
                printed = f"{results[-1]}\n"
        elif block.language == "text" and printed is not None:
            assert _lines(block.code) == _lines(printed), where
        else:
            pytest.fail(
                f"{where}: a block in {block.language or 'no language'} that is not run needs a reason above it"
            )
    return names


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


# ---- what the pages use

import_torchvision()  # pages import it themselves, which fails where its operators do not fit the installed PyTorch


def small(classes: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes)]
    return nn.Sequential(*layers).eval()


def _photo(path: Path) -> None:
    Image.fromarray(photos.photo("chelsea", (224, 224))).save(path)


def _folder(path: Path) -> None:
    path.mkdir()
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(photos.photo(name, (112, 112))).save(path / f"{name}.png")


def _state_dict(path: Path) -> None:
    torch.save(architectures.build("resnet18", 4, (96, 96)).state_dict(), path)


def _exported(path: Path) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(small(2), (torch.rand(2, 3, 48, 48),), dynamic_shapes=shapes), path)


def _onnx(path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.onnx_files import classifier, node, saved

    saved(classifier(node("Softmax", "d", "y")), path.parent, path.name)


FILES: dict[str, Callable[[Path], object]] = {
    "cat.png": _photo,
    "images": _folder,
    "photos": _folder,
    "labels.txt": lambda path: path.write_text("CNV\nDME\nDRUSEN\nNORMAL\n"),
    "oct.pt": _state_dict,
    "oct.pt2": _exported,
    "net.onnx": _onnx,
}
"""What makes each file or folder that a page may name in quotes."""


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions in which a small network stands for efficientnet_lite0, which takes half a minute for a map."""
    real = kdb.connect

    def connect(*arguments: Any, **keywords: Any) -> kdb.Session:
        db = real(*arguments, **keywords)
        db.register_model("efficientnet_lite0", small(5), input_size=(224, 224), resize="crop", mean=0, std=1)
        return db

    monkeypatch.setattr(kdb, "connect", connect)


# ---- the tests


@pytest.mark.slow
@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("page", [page for page in PAGES if _FENCE.search(page.read_text("utf-8"))], ids=name_of)
def test_every_block_runs_or_says_why_not(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    for name, make in FILES.items():
        if re.search(rf"['\"]{re.escape(name)}['\"/]", text):
            make(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run(name_of(page), text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```console\nmake\n```\n", "page.md:1: a block in console"),
        ("text\n\n```\nmake\n```\n", "page.md:3: a block in no language"),
        ("<!-- not run -->\n```sh\nmake\n```\n", "page.md:2"),
        ("<!-- not run: slow -->\n\n```sh\nmake\n```\n", "page.md:3"),
        ("```text\nnothing was printed\n```\n", "page.md:1"),
        ("<!-- not run: slow -->\n```python\nprint(1)\n```\n```text\n1\n```\n", "page.md:5"),
    ],
)
def test_a_block_without_a_reason_is_found(text: str, said: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=said):
        run("page.md", text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("```python\n1 / 0\n```\n", ZeroDivisionError),
        ("```sql\nOCCLUDE cat;\n```\n", kdb.ParseError),
        ("```sql\n-- nothing\n```\n", AssertionError),
        ("```python\nprint(1)\n```\n```text\n2\n```\n", AssertionError),
        ("```python\nimport kdb\ndb = kdb.connect()\n```\n```sql\nRESET nothing;\n```\n", kdb.BindError),
    ],
)
def test_a_block_that_is_wrong_fails(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        run("page.md", text)


def test_blocks_share_names_and_reasons_excuse() -> None:
    text = "```python\na = 1\n```\n<!-- not run: slow -->\n```sh\nmake\n```\n  ~~~python\n  b = a + 1\n  ~~~\n"
    assert run("page.md", text)["b"] == 2


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_of_decisions_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "decisions" / "index.py"))["index"]()
    assert (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8") == made, "run `make index`"
