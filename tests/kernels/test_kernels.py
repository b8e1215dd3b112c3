"""The CPU backend's verbs against torch in float64, and against loops that anyone can check."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, ROUNDED, ConvolutionSpec, Delta, Epilogue, Instruction, Sliding, Weight
from kdb.kernels.cpu import boxed, library
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.dense import DENSE
from kdb.kernels.cpu.direct import DIRECT
from kdb.kernels.cpu.maps import CHUNK, chunks
from kdb.kernels.cpu.winograd import WINOGRAD
from kdb.kernels.programs import FUNCTIONS, UFUNCS
from tests import support
from tests.support import normal

K, NATIVE = CpuBackend(), CpuBackend(native=True)

Ints = tuple[int, int]


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).double().permute(0, 3, 1, 2)


def nhwc(x: torch.Tensor) -> np.ndarray:
    return x.permute(0, 2, 3, 1).numpy()


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-6) -> None:
    """Float32, C-contiguous, and as near as so many float32 roundings come."""
    assert found.dtype == np.float32 and found.flags.c_contiguous
    support.close(found, expected, tolerance, scale=1)


# --- convolution and pooling -------------------------------------------------------------------------------------


@st.composite
def slidings(draw: st.DrawFn) -> Sliding:
    pairs = [st.tuples(st.integers(1, most), st.integers(1, most)) for most in (4, 3, 3)]
    return Sliding(*(draw(pair) for pair in pairs))


GROUPED = [(1, 3, 4), (1, 17, 5), (1, 1, 1), (5, 1, 1), (3, 1, 2), (2, 4, 3), (3, 2, 1)]
"""Groups, input channels and output channels of each; 17 is past the width at which ``taps`` copies windows out."""


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Sliding, tuple[int, ...], tuple[int, ...]]:
    """Windows in one to three axes, margins, and a size that they fit in; often of one tap along an axis."""
    rank = draw(st.integers(1, 3))
    each = st.tuples(st.sampled_from([1, 1, 2, 3, 4]), st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = zip(*(draw(each) for _ in range(rank)), strict=True)
    sliding = Sliding(kernel, stride if draw(st.booleans()) else (1,) * rank, dilation)
    margins = draw(st.one_of(st.just((0,) * 2 * rank), st.tuples(*[st.integers(0, 4)] * 2 * rank)))
    size = draw(st.tuples(*[st.integers(1, 8)] * rank))
    for axis, window in enumerate(sliding.windows(margins)):
        assume(size[axis] + window.before + window.after >= window.reach)
    return sliding, margins, size


@settings(max_examples=150)
@given(convolutions(), st.sampled_from(GROUPED), st.integers(1, 3), st.booleans())
def test_convolutions(
    convolution: tuple[Sliding, tuple[int, ...], tuple[int, ...]], grouped: tuple[int, int, int], n: int, bias: bool
) -> None:
    (sliding, margins, size), (groups, inner, outer) = convolution, grouped
    rank = sliding.rank
    x, w = normal(0, n, *size, groups * inner), normal(1, groups * outer, inner, *sliding.kernel)
    b = normal(2, groups * outer) if bias else None
    sides = [side for axis in reversed(range(rank)) for side in (margins[axis], margins[rank + axis])]
    padded = F.pad(torch.from_numpy(x).double().movedim(-1, 1), sides)
    wanted = getattr(F, f"conv{rank}d")(
        padded, torch.tensor(w).double(), None if b is None else torch.tensor(b).double(),
        sliding.stride, 0, sliding.dilation, groups,
    )  # fmt: skip
    spec = ConvolutionSpec(Weight(w), None if b is None else Weight(b), sliding, groups, margins)
    before = x.copy()
    for backend in (K, NATIVE):
        for kernel in backend.kernels.convolution(sliding, groups):
            found = kernel.evaluate(backend, x, spec)
            close(found, wanted.movedim(1, -1).numpy(), 1e-4 if kernel is WINOGRAD else 1e-5)
    assert np.array_equal(x, before)


def test_the_native_backend_has_no_foreign_kernel() -> None:
    for sliding, groups in ((Sliding((3, 3)), 1), (Sliding((3, 3), (2, 2)), 1), (Sliding((1, 1)), 4)):
        assert DIRECT in K.kernels.convolution(sliding, groups)
        assert DIRECT not in NATIVE.kernels.convolution(sliding, groups)
    assert (K.name, NATIVE.name) == ("cpu", "numpy")


def test_a_convolution_takes_what_is_not_contiguous_and_may_not_be_written() -> None:
    view, weight = normal(0, 6, 5, 4), Weight(normal(1, 3, 4, 2, 2))
    spec = ConvolutionSpec(weight, None, Sliding((2, 2)), 1, (1, 0, 0, 1))
    repeated = np.broadcast_to(view, (3, *view.shape))
    for kernel in K.kernels.convolution(Sliding((2, 2)), 1):
        found = kernel.evaluate(K, repeated, spec)
        alone = kernel.evaluate(K, view[None].copy(), spec)
        close(found, np.repeat(alone, 3, axis=0))


@given(slidings(), st.tuples(st.integers(0, 5), st.integers(0, 5)), st.integers(1, 3))
def test_pools(sliding: Sliding, more: Ints, n: int) -> None:
    size = [(k - 1) * g + 1 + m for k, g, m in zip(sliding.kernel, sliding.dilation, more, strict=True)]
    x = normal(0, n, *size, 3)
    ones = torch.ones(3, 1, *sliding.kernel).double()
    most = nhwc(F.max_pool2d(nchw(x), sliding.kernel, sliding.stride, 0, sliding.dilation))
    sums = nhwc(F.conv2d(nchw(x), ones, None, sliding.stride, 0, sliding.dilation, 3))
    divisors = np.arange(2, 2 + sums[0, ..., :1].size, dtype=np.float32).reshape(sums[0, ..., :1].shape)
    for backend in (K, NATIVE):
        close(backend.windows.max_pool(x, sliding, NO_MARGINS, tuple(most.shape[1:3])), most)
        close(backend.windows.average_pool(x, sliding, NO_MARGINS, Weight(divisors)), sums / divisors, 1e-5)


def test_a_weight_is_derived_once_and_what_it_came_from_let_go() -> None:
    original = Weight(normal(0, 3))
    derivations = []

    def twice(origin: Weight = original) -> np.ndarray:
        derivations.append(origin)
        return 2 * origin.array

    derived, numbers = Weight(twice), original.array
    held = weakref.ref(twice)
    assert not derivations
    del twice
    assert derived.array is derived.array
    assert derived.layout("negative", np.negative) is derived.layout("negative", np.negative)
    assert np.array_equal(derived.layout("negative", np.negative), -2 * numbers)
    assert len(derivations) == 1 and held() is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 1), (2, 3, 4)])
def test_dense(shape: tuple[int, int, int]) -> None:
    x, w, b = normal(0, *shape, 7), normal(1, 4, 7), normal(2, 4)
    close(DENSE.run(K, x, Weight(w), Weight(b)), x.astype(np.float64) @ w.T + b)
    close(DENSE.run(K, x, Weight(w), None), x.astype(np.float64) @ w.T)


# --- boxes -------------------------------------------------------------------------------------------------------

corners = st.lists(st.tuples(st.integers(-4, 8), st.integers(-4, 8)), min_size=1, max_size=4)
extents = st.tuples(st.integers(1, 5), st.integers(1, 5))


def boxes(origins: list[Ints], extent: Ints) -> Boxes:
    return Boxes(np.array(origins, np.int64), tuple(extent))


@given(corners, extents, st.tuples(st.integers(1, 7), st.integers(1, 7)), st.sampled_from([0.0, -math.inf]))
def test_reading_in_fills_what_is_off_the_map(origins: list[Ints], extent: Ints, size: Ints, off: float) -> None:
    view = normal(0, *size, 2)
    expected = np.full((len(origins), *extent, 2), off, np.float32)
    for i, (top, left) in enumerate(origins):
        for y in range(extent[0]):
            for x in range(extent[1]):
                if 0 <= top + y < size[0] and 0 <= left + x < size[1]:
                    expected[i, y, x] = view[top + y, left + x]
    where = boxes(origins, extent)
    found = boxed.read_in(view, where, off)
    assert np.array_equal(found, expected) and found.flags.c_contiguous
    if (where.origins >= 0).all() and (where.origins + extent <= size).all():
        gathered = boxed.gather(view, where)
        assert np.array_equal(gathered, expected) and not np.shares_memory(gathered, view)
        around = np.zeros((len(origins), extent[0] + 2, extent[1] + 1, 2), np.float32)
        boxed.replace(view, where, np.float32([3, -1]), around[:, 1:-1, 1:])  # into a part of a larger array
        assert np.array_equal(around[:, 1:-1, 1:], np.float32([3, -1]) - expected)
        assert not around[:, [0, -1]].any() and not around[:, :, 0].any()


@given(st.data(), corners, extents, extents)
def test_embedding_lays_values_on_zeros_and_superimposing_adds_them(
    data: st.DataObject, origins: list[Ints], extent: Ints, frame: Ints
) -> None:
    n = len(origins)
    if data.draw(st.booleans()):  # the same place in each frame, as most batches have it
        offset = data.draw(st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
        framed = [(y + offset[0], x + offset[1]) for y, x in origins]
    else:
        framed = data.draw(st.lists(st.tuples(st.integers(-4, 8), st.integers(-4, 8)), min_size=n, max_size=n))
    inner, frames = boxes(origins, extent), boxes(framed, frame)
    values, target = normal(0, n, *extent, 2), normal(1, n, *frame, 2)
    expected = np.zeros_like(target)
    for i in range(n):
        for y in range(extent[0]):
            for x in range(extent[1]):
                row, column = origins[i][0] + y - framed[i][0], origins[i][1] + x - framed[i][1]
                if 0 <= row < frame[0] and 0 <= column < frame[1]:
                    expected[i, row, column] = values[i, y, x]
    before = values.copy()
    found = boxed.embed(values, inner, frames)
    assert np.array_equal(found, expected) and found.flags.c_contiguous
    stack = normal(2, n, *frame, 5)
    others = stack[..., [0, 3, 4]]
    boxed.embed(values, inner, frames, stack[..., 1:3])
    assert np.array_equal(stack[..., 1:3], expected) and np.array_equal(stack[..., [0, 3, 4]], others)
    sums = target + expected
    boxed.superimpose(target, frames, values, inner)
    assert np.array_equal(target, sums)
    assert np.array_equal(values, before)


@given(st.tuples(*[st.integers(-2, 3)] * 4), st.tuples(st.integers(5, 7), st.integers(5, 7)))
def test_padding_lays_a_value_around_and_crops_by_negative_margins(margins: tuple[int, ...], size: Ints) -> None:
    x, (top, left, bottom, right) = normal(0, 2, *size, 3), margins
    padded = F.pad(nchw(x), (left, right, top, bottom), value=-7.0)
    assert np.array_equal(K.maps.pad(x, (top, left, bottom, right), -7.0), nhwc(padded))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.sampled_from([(1, 1, 1), (2, 3, 4)]))
def test_taken_channels_are_copies(order: list[int], shape: tuple[int, int, int]) -> None:
    x = normal(0, *shape, 5)
    for each in (order, list(range(min(order), 5))):
        found = K.maps.take_channels(x, each)
        assert np.array_equal(found, x[..., each]) and found.flags.c_contiguous and not np.shares_memory(found, x)


@given(st.data(), st.integers(1, 3), st.booleans())
def test_taken_cells_are_copies_and_zero_outside(data: st.DataObject, n: int, alike: bool) -> None:
    x = normal(0, n, 4, 5, 2)
    cells = [
        np.array(data.draw(st.lists(st.lists(cells, min_size=m, max_size=m), min_size=k, max_size=k))).repeat(n // k, 0)
        for k in ([1] if alike else [n])
        for cells, m in ((st.integers(-2, 5), 3), (st.integers(-1, 6), 4))
    ]
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = K.maps.take_cells(x, cells)
    assert found.flags.c_contiguous and not np.shares_memory(found, x)
    for i in range(n):
        assert np.array_equal(found[i], padded[i][cells[0][i] + 2][:, cells[1][i] + 2])


def test_small_verbs() -> None:
    x = normal(0, 2, 1, 1, 3)
    assert np.array_equal(K.maps.expand(x, (4, 5), 3), np.tile(x, (1, 4, 5, 1)))
    assert np.array_equal(K.maps.concatenate([x, x[..., :1]]), np.concatenate([x, x[..., :1]], -1))
    empty = K.memory.empty(2, (3, 4), 5)
    assert empty.shape == (2, 3, 4, 5) and empty.dtype == np.float32
    assert K.memory.all_finite(x)
    for bad in (np.nan, np.inf, -np.inf):
        assert not K.memory.all_finite(np.array([1, bad], np.float32))


# --- pointwise programs --------------------------------------------------------------------------------------

C = 5
SCALE = torch.linspace(0.5, 2, C).double()
POSITIVE = {"log", "sqrt", "reciprocal", "pow"}

CASES = {
    "add": ((0, "p"), lambda x: x + SCALE),
    "sub": ((0.5, 0), lambda x: 0.5 - x),
    "mul": ((0, 0), lambda x: x * x),
    "div": ((0, "p"), lambda x: x / SCALE),
    "pow": ((0, 1.7), lambda x: x**1.7),
    "maximum": ((0, 0.25), lambda x: x.clamp(min=0.25)),
    "minimum": ((0, "p"), lambda x: torch.minimum(x, SCALE)),
    "neg": ((0,), torch.neg),
    "abs": ((0,), torch.abs),
    "exp": ((0,), torch.exp),
    "log": ((0,), torch.log),
    "sqrt": ((0,), torch.sqrt),
    "reciprocal": ((0,), torch.reciprocal),
    "tanh": ((0,), torch.tanh),
    "sigmoid": ((0,), torch.sigmoid),
    "erf": ((0,), torch.erf),
    "gelu": ((0,), F.gelu),
    "gelu_tanh": ((0,), lambda x: F.gelu(x, approximate="tanh")),
    "leaky_relu": ((0, 0.1), lambda x: F.leaky_relu(x, 0.1)),
    "elu": ((0, 1.3, 0.7, 1.0), lambda x: 0.7 * F.elu(x, 1.3)),
    "softplus": ((0,), F.softplus),
    "normalize": ((0, 1e-3), lambda x: F.layer_norm(x, (C,), eps=1e-3)),
    "softmax": ((0,), lambda x: x.softmax(-1)),
    "log_softmax": ((0,), lambda x: x.log_softmax(-1)),
}  # fmt: skip
PARAMETERS = {"p": Weight(SCALE.float().numpy())}


def test_every_function_has_a_case() -> None:
    assert set(CASES) == set(FUNCTIONS) and set(FUNCTIONS) > UFUNCS > ROUNDED


def inputs(function: str, n: int) -> np.ndarray:
    x = 3 * normal(n, n, 3, 4, C)
    return np.abs(x) + np.float32(0.1) if function in POSITIVE else x


@pytest.mark.parametrize("function", CASES)
def test_functions(function: str) -> None:
    operands, expected = CASES[function]
    program, x = (Instruction(function, operands),), inputs(function, 3)
    wanted = expected(torch.tensor(x).double()).numpy()
    before = x.copy()
    found = K.maps.pointwise(x, program, PARAMETERS, donate=False)
    close(found, wanted)
    assert np.array_equal(x, before) and not np.shares_memory(x, found)
    assert np.array_equal(K.maps.pointwise(x, program, PARAMETERS, donate=True), found)


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize(
    ("function", "stored"), [(f, False) for f in CASES] + [(f, True) for f in CASES if f in ROUNDED]
)
def test_deltas_of_functions(function: str, stored: bool, donate: bool) -> None:
    operands, expected = CASES[function]
    program, n = (Instruction(function, operands),), 4
    view, where = np.abs(inputs(function, 8)).reshape(12, 8, C), boxes([(0, 0), (9, 4), (3, 2), (3, 2)], (3, 4))
    values = np.abs(normal(5, n, 3, 4, C))  # positive, so that logarithms have a meaning everywhere
    values[2] = 0
    old = torch.tensor(np.stack([view[y : y + 3, x : x + 4] for y, x in where.origins])).double()
    wanted = (expected(old + torch.tensor(values).double()) - expected(old)).numpy()
    result = K.maps.pointwise(view[None], program, PARAMETERS, False)[0] if stored else None
    view.setflags(write=False)
    given_values = values.copy()
    found = K.deltas.pointwise(Delta(where, given_values, donate), Epilogue(program, PARAMETERS, view, result))
    scale = max(np.abs(expected(old).numpy()).max(), np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(scale, 1))
    assert not found[2].any()
    assert np.shares_memory(found, given_values) if donate else np.array_equal(given_values, values)


PROGRAM = (
    Instruction("sigmoid", (0,)),
    Instruction("mul", (1, 0)),
    Instruction("add", (2, "p")),
    Instruction("sub", (3, 1)),  # an early register, needed late: nothing may have been written over it
    Instruction("exp", (4,)),
    Instruction("add", (5, 4)),
)


@given(st.integers(1, 5), st.booleans())
def test_registers_live_as_long_as_they_are_read(n: int, donate: bool) -> None:
    x = normal(n, n, 2, 3, C)
    t = torch.tensor(x).double()
    inner = t * torch.sigmoid(t) + SCALE - torch.sigmoid(t)
    close(K.maps.pointwise(x, PROGRAM, PARAMETERS, donate), (inner.exp() + inner).numpy(), 1e-5)


def test_chunks_do_not_show() -> None:
    """Three chunks and a rest: as if each position were alone."""
    side = math.isqrt(CHUNK // (2 * C))
    n = 7
    x, program = normal(0, n, side, side, C), (*PROGRAM[:1], Instruction("normalize", (1, 1e-5)))
    found = K.maps.pointwise(x, program, PARAMETERS, False)
    assert [len(range(*part.indices(n))) for part in chunks(x)] == [2, 2, 2, 1]
    view, where = normal(1, side + 2, side, C), boxes([(i % 3, 0) for i in range(n)], (side, side))
    deltas = K.deltas.pointwise(Delta(where, x), Epilogue(program, PARAMETERS, view, None))
    for i in range(n):
        one = slice(i, i + 1)
        assert np.array_equal(found[one], K.maps.pointwise(x[one], program, PARAMETERS, False))
        single = Boxes(where.origins[one], where.extent)
        assert np.array_equal(
            deltas[one], K.deltas.pointwise(Delta(single, x[one]), Epilogue(program, PARAMETERS, view, None))
        )


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [
        ((6, 1), (2, 1), (2, 2), (3, 2)),  # crashed the process
        ((14, 4), (4, 3), (1, 2), (2, 1)),  # gave garbage
        ((5, 4), (3, 2), (1, 3), (1, 1)),
    ],
)
@pytest.mark.parametrize("channels", [1, 8])
def test_what_the_library_gets_wrong_is_kept_from_it(
    size: Ints, kernel: Ints, stride: Ints, dilation: Ints, channels: int
) -> None:
    for seed in range(20):  # garbage is not the same each time
        x, w = normal(seed, 2, *size, channels), normal(1, 6, channels, *kernel)
        wanted = F.conv2d(F.pad(nchw(x), (1, 1, 1, 1)), torch.tensor(w).double(), None, stride, 0, dilation)
        spec = ConvolutionSpec(Weight(w), None, Sliding(kernel, stride, dilation), 1, (1, 1, 1, 1))
        close(DIRECT.evaluate(K, x, spec), nhwc(wanted))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 17), st.sampled_from([(40, 31), (7, 7), (1, 97), (12, 64, 5), (211,)]))
def test_a_convolution_of_one_tap_is_the_product_however_cells_are_grouped(
    seed: int, n: int, size: tuple[int, ...]
) -> None:
    """Few large maps are seen as more of one row; numbers of cells without divisors are as well."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, *size, 48)).astype(np.float32)
    weight = draw.normal(size=(96, 48, *(1 for _ in size))).astype(np.float32)
    bias = draw.normal(size=96).astype(np.float32)
    before = x.copy()
    spec = ConvolutionSpec(Weight(weight), Weight(bias), Sliding((1,) * len(size)), 1, (0,) * (2 * len(size)))
    found = library.convolve(x, spec)
    expected = x.astype(np.float64) @ weight.reshape(96, 48).T.astype(np.float64) + bias
    assert found.shape == expected.shape and np.array_equal(x, before)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
