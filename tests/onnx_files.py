"""Small ONNX models, built node by node, and what ONNX Runtime makes of them: the oracle of their tests."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(4)

Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Shape = ("n", 3, 12, 12),
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    result: Shape | None = None,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from 'x', of ``shape``, to 'y'."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, result)],
        [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """A node; '-' stands for an input that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"{op}_{output.split()[0]}", **attributes)


def saved(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def by_runtime(path: Path, images: np.ndarray, one_by_one: bool = False) -> np.ndarray:
    """The first output of ONNX Runtime, for all images at once or each by itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = np.split(images, len(images)) if one_by_one else [images]
    return np.concatenate([session.run(None, {name: np.ascontiguousarray(batch)})[0] for batch in batches])


def exported(module: torch.nn.Module, shape: tuple[int, int, int], path: Path, fixed: bool = False) -> Path:
    """A module as PyTorch's older exporter writes it, which needs nothing but PyTorch."""
    axes = None if fixed else {"x": {0: "n"}, "y": {0: "n"}}
    log = logging.getLogger("torch.onnx")
    was, log.disabled = log.disabled, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.rand(1, *shape)
        torch.onnx.export(
            module.eval(), (images,), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes
        )
    log.disabled = was
    return path


def keras_like(rng: np.random.Generator, side: int = 33) -> onnx.ModelProto:
    """What tf2onnx makes of a small Keras network: channels last outside, transposed to and fro, padding SAME."""

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "w1": normal(8, 3, 3, 3),
        "scale": np.abs(normal(8)) + 0.5,
        "shift": normal(8),
        "mean": normal(8),
        "variance": np.abs(normal(8)) + 0.5,
        "w2": normal(16, 8, 3, 3),
        "slope": np.abs(normal(1, 1, 16)),
        "axes": np.array([1, 2]),
        "dense": normal(16, 10),
        "bias": normal(10),
    }
    nodes = [
        node("Transpose", "x", "x1", perm=[0, 3, 1, 2]),
        node("Conv", "x1 w1", "c1", auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]),
        node("BatchNormalization", "c1 scale shift mean variance", "b1", epsilon=0.001),
        node("Relu", "b1", "r1"),
        node("MaxPool", "r1", "m1", auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]),
        node("Conv", "m1 w2", "c2", pads=[0, 0, 1, 1], kernel_shape=[3, 3]),
        node("Transpose", "c2", "t2", perm=[0, 2, 3, 1]),
        node("PRelu", "t2 slope", "p2"),
        node("ReduceMean", "p2 axes", "g", keepdims=1),
        node("Squeeze", "g axes", "s"),
        node("MatMul", "s dense", "d"),
        node("Add", "d bias", "logits"),
        node("Softmax", "logits", "y"),
    ]
    return model(nodes, ("n", side, side, 3), weights, opset=18)


def close(made: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal up to ``tolerance`` of the largest value."""
    assert made.shape == wanted.shape
    assert np.abs(made - wanted).max(initial=0) <= tolerance * np.abs(wanted).max(initial=1e-3)


def outputs(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


HEAD = {
    "w": np.random.default_rng(0).normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32),
    "dense": np.random.default_rng(1).normal(0, 0.2, (8, 5)).astype(np.float32),
    "flat": np.array([1, -1]),
    "exact": np.array([1, 8]),
    "two": np.array([2, 4]),
    "batch": np.array([1]),
    "first": np.array(0),
    "zero": np.array([0]),
    "groups": np.array([1, 2, 4, 10, 10]),
    "joined": np.array([1, 8, 10, 10]),
    "token": np.random.default_rng(2).normal(size=(1, 8, 1)).astype(np.float32),
    "vectors": np.array([1, 8, 100]),
}


def classifier(*last: onnx.NodeProto, shape: Sequence[Any] = ("n", 3, 12, 12), opset: int = 17) -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "f")]
    return model([*nodes, node("MatMul", "f dense", "d"), *last], shape, HEAD, opset)
