"""Results: the laws of heat maps, the files they are written to, the pictures, sequences of them, and tables."""

from __future__ import annotations

import gc
import io
import math
import subprocess
import sys
import threading
import tracemalloc
import weakref
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kdb
from kdb.errors import Error, ExecutionError, Interrupted, OmissionWarning
from kdb.geometry import Space
from kdb.results.files import file_format, write_result
from kdb.results.maps import HeatMap, Stats
from kdb.results.npz import FORMAT
from kdb.results.provenance import PARTS, Provenance
from kdb.results.several import HeatMaps
from kdb.results.tables import Table

STATS = Stats(
    naive_macs=900, executed_macs=300, positions=9, evaluated=9, seconds={"views": 0.1}, kernels={"direct": 3}
)
# numpy's fixed-width strings drop trailing NULs, as docs/heatmap-files.md says
TEXT = st.text(max_size=20).filter(lambda text: not text.endswith("\0"))
FLOATS = st.floats(-1e3, 1e3, width=32)


PROVENANCE = Provenance(
    preprocessing={"input_size": (8, 10), "mean": (0.5,), "resize_size": None, "scale": 255.0, "channels": "RGB"},
    source_of="file",
    source_sha256="1e" * 32,
    parts=dict.fromkeys(PARTS, "0f" * 32),
    versions={"kdb": "0.1.0"},
    processor="a processor",
    device="cpu",
    threads=2,
    precision="fp32",
    rates="default",
    rates_date="",
    date="2025-12-31T23:59:59+00:00",
    machine="host",
)


def heat_map(values: Any, positions: Any, *, grid: tuple[int, ...], patch: tuple[int, ...], **facts: Any) -> HeatMap:
    """Positions in a list are those of AT, unless there is a stride."""
    values, positions, axes = np.asarray(values, np.float32), np.asarray(positions, np.int64), len(grid)
    pixels = np.arange(math.prod(grid) * 3, dtype=np.uint8).reshape(*grid, 3)
    classes = len(values) if values.ndim == positions.ndim else None
    defaults: dict[str, Any] = {
        "baseline": 0.5 if classes is None else (0.5,) * classes,
        "class_index": 281 if classes is None else tuple(range(classes)),
        "label": "tabby" if classes is None else tuple(f"class {i}" for i in range(classes)),
        "score": "probability",
        "stride": None if positions.ndim == 2 else (1,) * axes,
        "image": pixels,
        "source": "photos/cat.png",
        "source_box": (*(0.0,) * axes, *map(float, grid)),
        "source_size": grid,
        "query": "OCCLUDE 'photos/cat.png' USING mine",
        "model": "mine",
        "model_identity": "0f" * 32,
        "version": "0.1.0",
        "exact": True,
        "stats": STATS,
    }
    return HeatMap(values=values, positions=positions, patch=patch, **defaults | facts)


