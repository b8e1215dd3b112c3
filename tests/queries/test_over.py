"""Dense outputs: the mean over a region against the model itself in float64, demand, and what a user may write."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.errors import BindError, DeviceError, ModelError
from tests.networks_dense import dense
from tests.support import examples

pytestmark = pytest.mark.dense

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def outputs_of(module: nn.Module, image: np.ndarray, positions: np.ndarray, patch: tuple[int, ...]) -> Tensor:
    """[n, K, *size'] in float64, with zeros over each patch; the first is of the image as it is."""
    images = torch.from_numpy(np.moveaxis(image, -1, 0).copy()).double().repeat(len(positions) + 1, *(1,) * image.ndim)
    for each, position in zip(images[1:], positions, strict=True):
        each[(slice(None), *(slice(at, at + extent) for at, extent in zip(position, patch, strict=True)))] = 0
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(images)


def means(outputs: Tensor, regions: Tensor, score: str, activation: str) -> np.ndarray:
    """[n, K]: the means over ``regions`` bool [K, *size'], as the documentation defines them."""
    if not score.startswith("logit"):
        outputs = {"softmax": outputs.softmax(1), "sigmoid": outputs.sigmoid(), "none": outputs}[activation]
    summed = (outputs * regions).flatten(2).sum(2) / regions.flatten(1).sum(1)
    return (summed[:1] - summed if score.endswith("drop") else summed).numpy()


@st.composite
def regions_over(draw: st.DrawFn, size: tuple[int, ...], outputs: Tensor, activation: str) -> tuple[str, Any, Tensor]:
    """The clause, the mask that it names, and what it means: bool [K, *size]."""
    kind = draw(st.sampled_from(["", "OVER PREDICTED", "OVER ALL", "OVER box", "OVER mask($m)"]))
    classes = outputs.shape[1]
    if kind in ("", "OVER PREDICTED"):
        if activation == "sigmoid":
            return kind, None, outputs[0] > 0
        return kind, None, outputs[0].argmax(0) == torch.arange(classes).reshape(-1, *(1,) * len(size))
    region = torch.zeros(size, dtype=torch.bool)
    if kind == "OVER ALL":
        region[...] = True
    elif kind == "OVER box":
        start = [draw(st.integers(0, n - 1)) for n in size]
        extent = [draw(st.integers(1, n - first)) for first, n in zip(start, size, strict=True)]
        region[tuple(slice(first, first + n) for first, n in zip(start, extent, strict=True))] = True
        kind += f"({', '.join(map(str, [*start, *extent]))})"
    else:
        region[...] = torch.from_numpy(np.random.default_rng(draw(st.integers(0, 9))).random(size) < 0.2)
        region[(0,) * len(size)] = True
    return kind, region.numpy(), region.expand(classes, *size)


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=examples(8, 15), suppress_health_check=SLOW)
@given(st.data())
def test_maps_of_random_dense_networks_are_the_model_s(axes: int, data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(6, 30 if axes == 1 else 14 if axes == 2 else 8)) for _ in range(axes))
    module = data.draw(dense(axes))
    image = np.random.default_rng(data.draw(st.integers(0, 9))).normal(size=(*size, 2)).astype(np.float32)
    patch = tuple(data.draw(st.integers(1, 4)) for _ in size)
    activation = data.draw(st.sampled_from(["softmax", "sigmoid", "none"]))
    score = data.draw(st.sampled_from(["probability", "drop", "logit", "logit_drop"]))
    unmodified = outputs_of(module, image, np.zeros((0, axes), int), patch)
    clause, mask, regions = data.draw(regions_over(tuple(unmodified.shape[2:]), unmodified, activation))
    if not regions.any():  # by a sigmoid no class need win
        return
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=2, activation=activation)
    extent = ", ".join(map(str, patch))
    found = {}
    for demand in ("on", "off"):
        db.execute(f"SET rule.demand = {demand}")
        text = f"OCCLUDE $x WITH patch({extent}) FILL 0 STRIDE 2 USING net FOR ALL CLASSES SCORE {score} {clause}"
        found[demand] = db.execute(text, {"x": image, "m": mask})
    heat_map = found["on"]
    positions = heat_map.positions.reshape(-1, axes)
    expected = means(outputs_of(module, image, positions, patch), regions, score, activation)
    there = regions.flatten(1).any(1).numpy()
    largest = np.abs(means(unmodified, regions, score.removesuffix("_drop"), activation))[0]
    for each in found.values():
        values = each.values.reshape(3, -1)
        assert np.isnan(values[~there]).all() and np.isnan(np.array(each.baseline)[~there]).all()
        most = 2e-5 * np.maximum(np.abs(expected[1:]).max(axis=0), largest)
        assert (np.abs(values.T - expected[1:]) <= np.maximum(most, 2e-6))[:, there].all()


