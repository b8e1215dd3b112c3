"""Runs: each image has one row, each done row its map, and nothing is computed twice."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kdb
from kdb.errors import BindError, ExecutionError, Interrupted, ParseError
from kdb.results.maps import HeatMap
from kdb.runs.folder import RunFolder
from kdb.runs.run import Run
from kdb.session.session import Session
from tests.runs.conftest import WITH, connected, network, picture

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.runs

QUERY = f"OCCLUDE 'scans/**/*.png' {WITH} INTO RUN 'r'"
IDENTITY = ["id", "path", "sha256", "status", "error_kind", "error", "attempts", "node", "device", "seconds"]
SCORES = ["class_index", "label", "truth", "baseline", "min", "max", "peak"]
COLUMNS = [*IDENTITY, *SCORES, "ssim_estimate", "exact", "checked_error", "map"]


def executed(db: Session, text: str, parameters: Any = None) -> Run:
    found = db.execute(text, parameters)
    assert isinstance(found, Run)
    return found


def rows(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run.table().to_pylist()
    return found


def starts(folder: str = "r") -> int:
    """How often work on an image began."""
    return sum(path.read_text().count('"start"') for path in Path(folder, "journals").glob("*.jsonl"))


# ---- what a run gives


def test_each_image_has_a_row_and_a_map_that_a_query_of_its_own_gives(db: Session) -> None:
    run = executed(db, QUERY)
    table = run.table()
    assert table.column_names == COLUMNS
    assert [row["id"] for row in rows(run)] == [f"{a}/x{i}.png" for a in "ab" for i in range(3)]
    for row in rows(run):
        alone = db.execute(f"OCCLUDE '{row['path']}' {WITH}")
        made = HeatMap.load(f"r/{row['map']}")
        assert isinstance(alone, HeatMap)
        assert np.array_equal(made.values, alone.values)
        assert (made.source, made.query) == (row["path"], f"OCCLUDE 'scans/**/*.png' {WITH}")
        assert row["map"] == f"maps/{row['id']}.npz"
        assert (row["status"], row["attempts"], row["exact"], row["error"]) == ("done", 1, True, None)
        assert (row["class_index"], row["label"]) == (made.class_index, made.label)
        assert row["baseline"] == pytest.approx(made.baseline)
        assert (row["min"], row["max"]) == (made.values.min(), made.values.max())
        y, x = np.unravel_index(np.abs(made.values - made.baseline).argmax(), made.values.shape)
        assert row["peak"] == made.positions[y, x].tolist()
        assert made.provenance is not None and row["sha256"] == made.provenance.source_sha256
        assert row["checked_error"] == pytest.approx(0, abs=0.5)
    facts = json.loads(Path("r/run.json").read_text())
    assert facts["query"] == f"OCCLUDE 'scans/**/*.png' {WITH}"
    assert facts["model"]["identity"] == made.model_identity
    assert facts["versions"]["kdb"] == kdb.__version__


def test_a_class_axis_makes_lists(db: Session) -> None:
    run = executed(db, f"OCCLUDE 'scans/a/*.png' {WITH} FOR TOP 2 INTO RUN 'r'")
    for row, made in zip(rows(run), run.maps(), strict=True):
        assert row["class_index"] == list(made.class_index)  # type: ignore[arg-type]
        assert row["label"] == list(made.label)
        assert row["min"] == pytest.approx(made.values.min(axis=(1, 2)).tolist())
        assert [len(each) for each in row["peak"]] == [2, 2]


@pytest.mark.parametrize("via", ["processes(2)", "shard(1, 1)", "local"])
def test_the_ways_to_start_workers_give_the_same(db: Session, via: str) -> None:
    picture("scans/a/broken.png", 0)
    Path("scans/a/broken.png").write_bytes(b"no image")
    db.execute(f"SET threads = {2 if 'processes' in via else 1}")  # one for each worker, which rounding depends on
    run = executed(db, f"{QUERY} VIA {via}")
    db.execute("SET threads = 1")
    other = executed(db, QUERY.replace("'r'", "'other'"))
    one, two = rows(run), rows(other)
    for row, wanted in zip(one, two, strict=True):
        same = [name for name in COLUMNS if name not in ("seconds", "checked_error")]
        assert {name: row[name] for name in same} == {name: wanted[name] for name in same}
    for made, expected in zip(run.maps(), other.maps(), strict=True):
        assert np.array_equal(made.values, expected.values)
    failed = run.failures().to_pylist()
    assert [row["id"] for row in failed] == ["a/broken.png"]
    assert "not an image" in failed[0]["error"] and failed[0]["error_kind"] == "ExecutionError"


def test_shards_make_up_the_run_and_the_last_one_writes_the_results(db: Session) -> None:
    for part in (1, 2, 3):
        assert not Path("r/results.parquet").exists()
        run = executed(db, f"{QUERY} VIA shard($part, 3)", {"part": str(part)})
        assert (run.progress.total, run.progress.done) == (2, 2)
    assert Path("r/results.parquet").exists()
    assert [row["status"] for row in rows(run)] == ["done"] * 6
    assert starts() == 6


# ---- manifests


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_manifest_names_images_and_their_truth(db: Session, kind: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    (tmp_path / "lists").mkdir()
    table = pyarrow.table(
        {"file": ["../scans/a/x0.png", "../scans/b/x0.png"], "uid": ["p1/scan", "p2/scan"], "class": ["cat", None]}
    )
    path = tmp_path / "lists" / f"images.{kind}"
    pyarrow.csv.write_csv(table, path) if kind == "csv" else pyarrow.parquet.write_table(table, path)
    source = f"MANIFEST 'lists/images.{kind}' (path = 'file', id = 'uid', truth = 'class')"
    run = executed(db, f"OCCLUDE {source} {WITH} INTO RUN 'r'")
    found = rows(run)
    assert [(row["id"], row["truth"] or None, row["map"]) for row in found] == [
        ("p1/scan", "cat", "maps/p1/scan.npz"),
        ("p2/scan", None, "maps/p2/scan.npz"),
    ]
    assert run.map("p2/scan").source == str(tmp_path / "scans/b/x0.png")
    # Without a run a manifest is a list of images.
    maps = db.execute(f"OCCLUDE {source} {WITH}")
    assert np.array_equal(maps[1].values, run.map("p2/scan").values)  # type: ignore[index, union-attr]


def test_texts_of_a_csv_file_stay_as_they_are(db: Session) -> None:
    Path("m.csv").write_text("path,id,truth\nscans/a/x0.png,007,001\nscans/b/x0.png,2024-01-01,1\n")
    run = executed(db, f"OCCLUDE MANIFEST 'm.csv' (id = 'id') {WITH} INTO RUN 'r'")
    assert [(row["id"], row["truth"]) for row in rows(run)] == [("007", "001"), ("2024-01-01", "1")]
    Path("n.csv").write_text("path,truth\nscans/a/x0.png,2\nscans/b/x0.png,\n")
    run = executed(db, f"OCCLUDE MANIFEST 'n.csv' {WITH} INTO RUN 'n'")
    assert [row["truth"] for row in rows(run)] == [2, None]


def test_what_is_wrong_with_a_manifest_is_told(db: Session) -> None:
    Path("m.csv").write_text("file,n\nscans/a/x0.png,1\n,2\n")
    for source, message in {
        "MANIFEST 'm.csv'": "has no column 'path'; it has file, n",
        "MANIFEST 'm.csv' (path = 'flie')": "did you mean 'file'",
        "MANIFEST 'm.csv' (pth = 'file')": "did you mean 'path'",
        "MANIFEST 'm.csv' (path = 'file')": "no 'file' in row 2",
        "MANIFEST 'm.txt'": ".parquet or a .csv",
    }.items():
        with pytest.raises(BindError, match=message):
            db.execute(f"OCCLUDE {source} {WITH} INTO RUN 'r'")
    with pytest.raises(ExecutionError, match="no such file"):
        db.execute(f"OCCLUDE MANIFEST 'missing.parquet' {WITH} INTO RUN 'r'")
    assert not Path("r").exists()
    Path("m.csv").write_text("path\nscans/a/x0.png\n./scans/a/x0.png\n")
    with pytest.raises(BindError, match=r"has '.*/scans/a/x0\.png' twice, as its images 1 and 2"):
        db.execute(f"OCCLUDE MANIFEST 'm.csv' {WITH} INTO RUN 'r'")
    Path("m.csv").write_text("path,path\na,b\n")
    with pytest.raises(BindError, match="more than once"):
        db.execute(f"OCCLUDE MANIFEST 'm.csv' {WITH} INTO RUN 'r'")


def test_options_of_a_manifest_beside_its_columns_are_the_reader_s(db: Session) -> None:
    Path("m.csv").write_text("path\nscans/a/x0.png\n")
    run = executed(db, f"OCCLUDE MANIFEST 'm.csv' (frame = 1) {WITH} INTO RUN 'r'")
    assert "frame" in run.failures().to_pylist()[0]["error"]


# ---- going on


def test_what_is_done_is_not_done_again(db: Session) -> None:
    first = executed(db, QUERY)
    before = {row["id"]: row["sha256"] for row in rows(first)}
    assert starts() == 6
    for again in (QUERY, "RESUME RUN 'r'", "RESUME RUN 'r' VIA processes(1)"):
        run = executed(db, again)
        assert (run.progress.done, run.progress.failed, starts()) == (6, 0, 6)
    Path("r/maps/b/x1.png.npz").unlink()  # a row counts only where its map is
    run = executed(db, "RESUME RUN 'r'")
    assert starts() == 7
    assert {row["id"]: row["sha256"] for row in rows(run)} == before
    assert {row["id"]: row["attempts"] for row in rows(run)}["b/x1.png"] == 2


def test_a_failed_image_is_tried_again_and_may_have_been_mended(db: Session) -> None:
    Path("scans/a/x1.png").write_bytes(b"no image")
    run = executed(db, QUERY)
    assert run.progress.failed == 1 and len(run.maps()) == 5
    picture("scans/a/x1.png", 1)
    run = executed(db, "RESUME RUN 'r'")
    assert run.progress.failed == 0 and starts() == 7
    row = next(row for row in rows(run) if row["id"] == "a/x1.png")
    assert (row["status"], row["attempts"]) == ("done", 2)


def test_an_image_that_has_changed_fails_and_stays_so(db: Session) -> None:
    executed(db, QUERY)
    before = Path("scans/a/x1.png").read_bytes()
    Path("r/maps/a/x1.png.npz").unlink()
    picture("scans/a/x1.png", 77, side=20)
    for _ in range(2):
        run = executed(db, "RESUME RUN 'r'")
        (row,) = run.failures().to_pylist()
        assert (row["id"], row["error_kind"]) == ("a/x1.png", "Changed")
        assert "since the run was made" in row["error"]
    assert before != Path("scans/a/x1.png").read_bytes()


def test_a_run_goes_on_in_another_session_and_another_folder(
    db: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mask = np.zeros((16, 16), bool)
    mask[:8] = True
    query = f"OCCLUDE 'scans/**/*.png' {WITH} WITHIN mask($m) FOR CLASS $c INTO RUN 'r'"
    run = executed(db, query, {"m": mask, "c": 2})
    expected = [each.values for each in run.maps()]
    for path in Path("r/maps/a").iterdir():
        path.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other = kdb.connect()  # knows neither the model nor the parameters
    run = executed(other, f"RESUME RUN '{tmp_path / 'r'}'")
    assert (run.progress.done, starts(str(tmp_path / "r"))) == (6, 9)
    for made, wanted in zip(run.maps(), expected, strict=True):
        assert np.array_equal(made.values, wanted, equal_nan=True)
        assert np.isnan(made.values[-1]).all()
    monkeypatch.chdir(tmp_path)


def test_another_query_into_the_same_folder_is_refused(db: Session) -> None:
    fill = np.zeros((4, 4, 3), np.uint8)
    query = "OCCLUDE 'scans/**/*.png' WITH patch(4, 4) FILL $f STRIDE 4 USING net"
    executed(db, f"{query} INTO RUN 'r'", {"f": fill})
    executed(db, f"{query} ON cpu INTO RUN 'r' VIA local", {"f": fill})
    assert starts() == 6
    for other, named, differs in [
        (query.replace("STRIDE 4", "STRIDE 2"), {"f": fill}, "query"),
        (query, {"f": fill + 1}, "set of parameters"),
        (query.replace("scans/**", "scans/a"), {"f": fill}, "query and another list of images"),
    ]:
        with pytest.raises(BindError, match=f"another run, of another {differs}"):
            db.execute(f"{other} INTO RUN 'r'", named)
    with pytest.raises(BindError, match="another format"):
        db.execute(f"{query} INTO RUN 'r' (format = ('npz', 'png'))", {"f": fill})
    picture("scans/a/new.png", 9)
    with pytest.raises(BindError, match="another list of images"):
        db.execute(f"{query} INTO RUN 'r'", {"f": fill})
    assert executed(db, "RESUME RUN 'r'").progress.total == 6  # its own list


def test_a_changed_manifest_is_refused(db: Session) -> None:
    Path("m.csv").write_text("path\nscans/a/x0.png\nscans/a/x1.png\n")
    executed(db, f"OCCLUDE MANIFEST 'm.csv' {WITH} INTO RUN 'r'")
    Path("m.csv").write_text("path\nscans/a/x0.png\n")
    with pytest.raises(BindError, match=r"the manifest .* has changed since the run"):
        db.execute("RESUME RUN 'r'")
    Path("m.csv").unlink()
    assert executed(db, "RESUME RUN 'r'").progress.done == 2


def test_a_model_that_is_another_is_refused(db: Session, model_file: Path, tmp_path: Path) -> None:
    executed(db, QUERY)
    other = kdb.connect()
    other.register_model("net", network(7), input_size=(16, 16), mean=0, std=1)
    with pytest.raises(BindError, match="not the one that the run in"):
        other.execute("RESUME RUN 'r'")


def test_a_module_of_the_session_is_for_this_process_alone(db: Session) -> None:
    module = network()
    query = "OCCLUDE 'scans/a/*.png' WITH patch(4, 4) USING $net (input_size = (16, 16)) INTO RUN 'r'"
    with pytest.raises(BindError, match="lives in this session"):
        db.execute(f"{query} VIA processes(2)", {"net": module})
    assert not Path("r").exists()
    run = executed(db, query, {"net": module})
    assert run.progress.done == 3
    Path("r/maps/x0.png.npz").unlink()
    with pytest.raises(BindError, match=r"module for \$net"):
        db.execute("RESUME RUN 'r'")
    other = network(3)
    with pytest.raises(BindError, match="not the one"):
        db.execute("RESUME RUN 'r'", {"net": other})
    assert executed(db, "RESUME RUN 'r'", {"net": module}).progress.done == 3


def test_a_model_that_changes_under_way_stops_the_run(db: Session) -> None:
    module = network()
    db.register_model("mine", module, input_size=(16, 16), mean=0, std=1)

    def change(done: int, total: int) -> None:
        with torch.no_grad():
            module[0].bias += 1  # type: ignore[union-attr, operator]

    with pytest.raises(kdb.Error, match="mine"):
        db.execute(QUERY.replace("net", "mine"), progress=change)
    state = kdb.connect().execute("SHOW RUN 'r'")
    assert state.rows[0][1:4] == (1, 0, 5)  # type: ignore[union-attr]


def test_parameters_of_each_image(db: Session) -> None:
    rng = np.random.default_rng(0)
    masks = {}
    for name in ("a/x0.png", "a/x1.png", "a/x2.png"):
        Path("masks/a").mkdir(parents=True, exist_ok=True)
        masks[name] = rng.random((16, 16)) < 0.3
        np.save(f"masks/{name}.npy", masks[name])
    query = f"OCCLUDE 'scans/**/*.png' {WITH} WITHIN mask($m)"
    assert "a run into 'r'" in db.explain(f"{query} INTO RUN 'r'", {"m": "masks/{id}.npy"})
    run = executed(db, f"{query} INTO RUN 'r'", {"m": "masks/{id}.npy"})
    assert run.progress.failed == 3
    assert {row["id"] for row in run.failures().to_pylist()} == {"b/x0.png", "b/x1.png", "b/x2.png"}
    assert "masks/b/x0.png.npy" in run.failures().to_pylist()[0]["error"]
    for name, mask in masks.items():
        alone = db.execute(query.replace("scans/**/*.png", f"scans/{name}"), {"m": mask})
        assert np.array_equal(run.map(name).values, alone.values, equal_nan=True)  # type: ignore[union-attr]


def test_shards_of_another_number_wait_for_each_other(db: Session) -> None:
    folder = RunFolder("r")
    executed(db, f"{QUERY} VIA shard(1, 2)")
    with folder.driven("shard-2-of-2"):
        with pytest.raises(ExecutionError, match=r"works on the run in .*shard 2 of 2"):
            db.execute(f"{QUERY} VIA shard(1, 3)")
        assert executed(db, f"{QUERY} VIA shard(1, 2)").progress.done == 3
    assert executed(db, f"{QUERY} VIA shard(2, 3)").progress.done == 2


def test_a_device_that_fails_stops_the_run(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise kdb.DeviceError("the GPU fell off the bus")

    with monkeypatch.context() as patch:
        patch.setattr("kdb.queries.evaluation.run", failing)
        with pytest.raises(kdb.DeviceError, match="fell off"):
            db.execute(QUERY)
    assert executed(db, "RESUME RUN 'r'").progress.done == 6


def test_a_model_s_file_that_has_changed_is_told(db: Session, model_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(model_file.read_bytes())
    db.execute(f"CREATE OR REPLACE MODEL net FROM '{own}' (mean = 0, std = 1)")
    executed(db, QUERY)
    for change in (lambda: own.write_bytes(b"other"), own.unlink):
        change()
        with pytest.raises(BindError, match="put it back, or make another run"):
            kdb.connect().execute("RESUME RUN 'r'")


def test_a_damaged_map_says_what_to_do(db: Session) -> None:
    run = executed(db, QUERY)
    Path("r/maps/a/x0.png.npz").write_bytes(b"junk")
    with pytest.raises(ExecutionError, match="once it is deleted, RESUME RUN"):
        run.map("a/x0.png")


# ---- looking and stopping


def test_show_run_counts_and_tells_failures(db: Session) -> None:
    Path("scans/b/x2.png").write_bytes(b"no image")
    executed(db, f"{QUERY} VIA shard(1, 2)")
    shown = db.execute("SHOW RUN 'r'")
    assert isinstance(shown, kdb.Table)
    record = dict(zip(shown.columns, shown.rows[0], strict=True))
    assert (record["images"], record["done"], record["failed"], record["left"]) == (6, 3, 0, 3)
    assert record["state"] == "stopped"
    executed(db, "RESUME RUN 'r'")
    shown = db.execute("SHOW RUN 'r'")
    record = dict(zip(shown.columns, shown.rows[0], strict=True))  # type: ignore[union-attr]
    assert (record["done"], record["failed"], record["state"]) == (5, 1, "done")
    assert "1 failed with ExecutionError" in str(shown)


def test_a_submitted_run_goes_on_beside_other_statements_and_can_be_cancelled(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdb.runs.folder.PATIENCE", 0)
    for i in range(60):
        picture(f"many/{i:02}.png", i)
    run = db.submit(f"OCCLUDE 'many/*.png' {WITH} INTO RUN 'r'")
    assert isinstance(db.execute(f"OCCLUDE 'scans/a/x0.png' {WITH}"), HeatMap)
    while run.progress.done < 2:
        time.sleep(0.01)
    assert db.execute("SHOW RUN 'r'").rows[0][-1] == "running"  # type: ignore[union-attr]
    with pytest.raises(ExecutionError, match="another process works on the run"):
        db.execute("RESUME RUN 'r'")
    run.cancel()
    assert run.progress.finished and 2 <= run.progress.done < 60
    run.wait()
    again = run.resume().wait()
    assert again.progress.done == 60
    found = rows(again)
    assert [row["status"] for row in found] == ["done"] * 60
    assert max(row["attempts"] for row in found) <= 2  # that which was under way when it was cancelled
    assert starts() <= 61


def test_a_callback_stops_a_run(db: Session) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 2:
            raise kdb.Cancel

    run = db.execute(QUERY, progress=stop)
    assert isinstance(run, Run) and run.progress.done == 2 and run.progress.finished
    assert executed(db, "RESUME RUN 'r'").progress.done == 6


@pytest.mark.parametrize("via", ["", "VIA processes(1)"])
def test_ctrl_c_says_how_far_it_was_and_counts_against_no_image(db: Session, via: str) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"2 of 6 images done.*RESUME RUN"):
        db.execute(f"{QUERY} {via}", progress=interrupt)
    run = executed(db, "RESUME RUN 'r'")
    assert run.progress.done == 6


def test_the_timeout_is_of_each_image(db: Session) -> None:
    db.execute("SET statement_timeout = 100")
    assert executed(db, QUERY).progress.done == 6
    db.execute("SET statement_timeout = 0.000001")
    run = executed(db, QUERY.replace("'r'", "'slow'"))
    assert {row["error_kind"] for row in rows(run)} == {"Timeout"}
    db.execute("RESET statement_timeout")
    assert executed(db, "RESUME RUN 'slow'").progress.done == 6


# ---- what is refused


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("OCCLUDE $a {} INTO RUN 'r'", "takes images by their paths, not ndarray"),
        ("OCCLUDE x {} INTO RUN 'r'", "a path needs quotes"),
        ("OCCLUDE 'scans/a' {} INTO RUN 'r'", "is a folder; its files are matched by"),
        ("OCCLUDE 'scans/a/*.png' {} FOR CLASS 77 INTO RUN 'r'", "class 77 is out of range"),
        ("OCCLUDE 'scans/a/*.png' {} FOR TOP 4 INTO RUN 'r'", "TOP 4 of 3 classes"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN ''", "has a name"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'scans'", "no run; a run has one of its own"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'scans/a/x0.png'", "is a file; a run is a folder"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' (format = 'bmp')", "none that a map is saved in"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' (fromat = 'npz')", "did you mean 'format'"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' VIA processes(0)", "processes takes whole numbers from 1"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' VIA shard(3, 2)", "part 3 of 2 is none"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' VIA ray(worker = 2)", "did you mean 'workers'"),
        ("OCCLUDE 'scans/a/*.png' {} INTO RUN 'r' VIA ray(gpus = -1)", "gpus takes numbers from 0"),
        ("EXPLAIN ANALYZE OCCLUDE 'scans/a/x0.png' {} INTO RUN 'r'", "EXPLAIN ANALYZE .* excludes INTO RUN"),
        ("VERIFY OCCLUDE 'scans/a/x0.png' {} INTO RUN 'r'", "VERIFY .* excludes INTO RUN"),
        ("RESUME RUN 'nowhere'", "there is no run in"),
        ("SHOW RUN 'nowhere'", "there is no run in"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(db: Session, query: str, message: str) -> None:
    with pytest.raises(BindError, match=message):
        db.execute(query.format(WITH), {"a": np.zeros((16, 16, 3), np.uint8)})
    assert not Path("r").exists() and not Path("nowhere").exists()
    assert sorted(os.listdir("scans")) == ["a", "b"]


def test_submit_takes_runs_alone(db: Session) -> None:
    for text in (f"OCCLUDE 'scans/a/x0.png' {WITH}", "SHOW MODELS"):
        with pytest.raises(BindError, match="submitted"):
            db.submit(text)
    with pytest.raises(ParseError):
        db.submit("RESUME RUN")


def test_a_folder_that_cannot_be_written_stops_the_run_and_not_the_images(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: HeatMap, path: object, **_: object) -> Path:
        raise kdb.errors.Unwritable(f"cannot write {path}") from OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(HeatMap, "save", full)
        with pytest.raises(ExecutionError, match="No space left on device; what is done is kept"):
            db.execute(QUERY)
    assert executed(db, "RESUME RUN 'r'").progress.done == 6


def test_under_a_root_nothing_lies_elsewhere(tmp_path: Path, model_file: Path, db: Session) -> None:
    inside = tmp_path / "inside"
    picture(inside / "scans/x.png", 1)
    (inside / "net.onnx").write_bytes(model_file.read_bytes())
    rooted = kdb.connect(root=inside)
    rooted.execute("CREATE MODEL net FROM 'net.onnx' (mean = 0, std = 1)")
    for via in ("local", "processes(1)"):
        run = executed(rooted, f"OCCLUDE 'scans/*.png' {WITH} INTO RUN 'r-{via[:5]}' VIA {via}")
        assert run.progress.done == 1, run.failures().to_pylist()
    Path(inside / "m.csv").write_text("path\n../scans/a/x0.png\n")
    for query in (
        f"OCCLUDE 'scans/*.png' {WITH} INTO RUN '../out'",
        f"OCCLUDE MANIFEST 'm.csv' {WITH} INTO RUN 'out'",
        "RESUME RUN '../r'",
        "SHOW RUN '../r'",
    ):
        with pytest.raises(BindError, match="outside the root"):
            rooted.execute(query)


def test_a_run_of_dicom_files_writes_dicom_files(db: Session) -> None:
    pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    Path("ct").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        Path("ct", name).write_bytes(Path(get_testdata_file(name)).read_bytes())
    run = executed(db, f"OCCLUDE 'ct/*.dcm' {WITH} INTO RUN 'r' (format = ('npz', 'dcm', 'pm.dcm'))")
    assert run.progress.done == 2, run.failures().to_pylist()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        source = pydicom.dcmread(f"ct/{name}")
        kinds = {"dcm": "Secondary Capture Image Storage", "pm.dcm": "Parametric Map Storage"}
        for extension, kind in kinds.items():
            written = pydicom.dcmread(f"r/maps/{name}.{extension}")
            assert written.SOPClassUID.name == kind
            assert written.StudyInstanceUID == source.StudyInstanceUID
            assert written.SeriesInstanceUID != source.SeriesInstanceUID
    assert run.map("CT_small.dcm").size == (16, 16)


# ---- EXPLAIN


def test_explain_says_who_works(db: Session) -> None:
    plan = db.explain(f"{QUERY} VIA processes(2)")
    assert "INTO RUN 'r' VIA processes(2)" in plan
    assert "a run into 'r': maps/{id}.npz; by 2 processes of 1 thread each" in plan
    assert not Path("r").exists()
    assert "part 2 of 4" in db.explain(f"{QUERY} VIA shard(2, 4)")


def test_a_study_s_threshold_is_the_run_s_own(db: Session, model_file: Path, tmp_path: Path) -> None:
    with connected(model_file, study=tmp_path / "s.kdb") as study:
        study.execute("TUNE net ON 'scans/**/*.png' WITH patch(4, 4) STRIDE 1")
        query = "OCCLUDE 'scans/a/*.png' WITH patch(4, 4) STRIDE 1 USING net THRESHOLD AUTO INTO RUN 'r'"
        run = executed(study, query)
        expected = [each.values for each in run.maps()]
    Path("r/maps/x0.png.npz").unlink()
    again = executed(kdb.connect(), "RESUME RUN 'r' VIA processes(1)")
    assert again.progress.failed == 0, again.failures().to_pylist()
    for made, wanted in zip(again.maps(), expected, strict=True):
        assert np.array_equal(made.values, wanted)
