"""Small random networks, and ones that are broken, for whoever needs many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.robustness.constructs import Apply, Construct
from kdb.frontends import torch_export


def network(draw: np.random.Generator, size: tuple[int, int]) -> nn.Module:
    """A random convolutional classifier of four classes, for RGB images of ``size``."""
    width = int(draw.integers(3, 9))
    parts: list[nn.Module] = []
    inner = 3
    for _ in range(int(draw.integers(1, 4))):
        kernel, stride = int(draw.choice([1, 3, 5])), int(draw.integers(1, 3))
        activation = [nn.ReLU, nn.SiLU, nn.GELU, nn.Hardswish][draw.integers(4)]
        parts += [nn.Conv2d(inner, width, kernel, stride, kernel // 2), nn.BatchNorm2d(width), activation()]
        others = [nn.Identity(), nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), _residual(width), _gated(width)]
        parts.append(others[draw.integers(len(others))])
        inner = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 4)]
    if draw.integers(2):
        head = [nn.Flatten(), nn.LazyLinear(4)]
    built = Construct("", lambda: nn.Sequential(*parts, *head), size)
    return built.module(int(draw.integers(1 << 30)))


def _residual(width: int) -> nn.Module:
    return Apply(lambda m, x: torch.relu(x + m.c(x)), c=nn.Conv2d(width, width, 3, padding=1))


def _gated(width: int) -> nn.Module:
    return Apply(lambda m, x: x * torch.sigmoid(m.c(x.mean((2, 3), keepdim=True))), c=nn.Conv2d(width, width, 1))


def broken_networks() -> dict[str, nn.Module]:
    """Some that kdb refuses: whose output is random, that raise, and that give no numbers."""
    functions = {"random": lambda x: x + torch.rand_like(x), "raises": _raises, "infinite": lambda x: 1 / (x - x)}
    return {name: _after(function) for name, function in functions.items()}


def _after(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return nn.Sequential(Apply(lambda m, x: function(x)), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _raises(x: Tensor) -> Tensor:
    raise OSError("the model's own")


@contextmanager
def exported_once(modules: Sequence[nn.Module]) -> Iterator[None]:
    """PyTorch exports each of these once; others are exported whenever they are traced."""
    export, programs = torch_export._export, {}
    known = {id(module) for module in modules}

    def remembered(module: nn.Module, example: Tensor) -> Any:
        if id(module) not in known:
            return export(module, example)
        key = (id(module), tuple(example.shape))
        if key not in programs:
            programs[key] = export(module, example)
        return programs[key]

    torch_export._export = remembered
    try:
        yield
    finally:
        torch_export._export = export


def onnx_file(path: Path, size: tuple[int, int]) -> bool:
    """Write a small network for RGB images of ``size`` as ONNX; False where onnx is not installed."""
    try:
        from onnx import TensorProto, checker, helper, numpy_helper, save
    except ImportError:
        return False
    draw = np.random.default_rng(0)
    weights = {"w": draw.standard_normal((5, 3, 3, 3)), "v": draw.standard_normal((5, 4))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    checker.check_model(model)
    save(model, path)
    return True
