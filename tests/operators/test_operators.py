"""The laws of every operator: a delta is the difference of two evaluations, and lies inside the footprint.

Each law is tried on every physical kernel of both CPU backends, in one, two and three axes, for random maps that differ
inside random boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdb.geometry import Boxes, Footprint, Part, Size, Spans
from kdb.kernels.base import ConvolutionSpec, Delta, Instruction, Weight
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.pointwise_c import CompiledPointwise
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.cpu.taps_c import TAPS_C
from kdb.kernels.cpu.winograd import Winograd
from kdb.kernels.cpu.winograd_c import CompiledWinograd
from kdb.kernels.kernel import DELTA, FULL, Kernel, Recompute
from kdb.operators.base import Operator, Shape, Update, materialize
from kdb.operators.combine import Add, Concatenate, Expand, Multiply
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense, DenseMap, Flatten
from kdb.operators.indexing import Crop, Interleave, SelectCells
from kdb.operators.network import Network, ParameterStore
from kdb.operators.pointwise import Affine, Pointwise, SelectChannels
from kdb.operators.pooling import AdaptiveAveragePool, AveragePool, GlobalMean, MaxPool, Pad
from kdb.operators.regions import RegionMean
from kdb.operators.resampling import Interpolation, Resample
from kdb.operators.sequences import Join, Ravel
from kdb.operators.sources import Constant, Opaque, Source

pytestmark = pytest.mark.law

TOLERANCE = 2e-5
"""Relative to the output's largest value: float32 sums of at most a few hundred terms about 1."""

BACKENDS = (CpuBackend(), CpuBackend(native=True))

Draw = st.DrawFn


@dataclass(frozen=True)
class Case:
    """An operator and the shapes of its inputs; ``changed`` says which of them the update reaches."""

    operator: Operator
    shapes: tuple[Shape, ...]
    changed: tuple[bool, ...]
    weights: dict[str, Weight]

    @property
    def shape(self) -> Shape:
        return self.operator.output_shape(self.shapes)


@st.composite
def along(draw: Draw, rank: int, low: int, high: int) -> tuple[int, ...]:
    """A number for each axis."""
    return tuple(draw(st.integers(low, high)) for _ in range(rank))


@st.composite
def sizes(draw: Draw) -> Size:
    """Of one, two or three axes; of two, of which users have most, most often."""
    rank = draw(st.sampled_from((2, 1, 3, 2)))
    return draw(along(rank, 1, 9 if rank < 3 else 6))


def case(operator: Operator, *shapes: Shape, changed: Sequence[bool] = (), **weights: tuple[int, ...]) -> Case:
    draw = np.random.default_rng(len(weights))
    arrays = {name: Weight(draw.normal(size=shape).astype(np.float32)) for name, shape in weights.items()}
    return Case(operator, shapes, tuple(changed) or (True,) * len(shapes), arrays)


@st.composite
def convolutions(draw: Draw) -> Case:
    groups, inner, outer = draw(st.sampled_from([(1, 3, 5), (1, 20, 4), (4, 1, 1), (4, 1, 2), (2, 3, 2), (1, 1, 1)]))
    size = draw(sizes())
    rank = len(size)
    kernel, dilation, stride = draw(along(rank, 1, 4)), draw(along(rank, 1, 3)), draw(along(rank, 1, 3))
    padding = draw(along(2 * rank, 0, 3))
    sides = zip(kernel, dilation, padding[:rank], padding[rank:], strict=True)
    size = tuple(map(max, size, ((k - 1) * g + 1 - a - b for k, g, a, b in sides)))
    bias = draw(st.sampled_from([None, "b"]))
    operator = Convolution("w", bias, groups * outer, kernel, stride, padding, dilation, groups)
    return case(operator, Shape(groups * inner, size), w=(groups * outer, inner, *kernel), b=(groups * outer,))


