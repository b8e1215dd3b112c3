"""Launches and memory of a device; every launch checks its arguments against the kernel's declaration.

A device also owns memory.  Its arrays are of a library like numpy: CuPy's on a GPU.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, cached_property, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.dlpack

from kdb.errors import DeviceError
from kdb.kernels.base import Array
from kdb.kernels.gpu import rounding
from kdb.kernels.gpu.source import INSTANCES, Types, expressions, kernels, options, text
from kdb.system.threads import Worker

THREADS = 256
"""Threads of a block, unless the kernel says otherwise."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "bf16": np.dtype(np.uint16),
    "int": np.dtype(np.int32),
}
"""The dtype of an array by the type that a kernel's pointer points to; arrays hold bf16 as its bits."""

Dim = tuple[int, int, int]

INT_MAX = 2**31 - 1
MOST_BLOCKS: Dim = (INT_MAX, 65535, 65535)
"""The largest grid along x, y and z, the same for every CUDA device."""
MOST_POSITIONS = MOST_BLOCKS[1]
"""The largest batch, since kernels have a row of blocks for each position."""


class Device(ABC):
    """A device's memory and launches; ``launches`` counts the launches by kernel."""

    name: str
    title: str
    """The product's name, such as "NVIDIA H100"."""

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        """An array that is still to be written to."""

    @abstractmethod
    def upload(self, array: npt.NDArray[Any]) -> Array:
        """A C-contiguous copy, in the device's memory, of an array of the host."""

    @abstractmethod
    def download(self, array: Array) -> npt.NDArray[Any]:
        """A copy, in the host's memory, of an array of the device; waits until it is computed."""

    @abstractmethod
    def fetch(self, array: Array) -> Callable[[], npt.NDArray[Any]]:
        """Begin a download; the function that is returned waits for this array alone, whatever was launched since."""

    @abstractmethod
    def tensor(self, array: Array) -> torch.Tensor:
        """A torch tensor over the memory of an array; uint16 is taken for bf16."""

    @abstractmethod
    def array(self, tensor: torch.Tensor) -> Array:
        """An array over the memory of a torch tensor, C-contiguous; bf16 becomes uint16."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that was launched."""

    @property
    @abstractmethod
    def has_torch(self) -> bool:
        """Whether torch computes on this device."""

    @cached_property
    def threads(self) -> Worker:
        """The one thread that works on this device, since libraries such as cuDNN keep what they plan by thread."""
        return Worker(f"kdb-{self.name}", self.ordered)

    def ordered(self) -> AbstractContextManager[None]:
        """Entered by the thread that asks for work, which comes after its earlier launches, before its later ones."""
        return nullcontext()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Entered around launches in their thread; torch's permission to round to tf32 is restored afterwards."""
        with rounding.products_kept():
            yield

    @abstractmethod
    def limit_memory(self, limit: int | None) -> None:
        """Use at most ``limit`` bytes of the device's memory; None for all there is."""

    def launch(self, name: str, types: Types, grid: Dim, block: int = THREADS, **arguments: Any) -> None:
        """One launch of an instance on ``grid`` blocks of ``block`` threads.

        ``arguments`` are by the names of the declaration: arrays of its types, C-contiguous, None for a null pointer;
        numbers are cast.  Raises DeviceError for whatever does not fit it, or a grid that CUDA does not take, before
        anything is launched.
        """
        checks = _checks(name, types)
        if arguments.keys() != checks.keys():
            odd = ", ".join(sorted(arguments.keys() ^ checks.keys()))
            raise DeviceError(f"{name} takes other arguments: {odd}")
        if not all(grid):
            return
        for axis, count, most in zip("xyz", grid, MOST_BLOCKS, strict=True):
            if count > most:
                raise DeviceError(f"{name}: {count:,} blocks along {axis} are more than the {most:,} that a grid has")
        passed = [check(arguments[own]) for own, check in checks.items()]
        self.launches[name] += 1
        self._launch(name, types, grid, block, passed)

    @abstractmethod
    def _launch(self, name: str, types: Types, grid: Dim, block: int, arguments: Sequence[Any]) -> None:
        """Launch with checked arguments: arrays, np.intp(0) for null pointers, numpy scalars of the declared types."""


