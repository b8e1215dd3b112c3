"""A device for tests: the kernels compiled by g++ and run on the host, over numpy arrays; and one that runs nothing."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdb.kernels.gpu.device import Device, Dim
from kdb.kernels.gpu.source import INSTANCES, Types, kernels, options, text
from kdb.system import cache

HEADER = Path(__file__).with_name("emulation.h")
FLAGS = ("-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-ffp-contract=off")


def compiler() -> str | None:
    """g++, where there is one."""
    return shutil.which("g++")


@functools.cache
def library(file: str) -> ctypes.CDLL:
    """All instances of a source's kernels, compiled once for all processes of a test run."""
    own = [kernel for kernel in kernels().values() if kernel.file == file]
    entries = [
        f'extern "C" void {symbol(kernel.name, types)}(const int* grid, int block, void** arguments) {{\n'
        f"    launch([](void** a) {{ call({kernel.expression(types)}, a); }}, grid, block, arguments);\n}}"
        for kernel in own
        for types in INSTANCES[kernel.name]
    ]
    memory = "Fragments fragments[64];\n" if "Fragments" in text(file) else ""
    source = f'#include "{HEADER}"\n{text(file)}\n{memory}' + "\n".join(entries)
    flags = (*FLAGS, *(option for option in options() if option.startswith("-D")))
    digest = hashlib.sha256("".join((HEADER.read_text(), source, *flags)).encode()).hexdigest()[:16]
    path = cache.folder() / f"emulated-{digest}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        command = [compiler() or "g++", *flags, "-x", "c++", "-", "-o", str(beside)]
        done = subprocess.run(command, input=source, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr[:4000]
        beside.replace(path)
    return ctypes.CDLL(str(path))


def symbol(name: str, types: Types) -> str:
    """The C name of an instance."""
    return "_".join((name, *types))


class _HostDevice(Device):
    """Memory of the host; numbers that were not written are NaN."""

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array = np.empty(tuple(shape), dtype)
        array.view(np.uint8).fill(0xFF)
        return array

    def upload(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.array(array, order="C")

    def download(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array.copy()

    def fetch(self, array: npt.NDArray[Any]) -> Callable[[], npt.NDArray[Any]]:
        return lambda: self.download(array)

    def tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else array)
        return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor

    def array(self, tensor: torch.Tensor) -> npt.NDArray[Any]:
        tensor = tensor.contiguous()
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(np.uint16)
        return tensor.numpy()

    def synchronize(self) -> None:
        pass

    def limit_memory(self, limit: int | None) -> None:
        self.limit = limit


class EmulatedDevice(_HostDevice):
    """Runs every launch; ``torch`` lets torch's convolution on the host stand for that on the device."""

    def __init__(self, has_torch: bool = False) -> None:
        super().__init__()
        self.name, self.title = "emulated", "g++"
        self._has_torch = has_torch

    @property
    def has_torch(self) -> bool:
        return self._has_torch

    def _launch(self, name: str, types: Types, grid: Dim, block: int, arguments: Sequence[Any]) -> None:
        values = [np.intp(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments]
        held = [np.array(value) for value in values]
        pointers = (ctypes.c_void_p * len(held))(*(each.ctypes.data for each in held))
        function = getattr(library(kernels()[name].file), symbol(name, types))
        function((ctypes.c_int * 3)(*grid), ctypes.c_int(block), pointers)


class NullDevice(_HostDevice):
    """Runs no kernel: what it counts are launches, and the bytes of what was allocated.  All numbers are zero."""

    def __init__(self, has_torch: bool = False) -> None:
        super().__init__()
        self.name, self.title, self.allocated, self._has_torch = "null", "nothing", 0, has_torch

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array = np.zeros(tuple(shape), dtype)
        self.allocated += array.nbytes
        return array

    @property
    def has_torch(self) -> bool:
        return self._has_torch

    def _launch(self, name: str, types: Types, grid: Dim, block: int, arguments: Sequence[Any]) -> None:
        pass
