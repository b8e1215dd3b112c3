"""The wheel stands alone: unpacked and imported from elsewhere it finds its grammar, and a type checker its types."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PARSE = """
import sys
sys.path.insert(0, sys.argv[1])
import kdb.language.parser
assert kdb.language.parser.__file__.startswith(sys.argv[1]), kdb.language.parser.__file__
print(kdb.language.parser.parse("OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING resnet18"))
"""

TYPED = """
from typing import assert_type

import kdb
import numpy as np
import torch
from numpy.typing import NDArray

with kdb.connect("study.kdb") as db:
    assert_type(db, kdb.Session)
    found = db.execute("OCCLUDE $img USING resnet18", {"img": "cat.png"})
    assert_type(found, kdb.HeatMap | kdb.HeatMaps | kdb.Run | kdb.Table)
    assert isinstance(found, kdb.HeatMap)
    assert_type(found.values, NDArray[np.float32])
    assert_type(found.label, str | tuple[str, ...])
    assert_type(found.exact, bool)
    print(found.baseline, found.positions.shape, found.upsample().max(), found.save("heat.npz").name)
    for hm in db.stream("OCCLUDE 'cat.png' USING resnet18"):
        assert_type(hm, kdb.HeatMap)
assert_type(kdb.occlude("cat.png", "resnet18", patch=(8, 8), stride=4), kdb.HeatMap | kdb.HeatMaps)
occlusion = kdb.captum.Occlusion(torch.nn.Identity())
assert_type(occlusion.why_not(torch.zeros(1, 3, 8, 8)), str | None)
assert_type(kdb.__version__, str)
try:
    print(db.explain("OCCLUDE cat USING resnet18"))
except kdb.ParseError as error:
    assert_type(error.line, int)
"""


pytestmark = pytest.mark.xdist_group("wheel")  # built once


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
        if path.is_file()
        and path.suffix in (".py", ".c", ".h", ".cu", ".cuh", ".typed", ".json", ".html", ".js", ".css", ".svg")
    }
    assert package <= names
    assert "kdb/grammar/kdb.lark" in names
    # One with compiled kernels is of this platform, and has their sources, by which they are checked.
    assert ("kdb/kernels/compiled/kdb_kernels.so" in names) == (not wheel.name.endswith("-none-any.whl"))
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


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and otherwise what this one has."""
    pytest.importorskip("mypy", reason="mypy, of the dev extra, is not installed")
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    packages = Path(paths["purelib"])
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "host.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Path(paths["scripts"]) / "python"


MISTAKES = {
    "kdb.oclude": "attr-defined",
    "kdb.connect(3)": "arg-type",
    "kdb.connect().execute('SHOW RULES').label": "union-attr",
    "kdb.occlude('cat.png', 'resnet18', score=1)": "arg-type",
}
"""What users write, and the code of mypy's error."""


@pytest.fixture(scope="module")
def checked(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """mypy's lines on each program, strict and without a configuration: one run, most of which PyTorch takes."""
    folder = tmp_path_factory.mktemp("programs")
    programs = {"typed": TYPED, **{f"mistake_{i}": f"import kdb\n{each}\n" for i, each in enumerate(MISTAKES)}}
    for name, program in programs.items():
        (folder / f"{name}.py").write_text(program)
    options = ["--strict", "--config-file=", f"--cache-dir={python.parent}", f"--python-executable={python}"]
    command = [sys.executable, "-m", "mypy", *options, *(f"{name}.py" for name in programs)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr  # mypy itself did not fail, and it found mistakes
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Found ")]
    found = {name: [line for line in lines if line.startswith(f"{name}.py:")] for name in programs}
    assert sum(map(len, found.values())) == len(lines), lines
    return found


@pytest.mark.slow
def test_a_users_program_is_type_checked(checked: dict[str, list[str]]) -> None:
    assert checked["typed"] == []


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_users_mistake_is_found(mistake: str, checked: dict[str, list[str]]) -> None:
    name = f"mistake_{list(MISTAKES).index(mistake)}"
    lines = checked[name]
    assert any(line.startswith(f"{name}.py:2: error:") and line.endswith(f"[{MISTAKES[mistake]}]") for line in lines)