def lattice(grid: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...] = (1, 1)) -> np.ndarray:
    axes = [np.arange(0, size - side + 1, step) for size, side, step in zip(grid, patch, stride, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def small(**facts: Any) -> HeatMap:
    """A 3 x 4 map with one cell not asked for."""
    values = np.linspace(0.1, 0.8, 12).reshape(3, 4)
    values[0, 1] = np.nan
    return heat_map(values, lattice((8, 10), (4, 4), (2, 2)), grid=(8, 10), patch=(4, 4), stride=(2, 2), **facts)


def several(count: int, **facts: Any) -> HeatMap:
    values = np.random.default_rng(0).random((count, 3, 4))
    return heat_map(values, lattice((8, 10), (4, 4), (2, 2)), grid=(8, 10), patch=(4, 4), stride=(2, 2), **facts)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Cells of any size, in any direction, in any order of the file's axes."""
    step = np.diag(draw(st.tuples(*[st.floats(0.1, 5)] * 3)))
    skewed = np.linalg.qr(np.array(draw(st.lists(FLOATS, min_size=9, max_size=9))).reshape(3, 3) + 2e3 * np.eye(3))[0]
    affine = np.eye(4)
    affine[:3] = np.column_stack([skewed @ step, draw(st.tuples(*[FLOATS] * 3))])
    order = draw(st.permutations(range(3)))
    return Space(affine, tuple((axis, draw(st.booleans())) for axis in order))


@st.composite
def heat_maps(draw: st.DrawFn, axes: int | None = None) -> HeatMap:
    """Any heat map of one to three axes, or of so many: lattice or AT (duplicates, none at all), with and without
    classes, cells not asked for.
    """
    axes = draw(st.sampled_from([1, 2, 3])) if axes is None else axes
    grid = draw(st.tuples(*[st.integers(1, (30, 12, 6)[axes - 1])] * axes))
    patch = draw(st.tuples(*(st.integers(1, length) for length in grid)))
    if draw(st.booleans()):
        stride = draw(st.tuples(*[st.integers(1, 5)] * axes))
        positions = lattice(grid, patch, stride)
    else:
        stride = None
        corner = st.tuples(*(st.integers(0, length - side) for length, side in zip(grid, patch, strict=True)))
        positions = np.array(draw(st.lists(corner, max_size=12)), dtype=np.int64).reshape(-1, axes)
    classes = draw(st.none() | st.integers(1, 3))
    shape = ((classes,) if classes else ()) + positions.shape[:-1]

    channels = draw(st.none() | st.integers(1, 4))
    levels, cover = st.floats(0, 255, width=32), draw(st.sampled_from([(1,) * axes, patch, grid]))
    image = {} if channels is None else {"image": draw(hnp.arrays(np.float32, (*grid, channels), elements=levels))}

    def each(facts: st.SearchStrategy[Any]) -> Any:
        return draw(facts) if classes is None else tuple(draw(facts) for _ in range(classes))

    return heat_map(
        draw(hnp.arrays(np.float32, shape, elements=FLOATS | st.just(math.nan))),
        positions,
        grid=grid,
        patch=patch,
        stride=stride,
        baseline=each(FLOATS),
        class_index=each(st.integers(0, 999)),
        label=each(TEXT),
        score=draw(st.sampled_from(["probability", "drop", "logit", "logit_drop"])),
        source=draw(st.none() | TEXT),
        source_box=draw(st.tuples(*[st.floats(-10, 500)] * axes, *[st.floats(0.1, 500)] * axes)),
        source_size=draw(st.tuples(*[st.integers(1, 500)] * axes)),
        query=draw(TEXT),
        exact=draw(st.booleans()),
        complete=draw(st.booleans()),
        checked=draw(st.none() | st.tuples(st.integers(0, len(positions)), st.floats(0, allow_nan=False))),
        fill=draw(st.none() | hnp.arrays(np.float32, (*cover, channels or 3), elements=levels)),
        provenance=draw(st.none() | st.just(PROVENANCE)),
        notes=tuple(draw(st.lists(TEXT, max_size=3))),
        axes=draw(st.sampled_from(["", "tyxi"[:axes], "kji"[:axes]])),
        space=draw(st.none() | spaces()) if axes == 3 else None,
        **image,
    )


def saved(original: HeatMap) -> bytes:
    with TemporaryDirectory() as folder:
        return original.save(Path(folder) / "heat.npz").read_bytes()


def loaded(content: bytes) -> HeatMap:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "heat.npz"
        path.write_bytes(content)
        return HeatMap.load(path)


# Laws of the map itself


@given(heat_maps())
def test_upsample_is_the_mean_over_the_patches_that_cover_a_pixel(hm: HeatMap) -> None:
    values = hm.by_class()[0]
    expected = np.full((len(values), *hm.size), np.nan)
    corners = hm.positions.reshape(-1, len(hm.size))
    for cell in np.ndindex(hm.size):
        covers = ((corners <= cell) & (cell < corners + hm.patch)).all(axis=1)
        for k, row in enumerate(values):
            covering = row[covers & ~np.isnan(row)]
            if covering.size:
                expected[(k, *cell)] = covering.mean(dtype=np.float64)
    got = hm.upsample()
    assert got.dtype == np.float32
    assert got.shape == (values.shape[:1] if hm.has_class_axis else ()) + hm.size
    np.testing.assert_allclose(got, expected if hm.has_class_axis else expected[0], rtol=1e-6, atol=1e-9)


@given(heat_maps(), FLOATS)
def test_a_constant_map_upsamples_to_that_constant(hm: HeatMap, constant: float) -> None:
    flat = replace(hm, values=np.where(np.isnan(hm.values), np.nan, np.float32(constant)).astype(np.float32))
    pixels = flat.upsample()
    np.testing.assert_allclose(pixels[~np.isnan(pixels)], constant, rtol=1e-6, atol=1e-9)


@given(heat_maps(), FLOATS)
def test_filled_replaces_what_was_not_asked_and_nothing_else(hm: HeatMap, value: float) -> None:
    filled = hm.filled(value)
    assert filled.dtype == np.float32
    unasked = np.isnan(hm.values)
    assert np.all(filled[unasked] == np.float32(value))
    assert np.array_equal(filled[~unasked], hm.values[~unasked])
    assert np.array_equal(np.isnan(hm.values), unasked)


@given(heat_maps())
def test_where_the_grid_is_the_source_boxes_are_the_patches(hm: HeatMap) -> None:
    axes = len(hm.size)
    boxes = replace(hm, source_box=(*(0.0,) * axes, *map(float, hm.size))).to_source()
    assert boxes.shape == (*hm.positions.shape[:-1], 2 * axes)
    np.testing.assert_array_equal(boxes[..., :axes], hm.positions)
    np.testing.assert_array_equal(boxes[..., axes:], np.broadcast_to(hm.patch, hm.positions.shape))


def test_boxes_are_moved_and_scaled_with_the_crop() -> None:
    hm = heat_map([0.5], [[2, 5]], grid=(8, 10), patch=(4, 2), source_box=(100.0, 20.0, 16.0, 30.0))
    np.testing.assert_allclose(hm.to_source(), [[104.0, 35.0, 8.0, 6.0]])
    signal = heat_map([0.5], [[2]], grid=(8,), patch=(4,), source_box=(100.0, 16.0))
    np.testing.assert_allclose(signal.to_source(), [[104.0, 8.0]])


def test_a_signal_has_a_lattice_or_a_list_of_positions() -> None:
    """Both of one shape: the stride tells them apart."""
    places, values = lattice((8,), (3,), (2,)), np.zeros(3, np.float32)
    on_lattice = heat_map(values, places, grid=(8,), patch=(3,), stride=(2,))
    at = heat_map(values, places, grid=(8,), patch=(3,), stride=None)
    assert (on_lattice.axes, on_lattice.has_class_axis, at.has_class_axis) == ("t", False, False)
    pytest.importorskip("xarray")
    assert on_lattice.to_xarray().dims == ("class", "t") and at.to_xarray().dims == ("class", "position")


@given(heat_maps())
def test_a_heat_map_is_an_array_and_prints_in_a_line(hm: HeatMap) -> None:
    np.testing.assert_array_equal(np.asarray(hm), hm.values)
    assert np.array(hm, dtype=np.float64).dtype == np.float64
    assert len(repr(hm).splitlines()) == 1


def test_repr_tells_what_matters() -> None:
    assert repr(small()) == "<HeatMap 'tabby': probability 3x4, baseline 0.5, min 0.1, max 0.8, exact>"
    assert repr(several(2, exact=False, complete=False)).endswith("approximate, partial>")
    assert repr(small(checked=(6, 0.25))).endswith("exact, checked at 6 positions>")
    assert repr(volume()) == "<HeatMap 'tabby': probability 2x3x4, baseline 0.5, min 0.1, max 0.8, exact>"
    assert "no scores" in repr(heat_map(np.zeros(0), np.zeros((0, 2)), grid=(8, 10), patch=(4, 4)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": np.zeros((3, 4))},
        {"values": np.zeros((3, 3), np.float32)},
        {"positions": lattice((8, 10), (4, 4), (2, 2)).astype(np.int32)},
        {"positions": lattice((8, 10), (4, 4), (2, 2)) + 1},
        {"label": ("tabby",)},
        {"baseline": (0.1, 0.2)},
        {"image": np.zeros((8, 10), np.uint8)},
        {"image": np.zeros((8, 10, 4), np.uint8)},
        {"stride": None},
        {"stride": (2, 2, 2)},
        {"patch": (4, 4, 1)},
        {"patch": 4},
        {"source_box": (0.0, 8.0)},
        {"axes": "y"},
        {"axes": "yy"},
        {"axes": "y "},
        {"space": Space(np.eye(4))},
    ],
)
def test_contradicting_shapes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(small(), **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values": np.full((3, 4), np.inf, np.float32)}, "infinite"),
        ({"values": np.full((3, 4), np.nan, np.float32)}, "no score at positions"),
        ({"evaluated": np.zeros((3, 4), bool)}, "scores that were not evaluated"),
        ({"error": np.ones((3, 4), np.float32)}, "how far off"),
        ({"exact": False, "error": -np.ones((3, 4), np.float32)}, "error must be"),
        ({"ssim_estimate": 0.9}, "how far off"),
        ({"exact": False, "ssim_estimate": 1.5}, "from -1 to 1"),
        ({"baseline": math.nan}, "baseline must be finite"),
        ({"class_index": -1}, "class_index"),
        ({"stride": (0, 0)}, "stride"),
        ({"patch": (4, 0)}, "patch"),
        ({"checked": (10**300, 0.1)}, "checked"),
        ({"checked": (6, math.nan)}, "checked"),
        ({"image": np.full((8, 10, 3), np.nan, np.float32)}, "image"),
        ({"fill": np.full((1, 1, 3), np.inf, np.float32)}, "fill"),
        ({"score": "odds"}, "score"),
    ],
)
def test_what_no_map_has_is_refused(wrong: dict[str, Any], said: str) -> None:
    """A file from a stranger may say anything; small() is exact, and of twelve positions."""
    with pytest.raises(ValueError, match=said):
        replace(small(), **wrong)


def test_the_map_lies_on_the_image_pixel_for_pixel() -> None:
    """From the first pixel's edge to the last one's, y downwards; the image grey from black to white."""
    hm = small()
    for ax in (hm.plot().axes[0], several(2).plot().axes[0]):
        image, overlay = ax.images
        assert tuple(image.get_extent()) == tuple(overlay.get_extent()) == (0, 10, 8, 0)
        assert image.get_clim() == (0, 1) and image.get_cmap().name == "gray"


@pytest.mark.parametrize(("naive", "executed", "expected"), [(900, 300, 3.0), (0, 0, 1.0), (900, 0, math.inf)])
def test_speedup_counts_multiply_adds(naive: int, executed: int, expected: float) -> None:
    assert replace(STATS, naive_macs=naive, executed_macs=executed).speedup == expected


# Files


@given(heat_maps())
def test_npz_round_trip(hm: HeatMap) -> None:
    read = loaded(saved(hm))
    for field in fields(HeatMap):
        before, after = getattr(hm, field.name), getattr(read, field.name)
        if isinstance(before, Space):
            np.testing.assert_array_equal(before.affine, after.affine)
            assert before.turns == after.turns
        elif isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after
            assert type(before) is type(after)


def test_save_and_load_a_file(tmp_path: Path) -> None:
    hm = small(stats=replace(STATS, seconds=MappingProxyType({"views": 0.25})))
    path = hm.save(tmp_path / "heat.NPZ")
    assert path == tmp_path / "heat.NPZ"
    assert HeatMap.load(str(path)).stats == replace(STATS, seconds={"views": 0.25})
    assert [each.name for each in tmp_path.iterdir()] == ["heat.NPZ"]


EVERYTHING: dict[str, Any] = {
    "checked": (6, 0.25),
    "fill": np.zeros((1, 1, 3), np.float32),
    "provenance": PROVENANCE,
    "notes": ("an assumption",),
}
IN_SPACE: dict[str, Any] = {"fill": np.zeros((1, 1, 1, 3), np.float32), "space": Space(np.eye(4))}


def volume(**facts: Any) -> HeatMap:
    """A 2 x 3 x 4 map of a volume with one cell not asked for."""
    values = np.linspace(0.1, 0.8, 24).reshape(2, 3, 4)
    values[0, 1, 1] = np.nan
    shapes: dict[str, Any] = {"grid": (6, 8, 10), "patch": (3, 4, 4), "stride": (3, 2, 2)}
    return heat_map(values, lattice(*shapes.values()), **shapes, **facts)


def of_segments() -> HeatMap:
    labels = np.repeat([[1, 0, 2, 7]], 3, axis=0)
    facts: dict[str, Any] = {"segments": np.array([1, 2, 7]), "labels": labels, "patch": (1, 1), "stride": None}
    return heat_map(np.array([0.5, 0.25, 0.125]), np.array([[0, 0], [0, 2], [0, 3]]), grid=(3, 4), **facts)


def of_boxes() -> HeatMap:
    boxes = np.array([[0, 0, 2, 3], [1, 1, 2, 2]], np.float32)
    scores, classes = np.array([0.9, 0.4], np.float32), np.array([0, 0])
    facts: dict[str, Any] = {"boxes": boxes, "box_scores": scores, "box_classes": classes, "detection": 2}
    return small(class_index=0, **facts)


def of_changes() -> HeatMap:
    return small(changed_mean=np.zeros((5, 6), np.float32), changed_max=np.ones((5, 6), np.float32))


def test_every_key_of_the_npz_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "heatmap-files.md").read_text(encoding="utf-8")
    whole, segmented = saved(volume(**EVERYTHING | IN_SPACE)), saved(of_segments())
    for written, newest in ((whole, 5), (segmented, 6), (saved(of_boxes()), FORMAT), (saved(of_changes()), FORMAT)):
        with np.load(io.BytesIO(written), allow_pickle=False) as file:
            assert [key for key in file.files if f"| `{key}` |" not in page] == []
            assert int(file["format"]) == newest
    assert f"Format {FORMAT}" in page


