"""The wheel stands alone: built, unpacked and imported from elsewhere it still finds its grammar."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PARSE = """
import sys
sys.path.insert(0, sys.argv[1])
import kdb.parser
assert kdb.parser.__file__.startswith(sys.argv[1]), kdb.parser.__file__
print(kdb.parser.parse("OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING resnet18"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built with the backend at hand: nothing is downloaded."""
    pytest.importorskip("hatchling", reason="the build backend, of the dev extra, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    _run([sys.executable, "-c", build, str(folder)], ROOT)
    (built,) = folder.glob("kdb_occlusion-*.whl")
    return built


def _run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kdb").rglob("*")
        if path.is_file() and path.suffix in (".py", ".cu", ".cuh", ".typed", ".json")
    }
    assert package <= names
    assert "kdb/grammar/kdb.lark" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"kdb"}


def test_the_unpacked_wheel_parses_a_query(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # -I: neither the working directory nor PYTHONPATH may help.
    shown = _run([sys.executable, "-I", "-c", PARSE, str(unpacked)], elsewhere)
    assert "resnet18" in shown


def test_the_command_line_is_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "kdb = kdb.cli:main" in archive.read(entry_points).decode()


def test_the_license_travels_along(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (text,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(text) == (ROOT / "LICENSE").read_bytes()
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert "License-Expression: Apache-2.0\n" in archive.read(metadata).decode().replace("\r", "")
