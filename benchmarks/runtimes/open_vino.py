"""OpenVINO on its CPU plugin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.runtimes.base import Run
from benchmarks.runtimes.exported import exported


class OpenVino:
    """A compiled model in float32: by itself the plugin takes bf16 where the processor has AMX."""

    name = "OpenVINO"
    packages: tuple[str, ...] = ("openvino", "onnx", "onnxscript")

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        """One stream of its own, not bound to any core, since several may run side by side."""
        import openvino

        core = openvino.Core()
        model = core.read_model(exported(module, tuple(example.shape[1:])))
        model.reshape(list(example.shape))
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        request = core.compile_model(model, "CPU", options).create_infer_request()
        return lambda images: torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0])


OPEN_VINO = OpenVino()
