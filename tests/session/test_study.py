"""Study files: what a session kept is there for the next; what is no study, damaged or newer is refused in words."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import kdb
from kdb.models.catalog import CreatedModel
from kdb.models.torchvision_compat import import_torchvision
from kdb.planner import calibration
from kdb.planner.cost import CostProfile
from kdb.results.maps import HeatMap
from kdb.results.tables import Table
from kdb.session import study, study_file
from kdb.session.study import Study
from kdb.session.tuning import Subject, Tuning
from kdb.system.paths import ANYWHERE

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.kdb"


def change(path: Path, script: str) -> None:
    """Run SQL on the file of a study."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


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

    def test_settings_of_another_version_are_passed_over_and_told(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept = Study(path)
        kept.keep_setting("rule.of_long_ago", True)
        kept.keep_setting("seed", "many")
        kept.keep_setting("threads", 1)
        kept.close()
        with caplog.at_level("WARNING", "kdb"), kdb.connect(path) as db:
            assert db.settings["threads"] == 1 and db.settings["seed"] == 0
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2 and "unknown setting 'rule.of_long_ago'" in "".join(told) and "'many'" in "".join(told)


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

    @pytest.mark.parametrize("replaced", ["cat\nfish\ndog\n", "cat\ndog\nfish\n"])
    def test_labels_that_changed_are_told_as_weights_are(self, path: Path, weights: Path, replaced: str) -> None:
        labels = weights.with_name("labels.txt")
        labels.write_text("cat\ndog\nfish\n")
        create = f"MODEL net FROM '{weights}' (arch = 'resnet18', input = 64, labels = '{labels}')"
        query = "OCCLUDE $image WITH patch(32, 32) STRIDE 32 USING net FOR CLASS 'dog'"
        with kdb.connect(path) as db:
            db.execute(f"CREATE {create}")
        labels.write_text(replaced)
        with kdb.connect(path) as db:
            if replaced.startswith("cat\nfish"):
                for _ in range(2):
                    with pytest.raises(
                        kdb.ModelError,
                        match=r"labels of the model 'net', by '.*labels.txt', have changed .* CREATE OR REPLACE",
                    ):
                        db.execute(query, {"image": IMAGE})
                db.execute(f"CREATE OR REPLACE {create}")
            found = db.execute(query, {"image": IMAGE})
            assert isinstance(found, HeatMap) and found.class_index == replaced.split().index("dog")

    @pytest.mark.parametrize("schema", [-1, 0, 1])
    def test_a_study_of_the_first_schema_is_read_as_it_is_and_changed_when_a_model_is_kept(
        self, path: Path, weights: Path, schema: int
    ) -> None:
        with closing(study_file._new(1)) as first:
            path.write_bytes(first.serialize())
        change(path, f"PRAGMA user_version = {schema}")
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        options = '{"arch": "resnet18", "input": 64}'
        change(path, f"INSERT INTO models VALUES ('old', '{weights}', '{sha256}', '{options}', 'net.pt', '3x64x64')")
        with kdb.connect(path) as db, closing(kdb.connect(path)) as other:
            db.execute("SET seed = 3; OCCLUDE $image WITH patch(32, 32) STRIDE 32 USING old", {"image": IMAGE})
            with closing(sqlite3.connect(path)) as database:
                assert study_file.schema_of(database) == 1
            db.execute(f"CREATE MODEL net FROM '{weights}' (arch = 'resnet18', input = 64, labels = ('a', 'b', 'c'))")
            with closing(sqlite3.connect(path)) as database:
                assert study_file.schema_of(database) == study_file.SCHEMA
            assert [each.name for each in other._study.models()] == ["net", "old"]
        with kdb.connect(path) as db:
            old, new = sorted(db._study.models(), key=lambda each: len(each.labels))
            assert (old.name, old.labels) == ("old", "") and len(new.labels) == 64

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

    def test_it_is_shown_and_forgotten(self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KDB_CACHE", str(tmp_path / "cache"))
        measured = CostProfile("measured", {**CostProfile().rates, "direct.wide": ((64, 3e9),)}, measured="2025-12-31")
        monkeypatch.setattr(calibration, "measure", lambda threads: measured)

        def shown(db: kdb.Session) -> list[tuple[object, ...]]:
            table = db.execute("SHOW CALIBRATION")
            assert isinstance(table, Table)
            assert table.columns == (
                "machine", "device", "work", "width", "rate", "unit", "origin", "date", "used",
            )  # fmt: skip
            return list(table.rows)

        with kdb.connect(path) as db:
            db.execute("SET threads = 2")
            before, here = shown(db), calibration.machine(2)
            assert {row[0] for row in before} == {here} and {row[6:] for row in before} == {("default", None, True)}
            assert {row[5] for row in before} == {"Gmac/s", "GB/s", "us"}
            db.execute("CALIBRATE")
            db._study.keep_profile("another", calibration.encoded(measured))
            after = shown(db)
            assert (here, "cpu", "direct.wide", 64, 3.0, "Gmac/s", "measured", "2025-12-31", True) in after
            assert {row[8] for row in after if row[0] == "another"} == {False}
            db.execute("RESET ALL; SET threads = 2")
            assert shown(db) == after
        with kdb.connect(path) as db:
            assert shown(db) == after
            db.execute("SET threads = 1")  # all of this machine is forgotten, whatever the number of threads
            assert {row[0] for row in db.execute("RESET calibration")} == {calibration.machine(1), "another"}
            db.execute("SET threads = 2")
            assert [row for row in shown(db) if row[8]] == before
        assert list((tmp_path / "cache").glob("profile-*")) == []
        with kdb.connect(path) as db:
            assert [row for row in shown(db) if row[8]] == before


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


class TestWriting:
    def test_what_cannot_be_kept_does_not_take_effect(
        self, path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(study_file, "PATIENCE", 0.05)
        create = f"MODEL net FROM '{weights}' (arch = 'resnet18', input = 32)"
        with kdb.connect(path) as db, closing(sqlite3.connect(path, isolation_level=None)) as other:
            db.execute(f"SET seed = 1; CREATE {create}")
            before = db.execute("SHOW SETTINGS"), db.execute("SHOW MODELS")
            model = db._catalog._registered["net"]
            other.execute("BEGIN IMMEDIATE")
            changes = ("SET seed = 2", "RESET seed", "RESET ALL", "DROP MODEL net", f"CREATE OR REPLACE {create}")
            for statement in (*changes, create.replace("net", "more", 1).join(("CREATE ", ""))):
                with pytest.raises(kdb.ExecutionError, match="another process has kept it locked"):
                    db.execute(statement)
                assert (db.execute("SHOW SETTINGS"), db.execute("SHOW MODELS")) == before
                assert db._catalog._registered["net"] is model
            other.execute("ROLLBACK")
            db.execute("SET seed = 2; DROP MODEL net")

    def test_one_that_is_read_only_is_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with kdb.connect(path) as db:
            db.execute("SET seed = 1")
        with kdb.connect(path) as db:
            db._study._database.execute("PRAGMA query_only = on")  # as root, no file is read-only
            assert db.settings["seed"] == 1
            with pytest.raises(kdb.ExecutionError, match="the file or its folder is read-only"):
                db.execute("SET seed = 2")
            assert db.settings["seed"] == 1

    def test_two_at_a_time_lose_nothing(self, path: Path) -> None:
        """Two connections, which SQLite keeps apart as it does two processes; both may be the one that makes it."""

        def writer(name: str) -> None:
            with closing(Study(path)) as kept:
                for i in range(40):
                    kept.keep_setting(f"{name}.{i}", i)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(writer, "ab"))
        assert Study(path).settings() == {f"{name}.{i}": i for name in "ab" for i in range(40)}
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_one_is_made_whole_or_not_at_all(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "link", stopped)
        with pytest.raises(KeyboardInterrupt):
            Study(path)
        assert list(path.parent.iterdir()) == []

    def test_on_a_file_system_without_links(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
        with closing(Study(path)) as kept:
            kept.keep_setting("seed", 1)
        assert Study(path).settings() == {"seed": 1} and [each.name for each in path.parent.iterdir()] == [path.name]

    def test_a_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "link.kdb").symlink_to(path)
        with kdb.connect(tmp_path / "link.kdb") as db:
            db.execute("SET seed = 1")
        assert Study(path).settings() == {"seed": 1}

    def test_a_name_that_is_not_utf8(self, tmp_path: Path, weights: Path) -> None:
        path = tmp_path / "st\udcffudy.kdb"
        odd = weights.rename(tmp_path / "n\udcff.pt")
        with kdb.connect(path) as db:
            db.execute("SET seed = 1")
            with pytest.raises(kdb.BindError, match=r"'.*n\\udcff.pt' is none: rename the file") as told:
                db.execute("CREATE MODEL net FROM $path (arch = 'resnet18', input = 32)".replace("$path", f"'{odd}'"))
            str(told.value).encode()
        assert path.exists() and Study(path).settings() == {"seed": 1}


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
            database.execute(f"PRAGMA user_version = {study_file.SCHEMA + 1}")
        with pytest.raises(kdb.BindError, match="newer kdb"):
            kdb.connect(path)

    def test_what_is_no_file_and_a_path_into_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "empty.kdb").touch()
        os.mkfifo(tmp_path / "pipe.kdb")
        wrong = {
            tmp_path: "a folder",
            ":memory:": "without a path",
            tmp_path / "missing" / "study.kdb": "there is no folder",
            tmp_path / "empty.kdb": "an empty file; remove it",
            tmp_path / "pipe.kdb": "a special file",
        }
        for path, said in wrong.items():
            with pytest.raises(kdb.BindError, match=said):
                kdb.connect(path)
        assert (tmp_path / "empty.kdb").read_bytes() == b""

    @given(st.integers(0, 9 * 4096 - 1), st.booleans())
    @example(3264, False)  # the name of a table
    @example(9 * 4096 - 1, True)
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_a_damaged_or_truncated_one(self, tmp_path: Path, at: int, cut: bool) -> None:
        path = tmp_path / "damaged.kdb"
        path.unlink(missing_ok=True)
        kept = Study(path)
        kept.keep_setting("seed", 3)
        kept.close()
        data = bytearray(path.read_bytes())
        assert len(data) == 9 * 4096
        if cut:
            del data[at:]
        else:
            data[at : at + 64] = b"\xff" * len(data[at : at + 64])
        path.write_bytes(bytes(data))
        try:
            found = Study(path)
        except kdb.BindError:
            return
        # What is left is a study: only bytes that nothing is kept in were lost.
        assert not cut and found.settings() == {"seed": 3}
        found.close()

    @pytest.mark.parametrize(
        ("statement", "name"),
        [
            (
                "DROP TABLE settings; CREATE VIEW settings (name, value) AS WITH RECURSIVE endless(n) AS "
                "(SELECT 1 UNION ALL SELECT n + 1 FROM endless) SELECT n, n FROM endless",
                "view settings",
            ),
            ("CREATE VIEW more AS SELECT 1", "view more"),
            ("CREATE TRIGGER t AFTER INSERT ON settings BEGIN DELETE FROM models; END", "trigger t"),
            ("CREATE TABLE more (name)", "table more"),
            ("CREATE INDEX i ON models (path)", "index i"),
            ("ALTER TABLE settings ADD COLUMN more TEXT", "table settings"),
            ("DROP TABLE tunings", "table tunings"),
        ],
    )
    def test_tables_views_and_triggers_that_kdb_does_not_make(self, path: Path, statement: str, name: str) -> None:
        kdb.connect(path).close()
        change(path, statement)
        with pytest.raises(kdb.BindError, match=f"the {name}[ ,]"):
            kdb.connect(path)

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ("settings VALUES ('seed', '{')", "settings the row of 'seed' holds no JSON.*DELETE FROM settings"),
            ("settings VALUES ('seed', x'00ff')", "'seed' holds bytes where a text should be"),
            ("settings VALUES ('seed', '[1]')", "'seed' holds list, which no setting takes"),
            ("settings VALUES (NULL, '1')", "the row of None holds NoneType"),
            ("settings VALUES ('it''s', '{')", "name = 'it''s'"),
            ("settings VALUES ('seed', CAST(x'ff' AS TEXT))", "not UTF-8"),
            (f"settings VALUES ('seed', '{'[' * 100_000}')", "'seed' holds what kdb does not write there"),
            ("settings VALUES ('seed', zeroblob(17000000))", "too big"),
            ("models VALUES ('net', '', 'x', '{}', '', '', '')", "models the row of 'net' has '' for a path"),
            ("models VALUES ('net', '/net.pt', 'x', '{}', '', '', '')", "'x' for a SHA-256"),
            ("models VALUES ('net', '/net.pt', 'x', '[]', '', '', '')", "options that are no JSON object"),
            ("models VALUES ('net', '/net.pt', 'x', '{', '', '', '')", "'net' holds no JSON"),
            (
                f"models VALUES ('net', '/net.pt', '{'0' * 64}', '{{}}', '', '', 'x')",
                "'x' for the SHA-256 of its labels",
            ),
        ],
    )
    def test_a_damaged_row_is_named(self, path: Path, row: str, said: str) -> None:
        kdb.connect(path).close()
        change(path, f"INSERT INTO {row}")
        with pytest.raises(kdb.BindError, match=said):
            kdb.connect(path)

    def test_a_damaged_tuning_is_named(self, path: Path) -> None:
        subject = Subject("identity", (8, 8), (4, 4), "black", "probability")
        rows = (
            "{",
            "{}",
            "[]",
            '{"ssim": 1, "speedup": [1], "taus": [1]}',
            '{"ssim": [[NaN]], "speedup": [1], "taus": [1]}',
        )
        with closing(Study(path)) as kept:
            kept.keep_tuning(subject, Tuning(np.ones((1, 7)), np.ones(7)))
            for text in rows:
                kept._write("UPDATE tunings SET tuning = ?", (text,))
                with pytest.raises(kdb.BindError, match=r"tunings the row of 'identity'.*TUNE again"):
                    kept.tuning(subject)

    def test_one_whose_rows_have_no_end(self, path: Path) -> None:
        kdb.connect(path).close()
        endless = f"WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up LIMIT {study.MOST_ROWS + 1})"
        change(path, f"{endless} INSERT INTO settings SELECT n, '1' FROM up")
        with pytest.raises(kdb.BindError, match="settings has more than 10,000 rows"):
            kdb.connect(path)

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
    assert created.load(ANYWHERE).input_shape == model.input_shape


def test_a_model_that_cannot_be_read_is_a_model_error(
    path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kdb.connect(path) as db:
        db.execute(f"CREATE MODEL net FROM '{weights}' (arch = 'resnet18', input = 32)")
    real = open

    def refused(file: object, *arguments: object, **keywords: object) -> object:
        if file == str(weights):
            raise PermissionError(13, "Permission denied")
        return real(file, *arguments, **keywords)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refused)
    with kdb.connect(path) as db, pytest.raises(kdb.ModelError, match=f"cannot read '{weights}': Permission denied"):
        db.execute("OCCLUDE $image USING net", {"image": IMAGE})
    with kdb.connect() as db, pytest.raises(kdb.ModelError, match=f"cannot read '{weights}': Permission denied"):
        db.execute(f"CREATE MODEL net FROM '{weights}' (arch = 'resnet18', input = 32)")
