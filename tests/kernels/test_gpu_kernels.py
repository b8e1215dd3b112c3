"""Each CUDA kernel, emulated, against the same verb on numpy: random boxes, windows, channels, programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdb.errors import DeviceError
from kdb.geometry import Boxes, Size, Window
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Instruction, Margins, Program, Sliding, Weight
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.dense import DENSE
from kdb.kernels.cpu.recompute import CpuRecompute
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.gpu.backend import GpuBackend
from kdb.kernels.gpu.device import MOST_BLOCKS, THREADS, Device, spread
from kdb.kernels.gpu.gemm import GEMM
from kdb.kernels.gpu.launcher import bits
from kdb.kernels.gpu.programs import REGISTERS, encode
from kdb.kernels.gpu.source import INSTANCES, expressions, files, kernels, options, text
from tests import support
from tests.emulation.device import EmulatedDevice, NullDevice, compiler
from tests.kernels.test_kernels import CASES, PARAMETERS, inputs
from tests.support import normal

CPU = CpuBackend(native=True)
DEVICE = EmulatedDevice()
K, TF32, BF16 = (GpuBackend(DEVICE, precision=precision) for precision in ("fp32", "tf32", "bf16"))
# Of the largest number: products round each operand to 11 and to 8 bits.
TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3, "bf16": 2e-2}

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no g++ to compile the kernels with")
many = settings(max_examples=150)

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
channel_counts = st.sampled_from([1, 2, 3, 4, 5, 8, 12])
counts = st.integers(1, 3)


def close(found: np.ndarray, expected: np.ndarray, precision: str = "fp32", scale: float = 1e-3) -> None:
    """Relative to the largest number, or to ``scale`` where numbers were larger on the way."""
    support.close(BF16.memory.download(found), expected, TOLERANCE[precision], scale)


def kept(values: np.ndarray, backend: GpuBackend) -> tuple[np.ndarray, np.ndarray]:
    """A delta's values as the backend keeps them, and those numbers in float32."""
    if backend is not BF16:
        return values, values
    return bits(values), BF16.memory.download(bits(values))


@st.composite
def boxes(draw: st.DrawFn, size: Size, n: int, off: int = 0) -> Boxes:
    """``n`` boxes in a map, or up to ``off`` cells off it."""
    extent = tuple(draw(st.integers(1, length)) for length in size)
    rng = np.random.default_rng(draw(seeds))
    low, high = np.full(2, -off), np.array(size) - extent + off
    return Boxes(rng.integers(low, high + 1, (n, 2)), extent)


backends = st.sampled_from([K, BF16])


# --- boxes -------------------------------------------------------------------------------------------------------


@many
@given(st.data(), sizes, channel_counts, counts, seeds, backends, st.sampled_from([0.0, -np.inf, 2.5]))
def test_superimpose(
    data: st.DataObject, size: Size, channels: int, n: int, seed: int, k: GpuBackend, outside: float
) -> None:
    rng = np.random.default_rng(seed)
    view = normal(rng, *size, channels)
    where, frames = data.draw(boxes(size, n)), data.draw(boxes(size, n, off=2))
    raw, values = kept(normal(rng, n, *where.extent, channels), k)
    mine, theirs = Delta(where, raw), Delta(where, values)
    if data.draw(st.booleans()):
        k.memory.announce([where, frames])
    close(k.deltas.superimposed(view, mine, frames, outside), CPU.deltas.superimposed(view, theirs, frames, outside))
    close(k.deltas.embed(mine, frames), CPU.deltas.embed(theirs, frames))
    close(k.launcher.gather(view, where), view_at(view, where))
    margins = tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    close(k.maps.pad(raw, margins, outside), CPU.maps.pad(values, margins, outside))


def view_at(view: np.ndarray, where: Boxes) -> np.ndarray:
    height, width = where.extent
    return np.stack([view[y : y + height, x : x + width] for y, x in where.origins])


@st.composite
def inside(draw: st.DrawFn, frames: Boxes) -> Boxes:
    """A box in each of the frames, all of one extent."""
    part = draw(boxes(frames.extent, len(frames)))
    return Boxes(frames.origins + part.origins, part.extent)


