"""A run as a data set of FiftyOne's: fields that are described, and heat maps that are the drops, where they belong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kdb.errors import ExecutionError
from kdb.results.maps import HeatMap
from kdb.runs.gallery import columns, fiftyone
from kdb.runs.gallery.fiftyone import NEGATIVE, POSITIVE
from tests.results.test_heatmap import heat_map, several, small, volume
from tests.runs.tables import FACTS, SIZES, Run, row_of, table

pytestmark = pytest.mark.runs
pytest.importorskip("pyarrow")

Json = dict[str, Any]


def exported(
    folder: Path, rows: Any, read: Callable[[str], HeatMap], facts: Mapping[str, str] = FACTS, **options: Any
) -> tuple[Json, dict[str, Json]]:
    """The description of the data set, and its samples by their names."""
    assert fiftyone.export(folder, rows, read, facts, **options) == folder
    metadata = json.loads((folder / "metadata.json").read_text())
    samples = json.loads((folder / "samples.json").read_text())["samples"]
    assert len(samples) == rows.num_rows
    check(metadata, samples)
    return metadata, {each["kdb_id"]: each for each in samples}


def check(metadata: Json, samples: list[Json]) -> None:
    """What FiftyOne relies on: all fields are described, of the types that they have, and all identities differ."""
    kinds: dict[str, Callable[[Any], bool]] = {
        "StringField": lambda value: isinstance(value, str),
        "FloatField": lambda value: isinstance(value, float) and np.isfinite(value),
        "IntField": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "ListField": lambda value: isinstance(value, list),
        "HeatmapRangeField": lambda value: len(value) == 2 and value[0] <= value[1],
        "ObjectIdField": lambda value: len(bytes.fromhex(value["$oid"])) == 12,
        "EmbeddedDocumentField": lambda value: isinstance(value, dict),
    }
    identities = []

    def visit(given: Json, described: list[Json]) -> None:
        fields = {each["db_field"]: each for each in described}
        assert len(fields) == len(described)
        for name, value in given.items():
            if name == "_cls":
                continue
            field = fields[name]
            kind = field["ftype"].rsplit(".", 1)[1]
            assert kinds[kind](value), f"{name} is {value!r}, no {kind}"
            if kind == "ObjectIdField":
                identities.append(value["$oid"])
            if kind == "EmbeddedDocumentField":
                assert field["embedded_doc_type"].rsplit(".", 1)[1] == value["_cls"]
                visit(value, field["fields"])
            if kind == "ListField":
                for each in value:
                    if field["subfield"].endswith("EmbeddedDocumentField"):
                        assert field["embedded_doc_type"].rsplit(".", 1)[1] == each["_cls"]
                        visit(each, field["fields"])
                    else:
                        assert isinstance(each, str)

    assert metadata["media_type"] == "image" and metadata["version"] == fiftyone.VERSION
    for sample in samples:
        assert sample["_media_type"] == "image" and 0 <= sample["_rand"] < 1
        visit(sample, metadata["sample_fields"])
    assert len(identities) == len(set(identities))


def effects(folder: Path, sample: Json) -> np.ndarray:
    """The drops that the two heat maps of a sample stand for, positive minus negative; float64."""
    total = None
    for field, sign in ((POSITIVE, 1), (NEGATIVE, -1)):
        if (label := sample.get(field)) is None:
            continue
        assert label["map_path"].split("/")[:2] == ["fields", field], "where FiftyOne completes relative paths"
        with Image.open(folder / label["map_path"]) as picture:
            assert picture.mode == "L"
            levels = np.asarray(picture).astype(np.float64)
        assert levels.max() == 255
        found = sign * levels * label["full"] / 255
        total = found if total is None else total + found
    assert total is not None
    return total


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def test_heat_maps_are_the_drops_where_the_model_sees_the_image(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    _, samples = exported(folder, run.table, run.read)
    for i, (height, width) in enumerate(SIZES):
        sample, hm = samples[f"photo {i}"], run.read(f"maps/{i}.npz")
        assert isinstance(hm.baseline, float) and hm.source_size == (height, width)
        assert sample["filepath"] == str(run.folder / f"photo {i}.png")
        found = effects(folder, sample)
        drop = hm.baseline - hm.upsample().astype(np.float64)
        full = max(sample[field]["full"] for field in (POSITIVE, NEGATIVE) if field in sample)
        assert full == pytest.approx(np.abs(drop).max())
        y, x, h, w = hm.source_box
        # Stretched over the source, with about a pixel for each cell of the grid, and no more than the source has.
        assert found.shape == (min(round(height * 32 / h), height), min(round(width * 32 / w), width))
        outside = 0
        for row, column in np.ndindex(found.shape):
            across = (column + 0.5) * width / found.shape[1]
            down = (row + 0.5) * height / found.shape[0]
            cell = np.floor((down - y) * 32 / h), np.floor((across - x) * 32 / w)
            if all(0 <= each < 32 for each in cell):
                expected = drop[int(cell[0]), int(cell[1])]
                assert abs(found[row, column] - expected) <= 0.5 * full / 255 + 1e-9
            else:
                assert found[row, column] == 0
                outside += 1
        assert (outside > 0) == (height != width), "the crop is the middle of an image that is not square"


def test_the_colours_of_an_image_are_full_at_its_largest_effect_or_at_that_of_the_run(run: Run, tmp_path: Path) -> None:
    of_run = columns.columns(run.table, FACTS).half
    for shared in (False, True):
        _, samples = exported(tmp_path / str(shared), run.table, run.read, shared=shared)
        for i in range(len(SIZES)):
            labels = [samples[f"photo {i}"][field] for field in (POSITIVE, NEGATIVE) if field in samples[f"photo {i}"]]
            widest = of_run if shared else max(label["full"] for label in labels)
            for label in labels:
                assert label["range"] == [0.0, pytest.approx(255 * max(widest / label["full"], 1))]


def test_effects_too_small_to_matter_stay_faint(tmp_path: Path) -> None:
    hm = heat_map([0.5, 0.498], [[0, 0], [0, 4]], grid=(4, 8), patch=(4, 4), source="/a.png")
    _, samples = exported(tmp_path / "set", table(row_of(hm, "a", "/a.png", map="a")), {"a": hm}.__getitem__)
    label = samples["a"][POSITIVE]
    assert label["full"] == pytest.approx(0.002, rel=1e-4) and label["range"][1] == pytest.approx(255 * 5, rel=1e-4)
    assert NEGATIVE not in samples["a"]


@pytest.mark.parametrize("score", ["probability", "drop", "logit", "logit_drop", "cosine", "cosine_drop"])
def test_positive_is_what_speaks_for_the_class_whatever_the_score(tmp_path: Path, score: Any) -> None:
    baseline, hidden = 0.7, np.array([0.3, 0.9])
    values = baseline - hidden if score.endswith("drop") else hidden
    hm = heat_map(values, [[0, 0], [0, 4]], grid=(4, 8), patch=(4, 4), baseline=baseline, score=score, source="/a.png")
    folder, facts = tmp_path / "set", {**FACTS, "score": score}
    rows = table(row_of(hm, "a", "/a.png", map="a"))
    _, samples = exported(folder, rows, {"a": hm}.__getitem__, facts)
    found = effects(folder, samples["a"])
    np.testing.assert_allclose(found[:, :4], 0.4, atol=1e-6)
    np.testing.assert_allclose(found[:, 4:], -0.2, atol=1e-6)
    assert samples["a"]["change"] == pytest.approx(-0.4)
    confidence = samples["a"]["predictions"].get("confidence")
    assert confidence == (0.7 if score in ("probability", "drop") else None)


def test_cells_without_values_have_no_effect(tmp_path: Path) -> None:
    hm = heat_map([0.2, np.nan], [[0, 0], [0, 4]], grid=(4, 12), patch=(4, 4), source="/a.png")
    folder = tmp_path / "set"
    _, samples = exported(folder, table(row_of(hm, "a", "/a.png", map="a")), {"a": hm}.__getitem__)
    np.testing.assert_allclose(effects(folder, samples["a"]), np.repeat([[0.3, 0, 0]], 4, axis=0).repeat(4, axis=1))


def test_an_image_that_is_padded_or_part_of_a_large_one(tmp_path: Path) -> None:
    """The grid may reach beyond the source; of a large source the map has no more pixels than are of use."""
    grid, values = (10, 10), np.arange(1, 101, dtype=np.float32).reshape(10, 10) / 1000
    places = np.stack(np.meshgrid(np.arange(10), np.arange(10), indexing="ij"), -1)
    facts: dict[str, Any] = {"grid": grid, "patch": (1, 1), "stride": (1, 1), "baseline": 0.0, "score": "drop"}
    padded = heat_map(values, places, **facts, source_box=(-5.0, 0.0, 30.0, 30.0), source_size=(20, 30))
    part = heat_map(values, places, **facts, source_box=(100.0, 200.0, 10.0, 10.0), source_size=(3000, 2000))
    placed = fiftyone.on_source(fiftyone.drop_of(padded), padded)
    assert placed.shape == (7, 10)
    centres = ((np.arange(7) + 0.5) * 20 / 7 + 5) / 3
    np.testing.assert_allclose(placed, values[np.floor(centres).astype(int)])
    placed = fiftyone.on_source(fiftyone.drop_of(part), part)
    assert placed.shape == (1024, 683)
    assert placed[: int(1024 * 100 / 3000)].max() == 0 and 0 < (placed > 0).sum() < 30


def test_a_sample_has_the_numbers_and_the_classes_of_its_row(run: Run, tmp_path: Path) -> None:
    metadata, samples = exported(tmp_path / "set", run.table, run.read)
    for row in run.table.to_pylist():
        sample = samples[row["id"]]
        for name in ("status", "error_kind", "error", "class_index", "baseline", "min", "max", "seconds", "attempts"):
            assert sample.get(name) == row[name]
        assert (sample["source"], sample.get("map_file")) == (row["path"], row["map"])
        assert sample["ground_truth"]["label"] == row["truth"]
        if row["status"] == "failed":
            assert sample["tags"] == ["failed"]
            assert not {"predictions", POSITIVE, NEGATIVE, "metadata"} & sample.keys()
            continue
        assert sample["tags"] == ([] if row["label"] == row["truth"] else ["wrong"])
        assert sample["predictions"]["label"] == row["label"]
        assert sample["predictions"]["confidence"] == row["baseline"]
        largest = max(row["baseline"] - row["min"], row["max"] - row["baseline"])
        assert abs(sample["change"]) == pytest.approx(largest)
        i = int(row["id"].split()[1])
        assert (sample["metadata"]["height"], sample["metadata"]["width"]) == SIZES[i]
    assert metadata["info"]["query"] == FACTS["query"] and metadata["info"]["score"] == "probability"
    assert {each["path"] for each in metadata["app_config"]["color_scheme"]["fields"]} == {POSITIVE, NEGATIVE}


def test_a_truth_by_number_has_the_label_of_the_prediction_that_agrees(run: Run, tmp_path: Path) -> None:
    rows = run.rows[:2]
    right, wrong = ({**row, "truth": index} for row, index in zip(rows, (rows[0]["class_index"], 99), strict=True))
    _, samples = exported(tmp_path / "set", table(right, wrong), run.read)
    assert samples[right["id"]]["ground_truth"]["label"] == right["label"] and not samples[right["id"]]["tags"]
    assert samples[wrong["id"]]["ground_truth"]["label"] == "99" and samples[wrong["id"]]["tags"] == ["wrong"]


def test_several_classes_are_all_listed_and_the_first_is_shown(tmp_path: Path) -> None:
    hm = several(3, baseline=(0.9, 0.06, 0.02), label=("a", "b", "c"), class_index=(4, 5, 6), source="/a.png")
    folder = tmp_path / "set"
    rows = table(row_of(hm, "a", "/a.png", map="a"), row_of(None, "b", "/b.png", error="no"))
    _, samples = exported(folder, rows, {"a": hm}.__getitem__)
    sample = samples["a"]
    listed = [(each["label"], each["confidence"]) for each in sample["explained"]["classifications"]]
    assert listed == [("a", 0.9), ("b", 0.06), ("c", 0.02)]
    assert (sample["predictions"]["label"], sample["class_index"], sample["baseline"]) == ("a", 4, 0.9)
    drop = 0.9 - hm.upsample()[0].astype(np.float64)
    np.testing.assert_allclose(effects(folder, sample), drop, atol=np.abs(drop).max() / 255)


def test_what_a_browser_does_not_show_has_a_picture(run: Run, tmp_path: Path) -> None:
    maps = {
        "volume": volume(),
        "signal": heat_map([0.2, 0.9, 0.5], [[0], [4], [8]], grid=(12,), patch=(4,), stride=(4,)),
        "slice": small(source_box=(0.0, 3.0, 8.0, 10.0), source_size=(8, 16)),
    }
    rows = table(*(row_of(hm, name, f"/data/{name}.dcm", map=name) for name, hm in maps.items()))
    folder = tmp_path / "set"
    _, samples = exported(folder, rows, maps.__getitem__)
    for name, sample in samples.items():
        assert sample["source"] == f"/data/{name}.dcm" and sample["filepath"].startswith("data/")
        assert Image.open(folder / sample["filepath"]).mode == "RGB"
        assert (POSITIVE in sample) == (name == "slice")
    assert np.array_equal(np.asarray(Image.open(folder / samples["slice"]["filepath"])), maps["slice"].picture)
    assert effects(folder, samples["slice"]).shape == maps["slice"].size, "the picture is what the model sees"


def test_names_of_strangers_lead_nowhere_else(run: Run, tmp_path: Path) -> None:
    row = run.rows[0]
    names = ["../../etc/passwd", "a/b", "x" * 300, "\ud8ff", "<script>", "a\0b"]
    rows = table(*({**row, "id": name, "path": f"/photos/{i}.png"} for i, name in enumerate(names[:3])))
    folder = tmp_path / "set"
    exported(folder, rows, run.read)
    files = [each.relative_to(folder) for each in folder.rglob("*.png")]
    assert files and all(each.parts[:-1] in (("fields", POSITIVE), ("fields", NEGATIVE)) for each in files)
    assert all(len(each.name) < 80 for each in files)
    assert fiftyone._text("a\ud8ffb") == "a\\ud8ffb"


def test_a_map_that_cannot_be_read_is_tagged(run: Run, tmp_path: Path) -> None:
    def read(name: str) -> HeatMap:
        if name == "maps/1.npz":
            raise ExecutionError(f"cannot read '{name}': it is damaged")
        return run.read(name)

    _, samples = exported(tmp_path / "set", run.table, read)
    assert samples["photo 1"]["tags"] == ["unreadable"] and "damaged" in samples["photo 1"]["error"]
    assert POSITIVE not in samples["photo 1"] and samples["photo 1"]["baseline"] > 0
    assert POSITIVE in samples["photo 0"] or NEGATIVE in samples["photo 0"]


def test_an_export_can_be_made_again_and_leaves_other_folders_alone(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    first = exported(folder, run.table, run.read)
    assert exported(folder, run.table, run.read) == first
    (folder / "mine.txt").write_text("precious")
    with pytest.raises(ExecutionError, match=r"has other things in it, such as 'mine\.txt'"):
        fiftyone.export(folder, run.table, run.read, FACTS)
    with pytest.raises(ExecutionError, match="cannot write to the folder"):
        fiftyone.export(folder / "mine.txt", run.table, run.read, FACTS)
    with pytest.raises(ExecutionError, match="no column 'map'"):
        fiftyone.export(tmp_path / "other", run.table.drop_columns(["map"]), run.read, FACTS)
    assert not (tmp_path / "other").exists()


def test_an_export_that_is_interrupted_is_no_data_set(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    exported(folder, run.table, run.read)

    def read(name: str) -> HeatMap:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fiftyone.export(folder, run.table, read, FACTS)
    assert not (folder / "metadata.json").exists()
    exported(folder, run.table, run.read)
