"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL))


# Each check has a process of its own, made from one that has PyTorch but not kdb, as that takes longest to import.
PROCESSES: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
pytestmark = pytest.mark.xdist_group("recipes")


def followed(check: Path, said: Path) -> None:
    """Runs a check in its folder, where its kdb is; what it says goes to a file."""
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
    os.chdir(check.parent)
    sys.path.insert(0, str(check.parent))
    assert "kdb" not in sys.modules
    runpy.run_path(str(check), run_name="__main__")


def apply(difference: str, root: Path) -> None:
    """Each part, between ``+++ FILE`` and ``@@`` lines, replaces the one place that looks as it did before."""
    for path, parts in re.findall(r"^\+\+\+ (\S+)\n(.*?)(?=^\+\+\+ |\Z)", difference, re.MULTILINE | re.DOTALL):
        file = root / path
        text = file.read_text(encoding="utf-8")
        for part in re.split(r"^@@\n", parts, flags=re.MULTILINE):
            if not part:
                continue
            lines = part.splitlines()
            before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
            after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
            assert text.count(before) == 1, f"{path} has this {text.count(before)} times:\n{before}"
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def with_torch() -> None:
    if hasattr(os, "fork"):
        PROCESSES.set_forkserver_preload(["torch", "torch.export", "scipy.ndimage"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe(name: str, tmp_path: Path) -> None:
    for folder in ("kdb", "grammar"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    added, checks = [], []
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", RECIPES[name], re.MULTILINE | re.DOTALL):
        if language == "diff":
            apply(code, tmp_path)
        elif (first := re.match(r"# (kdb/\S+)\n", code)) is not None:
            added.append(tmp_path / first[1])
            added[-1].write_text(code[first.end() :], encoding="utf-8")
        else:
            checks.append(code)
    assert checks, "a recipe ends with what it makes possible"
    if added:
        style = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), *map(str, added)]
        subprocess.run(style, check=True, cwd=tmp_path)
    for i, check in enumerate(checks):
        code = "import kdb, pathlib\nassert pathlib.Path(kdb.__file__).is_relative_to(pathlib.Path.cwd())\n" + check
        (file := tmp_path / f"check_{i}.py").write_text(code, encoding="utf-8")
        process = PROCESSES.Process(target=followed, args=(file, said := tmp_path / "said"))
        process.start()
        process.join(300)
        assert process.exitcode == 0, said.read_text()[-3000:]
