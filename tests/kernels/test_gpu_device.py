"""On a CUDA device, where there is one: the kernels as CuPy compiles and launches them, and whole plans."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings

from benchmarks.oracle import SIGNAL_BOUND
from kdb.geometry import Boxes
from kdb.kernels.base import ConvolutionSpec, Delta, Epilogue, Instruction, Sliding, Weight
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.backend import GpuBackend
from kdb.kernels.gpu.launcher import MATHS
from kdb.session.session import Session
from tests import support
from tests.execution.test_engine import problems
from tests.kernels.test_gpu_kernels import TOLERANCE
from tests.kernels.test_kernels import CASES, PARAMETERS, inputs
from tests.problems import Problem, Run, on_a_lattice, scattered
from tests.support import normal

pytestmark = pytest.mark.gpu

CPU = CpuBackend(native=True)


def backend(native: bool = True, precision: str = "fp32") -> GpuBackend:
    return GpuBackend(gpu.opened(), native, precision)


def close(found: np.ndarray, expected: np.ndarray, precision: str = "fp32") -> None:
    support.close(found, expected, TOLERANCE[precision])


@pytest.mark.parametrize("native", [True, False], ids=["raw", "torch"])
@pytest.mark.parametrize("precision", MATHS)
@pytest.mark.parametrize(("groups", "inner", "outer"), [(1, 3, 20), (1, 64, 130), (2, 8, 12), (24, 1, 1), (5, 1, 2)])
@pytest.mark.parametrize("sliding", [Sliding((3, 3)), Sliding((1, 1), (2, 2)), Sliding((5, 3), (1, 2), (2, 1))])
def test_convolutions(
    native: bool, precision: str, groups: int, inner: int, outer: int, sliding: Sliding
) -> None:  # fmt: skip
    k, rng = backend(native, precision), np.random.default_rng(0)
    padding = sliding.kernel[0] // 2, sliding.kernel[1] // 2, sliding.kernel[0] // 2, sliding.kernel[1] // 2
    weight, bias = Weight(normal(rng, groups * outer, inner, *sliding.kernel)), Weight(normal(rng, groups * outer))
    spec = ConvolutionSpec(weight, bias, sliding, groups, padding)
    x = normal(rng, 3, 19, 23, groups * inner)
    where, at = Boxes(rng.integers(0, 4, (5, 2)), (4, 5)), Boxes(rng.integers(0, 9, (5, 2)), (9, 7))
    values = normal(rng, 5, 9, 7, groups * inner)
    expected = TAPS.delta(CPU, spec, Delta(at, values), where)
    with k.running(), torch.inference_mode():
        full = k.kernels.convolution(sliding, groups)[0].evaluate(k, k.memory.upload(x), spec)
        close(k.memory.download(full), TAPS.evaluate(CPU, x, spec))
        raw = k.memory.upload(values)
        if precision == "bf16":
            raw = k.deltas.union([Delta(at, k.device.array(k.device.tensor(raw).bfloat16()))], at)
        kernel = k.kernels.convolution_deltas(sliding, groups)[0]
        found = kernel.delta(k, spec, Delta(at, raw), where)
        close(k.memory.download(found), expected, precision)


@pytest.mark.parametrize("function", CASES)
def test_functions(function: str) -> None:
    k, program, values = backend(), (Instruction(function, CASES[function][0]),), inputs(function, 2)
    where = Boxes.whole(1, (3, 4))
    epilogue = Epilogue(program, PARAMETERS, values[0], None)
    with k.running():
        found = k.maps.pointwise(k.memory.upload(values), program, PARAMETERS, False)
        close(k.memory.download(found), CPU.maps.pointwise(values, program, PARAMETERS, False))
        on_device = Epilogue(program, PARAMETERS, k.memory.upload(values[0]), None)
        delta = values[1:] - values[0]
        found = k.deltas.pointwise(Delta(where, k.memory.upload(delta)), on_device)
        close(k.memory.download(found), CPU.deltas.pointwise(Delta(where, delta), epilogue), "tf32")
        nothing = k.deltas.pointwise(Delta(where, k.memory.upload(np.zeros_like(delta))), on_device)
        assert not k.memory.download(nothing).any()


@pytest.mark.parametrize("make", [on_a_lattice, scattered], ids=["lattice", "scattered"])
@pytest.mark.parametrize("native", [True, False], ids=["raw", "torch"])
@pytest.mark.parametrize("allowed", [None, "gemm", "recompute"])
def test_every_kind_of_layer(make: Callable[[], Problem], native: bool, allowed: str | None) -> None:
    problem = make()
    for off in ((), ("cut_over",)):
        problem.assert_exact(Run(backend=backend(native), allowed=allowed, off=off).logits(problem))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(problems())
def test_a_random_network_is_maintained_exactly(problem: Problem) -> None:
    assume(problem.signal >= SIGNAL_BOUND)
    for native in (True, False):
        problem.assert_exact(Run(backend=backend(native), off=("cut_over",)).logits(problem))


@pytest.mark.parametrize("native", [True, False], ids=["raw", "torch"])
@pytest.mark.parametrize(("precision", "bound"), [("tf32", 5e-3), ("bf16", 4e-2)])
def test_reduced_precision(native: bool, precision: str, bound: float) -> None:
    problem = on_a_lattice()
    logits = Run(backend=backend(native, precision), off=("cut_over",)).logits(problem)
    truth = problem.truth[0]
    assert (np.abs(logits - truth).max(axis=0) / np.ptp(truth, axis=0)).max() < bound


def test_a_query_and_what_torch_is_left_with() -> None:
    db, cudnn = Session(), torch.backends.cudnn
    problem = on_a_lattice()
    db.register_model("net", problem.module, input_size=(38, 45))
    image = np.random.default_rng(0).integers(0, 256, (38, 45, 3), dtype=np.uint8)
    query = "OCCLUDE $image WITH patch(7, 5) STRIDE 4 USING net FOR ALL CLASSES SCORE logit ON "
    before = cudnn.allow_tf32
    cpu, found = (db.execute(query + device, {"image": image}).values for device in ("cpu", "gpu"))  # type: ignore[union-attr]
    np.testing.assert_allclose(found, cpu, rtol=0, atol=1e-3 * np.ptp(cpu))
    assert cudnn.allow_tf32 == before


def test_memory_is_bounded() -> None:
    device = gpu.opened()
    if not device.has_torch:
        pytest.skip("torch sees no device")
    device.limit_memory(256 << 20)
    try:
        with device.running(), pytest.raises(torch.cuda.OutOfMemoryError):
            device.empty((1 << 30,), np.float32)
    finally:
        device.limit_memory(None)
