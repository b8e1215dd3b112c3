"""Queries of signals, volumes and video: maps against the model itself in float64, and what a user may write."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.errors import BindError, DeviceError
from tests.networks_by_axes import networks
from tests.support import examples


def logits_by_model(
    module: nn.Module, image: np.ndarray, cover: np.ndarray, positions: np.ndarray, patch: tuple[int, ...]
) -> np.ndarray:
    """[n, K] in float64: the module's own, with ``cover`` over each patch; ``image`` [*size, C]."""
    double = copy.deepcopy(module).double().eval()
    images = np.repeat(image[None].astype(np.float64), len(positions), 0)
    for each, position in zip(images, positions, strict=True):
        each[tuple(slice(at, at + extent) for at, extent in zip(position, patch, strict=True))] = cover
    with torch.no_grad():
        return double(torch.from_numpy(np.moveaxis(images, -1, 1).copy())).numpy()


@pytest.mark.parametrize("axes", [1, 3])
@settings(max_examples=examples(5, 10), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_maps_of_random_networks_are_the_model_s(axes: int, data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 3))
    size = tuple(data.draw(st.integers(6, 40 if axes == 1 else 10)) for _ in range(axes))
    module = data.draw(networks(axes, channels))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = draw.normal(size=(*size, channels)).astype(np.float32)
    with torch.no_grad():
        module(torch.from_numpy(np.moveaxis(image[None], -1, 1).copy()))  # lazy layers learn their sizes
    patch = tuple(data.draw(st.integers(1, min(n, 4))) for n in size)
    stride = tuple(data.draw(st.integers(1, 3)) for _ in size)
    fill, number = data.draw(st.sampled_from([("-1.5", -1.5), ("mean", None), ("$f", "array")]))
    parameters: dict[str, Any] = {"x": image}
    cover: Any = number
    if number is None:
        cover = image.mean(axis=tuple(range(axes)), dtype=np.float64).astype(np.float32)
    elif number == "array":
        cover = parameters["f"] = draw.normal(size=(*patch, channels)).astype(np.float32)
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=channels, activation="none")
    extent, steps = (", ".join(map(str, numbers)) for numbers in (patch, stride))
    heat_map = db.execute(
        f"OCCLUDE $x WITH patch({extent}) FILL {fill} STRIDE ({steps}) USING net FOR ALL CLASSES SCORE logit",
        parameters,
    )
    assert heat_map.exact and heat_map.values.shape[1:] == heat_map.positions.shape[:-1]
    expected = logits_by_model(module, image, cover, heat_map.positions.reshape(-1, axes), patch).T
    found = heat_map.values.reshape(expected.shape)
    most = np.maximum(1e-4 * np.abs(expected).max(axis=1), 0)
    assert (np.abs(found - expected).max(axis=1) <= np.maximum(most, 1e-6)).all()


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 14, 16)).astype(np.float32)


@pytest.fixture
def db() -> kdb.Session:
    torch.manual_seed(0)
    convolutions = [nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, stride=2, padding=1), nn.ReLU()]
    net = nn.Sequential(*convolutions, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    session = kdb.connect()
    session.register_model("lung", net, input_size=(12, 14, 16), n_channels=1)
    return session


def test_the_canonical_text_spells_every_axis(db: kdb.Session, volume: np.ndarray) -> None:
    heat_map = db.execute("OCCLUDE $ct WITH patch(4) STRIDE 2 USING lung", {"ct": volume})
    assert heat_map.query == "OCCLUDE $ct WITH patch(4, 4, 4) STRIDE 2 USING lung"
    assert (heat_map.patch, heat_map.stride, heat_map.axes) == ((4, 4, 4), (2, 2, 2), "zyx")
    assert heat_map.values.shape == (5, 6, 7) and heat_map.positions.shape == (5, 6, 7, 3)
    assert heat_map.upsample().shape == volume.shape
    assert not heat_map.notes or "voxels" not in heat_map.notes[0]


def test_regions_of_three_axes(db: kdb.Session, volume: np.ndarray) -> None:
    whole = db.execute("OCCLUDE $ct WITH patch(4) STRIDE 2 USING lung", {"ct": volume})
    box = db.execute("OCCLUDE $ct WITH patch(4) STRIDE 2 USING lung WITHIN box(2, 0, 4, 8, 14, 8)", {"ct": volume})
    there = ~np.isnan(box.values)
    assert there.sum() == 3 * 6 * 3
    np.testing.assert_allclose(box.values[there], whole.values[there], rtol=1e-5)
    mask = np.zeros(volume.shape, bool)
    mask[5:9, 5:9, 5:9] = True
    of_mask = db.execute("OCCLUDE $ct WITH patch(4) STRIDE 2 USING lung WITHIN mask($m)", {"ct": volume, "m": mask})
    assert (~np.isnan(of_mask.values)).sum() == 2**3
    at = np.array([[0, 1, 2], [8, 10, 12]])
    listed = db.execute("OCCLUDE $ct WITH patch(4) AT $p USING lung", {"ct": volume, "p": at})
    assert listed.values.shape == (2,) and listed.positions.shape == (2, 3)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("WITH patch(4, 4)", "patch takes 3 numbers, one for each axis of the input of 12 x 14 x 16"),
        ("WITH patch(13, 4, 4)", "a patch of 13 x 4 x 4 is larger than the input of 12 x 14 x 16 voxels"),
        ("STRIDE (1, 1)", "STRIDE takes 3 numbers"),
        ("WITH patch(4) WITHIN box(0, 0, 4, 4)", "the box of WITHIN takes 6 numbers"),
        ("WITH patch(4) WITHIN mask($m)", r"the mask of WITHIN is a bool array [12, 14, 16]"),
        ("WITH patch(4) AT $p", "AT takes an int array [n, 3], n at least 1; got int64 [1, 2]"),
        ("WITH patch(4) FILL gray", "is a colour from 0 to 255, and this image has floats"),
        ("WITH patch(4) FILL $f", "FILL takes a uint8 array [4, 4, 4, 1]"),
    ],
)
def test_bad_queries_say_what_is_wrong(db: kdb.Session, volume: np.ndarray, query: str, message: str) -> None:
    parameters = {"ct": volume, "m": np.zeros((12, 14), bool), "p": np.zeros((1, 2), int), "f": np.zeros((4, 4))}
    with pytest.raises(BindError) as caught:
        db.execute(f"OCCLUDE $ct {query} USING lung", parameters)
    assert message in str(caught.value)


