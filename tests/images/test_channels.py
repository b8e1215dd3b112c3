"""Models of grey images and of other numbers of channels, on inputs that are not square."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import BindError, ModelError

SIZE = (24, 36)


def network(channels: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, (3, 5)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


def session(channels: int, **keywords: object) -> tuple[kdb.Session, nn.Module]:
    db, module = kdb.connect(), network(channels)
    db.register_model("m", module, input_size=SIZE, n_channels=channels, **keywords)
    return db, module


FILLS = ("black", "gray", "mean", "blur(2)", "$patch")


@pytest.mark.parametrize("channels", [2, 4, 7])
@pytest.mark.parametrize("fill", FILLS)
def test_n_channels_are_exact(channels: int, fill: str) -> None:
    db, module = session(channels, mean=tuple(np.linspace(0.2, 0.6, channels)), std=0.5)
    rng = np.random.default_rng(0)
    image, patch = (rng.integers(0, 256, (*size, channels), np.uint8) for size in (SIZE, (5, 7)))
    query = f"OCCLUDE $image WITH patch(5, 7) FILL {fill} STRIDE (6, 9) USING m FOR ALL CLASSES SCORE logit"
    hm = db.execute(query, {"image": image, "patch": patch})
    covers = {
        "black": np.zeros(channels),
        "gray": np.full(channels, 128),
        "mean": image.mean(axis=(0, 1)),
        "$patch": patch,
    }
    mean = np.linspace(0.2, 0.6, channels)
    for row, column in np.ndindex(hm.positions.shape[:2]):
        y, x = hm.positions[row, column]
        occluded = image.astype(np.float64)
        cover = covers.get(fill)
        if cover is None:
            from scipy import ndimage

            blurred = ndimage.gaussian_filter(image.astype(np.float32), (2, 2, 0), mode="nearest")
            cover = blurred[y : y + 5, x : x + 7]
        occluded[y : y + 5, x : x + 7] = cover
        with torch.no_grad():
            inputs = torch.from_numpy((occluded / 255 - mean) / 0.5).permute(2, 0, 1)[None]
            expected = module.double()(inputs)[0].numpy()
        module.float()
        assert np.abs(hm.values[:, row, column] - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.ptp(hm.values, axis=(1, 2)).min() > 1e-3
    assert hm.image.dtype == np.float32 and np.array_equal(hm.image, image)
    assert hm.picture.shape == (*SIZE, 3)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_what_runs_a_module_elsewhere_is_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    db, image = kdb.connect(), np.random.default_rng(0).integers(0, 256, (*SIZE, 4), np.uint8)
    db.register_model("m", network(4), input_size=SIZE)  # four channels, as its first convolution says
    db.register_model("wrapped", wrap(network(4)), input_size=SIZE)
    maps = [db.execute(f"OCCLUDE $image STRIDE 8 USING {name}", {"image": image}) for name in ("m", "wrapped")]
    assert np.array_equal(maps[0].values, maps[1].values)


def test_images_are_resized_channel_by_channel() -> None:
    db, _ = session(4)
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 4), np.uint8)
    whole = db.execute("OCCLUDE $image STRIDE 8 USING m SCORE logit", {"image": image})
    assert np.isfinite(whole.values).all()
    single = np.repeat(image[..., :1], 4, axis=2)
    grey = np.repeat(image[..., :1], 3, axis=2)
    other, _ = session(3)
    maps = [db.execute("OCCLUDE $image USING m", {"image": single}), other.execute("OCCLUDE $i USING m", {"i": grey})]
    assert np.array_equal(maps[0].picture, maps[1].picture)


@pytest.mark.parametrize(("channels", "given"), [(5, None), (1, 3), (3, 1), (4, 6)])
def test_a_first_convolution_of_other_channels_says_what_to_set(channels: int, given: int | None) -> None:
    image = np.zeros((*SIZE, {None: 5, 1: 3}.get(given, given)), np.uint8)
    keywords = {} if given is None else {"n_channels": given}
    with pytest.raises(ModelError, match=rf"layer '0' takes {channels} channels.* set n_channels = {channels}$"):
        kdb.occlude(image, network(channels), stride=16, **keywords)
    image = np.zeros((*SIZE, 3 if channels == 1 else channels), np.uint8)
    assert kdb.occlude(image, network(channels), stride=16, n_channels=channels).values.shape == (1, 2)


def test_mismatches_are_named() -> None:
    db, _ = session(4)
    rgb = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(BindError, match=r"arrays \[H, W, 4\]; this image has 3 channels"):
        db.execute("OCCLUDE $image USING m", {"image": rgb})
    with pytest.raises(BindError, match="FILL rgb"):
        db.execute(
            "OCCLUDE $image WITH patch(4, 4) FILL rgb(1, 2, 3) USING m", {"image": np.zeros((*SIZE, 4), np.uint8)}
        )
    with pytest.raises(BindError, match="RGB images; this image has 4 channels"):
        session(3)[0].execute("OCCLUDE $image USING m", {"image": np.zeros((*SIZE, 4), np.uint8)})
    with pytest.raises(BindError, match="RGB images"):
        session(1)[0].execute("OCCLUDE $image USING m", {"image": np.zeros((*SIZE, 2), np.uint8)})