@many
@given(st.data(), sizes, channel_counts, counts, seeds, backends)
def test_unions_and_stacks(data: st.DataObject, size: Size, channels: int, n: int, seed: int, k: GpuBackend) -> None:
    rng = np.random.default_rng(seed)
    frames = data.draw(boxes(size, n))
    mine: list[Delta | None] = []
    theirs: list[Delta | None] = []
    for _ in range(2):
        where = data.draw(inside(frames))
        raw, values = kept(normal(rng, n, *where.extent, channels), k)
        mine.append(Delta(where, raw))
        theirs.append(Delta(where, values))
    precision = "fp32" if k is K else "bf16"
    close(k.deltas.union([d for d in mine if d], frames), CPU.deltas.union([d for d in theirs if d], frames), precision)
    missing = data.draw(st.integers(-1, 1))
    if missing >= 0:
        mine[missing] = theirs[missing] = None
    close(k.deltas.stack(mine, [channels] * 2, frames), CPU.deltas.stack(theirs, [channels] * 2, frames))
    x, y = normal(rng, *size, channels), normal(rng, *size, channels)
    close(k.deltas.product(*mine, x, y, frames), CPU.deltas.product(*theirs, x, y, frames), precision)
    whole = Boxes.whole(n, size)
    maps = [normal(rng, n, *size, channels), normal(rng, n, *size, data.draw(channel_counts))]
    assert np.array_equal(k.maps.concatenate(maps), np.concatenate(maps, axis=-1))
    assert np.array_equal(k.maps.repeat(x, n), np.repeat(x[None], n, axis=0)) and len(whole) == n


@many
@given(st.data(), sizes, channel_counts, counts, seeds, backends)
def test_the_source_clips_patches_at_the_edge(
    data: st.DataObject, size: Size, channels: int, n: int, seed: int, k: GpuBackend
) -> None:
    rng = np.random.default_rng(seed)
    image, patch = normal(rng, *size, channels), data.draw(sizes)
    updates = Boxes(rng.integers(0, size, (n, 2)), patch)
    extent = tuple(np.minimum(patch, np.array(size) - updates.origins).max(axis=0).tolist())
    where = Boxes(np.minimum(updates.origins, np.array(size) - extent), extent)
    aligned = data.draw(st.booleans())
    replacement = normal(rng, *(size if aligned else patch), channels)
    mask = (rng.random(channels) < 0.5).astype(np.float32) if data.draw(st.booleans()) else None
    found = k.deltas.occlude(image, updates, replacement, aligned, mask, where)
    close(found, CPU.deltas.occlude(image, updates, replacement, aligned, mask, where), "fp32" if k is K else "bf16")


@many
@given(st.data(), sizes, channel_counts, counts, seeds)
def test_selections(data: st.DataObject, size: Size, channels: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, n, *size, channels)
    cells = [rng.integers(-2, length + 2, (n, data.draw(st.integers(1, 6)))) for length in size]
    assert np.array_equal(K.maps.take_cells(x, cells), CPU.maps.take_cells(x, cells))
    order = rng.integers(0, channels, data.draw(st.integers(1, 9))).tolist()
    assert np.array_equal(K.maps.take_channels(x, order), x[..., order])
    narrow = x[:, *(slice(data.draw(st.sampled_from([1, length]))) for length in size)].copy()
    assert np.array_equal(K.maps.expand(narrow, size, channels), np.broadcast_to(narrow, x.shape))
    thin = x[..., :1].copy()
    assert np.array_equal(K.maps.expand(thin, size, channels), np.broadcast_to(thin, x.shape))


def test_small_verbs() -> None:
    rng = np.random.default_rng(0)
    view, where = normal(rng, 6, 7, 4), Boxes(np.array([[0, 2], [3, 4]]), (3, 3))
    out, expected = np.zeros((2, 5, 5, 4), np.float32), np.zeros((2, 5, 5, 4), np.float32)
    colour = np.float32([1, -2, 3, 0.5])
    K.deltas.replace(view, where, colour, out[:, 1:4, 2:])
    CPU.deltas.replace(view, where, colour, expected[:, 1:4, 2:])
    close(out, expected)
    x = normal(rng, 2, 3, 3, 4)
    assert K.memory.all_finite(x) and not any(K.memory.all_finite(x * np.float32(bad)) for bad in (np.nan, np.inf))
    assert np.array_equal(K.memory.constant(Weight(view)), view[None])
    for backend in (K, GpuBackend(EmulatedDevice(has_torch=True))):
        found = backend.framework(lambda maps: maps[0].double().sum((1, 2)), [x])
        close(found, x.sum((1, 2))[:, None, None])
    assert K.memory.download(K.memory.fetch(x)()).dtype == np.float32
    close(BF16.memory.fetch(BF16.memory.upload_delta(x))(), x, "bf16")


