"""Reads an ONNX file into a :class:`~kdb.models.onnx.graph.Graph`: checks it, and converts it to the newest opset.

All errors are ModelErrors; :mod:`kdb.models.onnx_module` prepends the file's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from kdb.errors import ModelError, printable
from kdb.geometry import MOST_AXES
from kdb.models.onnx.budget import check_nodes
from kdb.models.onnx.graph import Array, Graph, Names, Node

OPSETS = range(7, 1000)
_LARGEST_FILE = 2**31 - 1  # bytes; protobuf's limit
_MOST_SHARED = 4
"""How often external data may be read, on average: tensors may share it, but each is a copy in memory."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_CHANCE = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")

_AXES = {"axes": 1}
_ATTRIBUTES_NOW_INPUTS: dict[str, dict[str, int]] = {
    **dict.fromkeys(
        ("Squeeze", "Unsqueeze", *("Reduce" + name for name in (
            *("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"),
        ))),
        _AXES,
    ),
    "Split": {"split": 1},
    "Clip": {"min": 1, "max": 2},
    "Pad": {"pads": 1, "value": 2},
    "Slice": {"starts": 1, "ends": 2, "axes": 3},
    "TopK": {"k": 1},
    "Upsample": {"scales": 1},
}  # fmt: skip
"""Attributes of older opsets that are inputs in newer ones, and the position of each."""


def read(path: Path, output: str | int | None = None) -> Graph:
    """The graph of the file at ``path``, as far as its ``output`` of that name or number needs it; the first for None.

    Raises ModelError if onnx is not installed; if the file is missing, damaged or not an ONNX model; if it refers to
    weights outside its folder; if its input is not a single image; and for what kdb does not support: opsets below 7,
    control flow, random numbers, and operators of unknown domains, and for an output that there is not.
    """
    try:
        onnx = import_module("onnx")
    except ImportError as error:
        raise ModelError("an ONNX file needs onnx; pip install 'kdb-occlusion[onnx]'") from error
    try:
        return _graph(_model(onnx, path), onnx, output)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"it cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ModelError("there is not enough memory for it") from error
    except Exception as error:  # a damaged file may raise anything, in protobuf, onnx and numpy
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        if reason and type(error).__module__.startswith("onnx"):  # other messages are not about the file
            raise ModelError(f"it is not a valid ONNX model: {reason}") from error
        raise ModelError("it is damaged, or not an ONNX file") from error


def _model(onnx: Any, path: Path) -> Any:
    """The model with functions inlined, shapes inferred and external data loaded; raises ModelError if it is
    invalid.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise ModelError("an ONNX file has at most 2 GiB; larger weights belong in separate files")
    model = onnx.ModelProto()
    model.ParseFromString(path.read_bytes())
    if not model.ir_version or not model.graph.node:
        raise ModelError("there is no ONNX model in it")
    check_nodes(model, path.stat().st_size)
    if model.functions:
        model = import_module("onnx.inliner").inline_local_functions(model)
    for domain in {node.domain for node in model.graph.node}.difference(_DOMAINS):
        raise ModelError(f"it has operators of '{domain}', which kdb does not run: only ONNX's own")
    beside = _size_of_external_data(onnx, model, path.parent)
    with suppress(onnx.shape_inference.InferenceError):  # shapes are useful, but not required
        # without data_prop, which would make vectors of any length of a Range, or of a chain of Concats
        model = onnx.shape_inference.infer_shapes(model)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    if path.stat().st_size + beside <= _LARGEST_FILE:
        _check(onnx, model)
    return model


def _size_of_external_data(onnx: Any, model: Any, folder: Path) -> int:
    """Total bytes of external weights; raises ModelError unless their files are regular ones in the model's folder."""
    helper, files, asked = onnx.external_data_helper, dict[Path, int](), 0
    for tensor in helper._get_all_tensors(model):
        if not helper.uses_external_data(tensor):
            continue
        info = helper.ExternalDataInfo(tensor)
        location = info.location
        file = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not file.is_relative_to(folder.resolve()):
            raise ModelError(f"the weights '{tensor.name}' are outside its folder, in '{location}', and not read")
        if not file.is_file():
            raise ModelError(f"the weights '{tensor.name}' should be in '{file}', which is no file")
        files[file] = file.stat().st_size
        asked += files[file] if info.length is None else int(info.length)
    if asked > _MOST_SHARED * sum(files.values()):
        raise ModelError(f"its weights are more than {_MOST_SHARED} times what the files beside it hold")
    return sum(files.values())


