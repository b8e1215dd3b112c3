"""The implicit matrix product of ``convolution.cu``, and its kernel for depthwise convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdb.geometry import Boxes, Window
from kdb.kernels.base import Array, ConvolutionSpec, Delta, Epilogue, FloatArray, Program
from kdb.kernels.gpu.convolution import GpuConvolution
from kdb.kernels.gpu.data_sheet import PEAKS
from kdb.kernels.gpu.launcher import MATHS, NO_PROGRAM, Encoding, Launcher, bits, packs_of, window_of
from kdb.kernels.gpu.programs import encode

if TYPE_CHECKING:
    from kdb.kernels.gpu.backend import GpuBackend


ROWS, COLUMNS = 128, 64
"""The size of the product that one block of ``convolution.cu`` computes."""


def product(
    launcher: Launcher,
    delta: Delta,
    boxes: Boxes,
    spec: ConvolutionSpec,
    precision: str,
    epilogue: Epilogue | None = None,
) -> Array:
    """The convolution of ``delta`` over ``boxes`` with bias and epilogue, in one launch: [n, h, w, out]."""
    weight, bias, groups = spec.weight, spec.bias, spec.groups
    stored, math = MATHS[precision]
    outer, inner, *_ = weight.array.shape
    outer //= groups
    out = launcher.empty(len(boxes), boxes.extent, groups * outer, stored)
    n, height, width, channels = out.shape
    encoding: Encoding | None = NO_PROGRAM
    if epilogue is not None:
        encoding = launcher.encoding(epilogue.program, 1, epilogue.parameters, channels)
    assert encoding is not None, "only what fuses is given"
    common = dict(
        out=out, height=height, width=width, boxes=launcher.origins(boxes),
        values=delta.values, at=launcher.origins(delta.boxes),
        box_height=delta.boxes.extent[0], box_width=delta.boxes.extent[1],
        bias=None if bias is None else launcher.layout(bias, "bias", lambda b: b),
        **window_of(spec.sliding, spec.padding),
        view=None if epilogue is None else epilogue.view, result=None if epilogue is None else epilogue.result,
        map_width=0 if epilogue is None else epilogue.view.shape[1], **encoding,
    )  # fmt: skip
    if inner == 1 and groups > 1:
        v = packs_of(channels) if outer == 1 else "1"
        weights = launcher.layout(weight, "depthwise", lambda w: w.reshape(len(w), -1).T)
        types = (stored, v)
        launcher.device.launch(
            "depthwise", types, launcher.grid(out, v), channels=channels, multiplier=outer, weights=weights, **common
        )
        return out

    def rows(w: FloatArray) -> Any:
        by_output = w.transpose(0, 2, 3, 1)
        return bits(by_output) if stored == "bf16" else by_output

    grid = -(-n * height * width // ROWS), -(-outer // COLUMNS), groups
    launcher.device.launch(
        "convolve", (stored, math, packs_of(inner)), grid, rows=n * height * width, inner=inner, outer=outer,
        weights=launcher.layout(weight, f"rows/{stored}", rows), **common,
    )  # fmt: skip
    return out


class Gemm(GpuConvolution):
    """Convolution as a matrix product that never lays out its windows, fused with the epilogue if there is one."""

    share = 0.3
    slowdown = 0.5  # thin layers wait for memory, whatever multiplies

    def __init__(self, precision: str) -> None:
        super().__init__("gemm", precision)

    def fuses(self, backend: Any, program: Program) -> bool:
        """Where the program is one that the kernels' interpreter takes."""
        return encode(program) is not None

    def evaluate(self, backend: GpuBackend, x: Array, spec: ConvolutionSpec) -> Array:
        """The convolution of x [n, h, w, in]: [n, h', w', out]."""
        size = tuple(x.shape[1:-1])
        out = tuple(map(Window.output_length, spec.windows, size))
        whole = Delta(Boxes.whole(len(x), size), x)
        return product(backend.launcher, whole, Boxes.whole(len(x), out), spec, self.precision)

    def delta(
        self,
        backend: GpuBackend,
        spec: ConvolutionSpec,
        delta: Delta,
        boxes: Boxes,
        view: Array | None = None,
        result: Array | None = None,
        epilogue: Epilogue | None = None,
    ) -> Array:
        """``W * d`` over the boxes, and the epilogue of that."""
        return product(backend.launcher, delta, boxes, spec.linear(spec.padding), self.precision, epilogue)


GEMM = tuple(map(Gemm, PEAKS))
"""In fp32, tf32 and bf16."""
