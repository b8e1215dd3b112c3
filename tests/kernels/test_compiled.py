"""Kernels in C: each computes what float64 does; they are built, found, refused and done without."""

from __future__ import annotations

import math
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kdb
from kdb.geometry import Boxes
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Instruction, Program, Sliding, Weight
from kdb.kernels.compiled import build, generate, library
from kdb.kernels.cpu import max_pool_c
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.dense import DENSE_DELTA
from kdb.kernels.cpu.dense_c import DENSE_C
from kdb.kernels.cpu.depthwise_c import DEPTHWISE_C
from kdb.kernels.cpu.max_pool_c import MAX_POOL_C
from kdb.kernels.cpu.pointwise_c import POINTWISE_C
from kdb.kernels.cpu.taps_c import TAPS_C
from kdb.kernels.cpu.union_c import UNION_C
from kdb.kernels.cpu.winograd import tiles, transforms
from kdb.kernels.cpu.winograd_c import LAYING, MOST_WIDE, WIDE, WINOGRAD_C, CompiledWinograd
from kdb.kernels.kernel import ConvolutionShape, PointwiseVerb
from kdb.session import doctor
from tests.support import normal

VARIANTS = tuple(library._variants(library.FILE)[0])

compiled = pytest.mark.skipif(not VARIANTS, reason=f"no compiled kernels: {library._variants(library.FILE)[1]}")


def backend(variant: str) -> CpuBackend:
    """A backend with the kernels of one variant."""
    made = CpuBackend()
    made.compiled = library._variants(library.FILE)[0][variant]
    return made


each_variant = pytest.mark.parametrize("variant", VARIANTS)


# ---- convolutions and dense layers


def exactly(x: np.ndarray, spec: ConvolutionSpec) -> np.ndarray:
    """The convolution in float64, of x [n, ..., in]."""
    rank = spec.sliding.rank
    before, after = spec.padding[:rank], spec.padding[rank:]
    framed = np.pad(x.astype(np.float64), [(0, 0), *zip(before, after, strict=True), (0, 0)])
    function = getattr(torch.nn.functional, f"conv{rank}d")
    y = function(
        torch.from_numpy(framed).movedim(-1, 1), torch.from_numpy(spec.weight.array).double(),
        None if spec.bias is None else torch.from_numpy(spec.bias.array).double(),
        stride=spec.sliding.stride, dilation=spec.sliding.dilation, groups=spec.groups,
    )  # fmt: skip
    return y.movedim(1, -1).numpy()


def embedded(delta: Delta, size: tuple[int, ...]) -> np.ndarray:
    """A delta on the whole map, in float64."""
    whole = np.zeros((len(delta.values), *size, delta.values.shape[-1]))
    for map_, values, origin in zip(whole, delta.values, delta.boxes.origins, strict=True):
        map_[tuple(slice(start, start + n) for start, n in zip(origin, delta.boxes.extent, strict=True))] = values
    return whole


@st.composite
def cases(draw: Callable[..., Any], kernel: tuple[int, ...], stride: int = 1) -> tuple[Delta, Boxes, tuple[int, ...]]:
    """A delta's boxes in a map, those of the output anywhere, and the padding."""
    rank, n = len(kernel), draw(st.integers(1, 5))
    extent = tuple(draw(st.integers(1, 13)) for _ in kernel)
    size = tuple(max(each, taps) + draw(st.integers(0, 6)) for each, taps in zip(extent, kernel, strict=True))
    padding = tuple(draw(st.integers(0, 4)) for _ in range(2 * rank))
    outputs = tuple(
        (size[i] + padding[i] + padding[rank + i] - kernel[i]) // stride + 1 for i in range(rank)
    )  # fmt: skip
    out = tuple(draw(st.integers(1, each)) for each in outputs)
    seed = np.random.default_rng(draw(st.integers(0, 99)))
    places = seed.integers(0, np.array(size) - extent + 1, (n, rank))
    boxes = Boxes(seed.integers(0, np.array(outputs) - out + 1, (n, rank)), out)
    return Delta(Boxes(places, extent), np.zeros((n, *extent, 0), np.float32)), boxes, (*size, *padding)


