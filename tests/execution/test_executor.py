"""The executor: every kind of patch, failures in workers, interruption, and what it leaves behind."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdb.errors import ExecutionError, Interrupted
from kdb.execution.executor import Executor
from kdb.execution.occlusion import Alteration, Replacement
from kdb.frontends.torch_export import trace
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import materialize
from tests.problems import Problem, Run, everything, images

# --- occlusions --------------------------------------------------------------------------------------------------


def occluded_directly(problem: Problem, images_: list[Tensor]) -> Problem:
    """The problem whose truth is the module on these very images, one a position."""
    stack = torch.stack([*images_, problem.image])
    with torch.no_grad():
        exact = copy.deepcopy(problem.module).double()(stack.double()).numpy()
        plain = problem.module(stack).numpy()
    judged = Problem(problem.module, problem.image, problem.fill, problem.patch, problem.positions)
    judged.__dict__.update(truth=(exact, plain), network=problem.network)
    return judged


@pytest.mark.parametrize("off", [(), ("cut_over",), ("incremental",)])
def test_an_aligned_replacement_shows_through_the_patch_and_channels_limit_it(
    scattered_problem: Problem, off: tuple[str, ...]
) -> None:
    behind, mask = images((38, 45))[2], torch.tensor([1.0, 0.0, 1.0])
    pictures = []
    for y, x in scattered_problem.positions:
        picture, place = scattered_problem.image.clone(), (..., slice(y, y + 7), slice(x, x + 5))
        picture[place] += mask[:, None, None] * (behind - picture)[place]
        pictures.append(picture)
    problem = occluded_directly(scattered_problem, pictures)
    replacement = np.ascontiguousarray(behind.permute(1, 2, 0).numpy())
    problem.assert_exact(Run(off=off, occlusion=Replacement(replacement, True, mask.numpy())).logits(problem))


@pytest.mark.parametrize("off", [(), ("null_deltas",), ("cut_over",), ("incremental",)])
def test_what_is_under_the_patch_may_be_altered(scattered_problem: Problem, off: tuple[str, ...]) -> None:
    fade = torch.from_numpy(np.random.default_rng(0).random((7, 5)).astype(np.float32))
    pictures = []
    for y, x in scattered_problem.positions:
        picture = scattered_problem.image.clone()
        under = picture[:, y : y + 7, x : x + 5]
        picture[:, y : y + 7, x : x + 5] = under * fade + under.mean()
        pictures.append(picture)
    problem = occluded_directly(scattered_problem, pictures)

    def faded(under: np.ndarray) -> np.ndarray:
        return under * fade.numpy()[..., None] + under.mean((1, 2, 3), keepdims=True)

    problem.assert_exact(Run(off=off, occlusion=Alteration(faded)).logits(problem))


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("off", [(), ("cut_over",), ("null_deltas",)])
def test_a_patch_may_be_clipped_at_the_far_edge(off: tuple[str, ...], batch: int | None) -> None:
    # The two that are whole are null: a batch has smaller boxes once they are dropped.
    problem = everything(np.array([(0, 0), (36, 3), (34, 43), (35, 10), (37, 44), (20, 20)]))
    content = np.random.default_rng(0).normal(size=(7, 5, 3)).astype(np.float32) * 2
    problem.image[:, 0:7, 0:5] = torch.from_numpy(content).permute(2, 0, 1)
    problem.image[:, 20:27, 20:25] = torch.from_numpy(content).permute(2, 0, 1)
    pictures = []
    for y, x in problem.positions:
        picture = problem.image.clone()
        height, width = picture[0, y : y + 7, x : x + 5].shape
        picture[:, y : y + 7, x : x + 5] = torch.from_numpy(content[:height, :width]).permute(2, 0, 1)
        pictures.append(picture)
    truth = occluded_directly(problem, pictures)
    truth.assert_exact(Run(off=off, batch=batch, occlusion=Replacement(content)).logits(problem))


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("off", [(), ("null_deltas",), ("null_deltas", "cut_over"), ("cut_over",)])
def test_a_patch_that_equals_the_image_gives_the_baseline_bit_by_bit(
    lattice_problem: Problem, off: tuple[str, ...], native: bool
) -> None:
    problem = lattice_problem
    run = Run(native, off=off, occlusion=Replacement(problem.hwc, aligned=True))
    logits = run.logits(problem)
    assert run.occlusion is not None
    measured = Executor(1).run(run.plan, run.views, run.occlusion, lambda members, values: None).measured
    assert measured.evaluated == (len(problem.positions) if "null_deltas" in off else 0)
    if "cut_over" in off or not measured.evaluated:
        assert (logits == logits[-1]).all()
    else:  # evaluated in full from somewhere on, in other batches than the view
        np.testing.assert_allclose(logits, np.broadcast_to(logits[-1], logits.shape), rtol=1e-5)


# --- failures ----------------------------------------------------------------------------------------------------


def test_a_failure_in_a_worker_is_an_execution_error(lattice_problem: Problem) -> None:
    def sink(members: Any, values: Any) -> None:
        raise RuntimeError("the disk is full")

    run = Run(threads=2)
    run.logits(lattice_problem)
    before = threading.active_count()
    with pytest.raises(ExecutionError, match="the disk is full") as caught:
        Executor(2).run(run.plan, run.views, lattice_problem.occlusion, sink)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert threading.active_count() == before


def test_torch_is_left_with_the_threads_it_had(lattice_problem: Problem) -> None:
    def seen_by_a_new_thread() -> int:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return seen[0]

    inside: list[int] = []
    run = Run(threads=2)
    run.logits(lattice_problem)
    torch.set_num_threads(3)
    try:
        sink = lambda members, values: inside.append(torch.get_num_threads())  # noqa: E731
        Executor(2).run(run.plan, run.views, lattice_problem.occlusion, sink)
        assert set(inside) == {1}
        assert torch.get_num_threads() == seen_by_a_new_thread() == 3
    finally:
        torch.set_num_threads(1)


def test_an_interruption_stops_every_worker(lattice_problem: Problem) -> None:
    delivered: list[int] = []

    def progress(finished: int) -> None:
        raise KeyboardInterrupt

    run = Run(threads=2, batch=1, off=("rebatch",))
    run.logits(lattice_problem)
    before = threading.active_count()  # of libraries too, whose first use was that
    torch_threads = torch.get_num_threads()
    gate = threading.Event()

    def sink(members: np.ndarray, values: np.ndarray) -> None:
        delivered.extend(members)
        gate.wait(0.05)  # long enough for the run to be unfinished when progress is told

    with pytest.raises(Interrupted):
        Executor(2).run(run.plan, run.views, lattice_problem.occlusion, sink, progress)
    assert threading.active_count() == before
    assert len(delivered) < len(lattice_problem.positions)
    assert torch.get_num_threads() == torch_threads


def test_progress_ends_at_the_number_of_positions(lattice_problem: Problem) -> None:
    told: list[int] = []
    Run(threads=2, batch=3, progress=told.append).logits(lattice_problem)
    assert told == sorted(told) and told[-1] == len(lattice_problem.positions)


def test_logits_that_are_not_finite_are_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 2))
    network = trace(module, (3, 8, 8))
    with pytest.raises(ExecutionError, match="not finite"):
        materialize(network, np.full((8, 8, 3), np.nan, np.float32), CpuBackend(), network.source.name)
