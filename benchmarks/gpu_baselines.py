"""Full inference on a GPU as a careful user would write it, at the precision that kdb is given.

Batch-norm folded, channels last, occluded images made on the device, the fastest of several batch sizes, launches
replayed from a CUDA graph where that is faster.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.baselines import fold_batch_norms

BATCHES = (32, 64, 128, 256, 512)
PRECISIONS = ("fp32", "tf32", "bf16")


@contextmanager
def permitted(precision: str) -> Iterator[None]:
    """torch rounds convolutions and products to tf32 where that is asked for, and nowhere else."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = matmul.allow_tf32 = precision == "tf32"
    cudnn.benchmark = True
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


class GpuNaive:
    """Full inference in batches of ``batch``; as a CUDA graph where ``graph``.  The module is copied."""

    def __init__(self, module: nn.Module, precision: str, batch: int, graph: bool, device: str = "cuda") -> None:
        folded, _ = fold_batch_norms(copy.deepcopy(module).eval())
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        laid: nn.Module = folded.to(device, self.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module, self.precision, self.batch, self.graph = laid, precision, batch, graph
        self.device = torch.device(device)
        self._captured: torch.cuda.CUDAGraph | None = None
        self._images: Tensor | None = None
        self._logits: Tensor | None = None

    def __call__(
        self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Logits [n, K] of ``image`` [C, H, W] with ``fill`` [C] laid on; on the host, so that the work is done."""
        image, fill = image.to(self.device), fill.to(self.device)
        corners, rows = torch.from_numpy(positions).to(self.device), []
        y = torch.arange(image.shape[1], device=self.device)[None, :, None]
        x = torch.arange(image.shape[2], device=self.device)[None, None, :]
        with permitted(self.precision), torch.inference_mode():
            for start in range(0, len(corners), self.batch):
                part = corners[start : start + self.batch]
                top, left = part[:, 0, None, None], part[:, 1, None, None]
                hidden = (y >= top) & (y < top + patch[0]) & (x >= left) & (x < left + patch[1])
                images = torch.where(hidden[:, None], fill[:, None, None], image).to(self.dtype)
                rows.append(self._infer(images.contiguous(memory_format=torch.channels_last)))
            logits: NDArray[np.float32] = torch.cat(rows).float().cpu().numpy()
        return logits

    def _infer(self, images: Tensor) -> Tensor:
        if not self.graph or len(images) < self.batch:
            return _tensor(self.module(images))
        if self._captured is None:
            self._capture(images)
        assert self._images is not None and self._logits is not None and self._captured is not None
        self._images.copy_(images)
        self._captured.replay()
        return self._logits.clone()

    def _capture(self, images: Tensor) -> None:
        self._images = images.clone(memory_format=torch.channels_last)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.module(self._images)
        torch.cuda.current_stream().wait_stream(stream)
        self._captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._captured):
            self._logits = _tensor(self.module(self._images))


def _tensor(output: object) -> Tensor:
    assert isinstance(output, Tensor)
    return output


def best(
    module: nn.Module,
    precision: str,
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, int],
    positions: NDArray[np.int64],
    batches: Sequence[int] = BATCHES,
    device: str = "cuda",
) -> GpuNaive:
    """The fastest way on so many positions, of those that fit into memory: the better of two runs after a warm-up."""
    sizes = [size for size in batches if size < len(positions)] or [len(positions)]
    sizes += [len(positions)] if len(positions) <= max(batches) and len(positions) not in sizes else []
    chosen, least = None, float("inf")
    for size, graph in itertools.product(sizes, (False, True) if device == "cuda" else (False,)):
        some = positions[: size * max(1, min(len(positions), 1024) // size)]
        candidate = GpuNaive(module, precision, size, graph, device)
        try:
            candidate(image, fill, patch, some)
            seconds = min(timed(candidate, image, fill, patch, some) for _ in range(2)) / len(some)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        if seconds < least:
            chosen, least = candidate, seconds
    assert chosen is not None, "some batch fits"
    return chosen


def timed(
    candidate: GpuNaive, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]
) -> float:
    """Seconds until the logits are on the host."""
    start = time.perf_counter()
    candidate(image, fill, patch, positions)
    return time.perf_counter() - start
