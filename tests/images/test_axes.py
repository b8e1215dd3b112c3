"""Images of one, two and three axes: arrays, and how they get onto a model's grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdb.errors import BindError
from kdb.geometry import Space
from kdb.images.image import SourceImage, evenly
from kdb.images.orientation import oriented
from kdb.images.preprocessing import Preprocessing
from kdb.images.reading import load_image
from tests.support import normal

sides = st.integers(1, 9)
sizes = st.lists(sides, min_size=1, max_size=3).map(tuple)


def pairs(rank: int) -> st.SearchStrategy[tuple[tuple[int, ...], tuple[int, ...]]]:
    size = st.tuples(*[sides] * rank)
    return st.tuples(size, size)


@given(sizes, st.sampled_from((None, 1, 2, 5)))
def test_arrays_have_the_model_s_axes_and_channels_last(size: tuple[int, ...], channels: int | None) -> None:
    array = normal(0, *size, *(() if channels is None else (channels,)))
    if len(size) == 2 and channels is not None and size[0] in (1, 3) and channels > 4:
        return  # taken for channels first
    image = load_image(array, len(size))
    expected = array if channels is not None else array[..., None]
    if len(size) == 2 and expected.shape[-1] == 1:
        expected = np.repeat(expected, 3, axis=-1)
    assert image.floats and np.array_equal(image.pixels, expected)


@pytest.mark.parametrize(
    ("shape", "axes", "said"),
    [
        ((4, 5, 6), 1, r"\[L, C\] or \[L\]; got float32 \[4, 5, 6\]; the model takes one axis; .* batch as a list"),
        ((4,), 3, r"\[D, H, W, C\] or \[D, H, W\]; got float32 \[4\]; the model takes three axes"),
        ((1, 1, 4, 5, 6), 3, "batch as a list"),
        ((), 1, r"\[L, C\]"),
    ],
)
def test_arrays_of_other_ranks_are_refused(shape: tuple[int, ...], axes: int, said: str) -> None:
    with pytest.raises(BindError, match=said):
        load_image(np.zeros(shape, np.float32), axes)


def test_channels_first_is_named() -> None:
    volume = load_image(np.zeros((1, 6, 7, 8), np.float32), 3)
    with pytest.raises(BindError, match=r"arrays \[D, H, W\]; .* 8 channels; .* channels last, by \(1, 2, 3, 0\)"):
        Preprocessing((6, 7, 8), n_channels=1).prepare(volume)
    signal = load_image(np.zeros((12, 50), np.float32), 1)
    with pytest.raises(BindError, match=r"arrays \[L, 12\]; .* by \(1, 0\)"):
        Preprocessing((50,), n_channels=12).prepare(signal)
    with pytest.raises(BindError, match=r"the model takes arrays \[D, H, W\]; this image has 2 axes and 3 channels"):
        Preprocessing((6, 7, 8), n_channels=1).prepare(load_image(np.zeros((6, 7), np.float32)))


@given(sizes, st.data())
def test_an_image_of_the_grid_s_size_is_left_alone(size: tuple[int, ...], data: st.DataObject) -> None:
    resize = data.draw(st.sampled_from(("bilinear", "stretch", "crop")))
    image = SourceImage(normal(1, *size, 3), floats=True)
    prepared = Preprocessing(size, resize=resize).prepare(image)
    assert np.array_equal(prepared.pixels, image.pixels)
    assert prepared.source_box == (*[0.0] * len(size), *map(float, size)) and prepared.source_size == size


@pytest.mark.parametrize("rank", [1, 3])
@given(st.data())
def test_a_ramp_is_resized_to_where_its_cells_lie(rank: int, data: st.DataObject) -> None:
    """Cell i of the grid shows the source at (i + .5) scale - .5 + start, at a distance from the borders exactly."""
    axis = data.draw(st.integers(0, rank - 1))
    size = [data.draw(st.integers(2, 4)) for _ in range(rank)]
    grid = list(size)
    size[axis], grid[axis] = data.draw(st.integers(40, 60)), data.draw(st.integers(15, 90))
    ramp = np.arange(size[axis], dtype=np.float32).reshape([-1 if each == axis else 1 for each in range(rank)] + [1])
    image = SourceImage(np.array(np.broadcast_to(ramp, (*size, 1))), floats=True)
    prepared = Preprocessing(tuple(grid), n_channels=1, axes="abc"[:rank]).prepare(image)
    start, extent = prepared.source_box[axis], prepared.source_box[rank + axis]
    scale = extent / grid[axis]
    where = (np.arange(grid[axis]) + 0.5) * scale - 0.5 + start
    found = np.moveaxis(prepared.pixels[..., 0], axis, 0).reshape(grid[axis], -1)
    inner = (where > 5 * max(scale, 1)) & (where < size[axis] - 1 - 5 * max(scale, 1))
    assert inner.any() and np.abs(found - where[:, None])[inner].max() < 0.02


@pytest.mark.parametrize("rank", [1, 2, 3])
@given(st.data())
def test_a_crop_keeps_proportions_and_the_centre(rank: int, data: st.DataObject) -> None:
    size, grid = data.draw(pairs(rank))
    image = SourceImage(np.zeros((*size, 3), np.float32), floats=True)
    prepared = Preprocessing(grid, resize="crop", n_channels=3).prepare(image)
    assert prepared.pixels.shape == (*grid, 3)
    start, extent = np.array(prepared.source_box[:rank]), np.array(prepared.source_box[rank:])
    assert (start >= 0).all() and (start + extent <= np.array(size) + 1e-9).all()
    assert np.isclose(extent, size).any()  # it just covers the grid


@given(st.integers(1, 60), st.integers(1, 60))
def test_frames_are_picked_evenly(count: int, picked: int) -> None:
    frames = evenly(count, picked)
    assert len(frames) == picked and frames.min() >= 0 and frames.max() < count
    steps = np.diff(frames)
    assert not len(steps) or steps.max() - steps.min() <= 1


@given(st.integers(1, 20), st.integers(1, 12))
def test_frames_of_a_video_are_never_interpolated(count: int, length: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (count, 5, 6, 3), np.uint8)
    wanted = Preprocessing((length, 5, 6), axes="tyx", resize="crop")
    prepared = wanted.prepare(load_image(frames, 3))
    assert np.array_equal(prepared.pixels, frames[evenly(count, length)]) and prepared.axes == "tyx"
    smaller = Preprocessing((length, 4, 3), axes="tyx").prepare(load_image(frames, 3))
    for found, k in zip(smaller.pixels, evenly(count, length), strict=True):
        assert np.array_equal(found, Preprocessing((4, 3)).prepare(load_image(frames[k])).pixels)
    assert smaller.source_box == (0, 0, 0, count, 5, 6)


def test_the_nearest_neighbour_makes_no_new_values() -> None:
    image = SourceImage(normal(2, 9, 8, 7, 1), floats=True)
    prepared = Preprocessing((4, 5, 13), n_channels=1, resize="stretch", interpolation="nearest").prepare(image)
    assert np.isin(prepared.pixels, image.pixels).all()
    with pytest.raises(BindError, match="'bicubic' is of two axes"):
        Preprocessing((4, 5, 13), n_channels=1, resize="stretch", interpolation="bicubic").prepare(image)


def test_a_volume_of_one_channel_is_normalised_as_it_is() -> None:
    volume = normal(3, 4, 5, 6)
    wanted = Preprocessing((4, 5, 6), n_channels=1, mean=2, std=4)
    prepared = wanted.prepare(load_image(volume, 3))
    np.testing.assert_allclose(wanted.normalise(prepared.pixels, True)[..., 0], (volume - 2) / 4, rtol=1e-6)
    assert wanted.image_channels == 1 and Preprocessing((5, 6), n_channels=1).image_channels == 3


@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(-2000, 2000, width=32)), st.floats(-500, 500))
def test_a_window_clips_floats_alone(volume: np.ndarray, centre: float) -> None:
    wanted = Preprocessing((3, 4, 5), n_channels=1, window=(centre, 400))
    prepared = wanted.prepare(load_image(volume, 3))
    np.testing.assert_allclose(prepared.pixels[..., 0], np.clip(volume, centre - 200, centre + 200), rtol=1e-6)
    own = wanted.prepare(SourceImage(volume[..., None], floats=True, window=(0, 2)))
    assert own.pixels.min() >= -1 and own.pixels.max() <= 1
    whole = np.full((3, 4, 5), 255, np.uint8)
    assert np.array_equal(wanted.prepare(load_image(whole, 3)).pixels[..., 0], whole)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"window": (40, 0)}, "window"),
        ({"window": 40}, "window"),
        ({"window": "wide"}, "window"),
        ({"axes": "yx"}, "axes = 'yx': expected as many different letters as axes, as in 'zyx'"),
        ({"axes": "zzx"}, "different letters"),
        ({"axes": 3}, "different letters"),
        ({"orientation": "RAR"}, "orientation = 'RAR': expected a letter of each"),
        ({"orientation": "RASI"}, "orientation"),
        ({"orientation": 1}, "orientation"),
        ({"input_size": (4, 5, 6, 7)}, r"is not a \(length,\) or \(height, width\) or \(depth, height, width\)"),
    ],
)
def test_settings_are_checked(keywords: dict[str, object], said: str) -> None:
    with pytest.raises(BindError, match=said):
        Preprocessing(**{"input_size": (4, 5, 6), "n_channels": 1, **keywords})  # type: ignore[arg-type]


def test_an_orientation_is_of_three_axes() -> None:
    with pytest.raises(BindError, match="orientation is of three axes, and the model has 2"):
        Preprocessing((4, 5), orientation="RAS")


def test_settings_that_change_numbers_change_the_digest() -> None:
    plain = Preprocessing((4, 5, 6), n_channels=1)
    others = [Preprocessing((4, 5, 6), n_channels=1, **each) for each in ({"window": (0, 2)}, {"orientation": "LPS"})]
    assert len({each.digest() for each in (plain, *others)}) == 3
    # of the first version: pinned, since heat maps name their models by it
    assert Preprocessing((4, 5)).digest().startswith("71055599f340fd83")


# ---- where a volume lies

orders = st.permutations((0, 1, 2))
flips = st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A volume that lies in any of the 48 ways, tilted by some degrees."""
    turned = np.eye(3)[:, draw(orders)] * np.array(draw(flips)) * np.array([0.5, 1, 2.5])
    a, b = (draw(st.floats(-0.3, 0.3)) for _ in range(2))
    tilt = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = tilt @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = tilt @ turned, (-20, 30, 7)
    return Space(affine)


