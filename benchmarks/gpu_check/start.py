"""First checks: versions, the kernels' compilation and registers, and one convolution at each precision."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch

from benchmarks.gpu_check.backends import backends
from benchmarks.gpu_check.check import Check, Rows
from kdb.geometry import Boxes
from kdb.kernels.base import Backend, ConvolutionSpec, Delta, Sliding, Weight
from kdb.kernels.cpu.backend import CpuBackend
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.gpu import device as gpu
from kdb.kernels.gpu.device import CupyDevice
from kdb.kernels.gpu.source import INSTANCES, kernels


def start(check: Check, rows: Rows, network: str) -> None:
    """Report versions, registers and one convolution at each precision; ``network`` is not used."""
    _versions(check, rows)
    if check.device == "cuda":
        _registers(rows)
    for label, backend in backends(check):
        _convolution(rows, label, backend)


def _versions(check: Check, rows: Rows) -> None:
    for name in ("torch", "torchvision", "numpy", "cupy-cuda13x", "cupy-cuda12x", "lark", "kdb"):
        try:
            rows("Versions", what=name, version=version(name))
        except PackageNotFoundError:
            continue
    rows("Versions", what="Python", version=platform.python_version())
    if check.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        rows("Versions", what="device", version=properties.name)
        rows("Versions", what="compute capability", version=f"{properties.major}.{properties.minor}")
        rows("Versions", what="memory GiB", version=f"{properties.total_memory / 2**30:.0f}")
        rows("Versions", what="CUDA of torch", version=str(torch.version.cuda))
        cudnn = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        rows("Versions", what="cuDNN", version=cudnn)


def _registers(rows: Rows) -> None:
    """Compile every kernel instance and report its registers; the first one of a source compiles the whole source."""
    device = gpu.opened()
    assert isinstance(device, CupyDevice)
    for name, instances in INSTANCES.items():
        for types in instances:
            begun = time.perf_counter()
            found = device.compiled(name, types)
            seconds = time.perf_counter() - begun
            rows("Kernels", kernel=kernels()[name].expression(types), **found, compile_s=seconds)


def _convolution(rows: Rows, label: str, backend: Backend) -> None:
    """Run a 3 x 3 convolution of 128 channels on deltas of 16 x 16, and compare it with numpy in fp32."""
    rng, n, channels, extent = np.random.default_rng(0), 64, 128, (16, 16)
    weight = Weight((rng.standard_normal((channels, channels, 3, 3)) / 34).astype(np.float32))
    values = rng.standard_normal((n, *extent, channels)).astype(np.float32)
    spec = ConvolutionSpec(weight, None, Sliding((3, 3)), 1, (1, 1, 1, 1))
    at = Boxes(rng.integers(0, 9, (n, 2)), extent)
    out = Boxes(np.maximum(at.origins - 1, 0), (18, 18))
    expected = TAPS.delta(CpuBackend(native=True), spec, Delta(at, values), out)
    competing = [kernel for kernel in backend.kernels.convolution_deltas(spec.sliding, 1) if kernel.timed]
    kernel = competing[-1 if label.endswith("bf16, all") else 0]
    with backend.running(), torch.inference_mode():
        delta = Delta(at, backend.memory.upload_delta(values))
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            found = kernel.delta(backend, spec, delta, out)
            backend.synchronize()
            seconds.append(time.perf_counter() - begun)
        error = float(np.abs(backend.memory.download(found) - expected).max() / np.abs(expected).max())
    flops = 2 * n * 18 * 18 * 9 * channels**2
    rows(
        "One convolution", backend=label, kernel=kernel.name, error=error, first_ms=seconds[0] * 1e3,
        then_ms=min(seconds[1:]) * 1e3, TFLOP_per_s=flops / min(seconds[1:]) / 1e12,
    )  # fmt: skip
