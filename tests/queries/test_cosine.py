"""SCORE cosine TO an image: likeness of embeddings, against the model itself in float64."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.errors import BindError, ParseError
from kdb.models.reference import ModuleReference

RNG = np.random.default_rng(0)
ONE, OTHER = (RNG.integers(0, 256, (24, 24, 3), np.uint8) for _ in range(2))


def embedding() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, 2), nn.PReLU(8)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8 * 25, 16), nn.BatchNorm1d(16)).eval()


@pytest.fixture
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("face", embedding(), input_size=(24, 24), mean=0.5, std=0.5)
    return session


def outputs(images: np.ndarray) -> np.ndarray:
    """[n, K] of images uint8 [n, h, w, 3], in float64."""
    double = copy.deepcopy(embedding()).double()
    with torch.no_grad():
        return double(torch.from_numpy(np.moveaxis((images / 255 - 0.5) / 0.5, -1, 1).copy())).numpy()


def cosines(positions: np.ndarray, patch: int) -> np.ndarray:
    images = np.repeat(ONE[None], len(positions) + 1, 0)
    for each, (y, x) in zip(images[1:], positions, strict=True):
        each[y : y + patch, x : x + patch] = 0
    found, (to,) = outputs(images), outputs(OTHER[None])
    return found @ to / np.linalg.norm(found, axis=1) / np.linalg.norm(to)


@pytest.mark.parametrize("score", ["cosine", "cosine_drop"])
def test_it_is_the_cosine_of_both_outputs(db: kdb.Session, score: str) -> None:
    heat_map = db.execute(f"OCCLUDE $a WITH patch(4) STRIDE 3 USING face SCORE {score} TO $b", {"a": ONE, "b": OTHER})
    baseline, *values = cosines(heat_map.positions.reshape(-1, 2), 4)
    expected = baseline - np.array(values) if score.endswith("drop") else np.array(values)
    np.testing.assert_allclose(heat_map.values.reshape(-1), expected, rtol=0, atol=1e-5)
    assert heat_map.baseline == pytest.approx(baseline, abs=1e-5)
    assert (heat_map.label, heat_map.score, heat_map.exact) == ("cosine", score, True)
    assert heat_map.query == f"OCCLUDE $a WITH patch(4, 4) STRIDE 3 USING face SCORE {score} TO $b"
    assert heat_map.checked is not None and heat_map.stats.executed_macs < heat_map.stats.naive_macs


def test_an_image_is_most_like_itself(db: kdb.Session, tmp_path: Path) -> None:
    Image.fromarray(ONE).save(tmp_path / "a.png")
    heat_map = db.execute(f"OCCLUDE $a STRIDE 8 USING face SCORE cosine TO '{tmp_path / 'a.png'}'", {"a": ONE})
    assert heat_map.baseline == pytest.approx(1) and heat_map.values.max() < 1
    same = kdb.occlude(ONE, embedding(), stride=8, score="cosine", to=ONE, mean=0.5, std=0.5)
    assert np.array_equal(same.values, heat_map.values)


def test_it_is_drawn_verified_and_read_again(db: kdb.Session, tmp_path: Path) -> None:
    parameters = {"a": ONE, "b": OTHER}
    heat_map = db.execute("OCCLUDE $a WITH patch(4) STRIDE 4 USING face SCORE cosine TO $b", parameters)
    heat_map.save(tmp_path / "map.npz")
    heat_map.save(tmp_path / "map.png")
    table = db.execute(f"VERIFY '{tmp_path / 'map.npz'}'", parameters)
    assert not any(row[-1] is False for row in table.rows), str(table)
    table = db.execute("VERIFY OCCLUDE $a WITH patch(4) STRIDE 4 USING face SCORE cosine TO $b", parameters)
    assert len(table.rows)
    assert "cosine" in repr(heat_map)
    plan = db.explain("OCCLUDE $a STRIDE 4 USING face SCORE cosine TO 'there-is-none.png'", parameters)
    assert plan.startswith("OCCLUDE $a WITH patch(16, 16) STRIDE 4 USING face SCORE cosine TO 'there-is-none.png'")


def test_a_sampled_map_of_cosines(db: kdb.Session) -> None:
    heat_map = db.execute(
        "OCCLUDE $a WITH patch(6) STRIDE 1 USING face SCORE cosine TO $b APPROXIMATE TO SSIM 0.8",
        {"a": ONE, "b": OTHER},
    )
    assert not heat_map.exact and np.isfinite(heat_map.values).all()


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        ("SCORE cosine TO $b FOR TOP 2", "SCORE cosine is of the whole output, so it excludes FOR"),
        ("SCORE cosine TO $b OVER ALL", "SCORE cosine is of the whole output, so it excludes OVER"),
        ("SCORE cosine TO $both", "a cosine is with one image; $both names 2"),
        ("SCORE cosine TO 'none.png'", "none.png"),
    ],
)
def test_what_does_not_fit_is_said(db: kdb.Session, clauses: str, message: str) -> None:
    with pytest.raises(kdb.Error) as raised:
        db.execute(f"OCCLUDE $a USING face {clauses}", {"a": ONE, "b": OTHER, "both": [ONE, OTHER]})
    assert message in str(raised.value)


def test_a_cosine_needs_to_and_others_have_none(db: kdb.Session) -> None:
    with pytest.raises(ParseError, match="TO"):
        db.execute("OCCLUDE $a USING face SCORE cosine", {"a": ONE})
    with pytest.raises(ParseError):
        db.execute("OCCLUDE $a USING face SCORE logit TO $b", {"a": ONE, "b": OTHER})
    wrong: list[dict[str, Any]] = [{"score": "cosine"}, {"to": OTHER}, {"score": "logit", "to": OTHER}]
    for keywords in wrong:
        with pytest.raises(BindError, match="belongs to these alone"):
            kdb.occlude(ONE, embedding(), **keywords)


def test_an_output_without_length_has_no_cosine() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(BindError, match="has the length 0, so there is no cosine with it"):
        kdb.occlude(ONE, module, score="cosine", to=np.zeros_like(ONE), mean=0, std=1)


def test_a_dense_output_has_no_cosine() -> None:
    with pytest.raises(BindError, match="score cosine is for models that give vectors"):
        kdb.occlude(ONE, nn.Conv2d(3, 2, 3).eval(), score="cosine", to=OTHER, mean=0, std=1)


def test_the_other_image_is_run_once_for_all_images(db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    logits = ModuleReference.logits

    def counted(reference: ModuleReference, images: np.ndarray) -> np.ndarray:
        given.append(len(images))
        return logits(reference, images)

    monkeypatch.setattr(ModuleReference, "logits", counted)
    db.execute("SET verify = off; SET rule.few_positions = off")
    text = "OCCLUDE $images WITH patch(8) STRIDE 8 USING face SCORE cosine TO $b"
    maps = list(db.execute(text, {"images": [ONE, OTHER, ONE], "b": OTHER}))
    assert given == [1] and maps[1].baseline == pytest.approx(1)
    assert np.array_equal(maps[0].values, maps[2].values)