def agrees(kernel: Any, b: CpuBackend, spec: ConvolutionSpec, delta: Delta, boxes: Boxes, size: tuple[int, ...],
           tolerance: float, alike: float = 0.0) -> None:  # fmt: skip
    """The kernel's delta is the part that the boxes have of the whole convolution; and so is its evaluation.

    A batch is its positions but for ``alike``, which is nothing where no library sums a batch in another order.
    """
    rank = len(size)
    whole = exactly(embedded(delta, size), spec.linear(spec.padding))
    expected = np.stack([
        each[tuple(slice(start, start + n) for start, n in zip(origin, boxes.extent, strict=True))]
        for each, origin in zip(whole, boxes.origins, strict=True)
    ])  # fmt: skip
    scale = np.abs(spec.weight.array).sum(axis=tuple(range(1, rank + 2))).max()
    found = kernel.delta(b, spec, delta, boxes)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    for i in range(len(boxes)):
        at = slice(i, i + 1)
        alone = Delta(Boxes(delta.boxes.origins[at], delta.boxes.extent), delta.values[at])
        one = kernel.delta(b, spec, alone, Boxes(boxes.origins[at], boxes.extent))
        np.testing.assert_allclose(one[0], found[i], rtol=0, atol=alike * scale)
    evaluated = kernel.evaluate(b, delta.values, spec) if min(found.shape) and fits(delta, spec) else None
    if evaluated is not None:
        np.testing.assert_allclose(evaluated, exactly(delta.values, spec), rtol=0, atol=tolerance * scale)


def fits(delta: Delta, spec: ConvolutionSpec) -> bool:
    """Whether the delta's box, taken for a map, is as large as the kernel."""
    return all(w.output_length(n) > 0 for w, n in zip(spec.windows, delta.boxes.extent, strict=True))


@compiled
@each_variant
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (3, 5), (7, 7), (1, 3), (3, 1), (5, 1), (1, 7), (7, 1), (3,), (7,)])
@given(data=st.data())
def test_minimal_filtering_convolves(data: st.DataObject, kernel: tuple[int, ...], variant: str) -> None:
    bare, boxes, sizes = data.draw(cases(kernel))
    rank, b = len(kernel), backend(variant)
    inner, outer = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 70))
    delta = Delta(bare.boxes, normal(0, *bare.values.shape[:-1], inner))
    spec = ConvolutionSpec(
        Weight(normal(1, outer, inner, *kernel)), Weight(normal(2, outer)), Sliding(kernel), 1, sizes[rank:]
    )
    assert WINOGRAD_C.applies(b, spec.sliding, 1)
    agrees(WINOGRAD_C, b, spec, delta, boxes, sizes[:rank], 1e-5)


@compiled
@each_variant
@pytest.mark.parametrize(
    ("kernel", "stride"), [((1, 1), 1), ((1, 1), 2), ((3, 3), 2), ((5, 3), 3), ((3,), 2), ((7,), 1), ((2, 3, 1), 2)]
)
@given(data=st.data())
def test_taps_convolve(data: st.DataObject, kernel: tuple[int, ...], stride: int, variant: str) -> None:
    bare, boxes, sizes = data.draw(cases(kernel, stride))
    rank, b = len(kernel), backend(variant)
    inner, outer = data.draw(st.sampled_from([1, 3, 17, 64, 150])), data.draw(st.integers(1, 70))
    delta = Delta(bare.boxes, normal(0, *bare.values.shape[:-1], inner))
    sliding = Sliding(kernel, (stride,) * rank)
    spec = ConvolutionSpec(Weight(normal(1, outer, inner, *kernel)), Weight(normal(2, outer)), sliding, 1, sizes[rank:])
    assert TAPS_C.applies(b, sliding, 1) and not TAPS_C.applies(b, sliding, 2)
    agrees(TAPS_C, b, spec, delta, boxes, sizes[:rank], 2e-6)


@compiled
@each_variant
@given(seed=st.integers(0, 99), reach=st.tuples(st.integers(1, 3), st.integers(1, 3)), dilation=st.integers(1, 3))
def test_taps_convolve_with_holes(seed: int, reach: tuple[int, int], dilation: int, variant: str) -> None:
    b, sliding = backend(variant), Sliding(reach, (2, 1), (dilation, 1))
    spec = ConvolutionSpec(Weight(normal(seed, 9, 5, *reach)), None, sliding, 1, (1, 2, 3, 0))
    x = normal(seed + 1, 3, 9, 8, 5)
    np.testing.assert_allclose(TAPS_C.evaluate(b, x, spec), exactly(x, spec), rtol=0, atol=1e-4)