def test_other_axes_run_on_the_cpu_alone(db: kdb.Session, volume: np.ndarray) -> None:
    with pytest.raises(DeviceError):
        db.execute("OCCLUDE $ct WITH patch(4) USING lung ON gpu", {"ct": volume})


@pytest.mark.parametrize("layout", ["NTCHW", "NTHWC"])
def test_layouts_of_video(layout: str) -> None:
    class FramesFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.net(x.movedim(layout.index("C"), 1)))

    torch.manual_seed(0)
    frames_first = FramesFirst().eval()
    usual = nn.Sequential(frames_first.net, frames_first.head)
    clip = np.random.default_rng(0).integers(0, 255, (6, 10, 8, 3), dtype=np.uint8)
    query = "OCCLUDE $v WITH patch(2, 4, 4) STRIDE (1, 2, 2) USING $m (input = (6, 10, 8), n_channels = 3, axes = 'tyx'"
    db = kdb.connect()
    maps = [
        db.execute(f"{query}{option})", {"v": clip, "m": module})
        for module, option in ((frames_first, f", layout = '{layout}'"), (usual, ""))
    ]
    assert maps[0].axes == "tyx" and maps[0].values.shape == (5, 4, 3)
    np.testing.assert_allclose(maps[0].values, maps[1].values, rtol=1e-5)


def test_a_saved_map_of_a_volume_verifies(db: kdb.Session, volume: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "map.npz"
    db.execute(f"OCCLUDE $ct WITH patch(4) STRIDE 4 USING lung INTO '{file}'", {"ct": volume})
    assert db.execute(f"VERIFY '{file}'", {"ct": volume}).agrees
    assert kdb.HeatMap.load(file).axes == "zyx"


def test_occlude_takes_the_axes_of_the_first_convolution(volume: np.ndarray) -> None:
    torch.manual_seed(0)
    signal = nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    found = kdb.occlude(np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), signal, patch=8, stride=4)
    assert found.values.shape == (11,) and found.patch == (8,) and found.axes == "t"
    with pytest.raises(BindError, match="patch takes one number, for the one axis of the input of 50"):
        kdb.occlude(np.zeros((50, 2), np.float32), signal, patch=(8, 8))


def test_describe_says_how_a_volume_is_prepared() -> None:
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    db = kdb.connect()
    db.register_model(
        "lung", net, input_size=(8, 9, 10), mean=0, std=1, window=(-300, 1400), orientation="RAS", resize="crop"
    )
    described = str(db.execute("DESCRIBE MODEL lung WITH patch(4)"))
    assert "input: 8 x 9 x 10 x 1 channel, resize crop (bilinear), turned to RAS, window (-300, 1400);" in described
    assert "patch 4 x 4 x 4 in the middle" in described


def test_a_size_of_one_number_in_a_tuple_is_of_one_axis() -> None:
    class OfImages(nn.Module):
        """A signal as an image of its channels, as EEGNet takes it."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(1, 2, (1, 5)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x[:, None])

    db = kdb.connect()
    db.register_model("eeg", OfImages().eval(), input_size=(40,), n_channels=2)
    hm = db.execute("OCCLUDE $x WITH patch(8) STRIDE 8 USING eeg", {"x": np.ones((40, 2), np.float32)})
    assert hm.values.shape == (5,) and hm.axes == "t"