@st.composite
def pools(draw: Draw) -> Case:
    size = draw(sizes())
    rank = len(size)
    kernel, stride = draw(along(rank, 1, 4)), draw(along(rank, 1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in (*kernel, *kernel))
    size = tuple(map(max, size, kernel))
    # With one output more, as ceil_mode gives, the last window hangs over the far edge; it starts inside the map.
    out = []
    for n, k, s, before, after in zip(size, kernel, stride, padding[:rank], padding[rank:], strict=True):
        most = (n + before - 1) // s + 1
        out.append(min((n + before + after - k) // s + 1 + draw(st.integers(0, 1)), most))
    shape = Shape(3, size)
    if draw(st.booleans()):
        return case(MaxPool(kernel, stride, padding, tuple(out)), shape)
    counted, divisor = draw(st.booleans()), draw(st.sampled_from([None, 3]))
    return case(AveragePool(kernel, stride, padding, tuple(out), (), counted, divisor), shape)


PROGRAMS = {
    "relu": (Instruction("maximum", (0, 0.0)),),
    "silu": (Instruction("sigmoid", (0,)), Instruction("mul", (0, 1))),
    "norm": (Instruction("normalize", (0, 1e-5)), Instruction("mul", (1, "a")), Instruction("add", (2, "b"))),
    "softmax": (Instruction("softmax", (0,)),),
    "late input": (Instruction("exp", (0,)), Instruction("minimum", (1, 2.0)), Instruction("sub", (2, 0))),
}


@st.composite
def elementwise(draw: Draw) -> Case:
    shape = Shape(4, draw(sizes()))
    program = PROGRAMS[draw(st.sampled_from(sorted(PROGRAMS)))]
    order = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=6)))
    start = draw(st.integers(0, 3))
    operators = [
        case(Pointwise(program), shape, a=(4,), b=(4,)),
        case(Affine("a", "b"), shape, a=(4,), b=(4,)),
        case(SelectChannels(order), shape),
        case(SelectChannels(tuple(range(start, 4))), shape),
        case(Dense("w", draw(st.sampled_from([None, "b"])), 3), shape, w=(3, 4), b=(3,)),
    ]
    return draw(st.sampled_from(operators))


@st.composite
def aggregates(draw: Draw) -> Case:
    shape = Shape(3, draw(sizes()))
    padding = draw(along(2 * len(shape.size), 0, 3))
    output = tuple(draw(st.integers(1, length)) for length in shape.size)
    choices = (GlobalMean(), Flatten(), AdaptiveAveragePool(output), Pad(padding, draw(st.sampled_from([0.0, -2.0]))))
    dense = DenseMap("w", draw(st.sampled_from([None, "b"])), 5)
    operators = [*(case(each, shape) for each in choices), case(dense, shape, w=(5, shape.elements), b=(5,))]
    return draw(st.sampled_from(operators))


@st.composite
def selections(draw: Draw) -> Case:
    shape = Shape(3, draw(sizes()))
    cells = (
        draw(
            st.one_of(
                st.lists(st.integers(0, n - 1), min_size=1, max_size=12),  # mirrored and repeated
                st.builds(range, st.integers(0, n - 1), st.just(n), st.integers(1, 3)),
            )
        )
        for n in shape.size
    )
    return case(SelectCells(tuple(map(tuple, cells))), shape)


@st.composite
def parts(draw: Draw, size: Size) -> Part:
    """Of a map of ``size``."""
    starts = tuple(draw(st.integers(0, length - 1)) for length in size)
    return Part(starts, tuple(draw(st.integers(1, n - start)) for start, n in zip(starts, size, strict=True)))


@st.composite
def resolutions(draw: Draw) -> Case:
    """What makes a map finer or coarser, and what reads a part of one."""
    size = draw(sizes())
    rank = len(size)
    factors = draw(along(rank, 1, 3))
    finer = tuple(map(mul, size, factors))
    lengths = zip(size, draw(along(rank, 1, 12)), strict=True)
    scales = st.sampled_from([None, 2.0])
    aligned, scale = draw(st.booleans()), draw(scales)
    linear = Resample(tuple(Interpolation.whole(length, outputs, aligned, scale) for length, outputs in lengths))
    shape = Shape(2, size)
    channels = draw(st.sampled_from([1, 2]))
    choices = [
        case(Crop(draw(parts(size))), shape),
        case(Interleave(factors, draw(parts(finer))), Shape(2 * math.prod(factors), size)),
        case(linear, shape),
        case(Ravel(draw(parts((math.prod(size), *(1 for _ in size[1:]))))), shape),
        case(RegionMean("w"), shape, w=(*size, channels)),
    ]
    return draw(st.sampled_from(choices))