@compiled
@each_variant
@given(
    inner=st.sampled_from([1, 15, 64, 600, 1100]), outer=st.integers(1, 90), n=st.integers(1, 300), biased=st.booleans()
)
def test_dense_layers(inner: int, outer: int, n: int, biased: bool, variant: str) -> None:
    b = backend(variant)
    x, w, bias = normal(0, n, 1, 2, inner), normal(1, outer, inner), normal(2, outer)
    found = DENSE_C.run(b, x, Weight(w), Weight(bias) if biased else None)
    expected = x.astype(np.float64) @ w.T.astype(np.float64) + (bias if biased else 0)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * inner**0.5 * 4)


@compiled
@each_variant
@pytest.mark.parametrize("rank", [1, 2, 3])
@given(data=st.data())
def test_dense_layers_of_maps(data: st.DataObject, rank: int, variant: str) -> None:
    """Of deltas that lie differently, against the product of the whole maps; a batch is its positions."""
    size = tuple(data.draw(st.integers(1, 7)) for _ in range(rank))
    extent = tuple(data.draw(st.integers(1, each)) for each in size)
    n, channels, outer = (
        data.draw(st.integers(1, 20)),
        data.draw(st.sampled_from([1, 5, 40])),
        data.draw(st.integers(1, 70)),
    )
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    origins = draw.integers(0, np.array(size) - extent + 1, (n, rank))
    delta = Delta(Boxes(origins, extent), normal(0, n, *extent, channels))
    w = Weight(normal(1, outer, math.prod(size) * channels))
    b = backend(variant)
    found = DENSE_C.map_delta(b, delta, size, w)
    expected = embedded(delta, size).reshape(n, -1) @ w.array.T.astype(np.float64)
    assert found.shape == (n, *(1,) * rank, outer)
    np.testing.assert_allclose(found.reshape(n, outer), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found, DENSE_DELTA.map_delta(b, delta, size, w), rtol=0, atol=1e-4)
    alone = Delta(Boxes(origins[-1:], extent), delta.values[-1:])
    assert np.array_equal(DENSE_C.map_delta(b, alone, size, w)[0], found[-1])
    assert DENSE_C.map_work(channels, size, extent, outer).macs == math.prod(extent) * channels * outer


ROUNDED = {4: 6e-6, 5: 1e-5, 6: 2e-5, 7: 4e-5, 8: 8e-5, 9: 3e-4}
"""The largest error of a tile by its points along an axis."""
ROUNDED_ALONE = {**ROUNDED, 9: 5e-5, 10: 5e-5, 11: 7e-5, 12: 9e-5}
"""The same of a kernel with one tap along the other axis."""


@compiled
@each_variant
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (3, 5), (1, 3), (5, 1), (1, 7), (7, 1)])
def test_its_rounding_is_that_of_few_points(kernel: tuple[int, int], variant: str) -> None:
    """Of every tile, with several blocks of channels; relative to the output's deviation."""
    (ry, rx), b, inner = kernel, backend(variant), 150
    bounds = ROUNDED_ALONE if 1 in kernel else ROUNDED
    for my, mx in tiles(kernel, MOST_WIDE):
        x, w = normal(0, 3, 2 * my + 1, 2 * mx + 1, inner), normal(1, 40, inner, ry, rx)
        spec = ConvolutionSpec(Weight(w), None, Sliding((ry, rx)), 1, (ry - 1, rx - 1) * 2)
        expected = exactly(x, spec)
        found = CompiledWinograd("by one tile", ((my, mx),)).evaluate(b, x, spec)
        error = np.abs(found - expected).max() / expected.std()
        assert error <= bounds[max(my + ry - 1, mx + rx - 1)], (my, mx, error)


@compiled
@each_variant
def test_wide_layers_round_no_more_than_narrow_ones(variant: str) -> None:
    """Channels are summed 64 at a time, and then these sums."""
    b, errors = backend(variant), dict[int, float]()
    for inner in (64, 512):
        x, w = normal(0, 4, 7, 7, inner), normal(1, 48, inner, 3, 3)
        spec = ConvolutionSpec(Weight(w), None, Sliding((3, 3)), 1, (2, 2, 2, 2))
        expected = exactly(x, spec)
        found = CompiledWinograd("by one tile", ((7, 7),)).evaluate(b, x, spec)
        errors[inner] = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert errors[512] <= 1.3 * errors[64], errors


