"""The maps of several images are of one model, and of the images and fills as they were, or they are errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.errors import ExecutionError
from kdb.results.several import HeatMaps
from kdb.session.session import Session

SIDE = 12
QUERY = "OCCLUDE 'i*.png' WITH patch(4, 4) STRIDE 4 USING k FOR CLASS 'cat'"
OPTIONS: dict[str, Any] = {"input_size": SIDE, "mean": 0, "std": 1}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def picture(path: str | Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """In a folder of three images, with a model called k."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        picture(f"i{i}.png", i)
    session = kdb.connect()
    session.register_model("k", network(0), labels=["cat", "dog"], **OPTIONS)
    yield session


def maps(db: Session, query: str = QUERY, **parameters: object) -> HeatMaps:
    found = db.execute(query, parameters)
    assert isinstance(found, HeatMaps)
    return found


@pytest.mark.parametrize("what", ["another", "other labels", "dropped"])
def test_all_maps_are_of_the_model_that_the_name_meant(db: Session, what: str) -> None:
    expected = [heat_map.values for heat_map in maps(db)]
    found = maps(db)
    first = found[0]
    if what == "dropped":
        db.execute("DROP MODEL k")
    else:
        module, labels = (network(1), ["a", "b"]) if what == "another" else (network(0), ["dog", "cat"])
        db.register_model("k", module, labels=labels, **OPTIONS)
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(before, after.values)
        assert (after.model_identity, after.label) == (first.model_identity, "cat")


def test_a_model_that_was_changed_in_place_makes_no_more_maps(db: Session) -> None:
    module = network(0)
    db.register_model("k", module, labels=["cat", "dog"], **OPTIONS)
    found = maps(db)
    first = found[0]
    with torch.no_grad():
        module[0].weight.mul_(2)
    assert found[0] is first
    for again in range(2):
        with pytest.raises(ExecutionError, match=r"'k' has been changed since .*; run the query again"):
            found[1 + again]
    with torch.no_grad():
        module[0].weight.div_(2)
    assert found[1].model_identity == first.model_identity, "it is what it was"
    assert found.errors.keys() == {2}


def test_a_map_that_is_computed_again_is_of_the_same_image_and_fill(db: Session) -> None:
    fill = np.zeros((4, 4, 3), np.uint8)
    query = QUERY.replace("patch(4, 4)", "patch(4, 4) FILL $fill")
    found = maps(db, query, fill=fill)
    before = found[0].values
    assert found[1].source == "i1.png"
    np.testing.assert_array_equal(found[0].values, before)
    picture("i1.png", 7)
    with pytest.raises(ExecutionError, match=r"'i1\.png', or what covers it, has changed .*; run the query again"):
        found[1]
    fill[:] = 99
    assert found[0].values is not before, "it is the one that was asked for last"
    assert found[2].source == "i2.png"
    with pytest.raises(ExecutionError, match=r"'i0\.png', or what covers it, has changed"):
        found[0]


def test_an_image_that_was_repaired_is_read_again(db: Session, tmp_path: Path) -> None:
    whole = Path("i1.png").read_bytes()
    Path("i1.png").write_bytes(whole[:20])
    found = maps(db)
    for _ in range(2):
        with pytest.raises(ExecutionError, match=r"i1\.png"):
            found[1]
    assert found.errors.keys() == {1}
    Path("i1.png").write_bytes(whole)
    assert found[1].source == "i1.png" and not found.errors
    assert len(list(found)) == 3


@pytest.mark.parametrize("name", ["i1.png", "./i1.png", "link.png", "hard.png"])
def test_an_image_is_not_overwritten_by_its_map(db: Session, name: str) -> None:
    Path("link.png").symlink_to("i1.png")
    Path("hard.png").hardlink_to("i1.png")
    before = Path("i1.png").read_bytes()
    heat_map = maps(db)[1]
    with pytest.raises(ExecutionError, match=r"would overwrite the image 'i1\.png'"):
        heat_map.save(name)
    assert Path("i1.png").read_bytes() == before
    heat_map.save("i2.npz")


@pytest.mark.parametrize("template", ["{stem}.png", "copy_{stem}.png"])
def test_the_images_are_not_overwritten_by_their_maps(db: Session, template: str) -> None:
    Path("copy_i0.png").symlink_to("i1.png")  # of another image
    before = [Path(f"i{i}.png").read_bytes() for i in range(3)]
    found = maps(db)
    with pytest.raises(ExecutionError, match="would overwrite the image"):
        found.save(template)
    assert [Path(f"i{i}.png").read_bytes() for i in range(3)] == before
    assert "0 computed" in repr(found)
