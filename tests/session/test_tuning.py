"""TUNE and THRESHOLD AUTO: the fit, what is measured, what a tuning is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import kdb
from kdb.results.maps import HeatMap
from kdb.results.pictures.colours import coloured, krypton
from kdb.results.similarity import image_ssim, ssim
from kdb.session.tuning import IMAGES, TAUS, Tuning, sample
from kdb.system.interrupts import interruptible

SPEEDUP = np.linspace(1, 4, len(TAUS))


def network() -> nn.Module:
    """With boxes that grow, so that a threshold changes the map."""
    torch.manual_seed(0)
    layers = [layer for i in range(6) for layer in (nn.Conv2d(3 if i == 0 else 8, 8, 5, padding=2), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 24 * 24, 3)).eval()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def db() -> kdb.Session:
    session = kdb.connect()
    session.register_model("net", network(), input_size=24)
    return session


class TestTheFit:
    @given(st.tuples(*[st.floats(-0.3, 0.3)] * 2), st.floats(0.5, 0.99))
    def test_a_parabola_is_fitted_as_it_is(self, curve: tuple[float, float], target: float) -> None:
        taus = np.array(TAUS)
        noise = np.array([[0.01], [-0.01]])
        mean = 1 + curve[0] * (taus - 1) - curve[1] * (taus - 1) ** 2
        tuned = Tuning(mean + noise, SPEEDUP)
        np.testing.assert_allclose([tuned.fit(tau) for tau in TAUS], mean, atol=1e-9)
        tau = tuned.tau(target)
        assert 0.4 <= tau <= 1
        assert all(tuned.fit(t) >= target for t in np.arange(tau, 1, 0.01))
        if tau > 0.4:
            assert tuned.fit(tau - 0.01) < target

    def test_by_hand(self) -> None:
        tuned = Tuning(np.array([TAUS, np.array(TAUS) - 0.2]), SPEEDUP)
        assert tuned.tau(0.75) == 0.85 and tuned.share(0.85, 0.75) == 0.5
        np.testing.assert_allclose(tuned.at(0.85), [0.85, 0.65])
        assert tuned.speedup_at(0.85) == pytest.approx(1.75)
        assert tuned.tau(0.95) == 1, "nothing but an exact map will do"
        row = tuned.table(0.75).rows[-1]
        assert (row[0], row[4], row[6]) == (0.85, 0.5, 2)

    def test_a_sample(self) -> None:
        assert sample(5, 0) == [0, 1, 2, 3, 4]
        chosen = sample(100, 0)
        assert len(set(chosen)) == IMAGES and chosen == sorted(chosen) == sample(100, 0) != sample(100, 1)


class TestTune:
    def test_it_measures_what_queries_give(self, db: kdb.Session, images: Path) -> None:
        table = db.execute(f"TUNE net ON '{images}/*.png' WITH patch(4, 4) STRIDE 3")
        query = "OCCLUDE $image WITH patch(4, 4) STRIDE 3 USING net"
        for tau in (0.7, 0.4):
            found = []
            for path in sorted(images.glob("*.png")):
                exact = db.execute(query, {"image": str(path)})
                held = db.execute(f"{query} THRESHOLD {tau}", {"image": str(path)})
                assert isinstance(exact, HeatMap) and isinstance(held, HeatMap) and isinstance(exact.baseline, float)
                scale = krypton("probability", exact.baseline, exact.values)
                found.append(image_ssim(coloured(held.values, scale), coloured(exact.values, scale)))
            (row,) = (row for row in table.rows if row[0] == tau and not row[-1])
            assert row[1] == pytest.approx(np.mean(found), abs=1e-3) and row[3] == pytest.approx(min(found), abs=1e-3)
        first = table.rows[0]
        assert first[0] == 1 and first[1] == first[3] == first[4] == 1
        assert [row[5] for row in table.rows[:-1]] == sorted(row[5] for row in table.rows[:-1])

    def test_auto_is_the_tau_of_the_tuning(self, db: kdb.Session, images: Path) -> None:
        table = db.execute(f"TUNE net ON '{images}/*.png' WITH patch(4, 4) STRIDE 3 TO SSIM 0.8")
        tau = table.rows[-1][0]
        query = f"OCCLUDE '{images}/0.png' WITH patch(4, 4) STRIDE 3 USING net THRESHOLD "
        tuned, plain = db.execute(query + "AUTO TO SSIM 0.8"), db.execute(f"{query}{tau}")
        assert isinstance(tuned, HeatMap) and isinstance(plain, HeatMap)
        np.testing.assert_array_equal(tuned.values, plain.values)
        assert tuned.query == plain.query and not tuned.exact
        for analyze in (False, True):
            plan = db.explain(query + "AUTO TO SSIM 0.8", analyze=analyze)
            assert f"at most {tau:g} of a map" in plan and "tuned on 3 images to a mean SSIM of 0.8" in plan

    def test_a_tuning_is_of_its_model_patch_stride_fill_and_score(self, db: kdb.Session, images: Path) -> None:
        query = f"OCCLUDE '{images}/0.png' WITH patch(4, 4){{}} STRIDE 3 USING net THRESHOLD AUTO{{}}"
        white = np.full((4, 4, 3), 255, np.uint8)
        with pytest.raises(kdb.BindError, match=r"first run TUNE net ON .* WITH patch\(4, 4\) STRIDE 3 on images"):
            db.execute(query.format("", ""))
        db.execute(f"TUNE net ON '{images}/*.png' WITH patch(4, 4) FILL $p STRIDE 3", {"p": white})
        db.execute(f"TUNE net ON '{images}/*.png' WITH patch(4, 4) FILL gray STRIDE 3 SCORE logit")
        db.execute(query.format(" FILL $other", ""), {"other": white})
        db.execute(query.format(" FILL gray", " SCORE logit"))
        for fill, rest in ((" FILL $p", ""), (" FILL gray", ""), ("", ""), (" FILL gray", " SCORE drop")):
            with pytest.raises(kdb.BindError, match="not tuned"):
                db.execute(query.format(fill, rest), {"p": white // 2})
        db.register_model("net", network().requires_grad_(False), input_size=24)
        db.execute(query.format(" FILL gray", " SCORE logit"))  # the same weights are the same model
        torch.manual_seed(1)
        db.register_model("net", nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 3)), input_size=24)
        with pytest.raises(kdb.BindError, match="not tuned"):
            db.execute(query.format(" FILL gray", " SCORE logit"))

    def test_it_outlives_its_session_in_a_study(self, images: Path) -> None:
        query = f"OCCLUDE '{images}/0.png' WITH patch(4, 4) STRIDE 3 USING net THRESHOLD AUTO"
        with kdb.connect(images / "study.kdb") as db:
            db.register_model("net", network(), input_size=24)
            db.execute(f"TUNE net ON '{images}/*.png' WITH patch(4, 4) STRIDE 3")
            first = db.execute(query)
        with kdb.connect(images / "study.kdb") as db:
            db.register_model("another", network(), input_size=24)
            again = db.execute(query.replace("net", "another"))
        assert isinstance(first, HeatMap) and isinstance(again, HeatMap)
        np.testing.assert_array_equal(first.values, again.values)

    def test_what_is_refused(self, db: kdb.Session, images: Path) -> None:
        (images / "broken.png").write_bytes(b"no image")
        for statement, message in (
            (f"TUNE net ON '{images}/*.png' STRIDE 1", "broken.png"),
            (f"TUNE net ON '{images}/?.png' STRIDE 2", "map of 5 x 5 positions has no SSIM"),
            (f"TUNE net ON '{images}/?.png' TO SSIM 1.5", "TO SSIM takes"),
            (f"TUNE net ON '{images}/?.png' STRIDE 0", "STRIDE takes"),
            (f"TUNE nett ON '{images}/?.png'", "unknown model"),
            (f"TUNE net ON '{images}/*.gif'", "no file matches"),
        ):
            with pytest.raises(kdb.Error, match=message):
                db.execute(statement)

    def test_progress_and_interruption(self, db: kdb.Session, images: Path) -> None:
        told: list[tuple[int, int]] = []
        statement = f"TUNE net ON '{images}/?.png' WITH patch(4, 4) STRIDE 3"
        db.progress = lambda done, total: told.append((done, total))
        db.execute(statement)
        assert told == sorted(told) and told[-1] == (3 * 7 * 49, 3 * 7 * 49)

        def stop(done: int, total: int) -> None:
            if done > total / 2:
                raise KeyboardInterrupt

        db.progress = stop
        with interruptible(), pytest.raises(kdb.Interrupted, match="in image 2 of 3; no tuning is kept"):
            db.execute(statement)


class TestSimilarity:
    def test_of_itself_and_of_another(self) -> None:
        exact = np.random.default_rng(0).random((9, 9)).astype(np.float32)
        scale = krypton("logit", 0.5, exact)
        for compare in (lambda a, b: ssim(a, b, 2), lambda a, b: image_ssim(coloured(a, scale), coloured(b, scale))):
            assert compare(exact, exact) == pytest.approx(1)
            assert compare(exact[::-1], exact) < 0.5

    def test_the_lowest_of_several_classes(self) -> None:
        exact = np.random.default_rng(0).random((2, 9, 9))
        found = exact.copy()
        found[1] += np.random.default_rng(1).normal(scale=0.1, size=(9, 9))
        assert ssim(found, exact, 2) == ssim(found[1], exact[1], 2) < ssim(found[0], exact[0], 2) == 1