@compiled
@each_variant
@pytest.mark.parametrize(("taps", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)])
@given(data=st.data())
def test_depthwise_convolves(data: st.DataObject, taps: int, stride: int, variant: str) -> None:
    bare, boxes, sizes = data.draw(cases((taps, taps), stride))
    b, channels = backend(variant), data.draw(st.integers(2, 70))
    delta = Delta(bare.boxes, normal(0, *bare.values.shape[:-1], channels))
    sliding = Sliding((taps, taps), (stride, stride))
    weight, bias = Weight(normal(1, channels, 1, taps, taps)), Weight(normal(2, channels))
    spec = ConvolutionSpec(weight, bias, sliding, channels, sizes[2:])
    assert DEPTHWISE_C.applies(b, sliding, channels)
    agrees(DEPTHWISE_C, b, spec, delta, boxes, sizes[:2], 1e-6)


@compiled
@pytest.mark.parametrize(("inner", "outer", "groups"), [(8, 8, 4), (4, 8, 4), (8, 4, 4)])
def test_groups_of_several_channels_are_left_to_direct(inner: int, outer: int, groups: int) -> None:
    b, sliding = CpuBackend(), Sliding((3, 3))
    spec = ConvolutionSpec(Weight(normal(1, outer, inner // groups, 3, 3)), None, sliding, groups, (1,) * 4)
    delta = Delta(Boxes(np.array([[2, 3], [0, 1]]), (4, 5)), normal(0, 2, 4, 5, inner))
    agrees(DEPTHWISE_C, b, spec, delta, Boxes(np.array([[1, 2], [0, 0]]), (6, 7)), (9, 9), 1e-6, 1e-6)


@compiled
def test_what_they_do_not_do() -> None:
    b = CpuBackend()
    square, strided = Sliding((3, 3)), Sliding((3, 3), (2, 2))
    assert not WINOGRAD_C.applies(b, strided, 1) and not WINOGRAD_C.applies(b, square, 2)
    assert not WINOGRAD_C.applies(b, Sliding((3, 3), (1, 1), (2, 2)), 1)
    assert not WINOGRAD_C.applies(b, Sliding((3, 4)), 1) and not WINOGRAD_C.applies(b, Sliding((3, 3, 3)), 1)
    assert not DEPTHWISE_C.applies(b, square, 1) and not DEPTHWISE_C.applies(b, Sliding((3, 3), (3, 3)), 8)
    assert not POINTWISE_C.applies(b, (Instruction("log_softmax", (0,)),))
    native = CpuBackend(native=True)
    assert not any(k.setting == "compiled" for k in native.kernels.convolution_deltas(square, 1))
    assert all(isinstance(k, PointwiseVerb) for k in native.kernels.pointwise((Instruction("neg", (0,)),)))


# ---- pointwise layers

UNARY = ("neg", "abs", "exp", "sigmoid", "tanh", "erf", "gelu", "gelu_tanh")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "leaky_relu")
HARD_SWISH: Program = (
    Instruction("add", (0, 3.0)), Instruction("maximum", (1, 0.0)), Instruction("minimum", (2, 6.0)),
    Instruction("mul", (0, 3)), Instruction("div", (4, 6.0)),
)  # fmt: skip
SILU: Program = (Instruction("sigmoid", (0,)), Instruction("mul", (0, 1)))
LAYER_NORM: Program = (Instruction("normalize", (0, 1e-5)), Instruction("mul", (1, "p")), Instruction("add", (2, "p")))
ATTENTION: Program = (Instruction("mul", (0, 0.5)), Instruction("softmax", (1,)))
ROOT: Program = (
    Instruction("abs", (0,)), Instruction("add", (1, 0.5)), Instruction("sqrt", (2,)), Instruction("reciprocal", (3,)),
)  # fmt: skip


@st.composite
def programs(draw: Callable[..., Any]) -> Program:
    """A chain or a known activation."""
    if draw(st.booleans()):
        return draw(st.sampled_from([HARD_SWISH, SILU, ROOT, LAYER_NORM, ATTENTION]))
    program: list[Instruction] = []
    for i in range(draw(st.integers(1, 4))):
        operand = draw(st.sampled_from([0.1, "p", *range(i + 1)]))
        unary = Instruction(draw(st.sampled_from(UNARY[:2] if i else UNARY)), (i,))
        binary = Instruction(draw(st.sampled_from(BINARY[:2] + BINARY[3:5])), (i, operand))
        program.append(draw(st.sampled_from([unary, binary])))
    return tuple(program)


@compiled
@each_variant
@given(
    program=programs(), rank=st.integers(1, 3), channels=st.integers(1, 700), n=st.integers(1, 3),
    seed=st.integers(0, 99), donate=st.booleans(),
)  # fmt: skip
def test_programs_are_run(
    program: Program, rank: int, channels: int, n: int, seed: int, donate: bool, variant: str
) -> None:
    draw, b = np.random.default_rng(seed), backend(variant)
    extent = tuple(draw.integers(1, 5, rank).tolist())
    size = tuple(each + int(draw.integers(0, 4)) for each in extent)
    boxes = Boxes(draw.integers(0, np.array(size) - extent + 1, (n, rank)), extent)
    view, values = normal(draw, *size, channels), normal(draw, n, *extent, channels)
    values[draw.random(values.shape) < 0.3] = 0
    values[draw.random(values.shape[:-1]) < 0.3] = 0
    epilogue = Epilogue(program, {"p": Weight(normal(draw, channels))}, view, None)
    expected = b.deltas.pointwise(Delta(boxes, values), epilogue)
    given = Delta(boxes, values.copy(), donate)
    found = POINTWISE_C.delta(b, given, epilogue)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=4e-6)
    cellwise = program in (LAYER_NORM, ATTENTION)
    assert not found[~values.any(axis=-1) if cellwise else values == 0].any(), "where nothing changes"
    assert np.array_equal(given.values, values) or donate
    whole = POINTWISE_C.evaluate(b, values, program, epilogue.parameters, False)
    np.testing.assert_allclose(
        whole, b.maps.pointwise(values, program, epilogue.parameters, False), rtol=2e-6, atol=1e-6
    )


@compiled
@each_variant
@pytest.mark.parametrize("name", UNARY)
def test_functions_are_accurate(name: str, variant: str) -> None:
    x = np.concatenate([np.linspace(-110, 95, 40001), np.linspace(-5, 5, 40001), np.geomspace(1e-30, 1, 999)])
    x = x.astype(np.float32)
    wide = x.astype(np.float64)
    t = torch.from_numpy(wide)
    exact = {
        "neg": -wide, "abs": abs(wide), "exp": np.exp(wide), "sigmoid": t.sigmoid().numpy(), "tanh": np.tanh(wide),
        "erf": t.erf().numpy(), "gelu": torch.nn.functional.gelu(t).numpy(),
        "gelu_tanh": torch.nn.functional.gelu(t, approximate="tanh").numpy(),
    }[name]  # fmt: skip
    found = POINTWISE_C.evaluate(backend(variant), x, (Instruction(name, (0,)),), {}, False)
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float32)
    size = np.maximum(np.abs(x), 1) if "gelu" in name else 1  # of what erf is multiplied with
    np.testing.assert_allclose(found / size, expected / size, rtol=3e-7, atol=2e-7)


