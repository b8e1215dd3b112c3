"""The positions of a query in one to three axes: by brute force, and counted before there is an array of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.geometry import Size, lattice
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.queries import clauses, positions
from kdb.queries.positions import Place, select

M = syntax.ModelRef("m")


@pytest.mark.parametrize("size", [(4, 1 << 40), (1 << 20, 1 << 20), (1 << 14, 1 << 14, 1 << 14)])
def test_more_positions_than_there_is_memory_for_take_none(size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "lattice", lambda *_: pytest.fail("an array is made"))
    query = clauses.on_axes(parse_one("OCCLUDE i WITH patch(2) STRIDE 1 USING m"), size)
    with pytest.raises(ExecutionError, match=r"a map of [0-9,]+ positions takes"):
        select(query, size, Arguments())


@pytest.mark.parametrize(("size", "patch", "stride"), [((9, 30), (4, 3), (2, 5)), ((7, 7), (7, 1), (3, 9))])
def test_as_many_are_counted_as_there_are(
    size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(positions, "require", lambda nbytes, what: told.append(what))
    query = parse_one(f"OCCLUDE i WITH patch{patch} STRIDE {stride} USING m")
    found = select(query, size, Arguments())
    rows, columns = (len(lattice(n, p, min(s, n))) for n, p, s in zip(size, patch, stride, strict=True))
    assert found.grid.shape == (rows, columns, 2) and told == [f"a map of {rows * columns} positions"]


@st.composite
def occlusions(draw: st.DrawFn) -> tuple[Size, Size, Size]:
    """The size of an input, a patch that fits into it, and a stride."""
    size = tuple(draw(st.lists(st.integers(2, 9), min_size=1, max_size=3)))
    return size, tuple(draw(st.integers(1, n)) for n in size), tuple(draw(st.integers(1, 4)) for _ in size)


def all_positions(size: Size, patch: Size, stride: Size) -> list[tuple[int, ...]]:
    ranges = (range(0, n - p + 1, s) for n, p, s in zip(size, patch, stride, strict=True))
    return list(product(*ranges))


def found_or_empty(
    query: syntax.Occlude, size: Size, arguments: Arguments, place: Place | None
) -> list[tuple[int, ...]]:
    try:
        selection = select(query, size, arguments, place)
    except BindError as error:
        assert "lies" in str(error)
        return []
    return [tuple(each) for each in selection.positions.tolist()]


@pytest.mark.law
@given(occlusions(), st.data())
def test_a_box_keeps_the_patches_that_lie_wholly_in_it(occlusion: tuple[Size, Size, Size], data: st.DataObject) -> None:
    size, patch, stride = occlusion
    start, extent = (tuple(data.draw(st.integers(0, n + 2)) for n in size) for _ in range(2))
    in_source = data.draw(st.booleans())
    place = None
    scale, offset = [Fraction(1)] * len(size), [Fraction(0)] * len(size)
    if in_source:
        source = tuple(data.draw(st.integers(n, 3 * n)) for n in size)
        parts = [data.draw(st.integers(1, n)) for n in source]
        first = [data.draw(st.integers(0, n - p)) for n, p in zip(source, parts, strict=True)]
        place = Place(tuple(map(float, first)), tuple(map(float, parts)), source)
        scale = [Fraction(p, n) for p, n in zip(parts, size, strict=True)]
        offset = [Fraction(each) for each in first]
    query = syntax.Occlude(
        syntax.Name("i"), M, syntax.Patch(patch), stride, region=syntax.Box(start, extent, in_source)
    )

    def inside(position: tuple[int, ...]) -> bool:
        return all(
            b <= at * k + o and (at + p) * k + o <= b + e
            for at, p, k, o, b, e in zip(position, patch, scale, offset, start, extent, strict=True)
        )

    assert found_or_empty(query, size, Arguments(), place) == [
        each for each in all_positions(size, patch, stride) if inside(each)
    ]


@pytest.mark.law
@given(occlusions(), st.integers(0, 2**16), st.integers(1, 3))
def test_a_mask_keeps_the_patches_whose_centre_is_in_it(
    occlusion: tuple[Size, Size, Size], seed: int, larger: int
) -> None:
    size, patch, stride = occlusion
    in_source = larger > 1
    source = tuple(larger * n for n in size)
    mask = np.random.default_rng(seed).random(source) < 0.3
    place = Place((0.0,) * len(size), tuple(map(float, source)), source) if in_source else None
    region = syntax.Mask(syntax.Parameter("m"), in_source)
    query = syntax.Occlude(syntax.Name("i"), M, syntax.Patch(patch), stride, region=region)
    wanted = []
    for position in all_positions(size, patch, stride):
        centre = tuple(int((at + p // 2 + 0.5) * larger) for at, p in zip(position, patch, strict=True))
        if mask[centre]:
            wanted.append(position)
    assert found_or_empty(query, size, Arguments({"m": mask}), place) == wanted


def test_a_region_in_the_source_is_pending_until_there_is_an_image() -> None:
    query = clauses.on_axes(parse_one("OCCLUDE i WITH patch(4) WITHIN box(2, 3, 9, 8) IN SOURCE USING m"), (16, 16))
    selection = select(query, (16, 16), Arguments())
    assert len(selection.positions) == 16
    assert selection.notes == ("WITHIN box(2, 3, 9, 8) IN SOURCE is of each image; planned for all positions",)


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        ("WITH patch(4, 4)", (9, 9, 9), "patch takes 3 numbers, one for each axis of the input of 9 x 9 x 9; got 2"),
        ("WITH patch(4, 4)", (9,), "patch takes one number, for the one axis of the input of 9; got 2"),
        ("STRIDE (1, 2)", (9, 9, 9), "STRIDE takes 3 numbers, one for each axis of the input of 9 x 9 x 9; got 2"),
        ("WITHIN box(1, 2)", (9, 9), "the box of WITHIN takes 4 numbers, a start and an extent for each axis"),
    ],
)
def test_clauses_of_other_axes_are_refused(text: str, size: Size, message: str) -> None:
    with pytest.raises(BindError) as caught:
        clauses.on_axes(parse_one(f"OCCLUDE i {text} USING m"), size)
    assert message in str(caught.value)


def test_one_number_is_every_axis_s() -> None:
    query = clauses.on_axes(parse_one("OCCLUDE i WITH patch(4) STRIDE 2 USING m"), (9, 9, 9))
    assert str(query) == "OCCLUDE i WITH patch(4, 4, 4) STRIDE 2 USING m"
    query = clauses.on_axes(parse_one("OCCLUDE i STRIDE (2, 2) USING m"), (99, 99))
    assert str(query) == "OCCLUDE i WITH patch(16, 16) STRIDE 2 USING m"


def test_a_box_in_the_source_follows_each_image(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    db = kdb.connect()
    db.register_model("m", net, input_size=(24, 24))
    image = np.random.default_rng(0).integers(0, 256, (72, 48, 3), dtype=np.uint8)
    query = "OCCLUDE $i WITH patch(4) STRIDE 2 USING m WITHIN box(30, 0, 30, 24) IN SOURCE"
    heat_map = db.execute(f"{query} INTO '{tmp_path}/map.npz'", {"i": image})
    there = heat_map.positions[~np.isnan(heat_map.values)]
    inside = heat_map.to_source()[~np.isnan(heat_map.values)]
    assert [tuple(each) for each in there] == [(y, x) for y in (10, 12, 14, 16) for x in (0, 2, 4, 6, 8)]
    assert (inside[:, :2] >= (30, 0)).all() and (inside[:, :2] + inside[:, 2:] <= (60, 24)).all()
    assert heat_map.query == query.replace("patch(4)", "patch(4, 4)")
    assert db.execute(f"VERIFY '{tmp_path}/map.npz'").agrees
    assert "is of each image; planned for all positions" in str(db.execute(f"EXPLAIN {query}", {"i": image}))
    with pytest.raises(BindError, match="lies wholly in the box"):
        db.execute(query, {"i": image[:24, :24]})
