"""Occlusion problems for tests of the engine: a module, an image, positions, the truth; and a run of the engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.calibrated import calibrate
from benchmarks.oracle import SIGNAL_BOUND, exactness, float32_logits, oracle_logits, relative_range
from kdb.execution.executor import Executor
from kdb.execution.occlusion import Occlusion, Replacement
from kdb.execution.views import MaterializedViews
from kdb.frontends.torch_export import trace
from kdb.geometry import lattice
from kdb.kernels.base import Backend
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import materialize
from kdb.operators.network import Network
from kdb.planner.cost import CostModel, CostProfile, data_sheet_profile
from kdb.planner.lower import lower
from kdb.planner.optimize import optimize
from kdb.planner.plan import LogicalPlan, PhysicalPlan
from kdb.planner.presets import PRESETS
from kdb.planner.rules import Context

Ints = tuple[int, int]


@functools.lru_cache(maxsize=64)
def images(size: Ints) -> Tensor:
    """Six parts of photographs, normalised: [6, 3, H, W]."""
    return photos.normalised(photos.crops(size, 6))


@dataclass(eq=False)
class Problem:
    """A module, an image [3, H, W], and what is laid over it where."""

    module: nn.Module
    image: Tensor = field(repr=False)
    fill: Tensor
    patch: Ints
    positions: np.ndarray

    @cached_property
    def network(self) -> Network:
        return trace(self.module, tuple(self.image.shape))  # type: ignore[arg-type]

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Float64 and float32 logits at each position, then of the image itself, so that one position has a range."""
        whole = (self.image, (self.image.shape[1], self.image.shape[2]), np.array([[0, 0]]))
        return tuple(  # type: ignore[return-value]
            np.concatenate(
                [
                    infer(self.module, self.image, self.fill, self.patch, self.positions),
                    infer(self.module, self.image, *whole),
                ]
            )
            for infer in (oracle_logits, float32_logits)
        )

    @property
    def hwc(self) -> np.ndarray:
        return np.ascontiguousarray(self.image.permute(1, 2, 0).numpy())

    @property
    def occlusion(self) -> Occlusion:
        return Replacement(np.broadcast_to(self.fill.numpy(), (*self.patch, 3)).copy())

    @cached_property
    def signal(self) -> float:
        """The smallest range of a class over the map, relative to the logits' scale."""
        return float(relative_range(self.truth[0]).min())

    def assert_exact(self, logits: np.ndarray) -> None:
        """``logits`` [n + 1, K], the baseline last, agree with the module on a map where there is something to miss."""
        found = exactness(logits, *self.truth)
        assert found.ok, found


@dataclass
class Run:
    """The engine's settings for one execution, and what came of it."""

    native: bool = False
    threads: int = 1
    batch: int | None = None
    allowed: str | None = None
    off: tuple[str, ...] = ()
    cut: int | None = None
    interior: bool = False
    """Fill in the interior of every layer that has one, whatever it costs."""
    preset: str = "kdb"
    occlusion: Occlusion | None = None
    progress: Callable[[int], None] | None = None
    backend: Backend | None = None
    """Another than the CPU's."""
    plan: PhysicalPlan = field(init=False)
    views: MaterializedViews = field(init=False)

    def logits(self, problem: Problem) -> np.ndarray:
        """Float32 [n + 1, K]: at each position asked for, then of the image itself."""
        backend = self.backend or CpuBackend(self.native)
        preset = PRESETS[self.preset]
        allowed = self.allowed or (None if preset.kernels == "auto" else preset.kernels)
        profile = CostProfile() if backend.traits.computes_on_host else data_sheet_profile()
        context = Context(CostModel(profile, backend, allowed), self.threads, self.batch or preset.batch_size)
        plain = self.occlusion is None
        naive = LogicalPlan.naive(problem.network, problem.positions, tuple(problem.patch), preset.bounded, plain)
        logical, _ = optimize(naive, context, dict.fromkeys((*self.off, *preset.without), False))
        if self.interior:
            inside, nodes = logical.geometry.enclosed, logical.network.nodes[1 : logical.cut]
            divisible = {node.name for node in nodes if node.operator.divisible and node.name in inside}
            logical = replace(logical, interior=frozenset(divisible))
            logical.verify()
        self.plan = lower(logical if self.cut is None else replace(logical, cut=self.cut), context)
        self.views = MaterializedViews(materialize(logical.network, problem.hwc, backend, self.plan.views))
        for array in self.views.arrays.values() if backend.traits.computes_on_host else ():
            array.setflags(write=False)  # whoever writes into a view is found at once
        results = np.full((len(logical.positions), logical.network.output.shape.channels), np.nan, np.float32)

        def sink(members: np.ndarray, values: np.ndarray) -> None:
            assert np.isnan(results[members]).all(), "a position was delivered twice"
            results[members] = values

        occlusion = self.occlusion or problem.occlusion
        Executor(self.threads).run(self.plan, self.views, occlusion, sink, self.progress)
        asked = results if logical.duplicates is None else results[logical.duplicates]
        baseline = backend.memory.download(self.views[logical.network.output.name])
        return np.concatenate([asked, baseline.reshape(1, -1)])


class Everything(nn.Module):
    """Each kind of layer once: a residual with a strided skip, a gate, a shuffle, ceil-mode pools, a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([0.1, -0.2, 0.3]).reshape(3, 1, 1))
        self.stem = nn.Sequential(
            nn.ZeroPad2d((0, 1, 1, 2)), nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
        )
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 1, 2, 2, groups=4))
        self.skip = nn.Conv2d(8, 8, 1, 2)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, (3, 5), 1, (1, 2), groups=8)
        self.norm, self.dense = nn.LayerNorm(8), nn.Linear(8, 8)
        self.branch = nn.Conv2d(4, 6, (1, 3), padding=(0, 1))
        self.head = nn.Linear(10 * 2 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem((x * 0.9 + self.shift) / 1.1)
        x = nn.functional.max_pool2d(nn.functional.relu6(x), 3, 1, 1)
        x = nn.functional.relu(self.block(x) + self.skip(x))
        x = x * torch.sigmoid(self.excite(nn.functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = self.depthwise(x).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        x = self.dense(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        a, b = x.chunk(2, 1)
        x = nn.functional.avg_pool2d(
            torch.cat([self.branch(a), b], 1), 3, 2, 1, ceil_mode=True, count_include_pad=False
        )
        return self.head(nn.functional.adaptive_avg_pool2d(x, (2, 3)).flatten(1))


def everything(positions: np.ndarray, patch: Ints = (7, 5), fill: Tensor | None = None) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = calibrate(Everything(), images((38, 45)))
    return Problem(module, images((38, 45))[1].clone(), torch.zeros(3) if fill is None else fill, patch, positions)


@functools.cache
def on_a_lattice() -> Problem:
    y, x = lattice(38, 7, 4), lattice(45, 5, 4)
    problem = everything(np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2))
    assert problem.signal >= 10 * SIGNAL_BOUND
    return problem


@functools.cache
def scattered() -> Problem:
    positions = np.array([(31, 40), (0, 0), (3, 40), (0, 0), (17, 22), (16, 22), (31, 0), (17, 22), (5, 5), (0, 0)])
    return everything(positions)
