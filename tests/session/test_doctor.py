"""``kdb doctor``: what is broken is told, and nothing raises."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import kdb
from kdb import cli
from kdb.models import torchvision_compat
from kdb.session import doctor


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def states(**arguments: str) -> dict[str, tuple[str, str]]:
    return {part: (found, state) for part, state, found in doctor.examined(**arguments)}


def test_this_installation_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--format", "json"]) == 0
    rows = {row["part"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["kdb"]["found"].startswith(kdb.__version__)
    assert {"python", "torch", "numpy", "threads", "BLAS", "GPU", "cache", "calibration", "extra onnx"} <= rows.keys()
    assert {row["state"] for row in rows.values()} <= {doctor.OK, doctor.MISSING, doctor.WARNING}
    assert "study" not in rows and "root" not in rows


def test_a_package_that_is_missing_old_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["numpy>=999", "none-such>=1", "lark", 'onnx>=1; extra == "onnx"', 'nothing-such; extra == "onnx"']
    monkeypatch.setattr(metadata, "requires", lambda name: requirements)

    def load(name: str) -> None:
        if name == "lark":
            raise OSError("undefined symbol: x\nand more")

    monkeypatch.setattr(doctor, "_load", load)
    found = states()
    assert found["numpy"][1] == doctor.BROKEN and "where kdb needs >=999" in found["numpy"][0]
    assert found["none-such"] == ("is not installed", doctor.BROKEN)
    assert found["lark"][1] == doctor.BROKEN and found["lark"][0].endswith("cannot be imported: undefined symbol: x")
    assert found["extra onnx"][1] == doctor.MISSING and found["extra onnx"][0].endswith("'kdb-occlusion[onnx]'")


def test_what_raises_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(doctor, "_threads", broken)
    assert ("broken", doctor.BROKEN, "ZeroDivisionError: no") in list(doctor.examined())


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for chosen, state, said in (
        ("file", doctor.WARNING, "is no folder"),
        ("file/below", doctor.WARNING, "cannot be made"),
        ("open", doctor.WARNING, "other users can write"),
        ("new", doctor.OK, "made when it is needed"),
    ):
        found, is_state = doctor._folder(tmp_path / chosen)
        assert said in found and is_state == state


def test_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.kdb"
    assert list(doctor._study(str(study), None)) == [("study", f"there is no '{study}' yet", doctor.WARNING)]
    assert not study.exists()
    with kdb.connect(study) as db:
        db.execute("SET seed = 1")
    assert list(doctor._study(str(study), None)) == [("study", f"{study}: 0 models, 1 settings", doctor.OK)]
    assert list(doctor._study("study.kdb", str(tmp_path)))[1][2] == doctor.OK
    study.write_bytes(b"no study")
    ((_, said, state),) = doctor._study(str(study), None)
    assert "is no study of kdb" in said and state == doctor.BROKEN
    ((part, _, state),) = doctor._study(None, str(study))
    assert part == "root" and state == doctor.BROKEN


def test_a_damaged_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdb.execution.settings import cores
    from kdb.planner import calibration

    monkeypatch.setenv("KDB_CACHE", str(tmp_path))
    (tmp_path / f"profile-{calibration.machine(cores())}.json").write_text('{"rates": {"a": [[Infinity, 1]]}}')
    found = {part: (text, state) for part, text, state in doctor._caches()}
    assert found["calibration"] == ("damaged or outdated; CALIBRATE makes it anew", doctor.WARNING)


def test_a_torchvision_that_only_kdb_can_import_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for misfit, state in ((True, doctor.WARNING), (False, doctor.OK)):
        monkeypatch.setattr(torchvision_compat, "misfit", lambda misfit=misfit: misfit)
        found, told = doctor._package(Requirement("torchvision"))
        assert told == state and ("do not fit the installed torch" in found) == misfit


def test_the_misfit_is_what_a_plain_import_runs_into() -> None:
    plain = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    torchvision_compat.import_torchvision()
    assert torchvision_compat.misfit() == (plain.returncode != 0)