@st.composite
def joins(draw: Draw) -> Case:
    shape = Shape(3, draw(sizes()))
    changed = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    channels, *part = (draw(st.sampled_from([1, n])) for n in shape.dimensions)
    axis = draw(st.integers(0, len(shape.size) - 1))
    longer = Shape(3, tuple(n + 2 * (i == axis) for i, n in enumerate(shape.size)))
    choices = [
        case(Add(), shape, shape, changed=changed),
        case(Multiply(), shape, shape, changed=changed),
        case(Concatenate(), shape, Shape(2, shape.size), changed=changed),
        case(Concatenate(), shape, shape, shape, changed=(*changed, False)),
        case(Expand(shape), Shape(channels, tuple(part))),
        case(Join(axis), shape, longer, changed=changed),
        case(Join(axis), shape, longer, shape, changed=(*changed, True)),
    ]
    return draw(st.sampled_from(choices))


cases = st.one_of(convolutions(), pools(), elementwise(), aggregates(), selections(), resolutions(), joins())


@dataclass
class Situation:
    """A case with numbers: views, maps [n, H, W, C] that differ from them inside a box a position, and deltas."""

    case: Case
    n: int
    seed: int
    donate: bool

    def __post_init__(self) -> None:
        draw = np.random.default_rng(self.seed)
        self.views, self.maps, self.footprints = [], [], []
        for shape, changed in zip(self.case.shapes, self.case.changed, strict=True):
            view = draw.normal(size=(*shape.size, shape.channels)).astype(np.float32)
            new = np.repeat(view[None], self.n, axis=0)
            self.views.append(view)
            self.maps.append(new)
            if not changed:
                self.footprints.append(None)
                continue
            corners = [np.sort(draw.integers(0, length + 1, size=(self.n, 2)), axis=1) for length in shape.size]
            self.footprints.append(Footprint(tuple(Spans(each[:, 0], each[:, 1]) for each in corners)))
            for i, ends in enumerate(zip(*corners, strict=True)):
                inside = new[i, *(slice(start, stop) for start, stop in ends)]
                inside += draw.normal(size=inside.shape)

    @property
    def footprint(self) -> Footprint:
        found = self.case.operator.project(self.footprints, self.case.shapes, self.case.shape)
        assert found is not None
        return found

    def deltas(self, members: np.ndarray) -> list[Delta | None]:
        """Of the inputs, on the boxes that a batch of ``members`` has."""
        found: list[Delta | None] = []
        for footprint, shape, view, new in zip(self.footprints, self.case.shapes, self.views, self.maps, strict=True):
            if footprint is None:
                found.append(None)
                continue
            boxes = footprint.boxes(members, shape.size)
            ends = boxes.origins + boxes.extent
            parts = [tuple(map(slice, start, stop)) for start, stop in zip(boxes.origins, ends, strict=True)]
            values = np.stack([(new[i] - view)[part] for i, part in zip(members, parts, strict=True)])
            found.append(Delta(boxes, values, self.donate))
        return found

    def evaluate(self, k: CpuBackend, maps: Sequence[np.ndarray], kernel: str | None = None) -> np.ndarray:
        operator = self.case.operator
        return operator.evaluate(k, self.case.weights, maps, kernel or operator.evaluation_kernels(k)[0], False)

    def expected(self, k: CpuBackend) -> np.ndarray:
        """``T(v') - T(v)`` over the whole map, [n, H', W', C]."""
        views = [np.repeat(view[None], self.n, axis=0) for view in self.views]
        return self.evaluate(k, self.maps) - self.evaluate(k, views)

    def delta(self, k: CpuBackend, kernel: str, members: np.ndarray | None = None, part: Part | None = None) -> Delta:
        """The operator's delta rule, given the views that it asks for and no others, on boxes of its own or a part."""
        operator, shape = self.case.operator, self.case.shape
        index = np.arange(self.n) if members is None else members
        inputs = self.deltas(index)
        reads = operator.reads(kernel, self.case.changed)
        views = [view if read else None for view, read in zip(self.views, reads.inputs, strict=True)]
        view = self.evaluate(k, [view[None].copy() for view in self.views])[0] if reads.output else None
        for array in (*views, view):
            if array is not None:
                array.setflags(write=False)
        boxes = self.footprint.boxes(index, shape.size)
        boxes = boxes if part is None else boxes.part(part)
        before = [None if d is None else d.values.copy() for d in inputs]
        values = operator.delta(k, self.case.weights, Update(inputs, views, view, boxes, self.case.shapes, kernel))
        assert values.shape == (len(index), *boxes.extent, shape.channels) and values.dtype == np.float32
        for d, was in zip(inputs, before, strict=True):
            if d is not None and not d.donate:
                assert np.array_equal(d.values, was), "wrote into memory that was not granted"
                assert operator.aliases or not np.shares_memory(values, d.values), "shares memory that was not granted"
        return Delta(boxes, values)