def test_a_file_has_the_least_format_that_its_fields_need() -> None:
    """So that the first version reads maps that were not checked."""
    with np.load(io.BytesIO(saved(small()))) as file:
        assert int(file["format"]) == 2 and not {"checked", *EVERYTHING} & {*file.files}
    for facts in ({each: value} for each, value in (*EVERYTHING.items(), ("image", np.zeros((8, 10, 3), np.float32)))):
        with np.load(io.BytesIO(saved(small(**facts)))) as file:
            assert int(file["format"]) == (3 if "checked" in facts else 4)
    for other in (volume(), volume(axes="tyx"), volume(space=Space(np.eye(4))), small(axes="ij")):
        with np.load(io.BytesIO(saved(other))) as file:
            assert int(file["format"]) == 5 and file["axes"] == other.axes


@given(st.data())
def test_a_damaged_file_is_an_execution_error_or_reads_the_same(data: st.DataObject) -> None:
    hm = small()
    whole = saved(hm)
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = whole[:at] if data.draw(st.booleans()) else whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    try:
        read = loaded(cut)
    except ExecutionError:
        return
    np.testing.assert_array_equal(read.values, hm.values)


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_a_newer_or_missing_file_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "newer.npz"
    path.write_bytes(_npz(format=FORMAT + 1))
    with pytest.raises(ExecutionError, match="newer kdb"):
        HeatMap.load(path)
    with pytest.raises(ExecutionError, match=r"missing\.npz.*No such file"):
        HeatMap.load(tmp_path / "missing.npz")