@compiled
@each_variant
def test_what_is_no_number_stays_none(variant: str) -> None:
    """So that it is found in the end."""
    x = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    for program in (SILU, HARD_SWISH, (Instruction("maximum", (0, 0.0)),), (Instruction("minimum", (6.0, 0)),)):
        assert np.isnan(POINTWISE_C.evaluate(backend(variant), x, program, {}, False)[0])
    found = POINTWISE_C.evaluate(backend(variant), x, (Instruction("exp", (0,)),), {}, False)
    np.testing.assert_allclose(found, [np.nan, np.inf, 0, np.e], rtol=1e-6)


@compiled
def test_programs_may_be_long() -> None:
    long = tuple(Instruction("add", (i, 1.0)) for i in range(99))
    found = POINTWISE_C.evaluate(CpuBackend(), np.zeros((1, 3), np.float32), long, {}, False)
    assert (found == len(long)).all()


def test_the_transforms_are_those_that_are_generated() -> None:
    assert generate.FILE.read_text() == generate.text()
    assert transforms(6, 7)[0].shape == (12, 6)


# ---- many threads


@compiled
def test_threads_share_a_kernel() -> None:
    b, spec = CpuBackend(), ConvolutionSpec(Weight(normal(1, 64, 64, 3, 3)), None, Sliding((3, 3)), 1, (1,) * 4)
    inputs = [normal(i, 4, 9, 9, 64) for i in range(6)]
    expected = [WINOGRAD_C.evaluate(b, x, spec) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.array_equal(WINOGRAD_C.evaluate(b, inputs[i], spec), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


# ---- built, found, done without


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The library in a folder of its own, where the loader looks for it."""
    file = tmp_path / build.NAME
    monkeypatch.setattr(library, "FILE", file)
    monkeypatch.delenv(library.SETTING, raising=False)
    yield file


def row() -> tuple[str, str]:
    """What ``kdb doctor`` says."""
    return next((found, state) for part, state, found in doctor.examined() if part == "compiled kernels")


@compiled
def test_an_outdated_library_is_never_used(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = library.FILE.parent.joinpath(build.FOLDER / build.NAME).read_bytes()
    digest = build.digest().encode()
    assert content.count(digest) == 1
    copied.write_bytes(content.replace(digest, b"0" * len(digest)))
    assert not build.current(copied)
    assert library.found() == (None, "the library was built of other sources; install kdb again")
    assert "other sources" in caplog.text and CpuBackend().compiled is None
    assert row()[1] == doctor.WARNING and "install kdb again" in row()[0]


def test_without_a_library_all_is_as_before(copied: Path) -> None:
    assert library.found() == (None, "none was built") and CpuBackend().title == "cpu"
    assert row() == ("none: none was built", doctor.WARNING)
    assert not WINOGRAD_C.applies(CpuBackend(), Sliding((3, 3)), 1)
    copied.write_bytes(b"no library")
    library._variants.cache_clear()
    assert library.found().library is None and "cannot be used" in library.found().text


@pytest.mark.parametrize("command", ["no-such-compiler", f"{sys.executable} -c 'raise SystemExit(1)'"])
def test_without_a_compiler_nothing_is_built(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", command)
    with pytest.raises(build.BuildError, match=r"there is no C compiler|failed|no compiled kernels for"):
        build.build(tmp_path / build.NAME)
    assert not list(tmp_path.iterdir())


@compiled
def test_a_place_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("true") is None:
        pytest.skip("no command that does nothing")
    monkeypatch.setenv("CC", "true")
    (tmp_path / "file").touch()
    with pytest.raises(build.BuildError, match="cannot be written"):
        build.build(tmp_path / "file" / build.NAME)


@compiled
@each_variant
def test_the_variant_is_chosen(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDB_COMPILED", variant.upper())
    assert CpuBackend().title == f"cpu with kernels for {variant}" and row() == (variant, doctor.OK)
    monkeypatch.setenv("KDB_COMPILED", "auto")
    assert library.found().text == VARIANTS[0]
    monkeypatch.setenv("KDB_COMPILED", "off")
    assert CpuBackend().title == "cpu" and row() == ("off: KDB_COMPILED=off", doctor.OK)


def test_a_variant_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDB_COMPILED", "fast")
    with pytest.raises(kdb.BindError, match="KDB_COMPILED is one of auto, off, avx512, avx2; not 'fast'"):
        kdb.connect()
    assert row()[1] == doctor.BROKEN
    if VARIANTS:
        monkeypatch.setenv("KDB_COMPILED", "avx512")
        monkeypatch.setattr(library, "_variants", lambda file: ({"avx2": None}, ""))
        with pytest.raises(kdb.BindError, match="which this processor does not have"):
            library.found()


# ---- whole maps

TRIES = """
import numpy as np, torch, kdb
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(32, 32, 3, groups=32, padding=1),
    torch.nn.ReLU6(), torch.nn.Conv2d(32, 32, (1, 7), padding=(0, 3)), torch.nn.ReLU(),
    torch.nn.Conv2d(32, 64, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 3))
for each in net:
    if hasattr(each, "weight"):
        torch.nn.init.kaiming_normal_(each.weight)
"""


@compiled
def test_a_map_with_them_is_the_map_without(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec(TRIES, names)
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    maps = {}
    for setting in ("off", *VARIANTS):
        monkeypatch.setenv("KDB_COMPILED", setting)
        db = kdb.connect()
        db.register_model("net", names["net"].eval(), input_size=(48, 48))
        db.execute("SET rule.cut_over = off; SET kernels = compiled")
        query = "OCCLUDE $image WITH patch(8, 8) STRIDE 5 USING net FOR CLASS 0 SCORE logit"
        maps[setting] = db.execute(query, {"image": image})
        shown = db.explain(query, {"image": image})
        used = {"winograd.c", "depthwise.c", "fused"} & set(maps[setting].stats.kernels)
        assert len(used) == (0 if setting == "off" else 3)
        assert (f"cpu with kernels for {setting}" in shown) == (setting != "off")
    expected = maps.pop("off").values
    assert np.ptp(expected) > 1e-3
    for found in maps.values():
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=2e-5 * np.ptp(expected))


# ---- sums and max-pools


def test_windows_have_as_many_taps_as_the_source_holds() -> None:
    assert f"#define MOST_TAPS {max_pool_c.MOST_TAPS}\n" in (build.FOLDER / "max_pool.c").read_text()


@compiled
@each_variant
@given(
    rank=st.integers(1, 3), channels=st.integers(1, 40), n=st.integers(1, 3), both=st.booleans(),
    program=st.none() | programs(), seed=st.integers(0, 99), donate=st.booleans(),
)  # fmt: skip
def test_sums_are_laid_into_the_union(
    rank: int, channels: int, n: int, both: bool, program: Program | None, seed: int, donate: bool, variant: str
) -> None:
    draw, b = np.random.default_rng(seed), backend(variant)
    extent = draw.integers(1, 6, rank)
    boxes = Boxes(draw.integers(0, 4, (n, rank)), tuple(extent.tolist()))

    def delta() -> Delta:
        own = np.where(draw.random() < 0.3, extent, draw.integers(1, extent + 1))
        values = normal(draw, n, *own, channels)
        return Delta(Boxes(boxes.origins + draw.integers(0, extent - own + 1, (n, rank)), tuple(own.tolist())), values)

    deltas = [delta() for _ in range(1 + both)]
    view = normal(draw, *(extent + 4), channels)
    epilogue = None if program is None else Epilogue(program, {"p": Weight(normal(draw, channels))}, view, None)
    expected = b.deltas.union(deltas, boxes)
    if epilogue is not None:
        expected = b.deltas.pointwise(Delta(boxes, expected), epilogue)
    given = [Delta(each.boxes, each.values.copy(), donate) for each in deltas]
    found = UNION_C.run(b, given, boxes, epilogue)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=0 if program is None else 4e-6)
    assert donate or all(np.array_equal(a.values, d.values) for a, d in zip(given, deltas, strict=True))
    assert program is None or UNION_C.fuses(b, program)


@compiled
@each_variant
@pytest.mark.parametrize(
    ("kernel", "taps", "stride", "grouped"),
    [
        (WINOGRAD_C, (3, 3), 1, False), (WINOGRAD_C, (7,), 1, False),
        (DEPTHWISE_C, (3, 3), 1, True), (DEPTHWISE_C, (5, 5), 2, True),
    ],
)  # fmt: skip
@given(data=st.data(), program=programs())
def test_convolutions_compute_the_layer_behind(
    data: st.DataObject, program: Program, kernel: Any, taps: tuple[int, ...], stride: int, grouped: bool, variant: str
) -> None:
    """To the last bit what the layer by itself gives, of many positions and tiles, too."""
    bare, boxes, sizes = data.draw(cases(taps, stride))
    rank, b, channels = len(taps), backend(variant), data.draw(st.sampled_from([2, 20, 70]))
    delta = Delta(bare.boxes, normal(0, *bare.values.shape[:-1], channels))
    weight = Weight(normal(1, channels, 1 if grouped else channels, *taps))
    sliding = Sliding(taps, (stride,) * rank)
    spec = ConvolutionSpec(weight, None, sliding, channels if grouped else 1, sizes[rank:])
    size = [window.output_length(length) for window, length in zip(spec.windows, sizes[:rank], strict=True)]
    epilogue = Epilogue(program, {"p": Weight(normal(3, channels))}, normal(2, *size, channels), None)
    assert kernel.fuses(b, program)
    alone = kernel.delta(b, spec, delta, boxes)
    expected = POINTWISE_C.delta(b, Delta(boxes, alone), epilogue)
    assert np.array_equal(kernel.delta(b, spec, delta, boxes, epilogue=epilogue), expected, equal_nan=True)


@compiled
@each_variant
def test_a_position_is_finished_before_its_scratch_is_taken_again(variant: str) -> None:
    """Of more tiles than a turn has, of several positions each, with a program of many registers."""
    b, n, channels = backend(variant), 40, 96
    program = tuple(Instruction("add", (i, 0)) for i in range(30))
    boxes = Boxes(np.tile(np.arange(n)[:, None] % 5, (1, 2)), (13, 12))
    spec = ConvolutionSpec(Weight(normal(1, channels, channels, 3, 3)), None, Sliding((3, 3)), 1, (1, 1, 1, 1))
    delta = Delta(Boxes(boxes.origins + 1, (11, 10)), normal(0, n, 11, 10, channels))
    epilogue = Epilogue(program, {}, normal(2, 20, 20, channels), None)
    alone = WINOGRAD_C.delta(b, spec, delta, boxes)
    expected = POINTWISE_C.delta(b, Delta(boxes, alone), epilogue)
    assert np.array_equal(WINOGRAD_C.delta(b, spec, delta, boxes, epilogue=epilogue), expected)


@compiled
@each_variant
@given(rank=st.integers(1, 3), channels=st.integers(1, 40), seed=st.integers(0, 999))
def test_max_pools_are_those_of_the_verb(rank: int, channels: int, seed: int, variant: str) -> None:
    draw, b = np.random.default_rng(seed), backend(variant)
    kernel = tuple(draw.integers(1, 4, rank).tolist())
    sliding = Sliding(kernel, tuple(draw.integers(1, 4, rank).tolist()), tuple(draw.integers(1, 3, rank).tolist()))
    padding = tuple(int(draw.integers(0, taps)) for taps in kernel * 2)
    windows = sliding.windows(padding)
    size = tuple(
        (taps - 1) * window.dilation + 1 + int(draw.integers(0, 6))
        for taps, window in zip(kernel, windows, strict=True)
    )
    outputs = np.array([window.output_length(each) for window, each in zip(windows, size, strict=True)])
    n, view = int(draw.integers(1, 4)), normal(draw, *size, channels)
    extent, out = draw.integers(1, np.array(size) + 1), draw.integers(1, outputs + 1)
    given = Boxes(draw.integers(0, size - extent + 1, (n, rank)), tuple(extent.tolist()))
    boxes = Boxes(draw.integers(0, outputs - out + 1, (n, rank)), tuple(out.tolist()))
    delta = Delta(given, normal(draw, n, *extent, channels))
    result = b.windows.max_pool(view[None], sliding, padding, tuple(outputs.tolist()))[0]
    expected = b.windows.max_pool_delta(delta, boxes, view, result, sliding, padding)
    assert MAX_POOL_C.applies(b, sliding)
    assert np.array_equal(MAX_POOL_C.run(b, delta, boxes, view, result, sliding, padding), expected)


@compiled
@given(
    st.dictionaries(st.tuples(st.integers(1, 14), st.integers(1, 14)), st.integers(1, 2000), min_size=1, max_size=6),
    st.sampled_from([(3, 3), (5, 5), (1, 7)]),
    st.sampled_from([8, 64, 300]),
)
def test_a_query_has_the_tiles_that_cost_least(
    extents: dict[tuple[int, int], int], taps: tuple[int, int], channels: int
) -> None:
    shape = ConvolutionShape(channels, channels, Sliding(taps))

    def cost(kernel: Any) -> int:
        works = [(n, kernel.work(shape, x, x)) for x, n in extents.items()]
        return sum(n * work.macs for n, work in works) + LAYING * works[0][1].derived

    suited = WINOGRAD_C.suited(shape, lambda: extents)
    assert all(
        cost(suited) <= cost(CompiledWinograd("one", (tile,)))
        for tile in tiles(taps, MOST_WIDE if channels >= WIDE else 7)
    )
    # And by it as by any tile.
    (y, x), inner = next(iter(extents)), 8
    spec = ConvolutionSpec(Weight(normal(1, 5, inner, *taps)), None, Sliding(taps), 1, (0,) * 4)
    d = Delta(Boxes(np.array([[4, 4]]), (y, x)), normal(0, 1, y, x, inner))
    boxes = Boxes(np.array([[0, 0]]), (y + 8, x + 8))
    b = CpuBackend()
    expected, found = (kernel.delta(b, spec, d, boxes) for kernel in (WINOGRAD_C, suited))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