def slices(footprint: Footprint, i: int) -> tuple[slice, ...]:
    """The box of position ``i``."""
    return tuple(slice(max(s.start[i], 0), max(s.stop[i], s.start[i])) for s in footprint.spans)


def situated(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Situation]:
    return st.builds(Situation, cases, st.integers(1, 4), st.integers(0, 2**16), st.booleans())


situations = situated(cases)


def each_kernel(case: Case) -> list[tuple[CpuBackend, str]]:
    return [(k, kernel) for k in BACKENDS for kernel in case.operator.kernels(k)]


def close(found: np.ndarray, expected: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * max(scale, 1))


@settings(max_examples=150)
@given(situations)
def test_the_delta_rule_is_the_difference_of_two_evaluations(situation: Situation) -> None:
    for k, kernel in each_kernel(situation.case):
        delta, expected = situation.delta(k, kernel), situation.expected(k)
        whole = materialize(k, np.zeros_like(expected[0]), delta, situation.case.shape.size)  # zero outside the boxes
        close(whole, expected, np.abs(situation.evaluate(k, situation.maps)).max())


@settings(max_examples=60)
@given(situations)
def test_the_footprint_contains_every_change(situation: Situation) -> None:
    changed = (situation.expected(BACKENDS[1]) != 0).any(axis=-1)
    for i in range(situation.n):
        changed[i, *slices(situation.footprint, i)] = False
    assert not changed.any()


@settings(max_examples=60)
@given(situations)
def test_a_batch_equals_its_singletons(situation: Situation) -> None:
    for k, kernel in each_kernel(situation.case):
        size = situation.case.shape.size
        zero = np.zeros((*size, situation.case.shape.channels), np.float32)
        batch = materialize(k, zero, situation.delta(k, kernel), size)
        for i in range(situation.n):
            single = materialize(k, zero, situation.delta(k, kernel, np.array([i])), size)
            close(single[0], batch[i], np.abs(batch[i]).max())
    for k in BACKENDS:
        values = situation.evaluate(k, situation.maps)
        for i in range(situation.n):
            single = situation.evaluate(k, [each[i : i + 1] for each in situation.maps])
            close(single[0], values[i], np.abs(values[i]).max())


@settings(max_examples=150)
@given(situations, st.data())
def test_a_part_of_the_output_is_computed_of_the_parts_that_it_requires(
    situation: Situation, data: st.DataObject
) -> None:
    """Whatever lies outside of these is not read: it is not even there."""
    operator, shapes, shape = situation.case.operator, situation.case.shapes, situation.case.shape
    part = data.draw(parts(shape.size))
    given = operator.requires(part, shapes, shape)
    if given is None:
        return
    read = [(each, own, x) for each, own, x in zip(given, shapes, situation.maps, strict=True) if each is not None]
    assert all(each.inside(own.size) == each for each, own, _ in read)
    cropped = operator.cropped(part, [each for each, _, _ in read], shapes)
    inputs = [x[each.slices].copy() for each, _, x in read]
    own = [Shape(whole.channels, each.extent) for each, whole, _ in read]
    assert cropped.output_shape(own) == Shape(shape.channels, part.extent)
    for k in BACKENDS:
        whole = situation.evaluate(k, [x.copy() for x in situation.maps])
        kernel = cropped.evaluation_kernels(k)[0]
        found = cropped.evaluate(k, situation.case.weights, [x.copy() for x in inputs], kernel, False)
        close(found, whole[part.slices], np.abs(whole).max())