@pytest.mark.parametrize("name", ["no/such/folder/x.npz", "no/such/folder/x.png", "taken.npz", "nul\0.npz"])
def test_an_unwritable_path_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(ExecutionError, match="cannot write"):
        small().save(tmp_path / name)
    assert [each.name for each in tmp_path.rglob("*")] == ["taken.npz"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    def write(file: Any) -> None:
        file.write(b"half")
        raise failure

    path = tmp_path / "heat.npz"
    path.write_bytes(b"old")
    expected = ExecutionError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected, match="No space left" if isinstance(failure, OSError) else None):
        write_result(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert small().save(tmp_path / "heat.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["heat.bmp", "heat", ".npz", "heat.npz.txt"])
def test_an_unknown_extension_lists_the_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExecutionError, match=r"\.npz, \.png, \.jpg"):
        small().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Notebooks


def test_a_notebook_shows_heat_map_and_figure() -> None:
    hm = small(query="OCCLUDE '<b>.png' USING mine", checked=(6, 0.25))
    assert hm._repr_png_().startswith(b"\x89PNG")
    assert hm.plot()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    page = hm._repr_html_()
    assert "data:image/png;base64," in page
    assert "<b>" not in page
    assert "3.0 times less arithmetic than full inference; checked at 6 positions</figcaption>" in page


def test_nothing_is_imported_before_it_is_needed_and_pyplot_never() -> None:
    program = """
import sys
import numpy as np
from kdb.results.maps import HeatMap, Stats
assert not {"matplotlib", "pandas", "xarray"} & set(sys.modules), "imported too early"
hm = HeatMap(values=np.zeros((1, 1), np.float32), positions=np.zeros((1, 1, 2), np.int64), baseline=0.5, class_index=0,
    label="a", score="drop", patch=(2, 2), stride=(1, 1), image=np.zeros((2, 2, 3), np.uint8), source=None,
    source_box=(0, 0, 2, 2), source_size=(2, 2), query="", model="m", model_identity="", version="", exact=True,
    stats=Stats(naive_macs=1, executed_macs=1, positions=1, evaluated=1, seconds={}, kernels={}))
hm._repr_png_()
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules, "pyplot"
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Data frames and labelled arrays


@given(heat_maps())
def test_a_data_frame_has_a_row_for_each_score(hm: HeatMap) -> None:
    pytest.importorskip("pandas")
    frame = hm.to_dataframe()
    assert list(frame.columns) == ["image", "class_index", "label", *hm.axes, "score"]
    assert len(frame) == np.count_nonzero(~np.isnan(hm.values))
    np.testing.assert_array_equal(frame["score"].to_numpy(), hm.values[~np.isnan(hm.values)])
    assert frame["score"].dtype == np.float32
    assert all(frame[axis].dtype == np.int64 for axis in hm.axes)


def test_a_row_holds_the_position_of_its_score() -> None:
    pytest.importorskip("pandas")
    hm = several(3, label=("a", "b", "a"), class_index=(7, 8, 9))
    for image, class_index, label, y, x, score in hm.to_dataframe().itertuples(index=False):
        k = hm.class_index.index(class_index)  # type: ignore[union-attr]
        assert (image, label) == ("photos/cat.png", hm.label[k])
        row, column = np.argwhere((hm.positions == (y, x)).all(-1))[0]
        assert score == hm.values[k, row, column]


@given(heat_maps())
def test_a_labelled_array_holds_the_same_values(hm: HeatMap) -> None:
    pytest.importorskip("xarray")
    array = hm.to_xarray()
    assert array.dims == (("class", "position") if hm.stride is None else ("class", *hm.axes))
    for i, axis in enumerate(hm.axes):
        np.testing.assert_array_equal(array[axis].broadcast_like(array[0]), hm.positions[..., i])
    np.testing.assert_array_equal(array.to_numpy().reshape(hm.values.shape), hm.values)
    np.testing.assert_array_equal(np.ravel(hm.class_index), array["class"])
    assert array.name == hm.score
    assert array.attrs["query"] == hm.query


def test_a_labelled_array_is_looked_up_by_class_and_pixel() -> None:
    pytest.importorskip("xarray")
    hm = several(2, class_index=(281, 285))
    assert hm.to_xarray().sel({"class": 285, "y": 4, "x": 2}).item() == hm.values[1, 2, 1]


@pytest.mark.parametrize(("library", "method"), [("pandas", "to_dataframe"), ("xarray", "to_xarray")])
def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, library: str, method: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Error, match=f"pip install {library}"):
        getattr(small(), method)()


# Sequences of heat maps


def photos(count: int = 4, *, broken: int | None = 2) -> tuple[HeatMaps, list[int]]:
    """A sequence whose item ``broken`` cannot be read, and the list of what has been computed."""
    computed: list[int] = []

    def compute(i: int) -> HeatMap:
        computed.append(i)
        if i == broken:
            raise ExecutionError(f"cannot read 'img/{i}.png'")
        return small(source=f"img/{i}.png")

    return HeatMaps([f"img/{i}.png" for i in range(count)], compute), computed


def test_items_are_computed_when_asked_for_once() -> None:
    maps, computed = photos()
    assert (len(maps), computed) == (4, [])
    assert maps[1] is maps[1] is maps[-3]
    assert computed == [1]
    assert [hm.source for hm in maps[:2]] == ["img/0.png", "img/1.png"]
    assert computed == [1, 0, 1], "the second was let go for the first"
    with pytest.raises(IndexError):
        maps[4]


def test_an_error_is_of_its_image_alone() -> None:
    maps, computed = photos()
    assert maps.errors == {}
    for _ in range(3):
        with pytest.raises(ExecutionError, match=r"img/2\.png") as caught:
            maps[2]
    assert computed == [2, 2, 2], "it may have been repaired"
    assert dict(maps.errors) == {2: caught.value}
    assert maps[3].source == "img/3.png"
    seen = []
    with pytest.raises(ExecutionError):
        seen.extend(hm.source for hm in maps)
    assert [type(outcome) for outcome in maps.outcomes()] == [HeatMap, HeatMap, ExecutionError, HeatMap]
    assert set(computed) == {0, 1, 2, 3}


def test_an_interruption_is_not_kept() -> None:
    attempts = []

    def compute(i: int) -> HeatMap:
        attempts.append(i)
        if len(attempts) == 1:
            raise Interrupted(partial=small(complete=False))
        return small()

    maps = HeatMaps(["a.png"], compute)
    with pytest.raises(Interrupted):
        maps[0]
    assert maps.errors == {}
    assert maps[0].complete


@pytest.mark.parametrize(
    ("done", "said"), [(0, "0 of 3 maps are written"), (2, "2 of 3 maps are written, the last to")]
)
def test_an_interruption_says_what_is_written(tmp_path: Path, done: int, said: str) -> None:
    def compute(i: int) -> HeatMap:
        if i == done:
            raise Interrupted("interrupted after 3 of 9 positions")
        return small()

    with pytest.raises(Interrupted, match=f"^interrupted after 3 of 9 positions; {said}") as caught:
        HeatMaps(["a.png", "b.png", "c.png"], compute).save(f"{tmp_path}/{{stem}}.npz")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.npz", "b.npz"][:done]
    assert done == 0 or str(tmp_path / "b.npz") in str(caught.value)


def test_an_iteration_keeps_nothing() -> None:
    maps, computed = photos(broken=None)
    gone = [weakref.ref(heat_map) for heat_map in maps]
    gc.collect()
    assert [each() for each in gone] == [None] * 4 and computed == [0, 1, 2, 3]
    assert "4 computed, 0 failed" in repr(maps) and maps._repr_html_().count("computed, and not kept") == 4
    held = maps[2]
    assert maps[2] is held and next(each for each in maps if each.source == held.source) is held
    assert computed == [0, 1, 2, 3, 2, 0, 1], "what is held is not computed again"


def test_memory_is_flat_however_many_images_there_are() -> None:
    size = (100, 100)
    template = small()
    values = np.zeros(size, np.float32)
    positions = np.zeros((*size, 2), np.int64)

    def compute(i: int) -> HeatMap:
        return replace(template, values=values + i, positions=positions, evaluated=np.ones(size, bool), stride=(1, 1))

    maps = HeatMaps([f"{i}.png" for i in range(200)], compute)
    compute(0)
    tracemalloc.start()
    try:
        totals = [float(heat_map.values.sum()) for heat_map in maps]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert totals == [i * 1e4 for i in range(200)]
    assert peak < 20 * values.nbytes, "of 200"


def test_saved_maps_are_read_and_not_computed_again(tmp_path: Path) -> None:
    maps, computed = photos(broken=None)
    paths = maps.save(str(tmp_path / "{stem}.npz"))
    first = maps[0]
    assert computed == [0, 1, 2, 3] and first.source == "img/0.png"
    np.testing.assert_array_equal(first.values, small().values)
    paths[1].write_bytes(b"other")
    paths[2].unlink()
    assert [maps[i].source for i in (1, 2)] == ["img/1.png", "img/2.png"]
    assert computed == [0, 1, 2, 3, 1, 2]


@pytest.mark.parametrize("stop", [kdb.Timeout, Interrupted, kdb.Cancel])
def test_what_was_stopped_is_not_kept(stop: type[kdb.Error]) -> None:
    stops = [True]

    def compute(i: int) -> HeatMap:
        if i == 1 and stops:
            raise stop("stopped", small(complete=False))  # type: ignore[call-arg]
        return small()

    maps = HeatMaps(["a.png", "b.png", "c.png"], compute)
    if stop is kdb.Cancel:
        assert [heat_map.complete for heat_map in maps] == [True, False], "it ends with the partial map"
        assert not maps[1].complete
    else:
        with pytest.raises(stop):
            list(maps.outcomes())
    assert maps.errors == {}
    stops.clear()
    assert [heat_map.complete for heat_map in maps] == [True] * 3


def test_threads_compute_an_item_once() -> None:
    arrived = threading.Barrier(8)
    maps, computed = photos()
    results: list[HeatMap] = []

    def ask() -> None:
        arrived.wait()
        results.append(maps[0])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [0]
    assert len(results) == 8
    assert len(set(map(id, results))) == 1


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    file, link, dangling = tmp_path / "far" / "heat.npz", tmp_path / "link.npz", tmp_path / "far" / "none.npz"
    file.write_bytes(b"old")
    link.symlink_to(Path("far") / "heat.npz")
    (tmp_path / "dangling.npz").symlink_to(dangling)
    assert small().save(link) == link
    small().save(tmp_path / "dangling.npz")
    assert link.is_symlink() and (tmp_path / "dangling.npz").is_symlink()
    assert HeatMap.load(file).label == HeatMap.load(dangling).label == small().label
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["dangling.npz", "heat.npz", "link.npz", "none.npz"]


def test_a_sequence_is_saved_by_stem(tmp_path: Path) -> None:
    maps, _ = photos()
    with pytest.warns(OmissionWarning, match=r"img/2\.png.*left out") as told:
        paths = maps.save(str(tmp_path / "heat-{stem}.npz"))
    assert told[0].filename == __file__  # the line that asked for it
    assert paths == [tmp_path / f"heat-{i}.npz" for i in (0, 1, 3)]
    assert HeatMap.load(paths[2]).source == "img/3.png"


@pytest.mark.parametrize(
    ("sources", "template", "message"),
    [
        (["a/x.png"], "heat.png", r"\{stem\}"),
        (["a/x.png", "b/x.png"], "{stem}.png", r"a/x\.png.*b/x\.png.*both"),
        (["a/x.png"], "{stem}.bmp", "extension"),
        (["a/x.png"], "{stem}-{name}.png", r"\{name\} .*the only one is \{stem\}"),
    ],
)
def test_a_wrong_template_is_refused_before_anything_is_computed(
    sources: list[str], template: str, message: str
) -> None:
    def compute(_: int) -> HeatMap:
        raise AssertionError("computed")

    with pytest.raises(ExecutionError, match=message):
        HeatMaps(sources, compute).save(template)


def test_data_frames_are_put_together() -> None:
    pytest.importorskip("pandas")
    maps, _ = photos()
    with pytest.warns(OmissionWarning, match=r"img/2\.png.*left out"):
        frame = maps.to_dataframe()
    assert sorted(set(frame["image"])) == ["img/0.png", "img/1.png", "img/3.png"]
    assert len(frame) == 3 * 11
    assert list(frame.index) == list(range(len(frame)))
    assert list(HeatMaps([], lambda _: small()).to_dataframe().columns) == list(frame.columns)


def test_a_notebook_shows_what_has_been_computed_and_computes_nothing() -> None:
    maps, computed = photos()
    maps[0]
    with pytest.raises(ExecutionError):
        maps[2]
    page = maps._repr_html_()
    assert page.count("data:image/png") == 1
    assert page.count("not computed yet") == 2
    assert "cannot read &#x27;img/2.png&#x27;" in page
    assert computed == [0, 2]
    assert repr(maps) == "<HeatMaps of 4 images: 1 computed, 1 failed>"


# Tables

CELLS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@st.composite
def tables(draw: st.DrawFn) -> Table:
    columns = draw(st.lists(st.text("abcdef_", min_size=1), max_size=4))
    return Table(tuple(columns), tuple(draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=5))))


@given(tables())
def test_a_table_is_a_sequence_of_its_rows(table: Table) -> None:
    assert list(table) == list(table.rows) == [table[i] for i in range(len(table))]
    assert table == Table(table.columns, table.rows)
    assert table != Table((*table.columns, "more"), tuple((*row, 0) for row in table.rows))
    assert table[1:] == table.rows[1:]


@given(tables())
def test_a_table_prints_a_line_for_each_row(table: Table) -> None:
    lines = str(table).split("\n")
    assert len(lines) == 2 + max(1, len(table))
    assert set(lines[1]) <= {"-", " "}


def test_text_is_aligned_left_and_numbers_right() -> None:
    table = Table(("name", "value", "on"), (("tau", 0.9, True), ("workers", 12345678, None), ("seed", None, False)))
    assert str(table) == "\n".join(
        [
            "name        value  on",
            "-------  --------  -----",
            "tau           0.9  True",
            "workers  12345678",
            "seed               False",
        ]
    )
    assert "(no rows)" in str(Table(("name",), ()))


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells in a table of 1"):
        Table(("a",), ((1, 2),))


@given(tables())
def test_a_table_becomes_a_data_frame(table: Table) -> None:
    pytest.importorskip("pandas")
    frame = table.to_dataframe()
    assert frame.shape == (len(table), len(table.columns))
    assert tuple(frame.columns) == table.columns


def test_a_table_in_html_is_escaped() -> None:
    page = Table(("<a>",), (("<script>",),))._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_missing_pandas_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Error, match="pip install pandas"):
        Table(("a",), ()).to_dataframe()


def test_file_format_is_the_lower_case_extension() -> None:
    assert file_format("a/b.c/heat.PNG") == "png"


def test_an_npz_holds_no_pickles() -> None:
    with zipfile.ZipFile(io.BytesIO(saved(small()))) as archive:
        for name in archive.namelist():
            assert np.load(io.BytesIO(archive.read(name)), allow_pickle=False).dtype != object