@cache
def _checks(name: str, types: Types) -> Mapping[str, Callable[[Any], Any]]:
    """For each parameter of an instance, in order, the function that checks and casts its value."""
    if types not in INSTANCES[name]:
        raise DeviceError(f"{kernels()[name].expression(types)} is not compiled")
    checks: dict[str, Callable[[Any], Any]] = {}
    for type_, own in kernels()[name].typed(types):
        if type_.endswith("*"):
            checks[own] = partial(_pointer, f"{name}: {own}", DTYPES[type_[:-1].strip()])
        elif type_ == "float":
            checks[own] = np.float32
        else:
            checks[own] = partial(_whole, f"{name}: {own}", np.int64 if type_ == "long long" else np.int32)
    return checks


def _pointer(what: str, wanted: np.dtype[Any], value: Any) -> Any:
    """The array if it has the declared type, a null pointer for None.  Raises DeviceError for anything else."""
    if value is None:
        return np.intp(0)
    if getattr(value, "dtype", None) != wanted or not value.flags.c_contiguous:
        found = f"{getattr(value, 'dtype', type(value).__name__)} {getattr(value, 'shape', '')}"
        raise DeviceError(f"{what} takes a C-contiguous array of {wanted}, not {found}")
    return value


def _whole(what: str, bits: type[np.signedinteger[Any]], value: Any) -> Any:
    """The number as an integer of the declared width.  Raises DeviceError where it does not fit."""
    try:
        return bits(int(value))
    except OverflowError:
        raise DeviceError(f"{what} = {value} is too large") from None