# --- windows -----------------------------------------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> tuple[Size, Sliding, Margins, Size]:
    """A map, a window on it with its padding, and the output's size."""
    while True:
        size = draw(sizes)
        sliding = Sliding(*(tuple(draw(st.integers(1, most)) for _ in "yx") for most in (4, 3, 2)))  # type: ignore[arg-type]
        padding = tuple(draw(st.integers(0, k - 1)) for k in (*sliding.kernel, *sliding.kernel))
        out = tuple(map(Window.output_length, sliding.windows(padding), size))
        if min(out) > 0:
            return size, sliding, padding, out  # type: ignore[return-value]


@many
@given(st.data(), problems(), channel_counts, counts, seeds, backends)
def test_pools(
    data: st.DataObject, problem: tuple[Size, Sliding, Margins, Size], channels: int, n: int, seed: int, k: GpuBackend
) -> None:
    size, sliding, padding, out = problem
    rng = np.random.default_rng(seed)
    x, view, result = normal(rng, n, *size, channels), normal(rng, *size, channels), normal(rng, *out, channels)
    divisors = Weight(rng.integers(1, 9, (*out, 1)).astype(np.float32))
    close(k.windows.max_pool(x, sliding, padding, out), CPU.windows.max_pool(x, sliding, padding, out))
    close(
        k.windows.average_pool(x, sliding, padding, divisors), CPU.windows.average_pool(x, sliding, padding, divisors)
    )
    where, at = data.draw(boxes(out, n)), data.draw(boxes(size, n))
    raw, values = kept(normal(rng, n, *at.extent, channels), k)
    mine, theirs, precision = Delta(at, raw), Delta(at, values), "fp32" if k is K else "bf16"
    found = k.windows.max_pool_delta(mine, where, view, result, sliding, padding)
    close(found, CPU.windows.max_pool_delta(theirs, where, view, result, sliding, padding), precision)
    found = k.windows.average_pool_delta(mine, where, sliding, padding, divisors)
    close(found, CPU.windows.average_pool_delta(theirs, where, sliding, padding, divisors), precision)
    close(k.windows.mean(raw, math.prod(size)), CPU.windows.mean(values, math.prod(size)), precision)
    matrices = [Weight(normal(rng, data.draw(st.integers(1, 4)), length)) for length in size]
    close(k.windows.resample(x, matrices), CPU.windows.resample(x, matrices))


@many
@given(
    st.data(), problems(), st.sampled_from([(1, 3, 5), (1, 4, 8), (1, 8, 70), (1, 20, 4), (2, 4, 3), (3, 2, 2)]),
    counts, seeds, st.sampled_from([K, TF32, BF16]), st.booleans(),
)  # fmt: skip
def test_convolutions(
    data: st.DataObject, problem: tuple[Size, Sliding, Margins, Size], grouped: tuple[int, int, int], n: int,
    seed: int, k: GpuBackend, fused: bool,
) -> None:  # fmt: skip
    convolution(data, problem, grouped, n, seed, k, fused)


@many
@given(
    st.data(), problems(), st.sampled_from([(4, 1, 1), (5, 1, 1), (8, 1, 1), (3, 1, 2)]),
    counts, seeds, st.sampled_from([K, BF16]), st.booleans(),
)  # fmt: skip
def test_depthwise_convolutions(
    data: st.DataObject, problem: tuple[Size, Sliding, Margins, Size], grouped: tuple[int, int, int], n: int,
    seed: int, k: GpuBackend, fused: bool,
) -> None:  # fmt: skip
    convolution(data, problem, grouped, n, seed, k, fused)


def convolution(
    data: st.DataObject, problem: tuple[Size, Sliding, Margins, Size], grouped: tuple[int, int, int], n: int,
    seed: int, k: GpuBackend, fused: bool,
) -> None:  # fmt: skip
    """Of a map, of a delta with and without an epilogue, and Algorithm 1."""
    (size, sliding, padding, out), (groups, inner, outer) = problem, grouped
    rng = np.random.default_rng(seed)
    weight, bias = Weight(normal(rng, groups * outer, inner, *sliding.kernel)), Weight(normal(rng, groups * outer))
    spec = ConvolutionSpec(weight, bias, sliding, groups, padding)
    x = normal(rng, n, *size, groups * inner)
    close(GEMM[0].evaluate(k, x, spec), TAPS.evaluate(CPU, x, spec))
    where, at = data.draw(boxes(out, n)), data.draw(boxes(size, n))
    raw, values = kept(normal(rng, n, *at.extent, groups * inner), k)
    mine, theirs = Delta(at, raw), Delta(at, values)
    expected = TAPS.delta(CPU, spec, theirs, where)
    view, result = normal(rng, *out, groups * outer), normal(rng, *out, groups * outer)
    (kernel, algorithm_1) = k.kernels.convolution_deltas(sliding, groups)
    epilogue, scale = None, float(np.abs(expected).max())
    if fused:
        program = (Instruction("maximum", (0, 0.0)), Instruction("minimum", (1, 1.0)))
        epilogue = Epilogue(program, {}, view, CPU.maps.pointwise(view, program, {}, False))
        expected = CPU.deltas.pointwise(Delta(where, expected), epilogue)
        assert kernel.fuses(K, program)
    DEVICE.launches.clear()
    found = kernel.delta(k, spec, mine, where, epilogue=epilogue)
    assert DEVICE.launches.total() == 1
    close(found, expected, k.precision, scale)
    expected = CpuRecompute(TAPS).delta(CPU, spec, theirs, where, x[0], result)
    found = algorithm_1.delta(k, spec, mine, where, x[0], result)
    close(found, expected, "fp32" if k is not BF16 else "bf16")