class Street(nn.Module):
    """Three classes, of which the third is always least; of the image's left half the first wins, of the right the
    second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        left = self.conv(x)[:, :1] * 0.01 - x
        return torch.cat([left, self.conv(x)[:, 1:] * 0.01 + x, -10 - x.abs()], 1)


LABELS = ["road", "car", "sky"]


@pytest.fixture
def street() -> kdb.Session:
    torch.manual_seed(0)
    db = kdb.connect()
    db.register_model("street", Street().eval(), input_size=(12, 16), mean=0, std=1, labels=LABELS, n_channels=1)
    return db


@pytest.fixture
def picture() -> np.ndarray:
    image = np.full((12, 16, 1), -1, np.float32)
    image[:, 10:] = 1
    return image


Q = "OCCLUDE $x WITH patch(4) FILL 0 STRIDE 4 USING street"


def test_predicted_is_the_class_that_wins_most_cells(street: kdb.Session, picture: np.ndarray) -> None:
    heat_map = street.execute(Q, {"x": picture})
    assert (heat_map.label, heat_map.query) == ("road", "OCCLUDE $x WITH patch(4, 4) FILL 0 STRIDE 4 USING street")
    assert street.execute(f"{Q} FOR TOP 2", {"x": picture}).label == ("road", "car")
    street.execute("DROP MODEL street")
    module = Street().eval()
    for background in (0, "road"):
        keywords = {"mean": 0, "std": 1, "labels": LABELS, "n_channels": 1, "background": background}
        street.register_model("street", module, input_size=(12, 16), **keywords)
        assert street.execute(Q, {"x": picture}).label == "car"


def test_each_class_has_a_region_of_its_own(street: kdb.Session, picture: np.ndarray) -> None:
    """A patch in the left half does not change the mean of the class that wins in the right one."""
    road, car, sky = street.execute(f"{Q} FOR ALL CLASSES SCORE logit_drop", {"x": picture}).values
    assert (road[:, 0] != 0).all() and not road[:, 3].any()
    assert not car[:, :2].any() and (car[:, 3] != 0).all()
    assert np.isnan(sky).all()


def test_what_the_region_does_not_read_is_not_evaluated(street: kdb.Session, picture: np.ndarray) -> None:
    text = f"{Q} FOR CLASS 1 SCORE logit OVER box(0, 14, 2, 2)"
    heat_map = street.execute(text, {"x": picture})
    assert (heat_map.values[:, :3] == np.float32(heat_map.baseline)).all() and heat_map.exact
    assert heat_map.values[0, 3] != np.float32(heat_map.baseline)
    plan = street.explain(text, {"x": picture})
    assert "scored      means over 2x2 of 12x16 cells of the output; 11 positions do not reach it" in plan
    assert "3x3 of 12x16" in plan or "2x2 of 12x16" in plan
    unreached = [line.split() for line in plan.splitlines() if line.startswith(("demand", "unreached"))]
    assert [line[1] for line in unreached] == ["applied", "applied"]


def test_plans_for_the_same_region_are_found_again(street: kdb.Session, picture: np.ndarray) -> None:
    plans = street._engine._plans
    first = street.execute(Q + " OVER PREDICTED", {"x": picture})
    known = set(plans)
    again = street.execute(Q + " OVER PREDICTED", {"x": picture})
    assert set(plans) == known and np.array_equal(first.values, again.values)
    street.execute(Q + " OVER box(0, 0, 3, 3)", {"x": picture})
    assert set(plans) > known


def test_explain_reads_no_image_and_says_what_that_means(street: kdb.Session) -> None:
    plan = street.explain(Q, {"x": "there-is-none.png"})
    assert "note: OVER PREDICTED is of each image; planned over the whole output" in plan
    assert "scored      means over 12x16 of 12x16 cells of the output" in plan


def test_describe_says_that_it_gives_maps(street: kdb.Session) -> None:
    assert "output: maps of 12 x 16, 3 classes, softmax: 'road', 'car', 'sky'" in str(
        street.execute("DESCRIBE MODEL street")
    )


def test_the_shortcut_takes_regions(picture: np.ndarray) -> None:
    torch.manual_seed(0)
    module = Street().eval()
    keywords: dict[str, Any] = {"mean": 0, "std": 1, "n_channels": 1, "target": 1, "fill": 0, "score": "logit"}
    mask = np.zeros((12, 16), bool)
    mask[3:5, 9:] = True
    for over, same in (("all", (0, 0, 12, 16)), (mask, (3, 9, 2, 7))):
        one = kdb.occlude(picture, module, 4, 4, over=over, **keywords)
        other = kdb.occlude(picture, module, 4, 4, over=same, **keywords)
        np.testing.assert_allclose(one.values, other.values, rtol=1e-6)
    assert kdb.occlude(picture, module, 4, 4, over="predicted", **keywords).label == "class 1"
    for wrong in ("some", (1, 2, 3), 7):
        with pytest.raises(BindError, match="over"):
            kdb.occlude(picture, module, 4, 4, over=wrong, **keywords)


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("FOR CLASS 'sky'", "'sky' wins nowhere in the output for this image; OVER ALL scores the whole output"),
        ("FOR TOP 3", "too few classes win anywhere"),
        ("OVER box(1, 2)", "the box of OVER takes 4 numbers, a start and an extent for each axis of the output"),
        ("OVER box(12, 0, 3, 3)", "OVER box(12, 0, 3, 3) has no cell of the output of 12 x 16"),
        ("OVER mask($m)", "the mask of OVER is a bool array [12, 16], the output's size, that is true somewhere"),
    ],
)
def test_bad_regions_say_what_is_wrong(street: kdb.Session, picture: np.ndarray, clause: str, message: str) -> None:
    with pytest.raises(BindError) as raised:
        street.execute(f"{Q} {clause}", {"x": picture, "m": np.zeros((12, 16), bool)})
    assert message in str(raised.value)


def test_a_gpu_is_refused(street: kdb.Session, picture: np.ndarray) -> None:
    with pytest.raises(DeviceError, match="dense outputs are scored on the processor alone"):
        street.execute(f"{Q} ON gpu", {"x": picture})
    assert street.execute(f"{Q} ON auto", {"x": picture}).provenance.device == "cpu"


def test_over_is_for_maps(picture: np.ndarray) -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(BindError, match=r"over is for models that give maps; 'model' gives a number for each class"):
        kdb.occlude(picture, module, 4, over="all", mean=0, std=1, n_channels=1)


class Several(nn.Module):
    """A dict of a map and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.street = Street()

    def forward(self, x: Tensor) -> dict[str, Tensor | None]:
        return {"out": self.street(x), "aux": None}


