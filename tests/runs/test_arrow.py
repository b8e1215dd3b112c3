"""What kdb gives, read by other libraries through Arrow."""

from __future__ import annotations

import pytest

import kdb
from kdb.results.tables import Table
from kdb.session.session import Session
from tests.runs.conftest import WITH

pyarrow = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.runs


def test_heat_maps_are_read_as_their_data_frames(db: Session) -> None:
    maps = db.execute(f"OCCLUDE 'scans/a/*.png' {WITH} FOR TOP 2")
    assert isinstance(maps, kdb.HeatMaps)
    read = pyarrow.RecordBatchReader.from_stream(maps)
    batches = list(read)
    assert len(batches) == 3  # one map at a time
    frame = pyarrow.Table.from_batches(batches).to_pandas()
    assert frame.equals(maps.to_dataframe().astype(frame.dtypes.to_dict()))
    alone = pyarrow.table(maps[1]).to_pandas()
    assert alone.equals(maps[1].to_dataframe().astype(alone.dtypes.to_dict()))


def test_tables_are_read_by_column(db: Session) -> None:
    for text in ("SHOW SETTINGS", "SHOW RULES", "SHOW MODELS", "SHOW CALIBRATION"):
        table = db.execute(text)
        assert isinstance(table, Table)
        read = pyarrow.table(table)
        assert tuple(read.column_names) == table.columns and read.num_rows == len(table)
    mixed = pyarrow.table(Table(("a", "b"), ((1, None), ("x", 2.5))))
    assert mixed.to_pylist() == [{"a": "1", "b": None}, {"a": "x", "b": 2.5}]
    assert pyarrow.table(Table(("a",), ())).num_rows == 0


def test_duckdb_reads_a_run_and_its_file(db: Session) -> None:
    duckdb = pytest.importorskip("duckdb")
    run = db.execute(f"OCCLUDE 'scans/**/*.png' {WITH} INTO RUN 'r'")
    by_arrow = duckdb.sql("SELECT id, baseline FROM run WHERE status = 'done' ORDER BY id").fetchall()
    by_file = duckdb.sql("SELECT id, baseline FROM 'r/results.parquet' ORDER BY id").fetchall()
    assert by_arrow == by_file and len(by_file) == 6
    assert isinstance(run, kdb.Run)