@given(spaces(), st.permutations(("LR", "PA", "IS")), st.tuples(*[st.integers(0, 1)] * 3))
def test_turning_a_volume_moves_no_voxel(space: Space, order: list[str], ends: tuple[int, ...]) -> None:
    code = "".join(sides[end] for sides, end in zip(order, ends, strict=True))
    image = SourceImage(normal(4, 3, 4, 5, 1), floats=True, space=space, axes="ijk")
    turned = oriented(image, code)
    assert turned.space is not None
    back_to_source = np.linalg.inv(space.affine) @ turned.space.affine
    for at in np.ndindex(turned.pixels.shape[:3]):
        source = (back_to_source @ (*at, 1))[:3]
        nearest = tuple(np.rint(source).astype(int))
        assert np.abs(source - nearest).max() < 1e-9 and image.pixels[nearest] == turned.pixels[at]
    for axis, (side, letters) in enumerate(zip(code, order, strict=True)):
        step = turned.space.affine[:3, axis]
        along = int(np.abs(step).argmax())
        assert letters == ("LR", "PA", "IS")[along] and (step[along] > 0) == (side == letters[1])
        before, back = turned.space.turns[axis]
        assert turned.axes[axis] == "ijk"[before]
        assert turned.pixels.shape[axis] == image.pixels.shape[before]
        assert np.allclose(step, space.affine[:3, before] * (-1 if back else 1))
    assert oriented(turned, code).space.turns == turned.space.turns  # type: ignore[union-attr]