def _check(onnx: Any, model: Any) -> None:
    """onnx's checks, except that outputs may have no shape, since some exporters leave it out."""
    kinds = [value.type.tensor_type for value in model.graph.output if value.type.HasField("tensor_type")]
    silent = [kind for kind in kinds if not kind.HasField("shape")]
    for kind in silent:
        kind.shape.SetInParent()
    onnx.checker.check_model(model)
    for kind in silent:
        kind.ClearField("shape")


def _graph(model: Any, onnx: Any, output: str | int | None) -> Graph:
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise ModelError(
            f"opset {opset} is too old: kdb reads 7 and later; onnx.version_converter brings it up to date"
        )
    constants = {tensor.name: _array(onnx, tensor) for tensor in model.graph.initializer}
    if model.graph.sparse_initializer:
        raise ModelError("its weights are sparse, which kdb does not read")
    name_of = Names()
    nodes = []
    for proto in model.graph.node:
        node = node_of(onnx, proto, opset, name_of(proto.name or proto.op_type))
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        else:
            nodes.append(as_newest(node, constants))
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs) or "none"
        raise ModelError(f"kdb explains models with one input, the image; it has {names}")
    if not (outputs := [value.name for value in model.graph.output]):
        raise ModelError("it has no output")
    numbered = dict(enumerate(outputs)) | {name: name for name in outputs}
    if (result := numbered.get(0 if output is None else output)) is None:
        raise ModelError(f"it has no output {output!r}; it has {printable(', '.join(map(repr, outputs)))}")
    known = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    shapes = {value.name: shape for value in known if (shape := _shape(value)) is not None}
    said = {each.key: each.value for each in model.metadata_props if each.key.casefold().startswith("image.")}
    return Graph(tuple(nodes), constants, inputs[0].name, _image_shape(onnx, inputs[0]), result, shapes, said).needed()


def _image_shape(onnx: Any, value: Any) -> tuple[int | None, ...]:
    kind = value.type.tensor_type
    floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
    if not value.type.HasField("tensor_type") or kind.elem_type not in floating:
        raise ModelError(f"its input '{value.name}' is not a floating-point tensor")
    shape = _shape(value) or (None,) * 4
    if not 3 <= len(shape) <= 2 + MOST_AXES:
        raise ModelError(
            f"its input '{value.name}' has {len(shape)} axes; an image has 4: batch, channels, height, width; a signal "
            "has 3, a volume 5"
        )
    return shape


def _shape(value: Any) -> tuple[int | None, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)


def _array(onnx: Any, tensor: Any) -> Array:
    """A tensor of the file as an array; all floating-point types become float32."""
    array: Array = onnx.numpy_helper.to_array(tensor)
    return array.astype(np.float32) if "float" in array.dtype.name else array


def node_of(onnx: Any, proto: Any, opset: int, name: str) -> Node:
    """The node of a NodeProto, named ``name``; ``onnx`` is the package."""
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}::"
    op = domain + proto.op_type
    if op in _CONTROL_FLOW:
        raise ModelError(f"node '{name}' ({op}) is control flow, which kdb does not read")
    if op in _CHANCE:
        raise ModelError(f"node '{name}' ({op}) draws random numbers: the output for an image may not depend on chance")
    attributes = {each.name: _attribute(onnx, each) for each in proto.attribute}
    if attributes.get("training_mode"):
        raise ModelError(f"node '{name}' ({op}) is in training mode; export the model for inference")
    return Node(
        name,
        op,
        tuple(proto.input),
        tuple(proto.output),
        attributes,
        opset,
        proto.SerializeToString(deterministic=True),
    )


def _attribute(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return _array(onnx, value)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _constant(node: Node) -> Array:
    """The value of a Constant node, in any of its attributes."""
    for name, value in node.attributes.items():
        if name == "value":
            array: Array = value
            return array
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise ModelError(f"{node} is not a numeric constant")


def as_newest(node: Node, constants: dict[str, Array]) -> Node:
    """The node with the arguments of the newest opset; attributes that have become inputs are added to
    ``constants``.
    """
    op, attributes, inputs = node.op, dict(node.attributes), list(node.inputs)
    for attribute, position in _ATTRIBUTES_NOW_INPUTS.get(op, {}).items():
        if attribute in attributes:
            value = attributes.pop(attribute)
            inputs += [""] * (position + 1 - len(inputs))
            inputs[position] = f"{node.name}.{attribute}"
            is_float = isinstance(value, float) or op == "Upsample"
            constants[inputs[position]] = np.array(value, np.float32 if is_float else np.int64)
    if op == "Upsample" or (op == "Resize" and node.opset < 11):
        # Both had no region, and a fixed coordinate transformation and rounding.
        op, inputs = "Resize", [inputs[0], "", *inputs[1:]]
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return Node(node.name, op, tuple(inputs), node.outputs, attributes, node.opset, node.proto)
