"""Full inference of occluded images by a runtime, in the way in which it is fastest here."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.baselines import fold_batch_norms
from benchmarks.oracle import Positions, occlude
from benchmarks.runtimes.base import Run, Runtime
from kdb.system.allocation import retained
from kdb.system.threads import computing

BATCHES = (4, 16)
TRIED = 16
"""Images on which each way is tried, a batch for each worker at least."""
AGREES = 1e-3
"""The largest difference of logits from the module's own, relative to the largest logit."""


@dataclass(frozen=True)
class Way:
    """``workers`` run side by side, each on so many ``threads`` and a ``batch`` of images at a time."""

    batch: int
    workers: int
    threads: int

    def __str__(self) -> str:
        return f"batches of {self.batch}" + (f", {self.workers} side by side" if self.workers > 1 else "")


class Disagrees(ValueError):
    """A runtime computes something else than the module."""


class FullInference:
    """A runtime that has been prepared for one module and images of one shape, on all ``threads``.

    It takes the fastest of BATCHES on all threads together, or as many workers of one thread each with that batch.
    ``way`` is what was chosen.  Raises whatever the runtime raises, and Disagrees where its logits are others than the
    module's.
    """

    def __init__(self, runtime: Runtime, module: nn.Module, image: Tensor, threads: int) -> None:
        self._image = image
        folded, _ = fold_batch_norms(module)
        with torch.inference_mode():
            expected = module(image[None])

        def tried(way: Way) -> tuple[float, Way, list[_Worker]]:
            """Seconds an image, and what was prepared."""
            example = image.repeat(way.batch, *repeat(1, image.ndim))
            workers = [_Worker(runtime, folded, example, way.threads) for _ in range(way.workers)]
            for worker in workers:
                error = float((worker.logits[:1] - expected).abs().max() / expected.abs().max())
                if not error <= AGREES:
                    raise Disagrees(f"its logits differ by {error:.1g} of the largest")
            batches = max(way.workers, TRIED // way.batch)
            return _clock(workers, example.clone, batches, way.batch), way, workers

        together = min((tried(Way(batch, 1, threads)) for batch in BATCHES), key=lambda each: each[0])
        found = [together]
        if threads > 1:
            found.append(tried(replace(together[1], workers=threads, threads=1)))
        _, self.way, self._workers = min(found, key=lambda each: each[0])

    def seconds(self, fill: Tensor, patch: tuple[int, int], positions: Positions) -> float:
        """Seconds a position, of as many whole batches as there are in the ``positions``; images are made as well."""
        size = self.way.batch
        parts = [positions[first : first + size] for first in range(0, len(positions) - size + 1, size)]
        left = iter(parts)
        return _clock(self._workers, lambda: occlude(self._image, fill, patch, next(left)), len(parts), size)


class _Worker:
    """A thread with a runtime of its own, prepared for images like the ``example``; ``logits`` are the example's."""

    def __init__(self, runtime: Runtime, module: nn.Module, example: Tensor, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(1)  # torch's number of threads is a thread's own, and so are compiled variants
        self._run, self.logits = self.call(self._prepare, runtime, module, example).result()

    def _prepare(self, runtime: Runtime, module: nn.Module, example: Tensor) -> tuple[Run, Tensor]:
        run = runtime.load(module, example, self._threads)
        # Copies, as they are made in inference mode like the images to come: torch compiles for either kind of tensor.
        return run, [run(example.clone()) for _ in range(2)][-1]

    def call(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Begin a task in the thread."""

        def work() -> Any:
            with computing(self._threads):
                return task(*arguments)

        return self._pool.submit(work)

    def drain(self, todo: queue.SimpleQueue[Callable[[], Tensor]]) -> None:
        """Take images off the queue until there are none."""
        while True:
            try:
                images = todo.get_nowait()
            except queue.Empty:
                return
            self._run(images())


def _clock(workers: list[_Worker], images: Callable[[], Tensor], batches: int, size: int) -> float:
    """Seconds an image of so many batches of a size, which the workers take one after another."""
    todo: queue.SimpleQueue[Callable[[], Tensor]] = queue.SimpleQueue()
    for _ in range(batches):
        todo.put(images)
    with retained():
        start = time.perf_counter()
        for done in [worker.call(worker.drain, todo) for worker in workers]:
            done.result()
        return (time.perf_counter() - start) / (batches * size)