def blocks(threads: int) -> int:
    """The number of blocks of THREADS that have so many ``threads``."""
    return -(-threads // THREADS)


def spread(threads: int) -> int:
    """As :func:`blocks`, for kernels that number threads by an int.  Raises DeviceError where an int is too small."""
    if threads > INT_MAX - THREADS:
        raise DeviceError(f"{threads:,} numbers of one position are more than a kernel can count")
    return blocks(threads)


class CupyDevice(Device):
    """The current CUDA device, by CuPy.  Where torch runs on it too, both share its memory pool and its stream.

    Raises DeviceError where there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            import cupy
            import cupyx
        except ImportError as error:
            raise DeviceError("a GPU needs CuPy: pip install 'kdb-occlusion[gpu]'") from error
        self._cupy: Any = cupy
        runtime, driver = cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError
        torchs = getattr(torch, "AcceleratorError", None)  # from 2.8 on
        self._failures: tuple[type[Exception], ...] = (runtime, driver, *((torchs,) if torchs else ()))
        self._pinned: Any = cupyx.empty_pinned
        try:
            self._index = int(cupy.cuda.runtime.getDevice())
            properties = cupy.cuda.runtime.getDeviceProperties(self._index)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceError(
                f"no CUDA device can be used ({error}); without ON gpu the query runs on the CPU"
            ) from error
        self.title = properties["name"].decode()
        self.name = f"cuda:{self._index}"
        self._limit: int | None = None
        self._modules: dict[str, Any] = {}
        self._functions: dict[tuple[str, Types], Any] = {}
        self._pool: Any = self._torch_pool() if self.has_torch else cupy.cuda.MemoryPool()

    @property
    def has_torch(self) -> bool:
        """Whether this torch was built for CUDA and sees the device."""
        return bool(torch.cuda.is_available())

    def limit_memory(self, limit: int | None) -> None:
        """At most so many bytes of the device's memory, for torch and CuPy together; None: all there is."""
        if limit == self._limit:
            return
        self._limit = limit
        if self.has_torch:
            total = int(self._cupy.cuda.runtime.memGetInfo()[1])
            share = 1.0 if limit is None else min(limit / total, 1.0)
            torch.cuda.set_per_process_memory_fraction(share, self._index)
        else:
            self._pool.set_limit(size=limit or 0)  # 0 is none

    def _torch_pool(self) -> Any:
        """An allocator that takes CuPy's memory from torch's pool, so that neither hoards what the other lacks."""

        def malloc(size: int, device: int) -> int:
            return int(torch.cuda.caching_allocator_alloc(max(size, 1), device))

        # What is freed as the interpreter ends finds neither torch nor names: then the process gives all back at once.
        delete: Any = torch.cuda.caching_allocator_delete

        def free(pointer: int, device: int, ending: Callable[[], bool] = sys.is_finalizing) -> None:
            if not ending():
                delete(pointer)

        return self._cupy.cuda.PythonFunctionAllocator(malloc, free)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The pool, and the default stream for CuPy and torch alike, whatever stream was current for either.

        Raises DeviceError where CUDA fails.
        """
        cuda = self._cupy.cuda
        try:
            with ExitStack() as stack:
                stack.enter_context(super().running())
                stack.enter_context(cuda.Device(self._index))
                stack.enter_context(cuda.using_allocator(self._pool.malloc))
                stack.enter_context(self.ordered())
                stack.enter_context(cuda.Stream.null)
                if self.has_torch:
                    stack.enter_context(torch.cuda.stream(torch.cuda.default_stream(self._index)))
                yield
        except Exception as error:
            failure = next((e for e in (error, error.__cause__) if isinstance(e, self._failures)), None)
            if failure is None:
                raise
            beyond = "; it takes no more work from this process, which has to be started anew" if self._lost() else ""
            said = str(failure).partition("\n")[0]
            raise DeviceError(f"{self.title} failed: {said}{beyond}") from error

    def _lost(self) -> bool:
        """Whether every call fails from now on, as it does after an access to what is not there."""
        try:
            self._cupy.cuda.runtime.deviceSynchronize()
        except self._failures:
            return True
        return False

    @contextmanager
    def ordered(self) -> Iterator[None]:
        """The default stream waits for torch's current one, if that is another, and that in the end for it."""
        if not self.has_torch:
            yield
            return
        own, current = torch.cuda.default_stream(self._index), torch.cuda.current_stream(self._index)
        if own == current:
            yield
            return
        own.wait_stream(current)
        try:
            yield
        finally:
            current.wait_stream(own)

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
        """CuPy's."""
        return self._cupy.empty(tuple(shape), dtype)

    def upload(self, array: npt.NDArray[Any]) -> Array:
        """CuPy's."""
        return self._cupy.asarray(np.ascontiguousarray(array))

    def download(self, array: Array) -> npt.NDArray[Any]:
        """numpy's."""
        host: npt.NDArray[Any] = self._cupy.asnumpy(array)
        return host

    def fetch(self, array: Array) -> Callable[[], npt.NDArray[Any]]:
        """Into pinned memory, in the stream's order."""
        host = self._pinned(array.shape, array.dtype)
        array.get(out=host, blocking=False)
        copied = self._cupy.cuda.Event()
        copied.record()

        def wait(source: Array = array) -> npt.NDArray[Any]:  # which is to be kept until it is copied
            copied.synchronize()
            return np.array(host)

        return wait

    def tensor(self, array: Array) -> torch.Tensor:
        """By DLPack, without copying."""
        tensor = torch.utils.dlpack.from_dlpack(array.view(np.int16) if array.dtype == np.uint16 else array)
        return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor

    def array(self, tensor: torch.Tensor) -> Array:
        """By DLPack, without copying what is contiguous."""
        tensor = tensor.contiguous()
        if tensor.dtype == torch.bfloat16:
            return self._cupy.from_dlpack(tensor.view(torch.int16)).view(np.uint16)
        return self._cupy.from_dlpack(tensor)

    def synchronize(self) -> None:
        """The stream."""
        self._cupy.cuda.get_current_stream().synchronize()

    def _function(self, name: str, types: Types) -> Any:
        """An instance, compiled with all others of its source when the first of them is asked for; CuPy keeps them."""
        function = self._functions.get((name, types))
        if function is None:
            file = kernels()[name].file
            if file not in self._modules:
                self._modules[file] = self._cupy.RawModule(
                    code=text(file), options=options(), name_expressions=expressions(file)
                )
            function = self._modules[file].get_function(kernels()[name].expression(types))
            self._functions[name, types] = function
        return function

    def compiled(self, name: str, types: Types) -> dict[str, int]:
        """What the compiler made of an instance: registers a thread, bytes spilled to local memory, shared bytes."""
        function = self._function(name, types)
        return {
            "registers": int(function.num_regs),
            "local bytes": int(function.local_size_bytes),
            "shared bytes": int(function.shared_size_bytes),
        }

    def _launch(self, name: str, types: Types, grid: Dim, block: int, arguments: Sequence[Any]) -> None:
        self._function(name, types)(grid, (block, 1, 1), tuple(arguments))


@cache
def opened() -> Device:
    """The device of this process.  Raises DeviceError where there is none that can be used."""
    return CupyDevice()


def found() -> Device | None:
    """The device of this process, or None; CuPy is not imported to learn that it is not installed."""
    if not _installed():
        return None
    try:
        return opened()
    except DeviceError:
        return None


@cache
def _installed() -> bool:
    """Looked up once: it takes a quarter of a millisecond, and every query asks."""
    return find_spec("cupy") is not None