@many
@given(st.integers(1, 140), st.integers(1, 40), st.integers(1, 80), seeds, st.sampled_from([K, TF32, BF16]))
def test_dense(cells: int, inner: int, outer: int, seed: int, k: GpuBackend) -> None:
    rng = np.random.default_rng(seed)
    raw, x = kept(normal(rng, cells, 1, 1, inner), k)
    weight = Weight(normal(rng, outer, inner))
    bias = Weight(normal(rng, outer)) if seed % 2 else None
    (kernel,) = k.kernels.dense_deltas
    close(kernel.run(k, raw, weight, bias), DENSE.run(CPU, x, weight, bias), k.precision)
    if k is not BF16:
        (whole,) = k.kernels.dense
        close(whole.run(k, raw, weight, bias), DENSE.run(CPU, x, weight, bias))


# --- programs ----------------------------------------------------------------------------------------------------

BOUNDED = [
    "add",
    "sub",
    "mul",
    "maximum",
    "minimum",
    "neg",
    "abs",
    "tanh",
    "sigmoid",
    "gelu",
    "leaky_relu",
    "softmax",
    "log_softmax",
]
"""Functions that may follow one another without leaving float32's range."""
ARITY = {name: len(operands) for name, (operands, _) in CASES.items()}


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Chains that read any earlier value."""
    program: list[Instruction] = []
    for i in range(draw(st.integers(1, 8))):
        function = draw(st.sampled_from([*BOUNDED, "normalize"]))
        first = draw(st.integers(max(i - 2, 0), i))
        rest: list[Any] = [0.25] if function == "normalize" else []
        while len(rest) + 1 < ARITY[function]:
            rest.append(draw(st.one_of(st.integers(0, i), st.sampled_from([0.5, -1.5, "p", "q"]))))
        program.append(Instruction(function, (first, *rest)))
    return tuple(program)


@pytest.mark.slow
@many
@given(st.data(), programs(), channel_counts, sizes, counts, seeds, backends)
def test_programs(
    data: st.DataObject, program: Program, channels: int, size: Size, n: int, seed: int, k: GpuBackend
) -> None:
    rng = np.random.default_rng(seed)
    parameters = {"p": Weight(normal(rng, channels)), "q": Weight(normal(rng, 1))}
    check_program(data, program, parameters, normal(rng, *size, channels), normal(rng, n, *size, channels), k)


@pytest.mark.parametrize("k", [K, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("function", CASES)
@settings(max_examples=20)
@given(data=st.data(), size=sizes, n=counts)
def test_functions(data: st.DataObject, size: Size, n: int, function: str, k: GpuBackend) -> None:
    program = (Instruction(function, CASES[function][0]),)
    values = inputs(function, 2)
    check_program(data, program, PARAMETERS, values[0], np.repeat(values[1:], n, axis=0), k)


def check_program(
    data: st.DataObject, program: Program, parameters: dict[str, Weight], view: np.ndarray, x: np.ndarray, k: GpuBackend
) -> None:
    """Of maps; of deltas, with and without the stored result; and zero stays zero."""
    expected = CPU.maps.pointwise(x, program, parameters, False)
    before = x.copy()
    close(K.maps.pointwise(x, program, parameters, False), expected)
    assert np.array_equal(x, before)
    where = data.draw(boxes(tuple(view.shape[:2]), len(x)))
    target = x[:, *map(slice, where.extent)]  # where the view is to go
    raw, values = kept(target - view_at(view, where), k)
    exact = CPU.deltas.pointwise(Delta(where, values), Epilogue(program, parameters, view, None))
    scale = max(np.abs(CPU.maps.pointwise(a, program, parameters, False)).max() for a in (view[None], target.copy(), x))
    stored = CPU.maps.pointwise(view[None], program, parameters, False)[0] if data.draw(st.booleans()) else None
    found = k.deltas.pointwise(Delta(where, raw), Epilogue(program, parameters, view, stored))
    tolerance = TOLERANCE["fp32" if k is K else "bf16"]
    np.testing.assert_allclose(k.memory.download(found), exact, rtol=0, atol=tolerance * max(scale, 1))
    nothing = k.deltas.pointwise(Delta(where, np.zeros_like(raw)), Epilogue(program, parameters, view, None))
    assert not k.memory.download(nothing).any()


def test_programs_of_many_live_values_are_cut_in_pieces() -> None:
    program = tuple(Instruction("add", (0, float(i))) for i in range(REGISTERS + 1))
    program += tuple(Instruction("mul", (len(program) + i, i + 1)) for i in range(REGISTERS))
    assert encode(program) is None and not GEMM[0].fuses(K, program)
    x = normal(np.random.default_rng(0), 2, 3, 3, 4) / 8
    close(K.maps.pointwise(x, program, {}, False), CPU.maps.pointwise(x, program, {}, False))


# --- launches ----------------------------------------------------------------------------------------------------


def test_arguments_are_checked_before_anything_is_launched() -> None:
    good = {"out": np.zeros((1, 1, 1, 4), np.float32), "x": np.zeros((1, 2, 2, 4), np.float32)}
    numbers = {"cells": 4, "channels": 4, "count": 4}
    for change, said in (
        ({"x": good["x"].astype(np.float64)}, "float32, not float64"),
        ({"x": good["x"][..., ::2]}, "C-contiguous"),
        ({"x": 3.0}, "not float"),
        ({"cells": 1 << 40}, "too large"),
        ({"more": 1}, "other arguments: more"),
    ):
        before = DEVICE.launches.total()
        with pytest.raises(DeviceError, match=said):
            DEVICE.launch("mean", ("float",), (1, 1, 1), **{**good, **numbers, **change})  # type: ignore[arg-type]
        assert DEVICE.launches.total() == before
    with pytest.raises(DeviceError, match="not compiled"):
        DEVICE.launch("mean", ("double",), (1, 1, 1), **good, **numbers)


@pytest.mark.parametrize("device", [DEVICE, NullDevice()], ids=["emulated", "null"])
def test_grids_that_cuda_does_not_take_are_refused(device: Device) -> None:
    arrays = {"out": np.zeros((1, 1, 1, 4), np.float32), "x": np.zeros((1, 2, 2, 4), np.float32)}
    for axis, most in enumerate((2**31 - 1, 65535, 65535)):
        grid = [1, 1, 1]
        grid[axis] = most + 1
        before = device.launches.total()
        said = f"mean: {most + 1:,} blocks along {'xyz'[axis]} are more than the {most:,}"
        with pytest.raises(DeviceError, match=said):
            device.launch("mean", ("float",), (grid[0], grid[1], grid[2]), **arrays, cells=4, channels=4, count=4)
        assert device.launches.total() == before


def test_more_places_are_resampled_than_a_grid_has_rows() -> None:
    x, one = normal(np.random.default_rng(0), MOST_BLOCKS[1] + 5, 1, 2, 1), Weight(np.ones((1, 1), np.float32))
    mean = Weight(np.full((1, 2), 0.5, np.float32))
    close(K.windows.resample(x, [one, mean]), CPU.windows.resample(x, [one, mean]))


def test_what_an_int_cannot_count_is_refused() -> None:
    assert spread(2**31 - 1 - THREADS) * THREADS <= 2**31 - 1
    with pytest.raises(DeviceError, match="more than a kernel can count"):
        spread(2**31 - THREADS)


def test_every_kernel_has_instances_and_a_source() -> None:
    assert set(kernels()) == set(INSTANCES)
    assert {kernel.file for kernel in kernels().values()} == set(files())


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("file", files())
def test_kernels_compile_for_devices_that_are_not_there(file: str, architecture: str) -> None:
    core = pytest.importorskip("cuda.core", exc_type=ImportError)
    macros = [tuple(option[2:].split("=")) for option in options() if option.startswith("-D")]
    chosen = core.ProgramOptions(std="c++17", arch=architecture, define_macro=macros)
    binary = core.Program(text(file), "c++", chosen).compile("cubin", name_expressions=expressions(file))
    assert len(binary.code) > 1000
