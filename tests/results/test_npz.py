"""npz files of heat maps from anywhere: what is none is told from what is one, by the key at fault, at little cost."""

from __future__ import annotations

import gc
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdb.errors import ExecutionError
from kdb.results import npz
from kdb.results.maps import HeatMap
from tests.results.test_heatmap import _npz, heat_map, saved, small


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _with(**changed: Any) -> bytes:
    """The file of a sound map with other arrays under some keys; None leaves a key out."""
    with np.load(io.BytesIO(saved(small()))) as file:
        arrays = {**{name: file[name] for name in file.files}, **changed}
    return _npz(**{name: value for name, value in arrays.items() if value is not None})


def _declaring(key: str, shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The file of a sound map in which an array is but a header, which declares ``shape``."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return _repacked(**{f"{key}.npy": header.getvalue()})


def _repacked(kind: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    """The file of a sound map with other bytes under some names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(small()))) as whole, zipfile.ZipFile(packed, "w", kind) as archive:
        for name in whole.namelist():
            archive.writestr(name, members.get(name) or whole.read(name))
    return packed.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "or is damaged"),
    "text": (b"not a zip", "or is damaged"),
    "npy": (_npy(), "or is damaged"),
    "a difference": (_npz(query=["OCCLUDE a", "OCCLUDE b"]), "the difference of two maps"),
    "one array": (_npz(values=np.zeros(3)), "no 'format'"),
    "format alone": (_npz(format=1), "no 'values'"),
    "objects": (_npz(format=np.array({"a": 1}, dtype=object)), "'format' is of object"),
    "no values": (_with(values=None), "no 'values'"),
    "no label": (_with(label=None), "no 'label'"),
    "no stats": (_with(stats=None), "no 'stats'"),
    "another key": (_with(title="x"), "'title'"),
    "other stats": (_with(stats=json.dumps({"macs": 1})), "no 'naive_macs'"),
    "stats of texts": (_with(stats=json.dumps({"naive_macs": "1"})), "'naive_macs' in 'stats' is '1'"),
    "a number for a text": (_with(query=7), r"'query' is int64 \[\]"),
    "a text for a number": (_with(patch=["a", "b"]), "'patch' is <U1"),
    "several for one": (_with(model=["a", "b"]), r"'model' is <U1 \[2\]"),
    "float64": (_with(values=np.zeros((3, 4))), "values float64"),
    "no patch": (_with(patch=[0, 2]), "patch must be"),
    "far positions": (_with(positions=np.full((3, 4, 2), 2**63 - 1)), "patches of"),
    "a count that is none": (_with(checked=[np.nan, 0.0]), "or is damaged"),
    "another provenance": (_with(provenance="{}"), "'provenance' has no 'preprocessing'"),
    "provenance of numbers": (_with(provenance=1), "'provenance' is int64"),
    "a number for a truth value": (_with(exact=1), r"'exact' is int64 \[\]"),
    "no truth value": (_with(complete=np.nan), r"'complete' is float64 \[\]"),
    "evaluated by numbers": (_with(evaluated=np.ones((3, 4))), "'evaluated' is float64"),
    "half a class": (_with(class_index=0.5), "'class_index' is float64"),
    "half a format": (_with(format=3.5), "'format' is float64"),
    "a box without an end": (_with(source_box=[0.0, 0.0, np.nan, 5.0]), "source_box must be"),
    "a box of no height": (_with(source_box=[0.0, 0.0, 0.0, 5.0]), "source_box must be"),
    "a source of half pixels": (_with(source_size=[2.5, 4.0]), r"'source_size' is float64 \[2\]"),
    "a source of no pixels": (_with(source_size=[0, 4]), "source_size must be"),
    "notes in rows": (_with(notes=[["a"], ["b"]]), r"'notes' is <U1 \[2, 1\]"),
    "a fill of another size": (_with(fill=np.zeros((2, 4, 3), np.float32)), "fill must be"),
    "a fill of doubles": (_with(fill=np.zeros((1, 1, 3))), "fill must be"),
    "an image of doubles": (_with(image=np.zeros((8, 10, 3))), "the image must be"),
    "an image without channels": (_with(image=np.zeros((8, 10, 0), np.float32)), "the image must be"),
    "10^12 elements": (_declaring("values", (10**6, 10**6)), "'values' its arrays have more than 2048 MiB"),
    "more than an int64": (_declaring("image", (2**62, 2**62, 3), "|u1"), "'image' its arrays have more"),
    "many labels": (_declaring("label", (2**20 + 1,), "<U1"), "'label' has 1048577 elements"),
    "empty texts": (_declaring("label", (10**12,), "<U0"), "'label' has"),
    "a header alone": (_declaring("values", (10_000, 1000)), "or is damaged"),
    "numbers of no characters": (_with(source=np.array(b"\xff\xff\xff\x7f").view("<U1")), "'source' has characters"),
    "structures": (_declaring("values", (2,), [("a", "<f4")]), "'values' is of"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_an_execution_error_that_names_the_key(name: str, tmp_path: Path) -> None:
    content, said = FOREIGN[name]
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    with pytest.raises(ExecutionError, match=rf"foreign\.npz.*not a heat map.*{said}"):
        HeatMap.load(path)


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that says little and zeros after it, which deflate packs a thousandfold."""
    path = tmp_path / "bomb.npz"
    path.write_bytes(_repacked(**{"values.npy": _npz_member(np.zeros((3, 4), np.float32)) + bytes(1 << 24)}))
    assert path.stat().st_size < 1 << 16
    monkeypatch.setattr(npz, "MAP_BYTES", 1 << 23)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("an array is read"))
    with pytest.raises(ExecutionError, match="more than 8 MiB"):
        HeatMap.load(path)


def test_the_limit_is_of_the_bytes_that_the_arrays_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes for bytes: most of the file is the image, of 8 bits."""
    path = tmp_path / "map.npz"
    image = np.zeros((400, 400, 3), np.uint8)
    heat_map(np.zeros(2), [(0, 0), (9, 9)], grid=(400, 400), patch=(4, 4), image=image).save(path)
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    monkeypatch.setattr(npz, "MAP_BYTES", total)
    assert HeatMap.load(path).image.shape == image.shape
    monkeypatch.setattr(npz, "MAP_BYTES", total - 1)
    with pytest.raises(ExecutionError, match="more than 0 MiB"):
        HeatMap.load(path)


def _npz_member(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.filterwarnings("error")
def test_a_truncated_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    for length in (0, 3, 200, len(saved(small())) - 1):
        path.write_bytes(saved(small())[:length])
        with pytest.raises(ExecutionError, match="damaged"):
            HeatMap.load(path)
        gc.collect()