@settings(max_examples=100)
@given(situations, st.data())
def test_what_is_required_is_no_more_than_what_is_read(situation: Situation, data: st.DataObject) -> None:
    """A footprint of one cell outside of the required part does not reach the output's."""
    operator, shapes, shape = situation.case.operator, situation.case.shapes, situation.case.shape
    part = data.draw(parts(shape.size))
    given = operator.requires(part, shapes, shape)
    if given is None:
        return
    which = data.draw(st.integers(0, len(shapes) - 1))
    required = given[which]
    for axis, length in enumerate(shapes[which].size):
        starts, stops = (0, 0) if required is None else (required.start[axis], required.stop[axis])
        for cell in {0, starts - 1, stops, length - 1} & ({*range(starts)} | {*range(stops, length)}):
            at = [np.array([0])] * len(shape.size)
            to = [np.array([n]) for n in shapes[which].size]
            at[axis], to[axis] = np.array([cell]), np.array([cell + 1])
            only = Footprint(tuple(map(Spans, at, to)))
            inputs = [only if i == which else None for i in range(len(shapes))]
            reached = operator.project(inputs, shapes, shape)
            if isinstance(operator, SelectCells | Ravel):  # the hull of what reads a cell has others
                continue
            assert reached is not None and not reached.within(part).areas.any()


def test_only_convolutions_are_divisible() -> None:
    """As the law below draws nothing else."""

    def below(cls: type[Operator]) -> set[type[Operator]]:
        return {cls}.union(*map(below, cls.__subclasses__()))

    # By their names: a class with slots is made twice.
    assert {each.__name__ for each in below(Operator) if each.divisible} == {Convolution.__name__}


@settings(max_examples=60)
@given(situated(convolutions()), st.data())
def test_a_divisible_delta_rule_gives_any_part_of_the_boxes(situation: Situation, data: st.DataObject) -> None:
    members, size = np.arange(situation.n), situation.case.shape.size
    boxes = situation.footprint.boxes(members, size)
    part = data.draw(parts(boxes.extent))
    for k, kernel in each_kernel(situation.case):
        whole, alone = situation.delta(k, kernel), situation.delta(k, kernel, part=part)
        close(alone.values, whole.values[part.slices], np.abs(situation.evaluate(k, situation.maps)).max())


# Other operators do not say where they read a constant alone, nor does a pool with a divisor of its own.
enclosing = situated(st.one_of(convolutions(), pools(), elementwise())).filter(
    lambda each: each.case.operator.enclosed(each.footprints) is not None
)


@settings(max_examples=60)
@given(enclosing)
def test_what_reads_a_constant_alone_is_a_constant(situation: Situation) -> None:
    operator, (shape, *_) = situation.case.operator, situation.case.shapes
    inside = operator.enclosed(situation.footprints)
    assert inside is not None
    colour = np.random.default_rng(situation.seed).normal(size=shape.channels).astype(np.float32)
    (footprint, *_) = situation.footprints
    assert footprint is not None
    for i in range(situation.n):
        situation.maps[0][i, *slices(footprint, i)] = colour
    one = (1,) * len(shape.size)
    for k in BACKENDS:
        values = situation.evaluate(k, situation.maps)
        constant = operator.constant(k, situation.case.weights, colour.reshape(1, *one, -1))
        assert constant.shape == (1, *one, situation.case.shape.channels)
        for i in range(situation.n):
            found = values[i, *slices(inside, i)]
            assert found.size == inside.areas[i] * situation.case.shape.channels
            close(found, np.broadcast_to(constant[0], found.shape), np.abs(values).max())


