"""Means over a run and differences of two, held against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kdb
from kdb.errors import ExecutionError, OmissionWarning
from kdb.results.compare import Difference
from kdb.results.maps import HeatMap
from kdb.runs.averages import Means
from kdb.session.session import Session
from tests.runs.conftest import WITH, network, picture

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.runs


def manifest(count: int = 6) -> str:
    lines = [f"scans/{'ab'[i % 2]}/x{i // 2}.png,{'even' if i % 2 == 0 else 'odd'}" for i in range(count)]
    Path("m.csv").write_text("\n".join(["path,truth", *lines]) + "\n")
    return "MANIFEST 'm.csv'"


def done(db: Session, text: str, parameters: object = None) -> kdb.Run:
    run = db.execute(text, parameters)  # type: ignore[arg-type]
    assert isinstance(run, kdb.Run)
    return run


@pytest.mark.parametrize("clause", ["FOR CLASS 1", "FOR CLASSES (2, 0) SCORE drop", "FOR CLASS 1 SCORE logit"])
def test_a_mean_is_the_mean_of_the_maps(db: Session, clause: str) -> None:
    run = done(db, f"OCCLUDE {manifest()} {WITH} {clause} INTO RUN 'r'")
    maps = list(run.maps())
    mean = run.mean()
    assert isinstance(mean, HeatMap)
    np.testing.assert_allclose(mean.values, np.mean([each.values for each in maps], axis=0), atol=1e-6)
    np.testing.assert_allclose(mean.baseline, np.mean([each.baseline for each in maps], axis=0), atol=1e-6)
    assert mean.exact and mean.evaluated.all() and mean.class_index == maps[0].class_index
    means = run.mean(by="truth")
    assert isinstance(means, Means) and list(means) == ["even", "odd"]
    for truth, folder in (("even", "a"), ("odd", "b")):
        own = [each.values for each in maps if each.source is not None and f"/{folder}/" in each.source]
        np.testing.assert_allclose(means[truth].values, np.mean(own, axis=0), atol=1e-6)
    means.plot()
    mean.save("mean.npz")
    assert np.array_equal(HeatMap.load("mean.npz").values, mean.values)


def test_maps_with_gaps_are_averaged_where_they_have_scores(db: Session) -> None:
    for i, name in enumerate(("a/x0", "a/x1", "a/x2")):
        mask = np.zeros((16, 16), np.uint8)
        mask[i * 4 : 12] = 1
        Path("masks/a").mkdir(parents=True, exist_ok=True)
        np.save(f"masks/{name}.png.npy", mask)
    run = done(db, f"OCCLUDE 'scans/**/*.png' {WITH} WITHIN mask($m) FOR CLASS 0 INTO RUN 'r'", {"m": "masks/{id}.npy"})
    mean = run.mean()
    assert isinstance(mean, HeatMap)
    stacked = np.stack([each.values for each in run.maps()])
    assert len(stacked) == 3
    there = np.isfinite(stacked).any(axis=0)
    np.testing.assert_allclose(mean.values[there], np.nanmean(stacked[:, there], axis=0), atol=1e-6)
    assert np.isnan(mean.values[~there]).all() and not mean.evaluated[~there].any()


def test_a_difference_is_of_the_images_that_both_have(db: Session) -> None:
    one = done(db, f"OCCLUDE {manifest()} {WITH} FOR CLASS 1 INTO RUN 'one'")
    db.register_model("net", network(5), input_size=(16, 16), mean=0, std=1)
    two = done(db, f"OCCLUDE {manifest(4)} {WITH} FOR CLASS 1 INTO RUN 'two'")
    difference = one.difference(two)
    assert isinstance(difference, Difference)
    assert np.array_equal(one.difference("two").values, difference.values)  # type: ignore[union-attr]
    expected = np.mean([one.map(row["id"]).values - two.map(row["id"]).values for row in two.table().to_pylist()], 0)
    np.testing.assert_allclose(difference.values, expected, atol=1e-6)
    by = one.difference(two, by="truth")
    assert isinstance(by, dict) and set(by) == {"even", "odd"}
    np.testing.assert_allclose(np.mean([each.values for each in by.values()], axis=0), expected, atol=1e-6)


def test_maps_of_other_classes_are_left_out_of_a_difference(db: Session) -> None:
    Image.new("RGB", (16, 16), (0, 0, 255)).save("scans/b/x0.png")  # which the model takes for another class
    one = done(db, f"OCCLUDE 'scans/**/*.png' {WITH} INTO RUN 'one'")
    classes = {row["id"]: row["class_index"] for row in one.table().to_pylist()}
    assert len(set(classes.values())) > 1
    two = done(db, f"OCCLUDE 'scans/**/*.png' {WITH} FOR CLASS 1 INTO RUN 'two'")
    with pytest.warns(OmissionWarning, match="explain different classes"):
        difference = one.difference(two)
    assert isinstance(difference, Difference) and not difference.values.any()
    mean = one.mean()
    assert isinstance(mean, HeatMap) and mean.label == "2 classes, most often class 1"
    three = done(db, f"OCCLUDE 'scans/**/*.png' {WITH} FOR CLASS 0 INTO RUN 'three'")
    with pytest.raises(ExecutionError, match="FOR CLASS makes them comparable"):
        two.difference(three)


def test_what_has_no_mean_is_told(db: Session) -> None:
    Image.new("RGB", (16, 16), (0, 0, 255)).save("scans/b/x0.png")
    run = done(db, f"OCCLUDE 'scans/**/*.png' {WITH} FOR TOP 2 INTO RUN 'r'")
    with pytest.raises(ExecutionError, match="other classes for each image"):
        run.mean()
    with pytest.raises(ExecutionError, match="did you mean 'truth'"):
        run.mean(by="truht")
    with pytest.raises(ExecutionError, match="has a list for each image"):
        run.mean(by="label")
    picture("other/x.png", 1)
    pictures = done(db, f"OCCLUDE 'other/*.png' {WITH} INTO RUN 'p' (format = 'png')")
    assert Path("p/maps/x.png.png").exists() and pictures.progress.done == 1
    for ask in (pictures.mean, pictures.maps, lambda: pictures.report("x.html")):
        with pytest.raises(ExecutionError, match="keeps its maps as png"):
            ask()
    both = done(db, f"OCCLUDE 'other/*.png' {WITH} INTO RUN 'b' (format = ('png', 'npz'))")
    assert both.table().to_pylist()[0]["map"] == "maps/x.png.png"
    assert isinstance(both.mean(), HeatMap) and both.map("x.png").has_class_axis is False
    with pytest.raises(kdb.BindError, match="exported to 'fiftyone'"):
        both.export("fiftyon", "f")
