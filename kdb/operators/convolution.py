"""Convolution: linear and local, so its delta rule is itself without bias, on the delta with zeros around it.

Its physical operators are the backend's convolution kernels: those that convolve the delta, and the paper's
Algorithm 1, which convolves its context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kdb.geometry import Boxes, Footprint, Margins, Part, Size, Window, spelled
from kdb.kernels.base import NO_MARGINS, Array, Backend, ConvolutionSpec, Parameters, Sliding
from kdb.kernels.kernel import ConvolutionKernel, ConvolutionShape, Extents, Kernel
from kdb.kernels.work import Work
from kdb.operators.base import Operator, Reads, Shape, Update


@dataclass(frozen=True, slots=True)
class Convolution(Operator):
    """``y = W * x + b`` with ``weight`` [out, in / groups, *kernel]."""

    label: ClassVar[str] = "convolution"
    windowed: ClassVar[bool] = True
    divisible: ClassVar[bool] = True
    takes_epilogue: ClassVar[bool] = True

    weight: str
    bias: str | None
    out_channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: Margins = NO_MARGINS
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        sliding = Sliding(self.kernel, self.stride, self.dilation)
        object.__setattr__(self, "stride", sliding.stride)
        object.__setattr__(self, "dilation", sliding.dilation)
        object.__setattr__(self, "padding", sliding.around(self.padding))

    def weights_fields(self) -> tuple[str, ...]:
        """Weight and bias."""
        return ("weight", "bias")

    @property
    def sliding(self) -> Sliding:
        """The kernel as the backend takes it."""
        return Sliding(self.kernel, self.stride, self.dilation)

    def spec(self, parameters: Parameters) -> ConvolutionSpec:
        """The convolution with its weights, as kernels take it."""
        bias = None if self.bias is None else parameters[self.bias]
        return ConvolutionSpec(parameters[self.weight], bias, self.sliding, self.groups, self.padding)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Equation 9, per axis; ValueError where the kernel has another number of axes than the map."""
        if len(self.kernel) != len(inputs[0].size):
            raise ValueError(f"a kernel of {spelled(self.kernel)} on a map of {spelled(inputs[0].size)} cells")
        return Shape(self.out_channels, tuple(map(Window.output_length, self._windows, inputs[0].size)))

    @property
    def _windows(self) -> tuple[Window, ...]:
        return self.sliding.windows(self.padding)

    def project(self, inputs: Sequence[Footprint | None], shapes: Sequence[Shape], shape: Shape) -> Footprint | None:
        """Every output whose window reads a change."""
        return None if inputs[0] is None else inputs[0].behind(self._windows, shape.size)

    def requires(self, part: Part, shapes: Sequence[Shape], shape: Shape) -> tuple[Part, ...] | None:
        """What the windows read."""
        read = part.read_in(self._windows).inside(shapes[0].size)
        return None if read is None else (read,)

    def cropped(self, part: Part, given: Sequence[Part], shapes: Sequence[Shape]) -> Operator:
        """With as much padding as the part's windows read."""
        return replace(self, padding=part.read_in(self._windows).margins(given[0]))

    def enclosed(self, inputs: Sequence[Footprint | None]) -> Footprint | None:
        """Every output whose window lies in the input's footprint."""
        return None if inputs[0] is None else inputs[0].enclosed(self._windows)

    def constant(self, k: Backend, parameters: Parameters, value: Array) -> Array:
        """One window of ``value``, unpadded."""
        reach = tuple(window.reach for window in self._windows)
        window = k.maps.expand(value, reach, value.shape[-1])
        unpadded = replace(self, padding=NO_MARGINS)
        return unpadded.evaluate(k, parameters, [window], self.evaluation_kernels(k)[0], False)

    def kernels(self, k: Backend) -> tuple[ConvolutionKernel, ...]:
        """The backend's for deltas, Algorithm 1 among them."""
        return k.kernels.convolution_deltas(self.sliding, self.groups)

    def suited(self, kernel: Kernel, shapes: Sequence[Shape], extents: Extents) -> Kernel:
        """As the kernel has it."""
        return _own(kernel).suited(self._shape(shapes[0].channels), extents)

    def frames(self, kernel: Kernel, boxes: Boxes) -> Boxes | None:
        """The read-in context, where the kernel derives it."""
        return boxes.read_in(self._windows) if _own(kernel).derives_frames else None

    def evaluation_kernels(self, k: Backend) -> tuple[ConvolutionKernel, ...]:
        """The backend's for whole maps."""
        return k.kernels.convolution(self.sliding, self.groups)

    def reads(self, kernel: Kernel, changed: Sequence[bool]) -> Reads:
        """Only Algorithm 1 reads views: the context from its input's, and its own to subtract."""
        reads = _own(kernel).reads_views
        return Reads((reads,), reads)

    def evaluate(
        self, k: Backend, parameters: Parameters, inputs: Sequence[Array], kernel: Kernel, donate: bool
    ) -> Array:
        """Convolution with bias over the padded map."""
        return _own(kernel).evaluate(k, inputs[0], self.spec(parameters))

    def delta(self, k: Backend, parameters: Parameters, update: Update) -> Array:
        """``W * d``, or Algorithm 1."""
        (d,) = update.inputs
        assert d is not None
        (view,) = update.input_views
        spec = self.spec(parameters)
        return _own(update.kernel).delta(k, spec, d, update.boxes, view, update.view, update.epilogue)

    def macs(self, shapes: Sequence[Shape], shape: Shape, cells: int) -> int:
        """Equation 10: C_in / g times the number of taps, for each output."""
        return shapes[0].channels // self.groups * self.sliding.taps * shape.channels * cells

    def _shape(self, channels: int) -> ConvolutionShape:
        """The convolution without its weights, given the input's ``channels``."""
        return ConvolutionShape(channels, self.out_channels, self.sliding, self.groups, self.padding)

    def delta_work(
        self, kernel: Kernel, shapes: Sequence[Shape], extents: Sequence[Size | None], shape: Shape, extent: Size
    ) -> Work:
        """The kernel's, where the input's delta is ``extents[0]``, or as large as the output's if that is unknown."""
        return _own(kernel).work(self._shape(shapes[0].channels), extents[0] or extent, extent)

    def full_work(self, kernel: Kernel, shapes: Sequence[Shape], shape: Shape) -> Work:
        """The kernel's over the whole map."""
        return _own(kernel).work(self._shape(shapes[0].channels), shapes[0].size, shape.size)


def _own(kernel: Kernel) -> ConvolutionKernel:
    """A kernel, which is one for convolutions, as that."""
    assert isinstance(kernel, ConvolutionKernel), "convolutions have kernels of their own"
    return kernel
