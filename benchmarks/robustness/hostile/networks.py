"""Files of networks and weights, damaged, made into models, and asked for a map."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save as as_safetensors

import kdb
from benchmarks.robustness.hostile import damage
from kdb.models.architectures import build

ARCH = "(arch = 'squeezenet1_1', classes = 3, input = 32)"
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def creating(
    folder: Path, suffix: str, sample: bytes, harm: Callable[[bytes, random.Random], bytes], options: str = ""
) -> Callable[[random.Random], str]:
    """Makes a model of the damaged sample and asks for a map."""
    path = folder / f"damaged.{suffix}"

    def ask(data: bytes) -> None:
        path.write_bytes(data)
        db = kdb.connect()
        db.execute(f"CREATE MODEL n FROM '{path}' {options}")
        db.execute("OCCLUDE $image WITH patch(4, 4) STRIDE 8 USING n", {"image": PIXELS})

    ask(sample)

    def attempt(draw: random.Random) -> str:
        ask(harm(sample, draw))
        return "answered"

    return attempt


def state() -> dict[str, torch.Tensor]:
    """Random weights of the architecture ``ARCH``."""
    torch.manual_seed(0)
    return dict(build("squeezenet1_1", 3, (32, 32)).state_dict())


def weights(folder: Path) -> Callable[[random.Random], str]:
    """A state dict as torch saves it; damaged anywhere, or within one of its parts, with a checksum that is right."""
    file = io.BytesIO()
    torch.save({"state_dict": state(), "epoch": 3, "arch": "squeezenet1_1"}, file)

    def harm(data: bytes, draw: random.Random) -> bytes:
        return damage.damaged(data, draw) if draw.random() < 0.4 else damage.archive(data, draw)

    return creating(folder, "pt", file.getvalue(), harm, ARCH)


def safetensors(folder: Path) -> Callable[[random.Random], str]:
    """Damaged anywhere, or a value of the header replaced."""

    def harm(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.4:
            return damage.damaged(data, draw)
        (size,) = struct.unpack_from("<Q", data)
        header = json.dumps(damage.tree(json.loads(data[8 : 8 + size]), draw)).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + size :]

    return creating(folder, "safetensors", as_safetensors(state()), harm, ARCH)


def graph() -> onnx.ModelProto:
    """A small network with most kinds of things that a file can have: weights, shapes that are computed, a function,
    attributes of all types."""
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.normal(0, 0.3, (4, 3, 3, 3)).astype("f4"),
        "b": draw.normal(0, 0.3, 4).astype("f4"),
        "dense": draw.normal(0, 0.3, (4, 3)).astype("f4"),
        "minus": np.array([-1]),
        "axes": np.array([2, 3]),
        "scales": np.array([1, 1, 2, 2], "f4"),
        "begin": np.array([0]),
        "end": np.array([1]),
        "one": np.array(1.5, "f4"),
        "always": np.array(True),
    }
    thrice = helper.make_function(
        "own", "Thrice", ["x"], ["y"], [helper.make_node("Sum", ["x", "x", "x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("LeakyRelu", ["conv"], ["relu"], alpha=0.1),
        helper.make_node("Thrice", ["relu"], ["thrice"], domain="own"),
        helper.make_node("Resize", ["thrice", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("MaxPool", ["large"], ["pool"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="NOTSET"),
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2.0, "f4"))),
        helper.make_node("Mul", ["pool", "two"], ["scaled"]),
        helper.make_node("Where", ["always", "scaled", "one"], ["chosen"]),
        helper.make_node("Shape", ["chosen"], ["shape"]),
        helper.make_node("Slice", ["shape", "begin", "end"], ["batch"]),
        helper.make_node("ReduceMean", ["chosen"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("Concat", ["batch", "minus"], ["flat"], axis=0),
        helper.make_node("Reshape", ["mean", "flat"], ["vector"]),
        helper.make_node("MatMul", ["vector", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=[thrice], ir_version=8)
    proto.metadata_props.add(key="author", value="nobody")
    return proto


OPERATORS = ("Add", "Tile", "Expand", "ConstantOfShape", "Range", "Loop", "Scan", "Pad", "Reshape", "Gather", "Thrice")


def onnx_files(folder: Path) -> Callable[[random.Random], str]:
    """Damaged anywhere, or in a node, an attribute, a weight or a name."""
    proto = graph()

    def harm(data: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.3:
            return damage.damaged(data, draw)
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        for _ in range(draw.choice((1, 1, 2, 4))):
            _change(changed, draw)
        return bytes(changed.SerializeToString())

    return creating(folder, "onnx", proto.SerializeToString(), harm)


def _change(proto: onnx.ModelProto, draw: random.Random) -> None:
    """Change one thing that still makes a file of the format."""
    nodes, change = proto.graph.node, draw.randrange(7)
    node = draw.choice(nodes)
    names = [name for each in nodes for name in (*each.input, *each.output)]
    if change == 0 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(names)
    elif change == 1:
        node.op_type = draw.choice((*OPERATORS, *(each.op_type for each in nodes)))
    elif change == 2 and node.attribute:
        attribute = draw.choice(node.attribute)
        if attribute.ints:
            attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(damage.NUMBERS[:-2])
        elif attribute.type == onnx.AttributeProto.FLOAT:
            attribute.f = draw.choice(damage.REALS)
        elif attribute.type == onnx.AttributeProto.INT:
            attribute.i = draw.choice(damage.NUMBERS[:-2])
        else:
            attribute.name = draw.choice(("axis", "mode", "body", "value"))
    elif change == 3:
        tensor = draw.choice(proto.graph.initializer)
        place = draw.randrange(3)
        if place == 0 and tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(damage.NUMBERS[:-2])
        elif place == 1:
            tensor.data_type = draw.randrange(24)
        else:
            tensor.raw_data = damage.damaged(tensor.raw_data, draw)
    elif change == 4:
        nodes.remove(node)
    elif change == 5:
        nodes.insert(draw.randrange(len(nodes)), node)
    else:
        dimension = draw.choice(proto.graph.input[0].type.tensor_type.shape.dim)
        dimension.dim_value = draw.choice(damage.NUMBERS[:-2])
