"""Geometry against brute force: mark cells as changed and find the outputs that read one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdb.geometry import Boxes, Footprint, Part, Size, Spans, Window, lattice

pytestmark = pytest.mark.law

Ints = tuple[int, int]


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


def footprint(*boxes: tuple[Ints, Ints]) -> Footprint:
    return Footprint(spans(*(y for y, _ in boxes)), spans(*(x for _, x in boxes)))


def box_cells(each: Footprint, i: int = 0) -> set[Ints]:
    return {(y, x) for y in cells(each.y, i) for x in cells(each.x, i)}


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
    whole = footprint(((0, 1), (1, 2)), ((2, 4), (5, 9))).covering(Size(2, 3))
    assert whole.areas.tolist() == [6, 6] and Size(2, 3).area == 6
    assert box_cells(whole, 1) == {(y, x) for y in range(2) for x in range(3)}
    assert Boxes.whole(2, Size(2, 3)).covers(Size(2, 3)) and not Boxes.whole(2, Size(2, 3)).covers(Size(3, 2))


boxes_ = st.tuples(intervals(7), intervals(7))


@given(st.lists(st.tuples(boxes_, boxes_), min_size=1, max_size=6))
def test_the_union_of_footprints_is_the_bounding_box_of_both(pairs: list[tuple[tuple[Ints, Ints], ...]]) -> None:
    union = footprint(*(a for a, _ in pairs)).union(footprint(*(b for _, b in pairs)))
    for i, (a, b) in enumerate(pairs):
        both = box_cells(footprint(a)) | box_cells(footprint(b))
        # A box that is empty along one axis is empty, however long it is along the other.
        ys, xs = ({cell[axis] for cell in both} for axis in (0, 1))
        expected = {(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)} if both else set()
        assert box_cells(union, i) == expected
        assert union.areas[i] == len(expected)


@given(st.tuples(boxes_, boxes_, boxes_), st.tuples(boxes_, boxes_, boxes_))
def test_a_union_of_several_equals_successive_unions(
    one: tuple[tuple[Ints, Ints], ...], other: tuple[tuple[Ints, Ints], ...]
) -> None:
    a, b, c = (footprint(*boxes) for boxes in zip(one, other, strict=True))
    union, pairs = a.union(b, a, c), a.union(b).union(a).union(c)
    assert [box_cells(union, i) for i in range(2)] == [box_cells(pairs, i) for i in range(2)]
    assert a.union() is a and a.union(a) is a and a.union(b, a, c) is union


@given(st.lists(boxes_, min_size=1, max_size=6), st.integers(7, 9), st.integers(7, 9))
def test_boxes_cover_their_footprints_and_lie_inside_the_map(
    pairs: list[tuple[Ints, Ints]], height: int, width: int
) -> None:
    each = footprint(*pairs)
    boxes = each.boxes(np.arange(len(pairs)), Size(height, width))
    assert len(boxes) == len(pairs)
    assert (boxes.origins >= 0).all() and (boxes.origins + boxes.extent <= (height, width)).all()
    for i, (y, x) in enumerate(boxes.origins):
        inside = {(y + j, x + k) for j in range(boxes.extent.height) for k in range(boxes.extent.width)}
        assert box_cells(each, i) <= inside


@given(windows(), windows(), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
def test_the_axes_of_a_read_in_are_independent(y: Window, x: Window, top: int, left: int, h: int, w: int) -> None:
    context = Boxes(np.array([[top, left]]), Size(h, w)).read_in(y, x)
    (first_y, rows), (first_x, columns) = y.read_in(np.array([top]), h), x.read_in(np.array([left]), w)
    assert context.origins.tolist() == [[first_y[0], first_x[0]]] and context.extent == Size(rows, columns)


@given(st.lists(st.tuples(st.integers(-3, 5), st.integers(-3, 5)), min_size=1, max_size=4), st.data())
def test_margins_place_a_box_in_its_frame(origins: list[Ints], data: st.DataObject) -> None:
    extent, frame = Size(3, 2), Size(5, 6)
    offsets = st.tuples(st.integers(-1, 3), st.integers(-1, 5))
    same = data.draw(offsets)
    each = [same] * len(origins) if data.draw(st.booleans()) else [data.draw(offsets) for _ in origins]
    frames = Boxes(np.array(origins), frame)
    margins = Boxes(frames.origins + np.array(each), extent).margins(frames)
    (top, left), inside = each[0], 0 <= each[0][0] <= 2 and 0 <= each[0][1] <= 4
    if inside and set(each) == {each[0]}:
        assert margins == (top, left, frame.height - top - 3, frame.width - left - 2)
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
    length = data.draw(st.integers(4, 12))
    pairs = data.draw(st.lists(st.tuples(intervals(length), intervals(length)), min_size=1, max_size=4))
    inner = footprint(*pairs)
    margins = data.draw(st.tuples(*[st.integers(0, 3)] * 4))
    outer = footprint(
        *(
            ((max(top - margins[0], 0), min(bottom + margins[1], length)), (max(left - margins[2], 0), right))
            for (top, bottom), (left, right) in pairs
        )
    )
    boxes = outer.boxes(np.arange(len(pairs)), Size(length, length))
    common = {
        (y, x)
        for y in range(boxes.extent.height)
        for x in range(boxes.extent.width)
        if all((top + y, left + x) in box_cells(inner, i) for i, (top, left) in enumerate(boxes.origins.tolist()))
    }
    core = inner.core(np.arange(len(pairs)), boxes)
    if core is None:
        assert not common
    else:
        rows, columns = (range(each.start, each.stop) for each in core.slices[1:])
        assert {(y, x) for y in rows for x in columns} == common


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_part_and_the_strips_around_it_make_the_box(height: int, width: int, data: st.DataObject) -> None:
    (top, bottom), (left, right) = data.draw(intervals(height)), data.draw(intervals(width))
    part = Part(top, left, Size(bottom - top, right - left))
    counts = np.zeros((2, height, width), int)
    for each in (part, *part.around(Size(height, width))):
        counts[each.slices] += 1
    assert (counts == 1).all()
    origins = np.array([[2, 3], [5, 0]])
    assert (Boxes(origins, Size(height, width)).part(part).origins - origins == [top, left]).all()


@given(st.lists(st.tuples(*[st.integers(-4, 8)] * 2), min_size=1, max_size=4), st.data())
def test_the_part_that_meets_the_frames_lies_in_all_of_them(origins: list[Ints], data: st.DataObject) -> None:
    boxes, frames = (Size(*data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))) for _ in range(2))
    offsets = st.tuples(st.integers(-5, 5), st.integers(-5, 5))
    same = data.draw(offsets)
    each = [same] * len(origins) if data.draw(st.booleans()) else [data.draw(offsets) for _ in origins]
    part = Boxes(np.array(origins), boxes).meeting(Boxes(np.array(origins) + np.array(each), frames))
    lying = [
        {(y, x) for y in range(boxes.height) for x in range(boxes.width) if y - top in rows and x - left in columns}
        for top, left in each
        for rows, columns in [(range(frames.height), range(frames.width))]
    ]
    if part is None:
        assert len(set(each)) > 1 or not lying[0]
    else:
        rows, columns = (range(each.start, each.stop) for each in part.slices[1:])
        assert all(cells_ == {(y, x) for y in rows for x in columns} for cells_ in lying)
