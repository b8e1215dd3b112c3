"""The engine without its language: a traced network, a plan, and logits that equal the module's own in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.calibrated import calibrate
from benchmarks.oracle import SIGNAL_BOUND
from kdb.execution.executor import Executor
from kdb.geometry import lattice
from kdb.planner.footprints import Core
from kdb.planner.rules import RULES
from tests.networks import modules
from tests.problems import Ints, Problem, Run, everything, images
from tests.support import examples

# --- random networks ---------------------------------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    size = draw(st.tuples(st.integers(12, 30), st.integers(12, 30)))
    patch = draw(st.tuples(st.integers(3, size[0]), st.integers(3, size[1])) | st.just(size))
    rows, columns = size[0] - patch[0] + 1, size[1] - patch[1] + 1
    scattered = st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)), min_size=1, max_size=12)
    if draw(st.booleans()):
        stride = draw(st.integers(2, 9))
        y, x = (lattice(n, p, stride) for n, p in zip(size, patch, strict=True))
        positions = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    else:
        positions = np.array(draw(scattered))  # with duplicates
    module = draw(modules(size))
    fill = torch.tensor(draw(st.sampled_from([(0.0, 0.0, 0.0), (1.5, -0.5, 0.3)])))
    return Problem(calibrate(module, images(size)), images(size)[0], fill, patch, positions)


@settings(max_examples=examples(8, 20), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(problems(), st.sampled_from([None, 1, 3, 48]), st.integers(1, 3))
def test_a_random_network_is_maintained_exactly(problem: Problem, batch: int | None, threads: int) -> None:
    assume(problem.signal >= SIGNAL_BOUND)
    for native in (False, True):
        problem.assert_exact(Run(native, threads, batch).logits(problem))
    problem.assert_exact(Run(threads=threads, preset="krypton").logits(problem))
    problem.assert_exact(Run(threads=threads, batch=batch, off=("cut_over",), interior=True).logits(problem))


# --- one network with everything, every setting ------------------------------------------------------------------


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("rule", [None, *(rule.name for rule in RULES)])
def test_any_rule_may_be_switched_off(lattice_problem: Problem, rule: str | None, native: bool) -> None:
    run = Run(native, off=(rule,) if rule else ())
    lattice_problem.assert_exact(run.logits(lattice_problem))


def test_the_naive_plan_too(scattered_problem: Problem) -> None:
    run = Run(off=tuple(rule.name for rule in RULES))
    scattered_problem.assert_exact(run.logits(scattered_problem))
    assert not any(step.incremental for stage in run.plan.stages for step in stage.steps)
    assert (
        run.plan.planned_macs
        == run.plan.naive_macs
        == len(scattered_problem.positions) * scattered_problem.network.macs
    )


def test_the_papers_plan(lattice_problem: Problem) -> None:
    """Algorithm 1 in every convolution, boxes of one size inside the map, batches of 16, nothing evaluated in full."""
    run = Run(preset="krypton")
    lattice_problem.assert_exact(run.logits(lattice_problem))
    steps = [step for stage in run.plan.stages for step in stage.steps]
    assert {step.kernel.name for step in steps if step.node.operator.label == "convolution"} == {"recompute"}
    assert all(step.incremental for step in steps)
    assert max(map(len, run.plan.logical.batches)) <= 16
    convolution = next(node for node in run.plan.logical.network if node.operator.label == "convolution")
    footprint = run.plan.logical.geometry.footprints[convolution.name]
    assert footprint is not None and len(set(footprint.areas.tolist())) == 1
    exact = Run(off=("cut_over",))
    exact.logits(lattice_problem)
    assert run.plan.planned_macs > exact.plan.planned_macs


@st.composite
def chains(draw: st.DrawFn) -> Problem:
    """A chain of narrow layers under a large patch: its interior reaches far."""
    size = draw(st.tuples(st.integers(24, 32), st.integers(24, 32)))
    patch = draw(st.tuples(st.integers(12, size[0]), st.integers(12, size[1])))
    corners = st.tuples(st.integers(0, size[0] - patch[0]), st.integers(0, size[1] - patch[1]))
    positions = np.array(draw(st.lists(corners, min_size=1, max_size=12)))
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 9)))
        parts: list[nn.Module] = []
        for inputs in (3, *[6] * draw(st.integers(1, 3))):
            kernel, padding = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.integers(0, 1))
            parts += [nn.Conv2d(inputs, 6, kernel, draw(st.integers(1, 2)), padding), draw(st.sampled_from(LAYERS))]
        module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    fill = torch.tensor(draw(st.sampled_from([(0.0, 0.0, 0.0), (1.5, -0.5, 0.3)])))
    return Problem(calibrate(module, images(size)), images(size)[0], fill, patch, positions)


LAYERS = (nn.ReLU(), nn.SiLU(), nn.BatchNorm2d(6), nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 2, 1, ceil_mode=True))


@settings(max_examples=examples(6, 20), suppress_health_check=[HealthCheck.too_slow])
@given(chains(), st.sampled_from([1, 3, 48]), st.sampled_from([None, "direct", "taps", "winograd", "recompute"]))
def test_a_constant_interior_changes_nothing(problem: Problem, batch: int, kernel: str | None) -> None:
    assume(problem.signal >= SIGNAL_BOUND)
    run = Run(batch=batch, allowed=kernel, off=("cut_over",), interior=True)
    problem.assert_exact(run.logits(problem))
    plain = Run(batch=batch, allowed=kernel, off=("cut_over", "constant_interior"))
    problem.assert_exact(plain.logits(problem))
    areas = [core.cells for name in run.plan.logical.interior for core in cores(run, name)]
    event("there is an interior" if any(areas) else "there is none")
    assert (run.plan.planned_macs < plain.plan.planned_macs) == any(areas)


def cores(run: Run, name: str) -> tuple[Core, ...]:
    return run.plan.logical.cores(run.plan.logical.network[name])


class Shared(nn.Module):
    """Layers that are read on both sides of most cuts, one of them through a vector in the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.last = nn.Linear(4 * 6 * 6, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = torch.relu(x)  # overwrites x, were it not read again below
        vector = self.first(y.flatten(1))
        y = self.mix(nn.functional.pad(y, (1, 1, 1, 1))) + nn.functional.pad(x, (1, 1, 1, 1))
        return self.last(y.mean((2, 3))) + vector


def test_any_cut_gives_the_same_answer(lattice_problem: Problem) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = calibrate(Shared(), images((14, 14)))
    patches = np.array([(y, x) for y in range(3) for x in range(3)])
    shared = Problem(module, images((14, 14))[1], torch.tensor([2.0, 0.0, 1.0]), (12, 12), patches)
    few = copy.copy(lattice_problem)
    few.positions = lattice_problem.positions[::9]
    few.truth = tuple(np.concatenate([each[:-1][::9], each[-1:]]) for each in lattice_problem.truth)  # type: ignore[misc]
    for problem in (shared, few):
        for off in ((), ("merge_pointwise", "fold_batch_norm", "fold_padding")):
            run = Run(batch=4, off=off)
            run.logits(problem)
            for cut in range(1, len(run.plan.logical.network) + 1):
                problem.assert_exact(Run(batch=4, off=off, cut=cut).logits(problem))


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("kernel", ["direct", "taps", "winograd", "recompute"])
@pytest.mark.parametrize("off", [(), ("cut_over", "fold_padding")])
def test_any_convolution_kernel_may_be_forced(
    lattice_problem: Problem, kernel: str, native: bool, off: tuple[str, ...]
) -> None:
    run = Run(native, allowed=kernel, off=off)
    lattice_problem.assert_exact(run.logits(lattice_problem))
    steps = [step for stage in run.plan.stages for step in stage.steps if step.node.operator.label == "convolution"]
    maintained = {step.kernel.name for step in steps if step.incremental}
    if off and (native, kernel) != (True, "direct"):  # without the cut-over there are such for certain
        assert maintained == {kernel} or (kernel == "winograd" and kernel in maintained)  # it has not every shape
    assert not (native and "direct" in {step.kernel.name for step in steps})


@pytest.mark.parametrize("off", [(), ("cut_over",), ("incremental",)])
def test_threads_change_no_bit(lattice_problem: Problem, off: tuple[str, ...]) -> None:
    # One plan, so the same batches and groups, whoever takes them.
    run = Run(threads=2, off=off)
    first = run.logits(lattice_problem)
    for threads in (1, 2, 3):
        again = np.full_like(first[:-1], np.nan)
        Executor(threads).run(run.plan, run.views, lattice_problem.occlusion, again.__setitem__)
        assert np.array_equal(again, first[:-1])


@pytest.mark.parametrize("batch", [1, 3, 48])
@pytest.mark.parametrize("off", [(), ("cut_over",), ("rebatch",)])
def test_batch_sizes(lattice_problem: Problem, batch: int, off: tuple[str, ...]) -> None:
    run = Run(batch=batch, off=off)
    lattice_problem.assert_exact(run.logits(lattice_problem))
    assert max(map(len, run.plan.logical.batches)) <= batch


@pytest.mark.parametrize("off", [(), ("share_duplicates",), ("share_duplicates", "multi_query_batching")])
def test_duplicates_get_the_same_answer(scattered_problem: Problem, off: tuple[str, ...]) -> None:
    run = Run(off=off)
    logits = run.logits(scattered_problem)
    scattered_problem.assert_exact(logits)
    assert len(run.plan.logical.positions) == (10 if off else 7)
    for i, j in ((1, 3), (1, 9), (4, 7)):
        np.testing.assert_allclose(logits[i], logits[j], rtol=1e-5)


@pytest.mark.parametrize("patch", [(38, 45), (38, 1), (1, 45), (37, 44), (1, 1)])
def test_patches_of_every_shape(patch: Ints) -> None:
    rows, columns = 38 - patch[0] + 1, 45 - patch[1] + 1
    starts = [sorted({0, count // 2, count - 1}) for count in (rows, columns)]
    positions = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2)
    problem = everything(positions, patch, torch.tensor([3.0, -3.0, 2.0]))
    problem.assert_exact(Run().logits(problem))
    problem.assert_exact(Run(native=True, off=("cut_over",)).logits(problem))
