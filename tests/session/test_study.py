"""Study files: what a session kept is there for the next; what is no study, damaged or newer is refused in words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kdb
from kdb.models.catalog import CreatedModel
from kdb.models.torchvision_compat import import_torchvision
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.results.maps import HeatMap
from kdb.session import study
from kdb.session.study import Study
from kdb.session.tuning import Subject, Tuning

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.kdb"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    file = tmp_path / "net.pt"
    torch.save(import_torchvision().models.resnet18(num_classes=3).state_dict(), file)
    return file


class TestSettings:
    def test_what_was_set_is_set_in_the_next_session(self, path: Path) -> None:
        with kdb.connect(path) as db:
            db.execute("SET Threads = 1; SET rule.fold_batch_norm = off; SET batch_size = 7; SET batch_size = auto")
            db.execute("SET seed = 3; RESET seed")
        with kdb.connect(path) as db:
            assert db.settings["threads"] == 1 and not db.settings["rule.fold_batch_norm"]
            assert db.settings["batch_size"] is None and db.settings["seed"] == 0
            db.execute("RESET ALL")
        assert Study(path).settings() == {}

    def test_a_setting_that_is_refused_is_not_kept(self, path: Path) -> None:
        with kdb.connect(path) as db, pytest.raises(kdb.BindError):
            db.execute("SET threads = 0")
        assert Study(path).settings() == {}

    def test_settings_of_another_version_are_passed_over(self, path: Path) -> None:
        kept = Study(path)
        kept.keep_setting("rule.of_long_ago", True)
        kept.keep_setting("seed", "many")
        kept.keep_setting("threads", 1)
        kept.close()
        with kdb.connect(path) as db:
            assert db.settings["threads"] == 1 and db.settings["seed"] == 0


class TestModels:
    def test_a_created_model_is_found_again_from_any_folder(
        self, path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(weights.parent)
        Path("labels.txt").write_text("cat\ndog\nfish\n")
        create = "CREATE MODEL net FROM 'net.pt' (arch = 'resnet18', input = (64, 64), labels = 'labels.txt')"
        query = "OCCLUDE $image STRIDE 16 USING net FOR CLASS 'dog'"
        with kdb.connect(path) as db:
            db.execute(create)
            first = db.execute(query, {"image": IMAGE})
        monkeypatch.chdir("/")
        with kdb.connect(path) as db:
            assert ("net", "net.pt", "3x64x64") in db.execute("SHOW MODELS").rows
            with pytest.raises(kdb.BindError, match="there is a model 'net'"):
                db.execute(create)
            with pytest.raises(kdb.BindError, match="did you mean 'net'"):
                db.execute("OCCLUDE $image USING nett", {"image": IMAGE})
            again = db.execute(query, {"image": IMAGE})
            assert isinstance(first, HeatMap) and isinstance(again, HeatMap)
            np.testing.assert_array_equal(first.values, again.values)
            db.execute("DROP MODEL net")
        with kdb.connect(path) as db, pytest.raises(kdb.BindError, match="no model 'net'"):
            db.execute("DROP MODEL net")

    def test_one_that_was_not_used_can_be_dropped_and_replaced(self, path: Path, weights: Path) -> None:
        create = f"MODEL net FROM '{weights}' (arch = 'resnet18', input = 32)"
        with kdb.connect(path) as db:
            db.execute(f"CREATE {create}")
        with kdb.connect(path) as db:
            db.execute(f"CREATE OR REPLACE {create}; DROP MODEL net")
            assert "net" not in [row[0] for row in db.execute("SHOW MODELS").rows]
            db.execute(f"CREATE {create}")
        with kdb.connect(path) as db:
            db.execute("DROP MODEL net")
        assert Study(path).models() == []

    def test_a_file_that_changed_or_went_is_told(self, path: Path, weights: Path) -> None:
        query = "OCCLUDE $image STRIDE 16 USING net"
        create = f"MODEL net FROM '{weights}' (arch = 'resnet18', input = 64)"
        with kdb.connect(path) as db:
            db.execute(f"CREATE {create}")
        torch.save(import_torchvision().models.resnet18(num_classes=3).state_dict(), weights)
        with kdb.connect(path) as db:
            for _ in range(2):
                with pytest.raises(kdb.ModelError, match=r"has changed since .* CREATE OR REPLACE MODEL net"):
                    db.execute(query, {"image": IMAGE})
            db.execute(f"CREATE OR REPLACE {create}")
            db.execute(query, {"image": IMAGE})
        weights.unlink()
        with kdb.connect(path) as db, pytest.raises(kdb.ModelError, match="there is no file"):
            db.execute(query, {"image": IMAGE})

    def test_options_that_were_arrays(self, path: Path, weights: Path) -> None:
        with kdb.connect(path) as db:
            create = f"CREATE MODEL net FROM '{weights}' (arch = 'resnet18', input = 64, mean = $m)"
            db.execute(create, {"m": np.array([0.25, 0.5, 0.75])})
            first = db.execute("OCCLUDE $image STRIDE 16 USING net", {"image": IMAGE})
        with kdb.connect(path) as db:
            again = db.execute("OCCLUDE $image STRIDE 16 USING net", {"image": IMAGE})
        assert isinstance(first, HeatMap) and isinstance(again, HeatMap)
        np.testing.assert_array_equal(first.values, again.values)


class TestCalibrations:
    def test_one_is_of_its_machine_and_threads(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        measured = CostProfile("measured", bandwidth=1e9)
        monkeypatch.setattr(calibration, "measure", lambda threads: measured)
        monkeypatch.setattr(calibration, "keep", lambda *_: None)
        monkeypatch.setattr(calibration, "kept", lambda threads: None)
        with kdb.connect(path) as db:
            db.execute("SET threads = 2; CALIBRATE")
        with kdb.connect(path) as db:
            assert (
                db._environment.profile(calibration.machine(2)) == measured
                and db._environment.profile(calibration.machine(1)) is None
            )
        damaged = Study(path)
        damaged.keep_profile(calibration.machine(2), "{")
        damaged.close()
        with kdb.connect(path) as db:
            assert db._environment.profile(calibration.machine(2)) is None


@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=7, max_size=7), min_size=1, max_size=4),
    st.tuples(st.integers(1, 99), st.integers(1, 99)),
    st.text(max_size=5),
)
def test_a_tuning_is_kept_as_it_is(ssim: list[list[float]], patch: tuple[int, int], fill: str) -> None:
    kept = Study()
    subject = Subject("identity", patch, (4, 4), fill, "probability")
    tuned = Tuning(np.array(ssim), np.linspace(1, 5, 7))
    assert kept.tuning(subject) is None
    for _ in range(2):
        kept.keep_tuning(subject, tuned)
    found = kept.tuning(subject)
    assert found is not None and found.taus == tuned.taus
    np.testing.assert_array_equal(found.ssim, tuned.ssim)
    np.testing.assert_array_equal(found.speedup, tuned.speedup)
    assert kept.tuning(Subject("other", patch, (4, 4), fill, "probability")) is None
    assert kept.tuning(Subject("identity", patch, (4, 5), fill, "probability")) is None


def test_two_sessions_share_one(path: Path) -> None:
    with kdb.connect(path) as one, kdb.connect(path) as other:
        one.execute("SET seed = 1")
        other.execute("SET threads = 1")
    assert Study(path).settings() == {"seed": 1, "threads": 1}


class TestWhatIsRefused:
    def test_files_of_another_kind(self, path: Path) -> None:
        path.write_bytes(b"not a database, and longer than an empty file would be" * 30)
        with pytest.raises(kdb.BindError, match="is no study of kdb"):
            kdb.connect(path)
        path.unlink()
        with sqlite3.connect(path) as foreign:
            foreign.execute("CREATE TABLE people (name)")
        before = path.read_bytes()
        with pytest.raises(kdb.BindError, match="is no study of kdb"):
            kdb.connect(path)
        assert path.read_bytes() == before

    def test_a_newer_one(self, path: Path) -> None:
        kdb.connect(path).close()
        with sqlite3.connect(path) as database:
            database.execute(f"PRAGMA user_version = {study.SCHEMA + 1}")
        with pytest.raises(kdb.BindError, match="newer kdb"):
            kdb.connect(path)

    def test_a_folder_and_a_path_into_nowhere(self, tmp_path: Path) -> None:
        for wrong in (tmp_path, tmp_path / "missing" / "study.kdb"):
            with pytest.raises(kdb.ExecutionError, match="cannot use the study"):
                kdb.connect(wrong)

    def test_a_damaged_one(self, path: Path) -> None:
        kdb.connect(path).close()
        data = bytearray(path.read_bytes())
        data[100:-100] = b"\xff" * (len(data) - 200)
        path.write_bytes(bytes(data))
        with pytest.raises(kdb.Error):
            kdb.connect(path).execute("SHOW MODELS")

    def test_after_closing(self, path: Path) -> None:
        db = kdb.connect(path)
        db.close()
        with pytest.raises(kdb.ExecutionError, match="closed"):
            db.execute("SET seed = 1")
        memory = kdb.connect()
        memory.close()
        memory.execute("SET seed = 1")


def test_a_created_model_says_what_it_came_from(weights: Path) -> None:
    db = kdb.connect()
    db.execute(f"CREATE MODEL net FROM '{weights}' (arch = 'resnet18', input = 32)")
    model = db._catalog._registered["net"]
    created = CreatedModel.of(model, str(weights), {"arch": "resnet18", "input": 32})
    assert created.origin == str(weights) and created.input == "3x32x32" and len(created.sha256) == 64
    assert created.load().input_shape == model.input_shape
