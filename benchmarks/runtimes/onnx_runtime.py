"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.runtimes.base import Run
from benchmarks.runtimes.exported import BATCH_AXIS, exported


class OnnxRuntime:
    """A session with all of its graph's optimizations, for one batch size."""

    name = "ONNX Runtime"
    packages: tuple[str, ...] = ("onnxruntime", "onnx", "onnxscript")

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        """A session of its own."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.force_spinning_stop", "1")  # or they disturb whoever comes next
        options.add_free_dimension_override_by_name(BATCH_AXIS, len(example))
        file = exported(module, tuple(example.shape[1:]))
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda images: torch.from_numpy(session.run(None, {given.name: images.numpy()})[0])


ONNX_RUNTIME = OnnxRuntime()
