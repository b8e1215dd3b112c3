"""Geometry against brute force: mark cells as changed and find the outputs that read one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdb.geometry import Boxes, Footprint, Part, Size, Space, Spans, Window, lattice

pytestmark = pytest.mark.law

Ints = tuple[int, int]
Box = tuple[Ints, ...]
"""Where it begins and ends, along each axis."""
Cell = tuple[int, ...]


def reads(window: Window, output: int) -> set[int]:
    """The input cells that one output reads; cells of the padding have indices outside the map."""
    first = output * window.stride - window.before
    return {first + tap * window.dilation for tap in range(window.kernel)}


@st.composite
def windows(draw: st.DrawFn, dilated: bool = True) -> Window:
    return Window(
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(0, 6)),  # also larger than the kernel, so that some outputs read padding alone
        draw(st.integers(0, 6)),
        draw(st.integers(1, 3)) if dilated else 1,
    )


@st.composite
def intervals(draw: st.DrawFn, length: int) -> Ints:
    start, stop = sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))
    return start, stop


def spans(*pairs: Ints) -> Spans:
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return Spans(table[:, 0], table[:, 1])


def cells(each: Spans, i: int = 0) -> set[int]:
    return set(range(int(each.start[i]), int(each.stop[i])))


def footprint(*boxes: Box) -> Footprint:
    return Footprint(tuple(spans(*along) for along in zip(*boxes, strict=True)))


def box_cells(each: Footprint, i: int = 0) -> set[Cell]:
    return set(product(*(cells(along, i) for along in each.spans)))


def cells_of(extent: Size) -> list[Cell]:
    return list(product(*map(range, extent)))


def moved(cell: Cell, by: Iterable[int]) -> Cell:
    return tuple(int(at) + int(more) for at, more in zip(cell, by, strict=True))


@st.composite
def boxes_(draw: st.DrawFn, rank: int, length: int = 7) -> Box:
    """A box, which may be empty, in ``rank`` axes of ``length`` cells."""
    return tuple(draw(intervals(length)) for _ in range(rank))


RANKS = st.integers(1, 3)


# --- windows -----------------------------------------------------------------------------------------------------


@given(windows(), st.data())
def test_output_length_counts_the_windows_that_fit(window: Window, data: st.DataObject) -> None:
    around = window.before + window.after
    padded = data.draw(st.integers(max(1, window.reach - around), 20)) + around
    fitting = [start for start in range(0, padded, window.stride) if start + window.reach <= padded]
    assert window.output_length(padded - around) == len(fitting)
    assert window.reach == max(reads(window, 0)) - min(reads(window, 0)) + 1


@given(st.data(), windows(), st.integers(1, 16), st.integers(0, 2))
def test_a_projection_is_the_outputs_that_read_a_change(
    data: st.DataObject, window: Window, length: int, more: int
) -> None:
    # ``more`` outputs than fit, as with ceil_mode.
    outputs = max(window.output_length(length), 1) + more
    pairs = data.draw(st.lists(intervals(length), min_size=1, max_size=5))
    projected = window.project(spans(*pairs), outputs)
    for i, (start, stop) in enumerate(pairs):
        changed = set(range(start, stop))
        reading = {output for output in range(outputs) if reads(window, output) & changed}
        found = cells(projected, i)
        assert found <= set(range(outputs))
        # A change between the taps of a dilated window is not read.
        if window.dilation == 1:
            assert found == reading
        else:
            assert found >= reading
            if reading:  # and no wider than for an undilated window of the same reach
                reach = Window(window.reach, window.stride, window.before, window.after)
                assert found == {o for o in range(outputs) if reads(reach, o) & changed}


@given(st.data(), windows(), st.integers(1, 16), st.integers(1, 16))
def test_the_papers_bound_covers_the_projection(data: st.DataObject, window: Window, length: int, extent: int) -> None:
    """Equations 15, 16 and 33: spans of equal length get equal length wherever they lie, inside the map."""
    outputs = max(window.output_length(length), 1)
    extent = min(extent, length)
    starts = data.draw(st.lists(st.integers(0, length - extent), min_size=1, max_size=5))
    pairs = spans(*((start, start + extent) for start in starts))
    exact, bound = window.project(pairs, outputs), window.bound(pairs, outputs)
    for i in range(len(starts)):
        assert cells(exact, i) <= cells(bound, i) <= set(range(outputs))
    assert set(bound.lengths.tolist()) == {min(-(-(extent + window.reach - 1) // window.stride), outputs)}


@given(windows(), st.integers(1, 12), st.data())
def test_an_empty_change_is_read_by_nothing(window: Window, length: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, length))
    assert window.project(spans((at, at), (at + 2, at)), 50).lengths.tolist() == [0, 0]
    assert window.bound(spans((at, at), (at + 2, at)), 50).lengths.tolist() == [0, 0]


@given(st.data(), windows(), st.integers(1, 16))
def test_enclosed_outputs_read_the_span_alone(data: st.DataObject, window: Window, length: int) -> None:
    outputs = max(window.output_length(length), 1)
    pairs = data.draw(st.lists(intervals(length), min_size=1, max_size=5))
    enclosed = window.enclose(spans(*pairs))
    reach = Window(window.reach, window.stride, window.before, window.after)  # all cells from the first tap to the last
    for i, (start, stop) in enumerate(pairs):
        inside = set(range(start, stop))
        assert cells(enclosed, i) == {output for output in range(outputs) if reads(reach, output) <= inside}


def test_a_strided_1x1_skips_changes() -> None:
    assert cells(Window(1, 2).project(spans((3, 4)), 4)) == set()
    assert cells(Window(1, 2).project(spans((3, 5)), 4)) == {2}


@given(windows(), st.integers(0, 10), st.integers(1, 6))
def test_read_in_spans_the_reads_of_all_outputs(window: Window, start: int, extent: int) -> None:
    first, count = window.read_in(np.array([start]), extent)
    read = set().union(*(reads(window, output) for output in range(start, start + extent)))
    assert (int(first[0]), int(first[0]) + count - 1) == (min(read), max(read))


@given(windows(dilated=False).filter(lambda each: each.stride <= each.kernel), st.integers(1, 16), st.data())
def test_the_read_in_of_a_projection_covers_the_change(window: Window, length: int, data: st.DataObject) -> None:
    pair = data.draw(intervals(length).filter(lambda pair: pair[0] < pair[1]))
    outputs = max(window.output_length(length), 1)
    projected = window.project(spans(pair), outputs)
    assume(projected.lengths[0])  # behind the last window, nothing reads the change
    first, count = window.read_in(projected.start, int(projected.lengths[0]))
    last_read = (outputs - 1) * window.stride - window.before + window.reach
    assert set(range(pair[0], min(pair[1], last_read))) <= set(range(int(first[0]), int(first[0]) + count))


# --- spans and footprints ----------------------------------------------------------------------------------------


@st.composite
def shared_spans(draw: st.DrawFn, length: int) -> Spans:
    """A few non-empty spans, shared by a few positions."""
    each = spans(*draw(st.lists(intervals(length).filter(lambda pair: pair[0] < pair[1]), min_size=1, max_size=4)))
    places = draw(st.lists(st.integers(0, len(each.start) - 1), min_size=1, max_size=6))
    return Spans(each.start, each.stop, np.array(places))


def pairs_of(each: Spans) -> list[list[int]]:
    return np.stack([each.separate().start, each.separate().stop], axis=1).tolist()


@given(st.data(), shared_spans(9), windows(), st.booleans())
def test_shared_spans_equal_separate_ones(data: st.DataObject, each: Spans, window: Window, apart: bool) -> None:
    alone, length = each.separate(), max(window.output_length(9), 1)
    for found, expected in (
        (window.project(each, length), window.project(alone, length)),
        (window.bound(each, length), window.bound(alone, length)),
        (window.enclose(each), window.enclose(alone)),
        (each.shifted(3), alone.shifted(3)),
        (each.covering(9), alone.covering(9)),
    ):
        assert len(found) == len(each) and pairs_of(found) == pairs_of(expected)
        assert found.spread(found.lengths).tolist() == expected.lengths.tolist()
    further = Window(3, 1, 1, 1).project(each, 9)
    hull = each.hull(further.separate() if apart else further)
    both = zip(pairs_of(each), pairs_of(further), strict=True)
    assert pairs_of(hull) == [[min(a[0], b[0]), max(a[1], b[1])] for a, b in both]
    members = np.array(data.draw(st.lists(st.integers(0, len(each) - 1), min_size=1)))
    (origins, extent), (separate, longest) = each.uniform(members, 9), alone.uniform(members, 9)
    assert extent == longest and origins.tolist() == separate.tolist()


@given(st.lists(intervals(9), min_size=1, max_size=6), st.integers(9, 12), st.data())
def test_uniform_spans_cover_their_own_and_stay_inside(pairs: list[Ints], length: int, data: st.DataObject) -> None:
    members = np.array(data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=6)))
    origins, extent = spans(*pairs).uniform(members, length)
    assert extent == max(1, *(pairs[i][1] - pairs[i][0] for i in members))
    assert len(origins) == len(members)
    for i, origin in zip(members, origins, strict=True):
        assert 0 <= origin <= length - extent
        assert set(range(*pairs[i])) <= set(range(origin, origin + extent))


def test_shifting_and_covering() -> None:
    assert cells(spans((1, 3)).shifted(4)) == {5, 6}
    whole = footprint(((0, 1), (1, 2)), ((2, 4), (5, 9))).covering((2, 3))
    assert whole.areas.tolist() == [6, 6]
    assert box_cells(whole, 1) == {(y, x) for y in range(2) for x in range(3)}
    assert Boxes.whole(2, (2, 3)).covers((2, 3)) and not Boxes.whole(2, (2, 3)).covers((3, 2))


@given(RANKS, st.data())
def test_the_union_of_footprints_is_the_bounding_box_of_both(rank: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(boxes_(rank), boxes_(rank)), min_size=1, max_size=6))
    union = footprint(*(a for a, _ in pairs)).union(footprint(*(b for _, b in pairs)))
    for i, (a, b) in enumerate(pairs):
        both = box_cells(footprint(a)) | box_cells(footprint(b))
        # A box that is empty along one axis is empty, however long it is along the others.
        along = [{cell[axis] for cell in both} for axis in range(rank)]
        expected = set(product(*(range(min(each), max(each) + 1) for each in along))) if both else set()
        assert box_cells(union, i) == expected
        assert union.areas[i] == len(expected)


@given(RANKS, st.data())
def test_a_union_of_several_equals_successive_unions(rank: int, data: st.DataObject) -> None:
    a, b, c = (footprint(*(data.draw(boxes_(rank)) for _ in range(2))) for _ in range(3))
    union, pairs = a.union(b, a, c), a.union(b).union(a).union(c)
    assert [box_cells(union, i) for i in range(2)] == [box_cells(pairs, i) for i in range(2)]
    assert a.union() is a and a.union(a) is a and a.union(b, a, c) is union


@given(RANKS, st.data())
def test_boxes_cover_their_footprints_and_lie_inside_the_map(rank: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(boxes_(rank), min_size=1, max_size=6))
    size = data.draw(st.tuples(*[st.integers(7, 9)] * rank))
    each = footprint(*pairs)
    boxes = each.boxes(np.arange(len(pairs)), size)
    assert len(boxes) == len(pairs)
    assert (boxes.origins >= 0).all() and (boxes.origins + boxes.extent <= size).all()
    for i, origin in enumerate(boxes.origins):
        assert box_cells(each, i) <= {moved(cell, origin) for cell in cells_of(boxes.extent)}


@given(RANKS, st.data())
def test_projected_boxes_have_the_cells_that_read_a_change_along_every_axis(rank: int, data: st.DataObject) -> None:
    along = [data.draw(windows(dilated=False)) for _ in range(rank)]
    box = data.draw(boxes_(rank, 5))
    size = tuple(max(window.output_length(5), 1) for window in along)
    changed = box_cells(footprint(box))
    found = box_cells(footprint(box).behind(along, size))
    assert found == {
        cell for cell in cells_of(size) if any(each in changed for each in product(*map(reads, along, cell)))
    }
    inside = box_cells(footprint(box).enclosed(along))
    assert inside == {cell for cell in cells_of(size) if set(product(*map(reads, along, cell))) <= changed}


@given(RANKS, st.data())
def test_the_axes_of_a_read_in_are_independent(rank: int, data: st.DataObject) -> None:
    along = [data.draw(windows()) for _ in range(rank)]
    origin, extent = (data.draw(st.tuples(*[st.integers(1, 5)] * rank)) for _ in range(2))
    context = Boxes(np.array([origin]), extent).read_in(along)
    read = [window.read_in(np.array([at]), n) for window, at, n in zip(along, origin, extent, strict=True)]
    assert context.origins.tolist() == [[int(first[0]) for first, _ in read]]
    assert context.extent == tuple(count for _, count in read)


@given(RANKS, st.data())
def test_margins_place_a_box_in_its_frame(rank: int, data: st.DataObject) -> None:
    extent, frame = (3, 2, 1)[:rank], (5, 6, 2)[:rank]
    count = data.draw(st.integers(1, 4))
    origins = [data.draw(st.tuples(*[st.integers(-3, 5)] * rank)) for _ in range(count)]
    offsets = st.tuples(*(st.integers(-1, most) for most in frame))
    same = data.draw(offsets)
    each = [same] * count if data.draw(st.booleans()) else [data.draw(offsets) for _ in origins]
    frames = Boxes(np.array(origins), frame)
    margins = Boxes(frames.origins + np.array(each), extent).margins(frames)
    after = tuple(whole - at - n for whole, at, n in zip(frame, each[0], extent, strict=True))
    if min(*each[0], *after) >= 0 and set(each) == {each[0]}:
        assert margins == (*each[0], *after)
    else:
        assert margins is None


# --- the grid of positions -----------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))
def test_a_grid_has_every_start_at_which_the_patch_fits(size: int, patch: int, stride: int) -> None:
    starts = [start for start in range(0, size, stride) if start + patch <= size]
    assert lattice(size, patch, stride).tolist() == starts
    assert len(starts) == max(-(-(size - patch + 1) // stride), 0)


def test_the_papers_count_is_one_short() -> None:
    assert len(lattice(224, 16, 4)) == 53


@pytest.mark.parametrize(("size", "patch", "stride", "starts"), [(5, 5, 3, [0]), (5, 6, 1, []), (7, 2, 5, [0, 5])])
def test_grids_by_hand(size: int, patch: int, stride: int, starts: list[int]) -> None:
    assert lattice(size, patch, stride).tolist() == starts


# --- parts of boxes ----------------------------------------------------------------------------------------------


@given(st.data())
def test_the_core_is_in_every_members_footprint_and_cannot_grow(data: st.DataObject) -> None:
    """The core of a footprint, in the boxes of a larger footprint around it that are shifted into the map."""
    rank = data.draw(RANKS)
    length = data.draw(st.integers(4, 12 if rank < 3 else 6))
    pairs = data.draw(st.lists(boxes_(rank, length), min_size=1, max_size=4))
    inner = footprint(*pairs)
    margins = data.draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * rank))
    outer = footprint(
        *(
            tuple(
                (max(start - before, 0), min(stop + after, length))
                for (start, stop), (before, after) in zip(pair, margins, strict=True)
            )
            for pair in pairs
        )
    )
    boxes = outer.boxes(np.arange(len(pairs)), (length,) * rank)
    within = [box_cells(inner, i) for i in range(len(pairs))]
    common = {
        cell
        for cell in cells_of(boxes.extent)
        if all(moved(cell, origin) in there for origin, there in zip(boxes.origins, within, strict=True))
    }
    core = inner.core(np.arange(len(pairs)), boxes)
    assert (set() if core is None else part_cells(core)) == common


def part_cells(part: Part) -> set[Cell]:
    return set(product(*(range(each.start, each.stop) for each in part.slices[1:])))


@given(RANKS, st.data())
def test_a_part_and_the_slabs_around_it_make_the_box(rank: int, data: st.DataObject) -> None:
    size = data.draw(st.tuples(*[st.integers(1, 6)] * rank))
    pairs = [data.draw(intervals(length)) for length in size]
    part = Part(tuple(start for start, _ in pairs), tuple(stop - start for start, stop in pairs))
    counts = np.zeros((2, *size), int)
    around = part.around(size)
    for each in (part, *around):
        assert each is part or math.prod(each.extent) > 0
        counts[each.slices] += 1
    assert (counts == 1).all() and len(around) <= 2 * rank
    origins = np.array([[2, 3, 1], [5, 0, 4]])[:, :rank]
    assert (Boxes(origins, size).part(part).origins - origins == part.start).all()


@given(RANKS, st.data())
def test_the_part_that_meets_the_frames_lies_in_all_of_them(rank: int, data: st.DataObject) -> None:
    boxes, frames = (data.draw(st.tuples(*[st.integers(1, 5)] * rank)) for _ in range(2))
    origins = data.draw(st.lists(st.tuples(*[st.integers(-4, 8)] * rank), min_size=1, max_size=4))
    offsets = st.tuples(*[st.integers(-5, 5)] * rank)
    same = data.draw(offsets)
    each = [same] * len(origins) if data.draw(st.booleans()) else [data.draw(offsets) for _ in origins]
    part = Boxes(np.array(origins), boxes).meeting(Boxes(np.array(origins) + np.array(each), frames))
    framed = set(cells_of(frames))
    lying = [{cell for cell in cells_of(boxes) if moved(cell, (-at for at in offset)) in framed} for offset in each]
    if part is None:
        assert len(set(each)) > 1 or not lying[0]
    else:
        assert all(there == part_cells(part) for there in lying)


def test_a_space_follows_its_grid():
    affine = np.array([[0, -2, 0, 10], [3, 0, 0, -5], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    coarse = Space(affine).after((2, 4, 1), (0.5, 1.5, 0))
    cell = np.array([3, 2, 7])
    inside = np.array([2, 4, 1]) * cell + (0.5, 1.5, 0)
    np.testing.assert_allclose(coarse.affine @ [*cell, 1], affine @ [*inside, 1])


@given(
    size=st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple),
    fractions=st.tuples(*[st.floats(0, 1)] * 6),
)
def test_cells_of_boxes_are_their_numbers_in_the_map(size: tuple[int, ...], fractions: tuple[float, ...]) -> None:
    extent = tuple(1 + int(f * (length - 1)) for f, length in zip(fractions[:3], size, strict=False))
    last = np.array(size) - extent
    origins = np.stack([np.zeros_like(last), last, (np.array(fractions[3 : 3 + len(size)]) * last).astype(np.int64)])
    numbers = np.arange(math.prod(size)).reshape(size)
    expected = [
        numbers[tuple(slice(first, first + n) for first, n in zip(origin, extent, strict=True))] for origin in origins
    ]
    np.testing.assert_array_equal(Boxes(origins, extent).cells(size), expected)
