"""Files that the first version wrote, before parts of kdb were renamed, are read and mean what they meant.

``tests/data/first_version/make.py`` tells how they were made.  What is checked here needs none of today's names of
rules, kernels or settings.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch.export

import kdb
from kdb.planner import calibration

FOLDER = Path(__file__).resolve().parents[1] / "data" / "first_version"
QUERY = "OCCLUDE $image WITH patch(6, 6) STRIDE 3 USING first FOR CLASS 'dog'"
TRACED = "OCCLUDE $image STRIDE 16 USING squeezenet1_1 (weights = 'random', input = (64, 64))"
CREATE = "CREATE MODEL first FROM 'model.onnx' (mean = 0.5, std = 0.25, labels = ('cat', 'dog', 'fish'))"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a copy of the files that were kept, beside an empty cache."""
    for path in FOLDER.iterdir():
        if path.suffix in (".kdb", ".onnx", ".npz"):
            shutil.copy(path, tmp_path)
    monkeypatch.setenv("KDB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def change(statement: str) -> list[tuple[str, ...]]:
    """What a statement on the study's tables gives."""
    with closing(sqlite3.connect("study.kdb")) as database, database:
        return database.execute(statement).fetchall()


def close(one: kdb.HeatMap, other: kdb.HeatMap) -> bool:
    return np.allclose(one.values, other.values, rtol=0, atol=1e-4)


class TestTheStudy:
    def test_its_settings_are_in_force(self) -> None:
        kept = [name for (name,) in change("SELECT name FROM settings") if name != "threads"]
        with kdb.connect("study.kdb") as db:
            rows = db.execute("SHOW SETTINGS").rows
        changed = [name for name, value, default, _ in rows if value != default and name != "threads"]
        assert len(kept) == len(changed) == 5

    def test_each_has_a_say_in_the_plan(self) -> None:
        def plan() -> str:
            with kdb.connect("study.kdb") as db:
                return db.explain(QUERY)

        whole = plan()
        for name, value in change("SELECT name, value FROM settings"):
            if name == "threads":
                continue
            change(f"DELETE FROM settings WHERE name = '{name}'")
            assert plan() != whole, name
            change(f"INSERT INTO settings VALUES ('{name}', '{value}')")
        assert plan() == whole

    @pytest.mark.parametrize("name", ["rule.hold_context", "rule.freeze_context"])
    def test_a_setting_is_changed_under_either_name(self, name: str) -> None:
        """The study's own row has the earlier name, and does not come back."""
        today = "rule.freeze_context"
        for statement, expected in ((f"SET {name} = on", "on"), (f"SET {name} = off", "off"), (f"RESET {name}", "on")):
            with kdb.connect("study.kdb") as db:
                assert db.execute(statement).rows == ((today, expected),)
            with kdb.connect("study.kdb") as db:
                assert dict(row[:2] for row in db.execute("SHOW SETTINGS").rows)[today] == expected

    def test_its_model_gives_the_map_it_gave(self) -> None:
        saved = kdb.HeatMap.load("map.npz")
        with kdb.connect("study.kdb") as db:
            assert ("first", "model.onnx", "3x48x48") in db.execute("SHOW MODELS").rows
            found = db.execute(QUERY, {"image": saved.image})
        assert found.exact and found.label == saved.label == "dog"
        assert close(found, saved) and np.ptp(saved.values) > 0.1

    def test_its_tuning_is_used(self) -> None:
        saved, exact = kdb.HeatMap.load("held.npz"), kdb.HeatMap.load("map.npz")
        with kdb.connect("study.kdb") as db:
            found = db.execute(f"{QUERY} THRESHOLD AUTO TO SSIM 0.9", {"image": exact.image})
        assert not found.exact and "THRESHOLD 0.49" in found.query
        assert close(found, saved) and not close(found, exact)

    def test_a_profile_that_was_measured_is_believed_from_the_study_as_from_the_cache(self, folder: Path) -> None:
        def plan(study: str | None = None) -> str:
            with kdb.connect(study) as db:
                db.execute("RESET ALL; SET threads = 1" if study else f"SET threads = 1; {CREATE}")
                return db.explain(QUERY)

        unmeasured, machine = plan(), calibration.machine(1)
        change(f"UPDATE calibrations SET machine = '{machine}'")  # as if it had been measured here
        by_study = plan("study.kdb")
        (profile,) = (FOLDER / "cache").glob("profile-*.json")
        (folder / "cache").mkdir(exist_ok=True)
        shutil.copy(profile, folder / "cache" / f"profile-{machine}.json")
        assert plan() == by_study != unmeasured


class TestTheCache:
    def test_a_trace_is_read_where_it_is_looked_for_and_does_no_harm_elsewhere(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exports, export = [], torch.export.export

        def counted(*arguments: object, **keywords: object) -> object:
            exports.append(arguments)
            return export(*arguments, **keywords)

        monkeypatch.setattr(torch.export, "export", counted)
        fresh = kdb.connect().explain(TRACED)
        (made,) = (folder / "cache" / "traces").iterdir()
        assert len(exports) == 1
        shutil.rmtree(folder / "cache")
        shutil.copytree(FOLDER / "cache", folder / "cache")
        (kept,) = (folder / "cache" / "traces").iterdir()
        assert kdb.connect().explain(TRACED) == fresh
        # Another version of kdb or PyTorch looks for another file.
        assert len(exports) == 1 if made.name == kept.name else len(exports) == 2


class TestHeatMaps:
    @pytest.mark.parametrize("name", ["map", "sampled", "held"])
    def test_they_are_read_and_written_again(self, name: str) -> None:
        saved = kdb.HeatMap.load(f"{name}.npz")
        saved.save("again.npz")
        with np.load(f"{name}.npz") as before, np.load("again.npz") as after:
            assert set(before.files) <= set(after.files)
            for key in set(before.files) - {"format"}:
                np.testing.assert_array_equal(before[key], after[key], err_msg=key)

    @pytest.mark.parametrize("name", ["map", "held"])
    def test_they_can_be_verified(self, name: str) -> None:
        with kdb.connect("study.kdb") as db:
            found = db.execute(f"VERIFY '{name}.npz'")
        assert found.agrees and ("identity", True) in [(row[0], row[-1]) for row in found], found

    def test_what_they_tell(self) -> None:
        exact, sampled, held = (kdb.HeatMap.load(f"{name}.npz") for name in ("map", "sampled", "held"))
        assert (exact.exact, sampled.exact, held.exact) == (True, False, False)
        assert exact.values.shape == held.values.shape == (15, 15) and sampled.values.shape == (43, 43)
        for each in (exact, sampled, held):
            assert (each.label, each.class_index, each.patch) == ("dog", 1, (6, 6)) and each.stats.speedup > 1
        assert exact.evaluated.all() and 0 < sampled.stats.evaluated == sampled.evaluated.sum() < 43 * 43
        assert sampled.error is not None and not sampled.error[sampled.evaluated].any() and sampled.error.max() > 0
        assert sampled.ssim_estimate is not None and sampled.ssim_estimate >= 0.9

    def test_what_was_evaluated_is_evaluated_alike(self) -> None:
        sampled = kdb.HeatMap.load("sampled.npz")
        with kdb.connect() as db:
            db.execute(CREATE)
            exact = db.execute(QUERY.replace("STRIDE 3", "STRIDE 1"), {"image": sampled.image})
        np.testing.assert_allclose(
            sampled.values[sampled.evaluated], exact.values[sampled.evaluated], rtol=0, atol=1e-4
        )
