"""Whole plans on the GPU backend, its kernels emulated: every layer, kernel and precision; launches counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.calibrated import calibrate
from benchmarks.oracle import SIGNAL_BOUND
from kdb.errors import DeviceError, Interrupted
from kdb.execution.executor import Executor
from kdb.execution.stages import DeltaStage
from kdb.kernels.base import Delta
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.backend import GpuBackend
from kdb.kernels.kernel import FUSED
from kdb.operators.convolution import Convolution
from kdb.operators.pointwise import Pointwise
from kdb.planner import calibration
from kdb.planner.cost import CostModel, data_sheet_profile
from kdb.planner.lower import lower
from kdb.planner.optimize import optimize
from kdb.planner.permissions import Permissions
from kdb.planner.plan import LogicalPlan, Step
from kdb.planner.rules import Context
from kdb.session.session import Session
from kdb.system.threads import _current
from tests.emulation.device import EmulatedDevice, NullDevice, compiler
from tests.execution.test_engine import problems
from tests.problems import Problem, Run, images, on_a_lattice, scattered
from tests.support import examples, heat_map

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no g++ to compile the kernels with")

RAW, WITH_TORCH = EmulatedDevice(), EmulatedDevice(has_torch=True)


@pytest.mark.parametrize(
    ("make", "device", "allowed"),
    [
        *((on_a_lattice, device, None) for device in (RAW, WITH_TORCH)),
        *((scattered, RAW, allowed) for allowed in ("gemm", "recompute")),
        *((scattered, WITH_TORCH, allowed) for allowed in ("gemm", "direct", "recompute")),
    ],
)
def test_every_kind_of_layer(make: Callable[[], Problem], device: EmulatedDevice, allowed: str | None) -> None:
    problem = make()
    problem.assert_exact(Run(backend=GpuBackend(device), allowed=allowed).logits(problem))


# The others rewrite networks, whatever runs them.
@pytest.mark.parametrize("rule", ["incremental", "cut_over", "multi_query_batching", "rebatch", "merge_pointwise"])
def test_any_rule_may_be_switched_off(rule: str) -> None:
    problem = scattered()
    problem.assert_exact(Run(backend=GpuBackend(RAW), off=(rule,)).logits(problem))


def test_the_papers_plan() -> None:
    problem = scattered()
    problem.assert_exact(Run(backend=GpuBackend(RAW), preset="krypton").logits(problem))


@settings(max_examples=examples(5, 12), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(problems(), st.sampled_from([None, 1, 3, 48]), st.sampled_from([RAW, WITH_TORCH]))
def test_a_random_network_is_maintained_exactly(problem: Problem, batch: int | None, device: EmulatedDevice) -> None:
    assume(problem.signal >= SIGNAL_BOUND)
    problem.assert_exact(Run(backend=GpuBackend(device), batch=batch).logits(problem))
    problem.assert_exact(Run(backend=GpuBackend(device), batch=batch, off=("cut_over",)).logits(problem))


@pytest.mark.parametrize("device", [RAW, WITH_TORCH], ids=["raw", "torch"])
@pytest.mark.parametrize(("precision", "bound"), [("tf32", 5e-3), ("bf16", 4e-2)])
def test_reduced_precision_is_relative_to_the_deltas(device: EmulatedDevice, precision: str, bound: float) -> None:
    problem = scattered()
    run = Run(backend=GpuBackend(device, precision=precision), off=("cut_over",))
    logits, truth = run.logits(problem), problem.truth[0]
    assert any(step.kernel.name.endswith(precision) for stage in run.plan.stages for step in stage.steps)
    worst = np.abs(logits - truth).max(axis=0) / np.ptp(truth, axis=0)
    assert 2e-5 < worst.max() < bound, "rounded, and no more than that"
    np.testing.assert_allclose(logits[-1], truth[-1], rtol=0, atol=1e-5 * np.abs(truth).max())  # views stay float32


class Blocks(nn.Module):
    """A stem, and residual blocks as ResNets have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
            for _ in "ab"
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def blocks() -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = calibrate(Blocks(), images((40, 40)))
    positions = np.stack(np.meshgrid(np.arange(8, 24, 4), np.arange(8, 24, 4), indexing="ij"), -1).reshape(-1, 2)
    return Problem(module, images((40, 40))[1].clone(), torch.zeros(3), (5, 5), positions)