@settings(max_examples=60)
@given(situations)
def test_a_delta_of_zero_stays_zero(situation: Situation) -> None:
    situation.maps = [np.repeat(view[None], situation.n, axis=0) for view in situation.views]
    for k, kernel in each_kernel(situation.case):
        if not isinstance(kernel, Recompute):  # the convolution only rounds to zero
            assert not situation.delta(k, kernel).values.any()


@settings(max_examples=60)
@given(situations, st.booleans())
def test_kernels_agree_and_write_only_where_they_may(situation: Situation, donate: bool) -> None:
    operator, reference = situation.case.operator, situation.evaluate(BACKENDS[1], situation.maps)
    for k in BACKENDS:
        for kernel in operator.evaluation_kernels(k):
            inputs = [each.copy() for each in situation.maps]
            values = operator.evaluate(k, situation.case.weights, inputs, kernel, donate)
            assert values.shape == (situation.n, *situation.case.shape.size, situation.case.shape.channels)
            close(values, reference, np.abs(reference).max())
            for i, (each, was) in enumerate(zip(inputs, situation.maps, strict=True)):
                if i or not donate:
                    assert np.array_equal(each, was)
                    assert operator.aliases or not np.shares_memory(values, each)


OTHERWISE_COUNTED = (Winograd, CompiledWinograd, CompiledPointwise)
"""Kernels whose work is not the textbook's multiply-adds."""


@given(situations)
def test_work_is_estimated_for_every_kernel(situation: Situation) -> None:
    operator, shapes, shape = situation.case.operator, situation.case.shapes, situation.case.shape
    members = np.arange(situation.n)
    extents = [None if d is None else d.boxes.extent for d in situation.deltas(members)]
    extent = situation.footprint.boxes(members, shape.size).extent
    full = operator.macs(shapes, shape, shape.cells)
    for k in BACKENDS:
        for kernel in operator.kernels(k):
            work = operator.delta_work(kernel, shapes, extents, shape, extent)
            textbook = operator.macs(shapes, shape, math.prod(extent))
            assert work.bytes + work.macs + work.weights > 0 and work.calls > 0
            assert work.macs > 0 if isinstance(kernel, OTHERWISE_COUNTED) else work.macs <= textbook
        for kernel in operator.evaluation_kernels(k):
            macs = operator.full_work(kernel, shapes, shape).macs
            # Taps skip the padding; minimal filtering saves products and adds transforms.
            counted = macs > 0 if isinstance(kernel, OTHERWISE_COUNTED) else macs == full
            assert macs <= full if kernel in (TAPS, TAPS_C) else counted


@given(st.tuples(*[st.integers(0, 2)] * 4))
def test_minimal_filtering_tiles_the_delta_itself_wherever_it_lies(padding: tuple[int, int, int, int]) -> None:
    class Recording(Winograd):
        def evaluate(self, backend: CpuBackend, x: np.ndarray, spec: ConvolutionSpec) -> np.ndarray:
            tiled.append(x.shape[1:3])
            return super().evaluate(backend, x, spec)

    tiled: list[tuple[int, int]] = []
    operator, shape = Convolution("w", None, 2, (3, 3), padding=padding), Shape(3, (9, 9))
    draw = np.random.default_rng(0)
    weights = {"w": Weight(draw.normal(size=(2, 3, 3, 3)).astype(np.float32))}
    starts = np.array([(0, 0), (3, 2), (5, 5)])  # at two corners, and between
    footprint = Footprint(tuple(Spans(at, at + 4) for at in starts.T))
    out = operator.output_shape([shape])
    produced = operator.project([footprint], [shape], out)
    assert produced is not None
    boxes = produced.boxes(np.arange(3), out.size)
    delta = Delta(Boxes(starts, (4, 4)), draw.normal(size=(3, 4, 4, 3)).astype(np.float32))

    def values(kernel: Kernel) -> np.ndarray:
        return operator.delta(BACKENDS[0], weights, Update([delta], [None], None, boxes, [shape], kernel))

    expected = values(TAPS)
    close(values(Recording("recording")), expected, np.abs(expected).max())
    assert tiled == [(4, 4)]