def test_the_space_of_what_is_prepared_is_the_turned_source_s() -> None:
    space = Space(np.diag([1.0, 2.0, 3.0, 1.0]))
    image = SourceImage(normal(5, 4, 6, 8, 1), floats=True, space=space)
    prepared = Preprocessing((4, 3, 2), n_channels=1, orientation="SPL").prepare(image)
    assert prepared.space is not None and prepared.source_size == (8, 6, 4)
    assert prepared.space.turns == ((2, False), (1, True), (0, True))
    plain = Preprocessing((4, 3, 2), n_channels=1).prepare(image)
    assert plain.space is space
    note = "; ".join(
        Preprocessing((4, 6, 8), n_channels=1, orientation="LPS").prepare(SourceImage(image.pixels, floats=True)).notes
    )
    assert "does not say where it lies" in note


def test_a_slice_or_a_frame_that_is_repeated_is_told() -> None:
    volumes = Preprocessing((4, 6, 6), n_channels=1, mean=(0.0,), std=(1.0,))
    slice_ = volumes.prepare(load_image(np.random.default_rng(0).random((1, 6, 6)), 3))
    assert slice_.notes == ("it has one cell along z, which is repeated 4 times",)
    clips = Preprocessing((4, 6, 6), mean=(0.0,), std=(1.0,), axes="tyx")
    clip = clips.prepare(load_image(np.zeros((3, 6, 6, 3), np.uint8), 3))
    assert clip.notes == ("it has 3 frames, which are repeated to make 4",)
