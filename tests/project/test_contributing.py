"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL))


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
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    if added:
        style = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), *map(str, added)]
        subprocess.run(style, check=True, cwd=tmp_path)
    for check in checks:
        code = "import kdb, pathlib\nassert pathlib.Path(kdb.__file__).is_relative_to(pathlib.Path.cwd())\n" + check
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