def test_means_of_large_and_nearly_constant_maps_do_not_drift() -> None:
    """A running float32 sum of so many cells would be wrong by 7e-6: on a constant map all roundings point one way."""
    x = np.full((2, 112, 112, 3), 1.2345678, np.float32) + np.random.default_rng(0).uniform(0, 1e-3, (2, 112, 112, 3))
    x = x.astype(np.float32)
    expected, boxes = x.mean((1, 2), np.float64, keepdims=True), Boxes.whole(2, (112, 112))
    update = Update([Delta(boxes, x)], [None], None, Boxes.whole(2, (1, 1)), [Shape(3, (112, 112))], DELTA)
    for found in (
        GlobalMean().evaluate(BACKENDS[0], {}, [x], FULL, False),
        GlobalMean().delta(BACKENDS[0], {}, update),
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-6)


# --- leaves, and what does not fit -------------------------------------------------------------------------------


def test_leaves() -> None:
    shape = Shape(2, (3, 4))
    assert Source(shape).output_shape([]) == shape
    value = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    constant = Constant("v", shape)
    assert constant.project([], [], shape) is None and constant.weights() == ("v",)
    assert np.array_equal(constant.evaluate(BACKENDS[0], {"v": Weight(value)}, [], FULL, False)[0], value)
    opaque = Opaque("an fft", Shape(5, (1, 1)), lambda maps: maps[0])
    assert opaque.kernels(BACKENDS[0]) == () and opaque.params() == (("because", "an fft"),)
    spans = Spans(np.array([1]), np.array([2]))
    assert opaque.project([None, Footprint((spans, spans))], [], Shape(5, (1, 1))).areas == 1  # type: ignore[union-attr]


UNFIT: list[Callable[[], Any]] = [
    lambda: Add().output_shape([Shape(3, (4, 4)), Shape(3, (4, 5))]),
    lambda: Multiply().output_shape([Shape(3, (4, 4)), Shape(2, (4, 4))]),
    lambda: Concatenate().output_shape([Shape(3, (4, 4)), Shape(3, (5, 4))]),
    lambda: Expand(Shape(3, (4, 4))).output_shape([Shape(2, (1, 1))]),
    lambda: SelectCells(((0, 4), (0,))).output_shape([Shape(3, (4, 4))]),
    lambda: SelectCells(((0,), (-1, 2))).output_shape([Shape(3, (4, 4))]),
    lambda: SelectCells(((), (1,))).output_shape([Shape(3, (4, 4))]),
]


@pytest.mark.parametrize("attempt", UNFIT)
def test_shapes_that_do_not_fit_are_refused(attempt: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="cannot"):
        attempt()


def test_parameters_are_text_and_name_no_weight() -> None:
    convolution = Convolution("w", None, 8, (3, 1), (2, 2), (1, 0, 1, 0))
    assert convolution.weights() == ("w",)
    assert dict(convolution.params()) == {
        "out_channels": "8", "kernel": "3x1", "stride": "2x2", "padding": "1x0x1x0", "dilation": "1x1", "groups": "1",
    }  # fmt: skip
    assert SelectChannels((2, 3, 4)).params() == (("order", "2:5"),)
    assert SelectChannels((2, 0)).params() == (("order", "2 permuted"),)
    mirrored = SelectCells(((1, 0, 1, 2, 1), (0, 2, 4)))
    assert mirrored.params() == (("rows", "5 chosen"), ("columns", "0:5:2"))
    assert SelectCells(((3, 4), (2,))).params() == (("rows", "3:5"), ("columns", "2:3"))
    assert Pointwise(PROGRAMS["norm"]).weights() == ("a", "b")
    assert Shape(2, (2, 3)).cells == 6 and str(Shape(1, (2, 3))) == "1x2x3"
    assert Shape(2, (4, 5, 6)).elements == 240 and str(Shape(2, (4, 5, 6))) == "2x4x5x6"


def test_two_layers_of_one_name_are_no_network() -> None:
    layers = [("image", Source(Shape(2, (4, 4))), ()), ("a", GlobalMean(), ("image",)), ("a", Flatten(), ("a",))]
    with pytest.raises(ValueError, match="two layers are called a"):
        Network.build(layers, ParameterStore())
