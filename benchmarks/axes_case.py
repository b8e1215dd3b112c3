"""A network of signals, volumes or video ready to be measured: by kdb, by full inference, by captum and by MONAI."""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx.experimental import optimization

from benchmarks.axes_roster import Subject
from benchmarks.oracle import worst_share
from benchmarks.timing import Seconds
from kdb.execution.engine import Engine, default_settings
from kdb.execution.occluder import Occluder
from kdb.execution.occlusion import Replacement
from kdb.geometry import lattice
from kdb.models.traces import TracedModule, Traces
from kdb.system.allocation import retained

BATCHES = (1, 4, 8)
SAMPLE = 8
"""Windows that full inference, captum, MONAI and float64 run."""
Members = npt.NDArray[np.int64]


class Case:
    """A subject, an image of noise, and at most ``most`` of its windows, drawn at random."""

    def __init__(self, subject: Subject, threads: int, most: int | None = None, batch: int | None = None) -> None:
        self.subject, self._batch = subject, batch
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.image = torch.randn(1, *subject.shape)
            self.module = subject.make().eval()
            with torch.no_grad():
                self.output = self.module(self.image)[0]  # also makes lazy layers
        starts = map(lattice, subject.shape[1:], subject.window, subject.stride)
        self.grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(subject.window))
        chosen = np.random.default_rng(0).permutation(len(self.grid))[: most or subject.most or len(self.grid)]
        self.positions = self.grid[np.sort(chosen)]
        self.sample = np.linspace(0, len(self.positions) - 1, min(SAMPLE, len(self.positions))).astype(int)
        settings = default_settings()
        settings.set("threads", threads)
        self.engine = Engine(settings)

    @cached_property
    def traced(self) -> TracedModule:
        """As kdb takes the module."""
        return Traces(self.module).get(self.image, self.output[None])

    @cached_property
    def folded(self) -> nn.Module:
        """A copy with batch-norms folded, as torch's own pass does it where it can trace the module."""
        try:
            return optimization.fuse(self.module)
        except Exception:  # torch.fx traces few forwards
            return copy.deepcopy(self.module)

    @cached_property
    def batch(self) -> int:
        """The windows at a time at which full inference is fastest."""
        return self._batch or min(BATCHES, key=lambda batch: float(self.full(batch)))

    def kdb(self) -> Occluder:
        """All windows; the logits are in ``found`` [n, K]."""
        network, reference = self.traced.network, self.traced.reference
        self.engine.views.clear()
        occluder = Occluder(
            self.engine, network, "measured", reference, self.positions, self.subject.window, uniform=True
        )
        viewed = occluder.view(np.ascontiguousarray(self.image[0].movedim(0, -1).numpy()), self.output)
        self.found = np.zeros((len(self.positions), self.output.numel()), np.float32)
        shape = (*self.subject.window, self.subject.shape[0])
        occluder.run(viewed, Replacement(np.zeros(shape, np.float32)), self._take)
        self.baseline = viewed.baseline
        return occluder

    def _take(self, members: Members, logits: npt.NDArray[np.float32]) -> None:
        self.found[members] = logits

    def full(self, batch: int | None = None) -> Seconds:
        """Seconds of full inference at all windows, measured at the sample."""
        size = batch or self.batch
        with retained(), torch.inference_mode():
            start = time.perf_counter()
            for first in range(0, len(self.sample), size):
                self.folded(self.occluded(self.sample[first : first + size]))
            return Seconds((time.perf_counter() - start) / len(self.sample) * len(self.positions))

    def captum(self) -> Seconds:
        """Seconds of captum's Occlusion, called as in its documentation; it is left after as many windows."""
        from captum.attr import Occlusion

        channels = self.subject.shape[0]

        def run(model: Any) -> None:
            Occlusion(model).attribute(
                self.image,
                sliding_window_shapes=(channels, *self.subject.window),
                strides=(channels, *self.subject.stride),
                target=0,
                perturbations_per_eval=self.batch,
            )

        return self._left_early(run)

    def monai(self) -> Seconds:
        """Seconds of MONAI's OcclusionSensitivity, likewise."""
        occlusion_sensitivity = import_module("monai.visualize").OcclusionSensitivity
        window, stride = self.subject.window, self.subject.stride
        overlap = tuple(1 - step / length for length, step in zip(window, stride, strict=True))
        options: dict[str, Any] = {"mode": 0.0, "overlap": overlap, "activate": False, "verbose": False}
        return self._left_early(lambda model: occlusion_sensitivity(model, window, self.batch, **options)(self.image))

    def _left_early(self, run: Any) -> Seconds:
        """Seconds for all windows of what calls the model, from the first windows as many as the sample."""
        counting = _Counting(self.module, len(self.sample))
        start = time.perf_counter()
        with suppress(_Enough):
            run(counting)
        return Seconds((time.perf_counter() - start) / counting.images * len(self.positions))

    def occluded(self, members: Members) -> Tensor:
        """The image with zeros in each of these windows."""
        copies = self.image.repeat(len(members), *[1] * len(self.subject.shape))
        for each, at in zip(copies, self.positions[members], strict=True):
            each[:, *map(slice, at, at + self.subject.window)] = 0
        return copies

    def error(self, members: Members) -> float:
        """The worst error at these windows and of the image itself, over what Exact allows; of the last :meth:`kdb`."""
        found = np.concatenate([self.found[members], self.baseline])
        images = torch.cat([self.occluded(members), self.image])
        double = copy.deepcopy(self.module).double()
        with torch.no_grad():
            truth = torch.cat([double(each[None].double()) for each in images]).numpy()
            plain = torch.cat([self.module(each[None]) for each in images]).numpy()
        return worst_share(found, truth, plain)

    def rounding(self) -> float:
        """How far the module in float32 is off the module in float64 for the image, relative to the largest logit."""
        with torch.no_grad():
            exact = copy.deepcopy(self.module).double()(self.image.double())[0]
        return float((exact - self.output).abs().max() / exact.abs().max())


class _Enough(Exception):
    """Raised within another's loop, to leave it."""


class _Counting:
    """A model that has enough after so many images."""

    def __init__(self, model: nn.Module, most: int) -> None:
        self._model, self._most, self.images = model, most, 0

    def __call__(self, images: Tensor) -> Tensor:
        if self.images >= self._most:
            raise _Enough
        output: Tensor = self._model(images)
        self.images += len(images)
        return output