def test_one_of_several_outputs(street: kdb.Session, picture: np.ndarray) -> None:
    torch.manual_seed(0)
    module = Several().eval()
    street.register_model("dict", module, input_size=(12, 16), mean=0, std=1, n_channels=1, output="out")
    query = Q.replace("USING street", "USING dict SCORE logit")
    own = street.execute(f"{Q} SCORE logit", {"x": picture})
    assert np.array_equal(street.execute(query, {"x": picture}).values, own.values)
    street.register_model("dict", module, input_size=(12, 16), mean=0, std=1, n_channels=1)
    with pytest.raises(
        ModelError, match=r"it returns a dict with 'out', 'aux': name the one that is meant, as in output ="
    ):
        street.execute(query, {"x": picture})
    street.register_model("dict", module, input_size=(12, 16), mean=0, std=1, n_channels=1, output="none")
    with pytest.raises(ModelError, match="the model has no output 'none'; it returns a dict with 'out', 'aux'"):
        street.execute(query, {"x": picture})


def test_several_images_have_regions_of_their_own(street: kdb.Session, picture: np.ndarray) -> None:
    other = -picture
    heat_maps = street.execute(f"{Q} SCORE logit", {"x": [picture, other]})
    alone = street.execute(f"{Q} SCORE logit", {"x": other})
    assert [each.label for each in heat_maps] == ["road", "car"]
    assert np.array_equal(heat_maps[1].values, alone.values)


def test_a_map_of_a_region_is_made_again(street: kdb.Session, picture: np.ndarray, tmp_path: Any) -> None:
    heat_map = street.execute(f"{Q} FOR ALL CLASSES SCORE logit OVER PREDICTED", {"x": picture})
    heat_map.save(tmp_path / "map.npz")
    loaded = kdb.HeatMap.load(tmp_path / "map.npz")
    assert np.array_equal(loaded.values, heat_map.values, equal_nan=True)
    table = street.execute(f"VERIFY '{tmp_path / 'map.npz'}'", {"x": picture})
    assert not any(row[-1] is False for row in table.rows), str(table)
    table = street.execute(f"VERIFY {Q} SCORE logit OVER box(0, 0, 4, 4)", {"x": picture})
    assert len(table.rows)


def test_what_is_outside_the_vocabulary_may_give_maps(picture: np.ndarray) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(self.conv(x)).real

    torch.manual_seed(0)
    module = Sorted().eval()
    heat_map = kdb.occlude(
        picture, module, 4, 4, over=(0, 0, 3, 3), mean=0, std=1, n_channels=1, fill=0, score="logit", target=0
    )
    outputs = outputs_of(module, picture, heat_map.positions.reshape(-1, 2), (4, 4))
    region = torch.zeros(3, 12, 16, dtype=torch.bool)
    region[:, :3, :3] = True
    expected = means(outputs, region, "logit", "none")[1:, 0]
    np.testing.assert_allclose(heat_map.values.reshape(-1), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_wrapper_that_slices_computes_what_it_reads() -> None:
    from captum.attr import Occlusion

    class Wrapper(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[:, :, 4:8, 20:26].mean((2, 3))

    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)]
    module = Wrapper(nn.Sequential(*body)).eval()
    image = torch.randn(1, 1, 32, 40)
    with torch.no_grad():
        expected = Occlusion(module).attribute(image, (1, 4, 4), strides=(1, 4, 4), target=1)
    ours = kdb.captum.Occlusion(module)
    found = ours.attribute(image, (1, 4, 4), strides=(1, 4, 4), target=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    work = ours.report.work
    assert ours.report.incremental and work is not None and work.naive_macs > 4 * work.executed_macs, ours.report
