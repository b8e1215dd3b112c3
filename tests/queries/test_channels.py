"""CHANNELS: patches that cover some of the channels, against the model itself in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.errors import BindError
from kdb.results.pictures import captions
from tests.support import examples

CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def net(axes: int, channels: int) -> nn.Module:
    torch.manual_seed(0)
    first, second = CONV[axes](channels, 4, 3, padding=1), CONV[axes](4, 4, 3, stride=2)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), POOL[axes](1), nn.Flatten(), nn.Linear(4, 3)).eval()


@settings(max_examples=examples(8, 12))
@given(st.sampled_from([1, 2, 3]), st.data())
def test_only_these_channels_are_covered(axes: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(2 if axes == 2 else 1, 4))  # an image of one channel is the luma of three
    channels = data.draw(st.permutations(range(count)).flatmap(lambda order: st.just(order[: max(count - 1, 1)])))
    module, size = net(axes, count), (9,) * axes
    image = np.random.default_rng(0).normal(size=(*size, count)).astype(np.float32)
    fill, values = data.draw(st.sampled_from([("-1", "number"), ("$f", "array"), ("blur(2)", "blur")]))
    laid = np.random.default_rng(1).normal(size=(*(4,) * axes, count)).astype(np.float32)
    db = kdb.connect()
    db.register_model("net", module, input_size=size, n_channels=count, mean=0, std=1)
    listed = ", ".join(map(str, channels))
    text = f"OCCLUDE $x WITH patch(4) FILL {fill} CHANNELS ({listed}) STRIDE 3 USING net FOR CLASS 1 SCORE logit"
    heat_map = db.execute(text, {"x": image, "f": laid})
    whole = db.execute(text.replace(f" CHANNELS ({listed})", ""), {"x": image, "f": laid})
    images = np.repeat(image[None].astype(np.float64), heat_map.values.size, 0)
    for each, at in zip(images, heat_map.positions.reshape(-1, axes), strict=True):
        part = tuple(slice(first, first + 4) for first in at)
        over = {"number": np.full_like(laid, -1), "array": laid, "blur": whole.fill[part] if values == "blur" else None}
        for channel in channels:
            each[(*part, channel)] = over[values][..., channel]
    with torch.no_grad():
        exact = copy.deepcopy(module).double()(torch.from_numpy(np.moveaxis(images, -1, 1).copy()))[:, 1].numpy()
    np.testing.assert_allclose(heat_map.values.reshape(-1), exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    assert heat_map.exact and f"CHANNELS ({listed})" in heat_map.query
    assert captions.facts(heat_map)["Fill"] == f"{fill} in channels {listed}"


def test_channels_are_in_the_image_s_order() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    own, turned = net(2, 3), net(2, 3)
    with torch.no_grad():
        turned[0].weight.copy_(own[0].weight.flip(1))
    keywords: dict[str, Any] = {"mean": 0, "std": 1, "target": 0, "score": "logit"}
    rgb = kdb.occlude(image, own, 4, 4, channels=(0,), **keywords)
    db = kdb.connect()
    db.register_model("bgr", turned, input_size=(16, 16), mean=0, std=1, channels="BGR")
    bgr = db.execute("OCCLUDE $x WITH patch(4) CHANNELS (0) STRIDE 4 USING bgr FOR CLASS 0 SCORE logit", {"x": image})
    np.testing.assert_allclose(bgr.values, rgb.values, rtol=1e-5)
    assert not np.allclose(kdb.occlude(image, own, 4, 4, channels=[2], **keywords).values, rgb.values, rtol=1e-3)
    assert np.array_equal(kdb.occlude(image, turned, 4, 4, channels="BGR", **keywords).values.shape, rgb.values.shape)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ("(3)", "CHANNELS takes different numbers from 0 to 2; got [3]"),
        ("(1, 1)", "CHANNELS takes different numbers from 0 to 2; got [1, 1]"),
    ],
)
def test_bad_channels_say_what_is_wrong(channels: str, message: str) -> None:
    db = kdb.connect()
    db.register_model("net", net(2, 3), input_size=16, mean=0, std=1)
    with pytest.raises(BindError) as raised:
        db.execute(f"OCCLUDE $x WITH patch(4) CHANNELS {channels} USING net", {"x": np.zeros((16, 16, 3), np.uint8)})
    assert message in str(raised.value)


def test_a_grey_model_has_one_channel() -> None:
    db = kdb.connect()
    db.register_model("net", net(2, 1), input_size=16, mean=0, std=1)
    with pytest.raises(BindError, match="CHANNELS are of the model's input, which is one grey channel"):
        db.execute("OCCLUDE $x WITH patch(4) CHANNELS (0) USING net", {"x": np.zeros((16, 16, 3), np.uint8)})


@pytest.mark.parametrize("wrong", [(), (-1,), 1, ("a",)])
def test_the_shortcut_refuses_what_is_no_channel(wrong: Any) -> None:
    with pytest.raises(BindError, match="channels"):
        kdb.occlude(np.zeros((16, 16, 3), np.uint8), net(2, 3), 4, mean=0, std=1, channels=wrong)