@pytest.mark.parametrize(("kernel", "most"), [("gemm", 1), ("direct", 3), ("recompute", 4)])
def test_launches_are_few(kernel: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a convolution and the activation behind it, for a batch; those of the paper's own plan beside them."""
    device = NullDevice(has_torch=kernel == "direct")
    run = Run(backend=GpuBackend(device), off=("cut_over",), batch=16, allowed=kernel)
    problem, layers, apply = blocks(), dict[str, int](), DeltaStage._apply

    def counted(stage: DeltaStage, step: Step, *arguments: Any) -> Delta:
        before = device.launches.total()
        delta = apply(stage, step, *arguments)
        layers[step.node.operator.label] = max(
            device.launches.total() - before, layers.get(step.node.operator.label, 0)
        )
        return delta

    monkeypatch.setattr(DeltaStage, "_apply", counted)
    run.logits(problem)
    assert len(run.plan.logical.batches) == 1
    assert layers["convolution"] + layers.get("pointwise", 0) <= most, layers
    assert layers["add"] == 1, "with the activation behind it"


@pytest.mark.parametrize("kernel", ["gemm", "direct", "recompute"])
def test_a_batchs_boxes_are_uploaded_in_one_copy(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = NullDevice(has_torch=kernel == "direct")
    run = Run(backend=GpuBackend(device), off=("cut_over",), batch=4, allowed=kernel)
    uploads: list[list[np.ndarray]] = []
    upload, stage = device.upload, DeltaStage.run

    def uploaded(array: np.ndarray) -> np.ndarray:
        if uploads:
            uploads[-1].append(array)
        return upload(array)

    def staged(*arguments: Any) -> Any:
        uploads.append([])
        return stage(*arguments)

    monkeypatch.setattr(device, "upload", uploaded)
    monkeypatch.setattr(DeltaStage, "run", staged)
    run.logits(blocks())
    assert len(uploads) == 4 and kernel in {step.kernel.name for step in run.plan.stages[0].steps}
    for arrays in uploads[1:]:  # the first batch's are of weights and programs too
        assert [array.dtype for array in arrays] == [np.int32] and arrays[0].shape[1:] == (4, 2)


def test_activations_are_fused_into_what_they_read() -> None:
    problem = blocks()
    run = Run(backend=GpuBackend(RAW), off=("cut_over",))
    problem.assert_exact(run.logits(problem))
    (stage,) = (stage for stage in run.plan.stages if stage.name == "deltas")
    fused = [step for step in stage.steps if step.kernel is FUSED]
    assert len(fused) == 5 and all(isinstance(step.node.operator, Pointwise) for step in fused)
    assert [step.epilogue for step in stage.steps if step.epilogue] == [step.node for step in fused]
    apart = Run(backend=GpuBackend(WITH_TORCH), off=("cut_over",), allowed="direct")
    problem.assert_exact(apart.logits(problem))
    assert sum(step.kernel is FUSED for stage in apart.plan.stages for step in stage.steps) == 2  # behind the sums


def test_a_kernel_is_chosen_by_what_its_fusion_saves() -> None:
    """torch's convolution is the quicker one alone, and the slower one with the activation behind it."""
    problem, backend = blocks(), GpuBackend(WITH_TORCH)
    rates = {kind: tuple((width, 1e12) for width, _ in points) for kind, points in data_sheet_profile().rates.items()}
    rates |= {kind: ((1, 1.2e12),) for kind in rates if kind.startswith("direct")}
    profile = replace(data_sheet_profile(), rates=rates, call=0.0, bandwidth=1e11)
    naive = LogicalPlan.naive(problem.network, problem.positions, tuple(problem.patch))
    context = Context(CostModel(profile, backend), batch_size=16)
    logical, _ = optimize(naive, context, {"cut_over": False})
    (stage, *_) = lower(logical, context).stages
    kernels = {step.node.name: step.kernel.name for step in stage.steps if isinstance(step.node.operator, Convolution)}
    fused = {step.node.name for step in stage.steps if step.epilogue and step.node.name in kernels}
    assert fused and {name for name, kernel in kernels.items() if kernel == "gemm"} == fused
    assert {kernel for name, kernel in kernels.items() if name not in fused} == {"direct"}


# --- queries -----------------------------------------------------------------------------------------------------


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(gpu, "opened", lambda: RAW)
    monkeypatch.setattr(gpu, "found", lambda: RAW)
    return prepared()


def prepared() -> Session:
    db = Session()
    db.register_model("small", blocks().module, input_size=(40, 40))
    rng = np.random.default_rng(0)
    db.register_image("noise", rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return db


QUERY = "OCCLUDE noise WITH patch(5, 5) STRIDE 5 USING small"


def test_a_query_on_the_gpu(session: Session) -> None:
    cpu, gpu_ = heat_map(session, f"{QUERY} ON cpu"), heat_map(session, f"{QUERY} ON gpu")
    assert np.ptp(cpu.values) > 1e-3
    np.testing.assert_allclose(gpu_.values, cpu.values, rtol=0, atol=1e-3 * np.ptp(cpu.values))
    assert gpu_.exact and "gemm" in gpu_.stats.kernels
    assert "device      emulated, 1 thread" in session.explain(f"{QUERY} ON gpu")
    assert "device      emulated" in session.explain(QUERY), "it is expected to take less time"
    assert "device      cpu" in session.explain(f"{QUERY} ON cpu")
    session.execute("SET rule.cut_over = off")
    assert FUSED.name in session.explain(f"{QUERY} ON gpu")
    reduced = heat_map(session, f"{QUERY} PRECISION bf16 ON gpu")
    assert not reduced.exact and "gemm.bf16" in reduced.stats.kernels
    np.testing.assert_allclose(reduced.values, cpu.values, rtol=0, atol=0.05 * np.ptp(cpu.values))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of every launch."""
    seen: list[int] = []
    launch = RAW._launch

    def launched(*arguments: Any) -> None:
        seen.append(threading.get_ident())
        launch(*arguments)

    monkeypatch.setattr(RAW, "_launch", launched)
    return seen


def test_all_work_is_done_in_the_devices_thread(session: Session, threads: list[int]) -> None:
    before = torch.get_num_threads()
    for _ in range(2):
        heat_map(session, f"{QUERY} ON gpu")
        session._engine.views.clear()
    assert len(threads) > 20 and len(set(threads)) == 1 and threading.get_ident() not in threads
    assert torch.get_num_threads() == before
    other = threading.Thread(target=lambda: threads.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert threads[-1] == before, "what a new thread begins with"


def test_queries_of_two_threads_take_turns(session: Session, threads: list[int]) -> None:
    expected, found = heat_map(session, f"{QUERY} ON gpu").values, list[np.ndarray]()

    def query(db: Session) -> None:
        found.extend(heat_map(db, f"{QUERY} ON gpu").values for _ in range(2))

    callers = [threading.Thread(target=query, args=(prepared(),), daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(found) == 4 and all(np.array_equal(values, expected) for values in found)
    assert len(set(threads)) == 1


def test_what_fails_on_the_device_reaches_the_caller(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise DeviceError("the device is on fire")

    heat_map(session, f"{QUERY} ON gpu")
    with monkeypatch.context() as patch:
        patch.setattr(RAW, "_launch", fail)
        with pytest.raises(DeviceError, match="on fire"):
            session.execute(f"{QUERY} ON gpu")  # while it runs
        session._engine.views.clear()
        with pytest.raises(DeviceError, match="on fire"):
            session.execute(f"{QUERY} ON gpu")  # while views are materialized
    heat_map(session, f"{QUERY} ON gpu")


def test_an_interruption_stops_the_devices_worker() -> None:
    def progress(finished: int) -> None:
        raise KeyboardInterrupt

    problem, run = blocks(), Run(backend=GpuBackend(RAW), batch=1, off=("rebatch",))
    run.logits(problem)
    delivered: list[int] = []

    def sink(members: np.ndarray, values: np.ndarray) -> None:
        delivered.extend(members)
        time.sleep(0.05)

    with pytest.raises(Interrupted):
        Executor(1).run(run.plan, run.views, problem.occlusion, sink, progress)
    count = len(delivered)
    assert RAW.threads.call(lambda: 3) == 3
    assert count < len(problem.positions) and len(delivered) == count


def test_an_interruption_while_views_are_materialized(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, launches = RAW._launch, list[str]()

    def interrupted(name: str, *arguments: Any) -> None:
        launches.append(name)
        if len(launches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            assert _current.turn.stop.wait(60)  # until the caller has been told
        launch(name, *arguments)

    heat_map(session, f"{QUERY} ON gpu")
    session._engine.views.clear()
    with monkeypatch.context() as patch:
        patch.setattr(RAW, "_launch", interrupted)
        with pytest.raises(Interrupted):
            session.execute(f"{QUERY} ON gpu")
    assert len(launches) == 2 and not len(session._engine.views), "it stops at the next layer"
    heat_map(session, f"{QUERY} ON gpu")


def test_convolutions_are_told_what_they_may_round_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    convolution = torch._convolution
    for precision in ("fp32", "tf32", "bf16"):

        def told(x: Tensor, *rest: Any, allow_tf32: bool, _precision: str = precision, **more: Any) -> Tensor:
            seen.append((_precision, allow_tf32))
            return convolution(x, *rest, allow_tf32=allow_tf32, **more)

        monkeypatch.setattr(torch, "_convolution", told)
        Run(backend=GpuBackend(NullDevice(True), precision=precision), off=("cut_over",)).logits(blocks())
    assert set(seen) == {("fp32", False), ("tf32", False), ("tf32", True), ("bf16", False)}


def test_settings_of_the_gpu(session: Session) -> None:
    for megabytes in ("auto", 512, "auto"):  # the last plan is the first one again, and the limit that of the setting
        session.execute(f"SET memory_limit = {megabytes}")
        heat_map(session, f"{QUERY} ON gpu")
        assert RAW.limit == (None if megabytes == "auto" else 512 << 20)
    session.execute("SET preset = krypton")
    assert "recompute" in session.explain(f"{QUERY} ON gpu")


def test_a_batch_is_bounded_by_what_a_grid_has(session: Session) -> None:
    for setting in ("batch_size = 100000", "rule.share_duplicates = off"):
        session.execute(f"SET {setting}")
    engine, network = session._engine, blocks().network
    positions = np.random.default_rng(0).integers(0, 35, (70000, 2))
    plan = engine.plan(network, positions, (5, 5), Permissions(device="gpu")).physical.logical
    assert len(plan.batches) == 2 and max(len(batch) for batch in plan.batches) <= gpu.MOST_POSITIONS
    assert plan.full_batch is None or plan.full_batch <= gpu.MOST_POSITIONS


def test_a_gpu_is_calibrated_at_every_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LEAST_SECONDS", 0.0), ("TRIES", 1), ("WIDTHS", (32,)), ("DENSE_WIDTHS", (32,)), ("BATCH", 1)):
        monkeypatch.setattr(calibration, name, value)
    default = data_sheet_profile()
    for device in (RAW, WITH_TORCH):
        profile = calibration.measure_device(device)
        assert set(profile.rates) == set(default.rates) and profile.name == "g++"
        assert calibration.decoded(calibration.encoded(profile)) == profile
        measured = {kind for kind, points in profile.rates.items() if points != default.rates[kind]}
        kernels = ("gemm",) if device is RAW else ("gemm", "direct")
        assert measured >= {f"{kernel}{bits}.wide" for kernel in kernels for bits in ("", ".tf32", ".bf16")}


def test_without_a_gpu_the_cpu_is_the_default_and_asking_for_one_says_what_is_missing() -> None:
    if gpu.found() is not None:
        pytest.skip("there is a GPU")
    db = Session()
    db.register_model("small", blocks().module, input_size=(40, 40))
    db.register_image("noise", np.zeros((40, 40, 3), np.uint8))
    assert "device      cpu" in db.explain(QUERY)
    with pytest.raises(DeviceError, match=r"needs CuPy|no CUDA device"):
        db.execute(f"{QUERY} ON gpu")
