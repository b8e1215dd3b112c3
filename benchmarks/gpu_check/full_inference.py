"""Full inference on a GPU as a careful user would write it, at the same precision as kdb.

Batch-norms are folded and occluded images are made on the device.  The fastest of two memory layouts and several batch
sizes is used, replayed from a CUDA graph if that is faster still.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.baselines import LAYOUTS, fold_batch_norms
from kdb.kernels.gpu.rounding import rounding

BATCHES = (128, 256, 512)
PRECISIONS = ("fp32", "tf32", "bf16")
TRIED = 1024
"""Most positions that a candidate is timed on."""


@contextmanager
def permitted(precision: str) -> Iterator[None]:
    """Let torch round to tf32 only at that precision, and let cuDNN choose algorithms by timing them for each shape."""
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, True
    try:
        with rounding(precision == "tf32"):
            yield
    finally:
        cudnn.benchmark = before


class Prepared:
    """A copy of a module on a device, at a precision and with batch-norms folded."""

    def __init__(self, module: nn.Module, precision: str, device: str) -> None:
        folded, _ = fold_batch_norms(copy.deepcopy(module).eval())
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.module, self.precision, self.device = folded.to(device, self.dtype), precision, torch.device(device)


class FullInference:
    """Full inference in batches of ``batch`` in a memory layout; with ``graph``, replayed from a CUDA graph."""

    def __init__(self, of: Prepared, batch: int, layout: torch.memory_format, graph: bool = False) -> None:
        self.of, self.batch, self.layout, self.graph = of, batch, layout, graph
        self._captured: torch.cuda.CUDAGraph | None = None
        self._images: Tensor | None = None
        self._logits: Tensor | None = None

    def __str__(self) -> str:
        layout = "channels last" if self.layout is torch.channels_last else "NCHW"
        return f"{self.batch}, {layout}{', graph' if self.graph else ''}"

    def __call__(
        self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Logits float32 [n, K] of ``image`` [C, H, W] with a patch (h, w) of colour ``fill`` [C] at each position.

        They are on the host, so that all work is done.
        """
        device, rows = self.of.device, []
        self.of.module.to(memory_format=self.layout)  # type: ignore[call-overload]
        image, fill = image.to(device), fill.to(device)
        corners = torch.from_numpy(positions).to(device)
        y = torch.arange(image.shape[1], device=device)[None, :, None]
        x = torch.arange(image.shape[2], device=device)[None, None, :]
        with permitted(self.of.precision), torch.inference_mode():
            for start in range(0, len(corners), self.batch):
                part = corners[start : start + self.batch]
                top, left = part[:, 0, None, None], part[:, 1, None, None]
                hidden = (y >= top) & (y < top + patch[0]) & (x >= left) & (x < left + patch[1])
                images = torch.where(hidden[:, None], fill[:, None, None], image).to(self.of.dtype)
                rows.append(self._infer(images.contiguous(memory_format=self.layout)))
            logits: NDArray[np.float32] = torch.cat(rows).float().cpu().numpy()
        return logits

    def seconds(
        self, image: Tensor, fill: Tensor, patch: tuple[int, int], positions: NDArray[np.int64]
    ) -> float:  # fmt: skip
        """Seconds of a call, until the logits are on the host."""
        start = time.perf_counter()
        self(image, fill, patch, positions)
        return time.perf_counter() - start

    def _infer(self, images: Tensor) -> Tensor:
        if not self.graph or len(images) < self.batch:
            return _tensor(self.of.module(images))
        if self._captured is None:
            self._capture(images)
        assert self._images is not None and self._logits is not None and self._captured is not None
        self._images.copy_(images)
        self._captured.replay()
        return self._logits.clone()

    def _capture(self, images: Tensor) -> None:
        self._images = images.clone(memory_format=self.layout)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.of.module(self._images)
        torch.cuda.current_stream().wait_stream(stream)
        self._captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._captured):
            self._logits = _tensor(self.of.module(self._images))


def _tensor(output: object) -> Tensor:
    assert isinstance(output, Tensor)
    return output


def best(
    of: Prepared,
    image: Tensor,
    fill: Tensor,
    patch: tuple[int, int],
    positions: NDArray[np.int64],
    batches: Sequence[int] = BATCHES,
) -> FullInference:
    """The fastest full inference that fits into memory, by the better of two runs after a warm-up.

    Candidates are all layouts with all ``batches`` up to the number of positions; then, on a GPU, a CUDA graph of the
    fastest of them.
    """
    sizes = [size for size in batches if size < len(positions)] or [len(positions)]
    chosen, least = None, float("inf")

    def measure(candidate: FullInference) -> None:
        nonlocal chosen, least
        some = positions[: candidate.batch * max(1, min(len(positions), TRIED) // candidate.batch)]
        try:
            candidate(image, fill, patch, some)
            seconds = min(candidate.seconds(image, fill, patch, some) for _ in range(2)) / len(some)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            return
        if seconds < least:
            chosen, least = candidate, seconds

    for layout in LAYOUTS:
        for size in sizes:
            measure(FullInference(of, size, layout))
    assert chosen is not None, "no batch size fits into memory"
    if of.device.type == "cuda":
        measure(FullInference(of, chosen.batch, chosen.layout, graph=True))
    return chosen
