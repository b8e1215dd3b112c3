"""ONNX files as PyTorch modules, which compute the nodes of the file in order.

The module is then a model like any other.  No code from the file is run: :mod:`kdb.models.onnx.operators` has a
function for each operator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdb.errors import ModelError
from kdb.geometry import Size
from kdb.images.preprocessing import choice
from kdb.models.layout import with_channels_at
from kdb.models.model import ACTIVATIONS, LAYOUTS, Model
from kdb.models.onnx import file
from kdb.models.onnx.budget import Budget
from kdb.models.onnx.graph import Array, Graph, Names, as_tensor, bounded
from kdb.models.onnx.plan import Call, Plan, plan
from kdb.models.onnx.rewrite import without_activation
from kdb.models.zoo import make_model

_CHANNELS = (1, 2, 3, 4)
"""Lengths of an axis that are taken for a number of channels rather than of rows or columns."""


@dataclass(frozen=True)
class LoadedOnnx:
    """A loaded file: ``module`` maps float32 [N, C, *size] to logits [N, K], whatever the layout of the file.

    ``input_size`` is that of the file, or None if it is dynamic.  ``activation`` is the final activation that is not
    part of the module, or None.  ``remark``, for errors of tracing, says how to export a file with a fixed batch size
    for any.  ``classes`` is K, or None where the file does not say it.
    """

    module: nn.Module
    input_size: Size | None
    n_channels: int
    activation: str | None
    remark: str = ""
    classes: int | None = None


def load(
    path: str | Path, layout: str | None = None, *, as_is: bool = False, output: str | int | None = None
) -> LoadedOnnx:
    """The model in the ONNX file at ``path``.

    ``layout`` is that of the file's input, as in 'NHWC'; by default it is inferred from the input's shape.  With
    ``as_is`` a final activation stays part of the module, whose outputs are then the file's.  Of several outputs the
    module gives that of this name or number, by default the first.

    Raises ModelError for a file that is damaged, has other inputs than one image, or uses what kdb does not support,
    and BindError for another layout.
    """
    path = Path(path)
    try:
        graph, activation = file.read(path, output), None
        classes = _classes(graph)
        if not as_is:
            graph, activation = without_activation(graph)
        layouts = LAYOUTS[len(graph.image_shape) - 2]
        place = (_layout(graph) if layout is None else choice("layout", layout, layouts)).index("C")
        n_channels = _channels(graph, place)
        how = (b"as is" if as_is else b"") + (b"" if output is None else graph.result.encode())
        module = OnnxModule(plan(graph), place, path.read_bytes() + how)
    except ModelError as error:
        raise ModelError(f"'{path}': {error}") from error.__cause__
    sides = [n for axis, n in enumerate(graph.image_shape) if axis not in (0, place)]
    known = tuple(n for n in sides if n is not None)
    size = known if len(known) == len(sides) else None
    return LoadedOnnx(module.eval(), size, n_channels, activation, _remark(path, graph), classes)


def onnx_model(name: str, path: str | Path, **keywords: Any) -> Model:
    """The model in an ONNX file, with the keywords of :func:`kdb.models.zoo.make_model`.

    ``input``, ``n_channels``, ``activation`` and ``layout`` default to those of the file, ``output`` to its first; with
    the activation 'none' the outputs are the file's.  Raises what :func:`load` and ``make_model`` raise.
    """
    asked = keywords.get("activation")
    as_is = asked is not None and choice("activation", asked, ACTIVATIONS) == "none"
    loaded = load(path, keywords.pop("layout", None), as_is=as_is, output=keywords.pop("output", None))
    keywords.setdefault("n_channels", loaded.n_channels)
    if loaded.activation is not None:
        keywords.setdefault("activation", loaded.activation)
    if loaded.input_size is not None and "input_size" not in keywords:
        keywords.setdefault("input", loaded.input_size)
    model = make_model(name, loaded.module, **keywords)
    if loaded.classes is not None:
        model.check_labels(loaded.classes)
    model.remark = loaded.remark
    return model


class Step(nn.Module):
    """One node as a submodule, so that traces and errors have its name."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, *values: Any) -> Any:
        """The node's output, or a tuple of them."""
        return self.call.function(self.call.node, *values)


class OnnxModule(nn.Module):
    """The graph of a file as a module from float32 [N, C, *size] to logits [N, K]; its input has C at the ``place``.

    Constants are buffers, except those that determine shapes.  A buffer with the SHA-256 of ``content``, the file and
    how it was read, distinguishes the models of files with equal weights.  ``metadata`` is what the file says of
    images.
    """

    def __init__(self, plan: Plan, place: int, content: bytes) -> None:
        super().__init__()
        self._calls, self._image, self._result = plan.calls, plan.graph.image, plan.graph.result
        self._place = place
        self.metadata: dict[str, str] = dict(plan.graph.metadata)
        self._buffers_of: dict[str, str] = {}
        name_of = Names(partial(hasattr, self))
        self._arrays: dict[str, Array] = {}
        self.register_buffer("sha256", torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8))
        for call in plan.calls:
            for name, plain in zip(call.node.inputs, call.plain, strict=True):
                if name in plan.constants and plain:
                    self._arrays[name] = plan.constants[name]
                elif name in plan.constants and name not in self._buffers_of:
                    self._buffers_of[name] = name_of(name)
                    self.register_buffer(self._buffers_of[name], _tensor(name, plan.constants[name]))
        self._steps = []
        for call in plan.calls:
            self._steps.append(name_of(call.node.name))
            self.add_module(self._steps[-1], Step(call))
        self._last_readers = _last_readers(plan)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of images ``x``, float32 [N, C, *size]."""
        tensors: dict[str, Any] = {name: getattr(self, buffer) for name, buffer in self._buffers_of.items()}
        tensors[self._image] = with_channels_at(self._place, x)
        arrays: dict[str, Array] = dict(self._arrays)
        # while it is traced nothing is computed
        budget: Any = Budget.of_images(x) if type(x) is torch.Tensor else nullcontext()
        for call, step, finished in zip(self._calls, self._steps, self._last_readers, strict=True):
            given = zip(call.node.inputs, call.plain, strict=True)
            with budget:
                made = getattr(self, step)(*(_argument(name, plain, tensors, arrays) for name, plain in given))
            outputs = made if isinstance(made, tuple) else (made,)
            for output in outputs:  # a chain of Concats doubles it with each node
                bounded(_of_one_image(output.shape, x.shape[0]), call.node)
            (arrays if call.hosted else tensors).update(zip(call.node.outputs, outputs, strict=False))
            for name in finished:
                tensors.pop(name, None)
        return _as_logits(_argument(self._result, False, tensors, arrays))


def _of_one_image(shape: Sequence[Any], batch: Any) -> Sequence[Any]:
    rows = shape[0] if shape else 1
    return [-(-rows // batch), *shape[1:]] if isinstance(rows, int) and isinstance(batch, int) else shape[1:]


def _tensor(name: str, array: Array) -> torch.Tensor:
    try:
        return as_tensor(array)
    except ValueError as error:
        raise ModelError(f"'{name}' is {error}") from error


def _argument(name: str, plain: bool, tensors: dict[str, Any], arrays: dict[str, Array]) -> Any:
    if not name:
        return None
    if plain:
        return arrays[name]
    if name in tensors:
        return tensors[name]
    if name not in arrays:
        raise ModelError(f"'{name}' is an output that kdb does not compute")
    return as_tensor(arrays[name])


def _last_readers(plan: Plan) -> list[list[str]]:
    """For each call, the tensors that no later call reads."""
    last = {name: index for index, call in enumerate(plan.calls) for name in (*call.node.outputs, *call.node.inputs)}
    last.pop(plan.graph.result, None)
    finished: list[list[str]] = [[] for _ in plan.calls]
    for name, index in last.items():
        finished[index].append(name)
    return finished


def _as_logits(y: torch.Tensor) -> torch.Tensor:
    """``y`` reshaped to [N, K], if all axes but the first and one other have length one."""
    one_axis = sum(not (isinstance(n, int) and n == 1) for n in y.shape[1:]) <= 1
    return y.reshape(y.shape[0], -1) if y.ndim > 0 and y.ndim != 2 and one_axis else y


def _classes(graph: Graph) -> int | None:
    """The length of the only axis of the output, behind that of the batch, that is not one; None if not known."""
    lengths = graph.shapes.get(graph.result, ())[1:]
    if not lengths or None in lengths:
        return None
    others = [n for n in lengths if n is not None and n != 1]
    return others[0] if len(others) == 1 else None if others else 1


def _layout(graph: Graph) -> str:
    """The layout of the input, by its shape: channels are few, and second where nothing speaks against it."""
    usual, channels_last = LAYOUTS[len(graph.image_shape) - 2][:2]
    first, last = graph.image_shape[1], graph.image_shape[-1]
    if first in _CHANNELS or (first is None and last not in _CHANNELS):
        return usual
    if last in _CHANNELS:
        return channels_last
    if len(graph.image_shape) == 4:
        raise ModelError(
            f"which axis of its input, {_text(graph)}, counts channels is not clear; give layout = 'NCHW' or 'NHWC'"
        )
    return usual  # the leads of a signal may be many


def _channels(graph: Graph, place: int) -> int:
    n = graph.image_shape[place]
    if n is None:
        convolution = next((node for node in graph.nodes if node.op == "Conv"), None)
        weight = graph.constants.get(convolution.inputs[1]) if convolution is not None else None
        n = 3 if convolution is None or weight is None else weight.shape[1] * convolution.get("group", 1)
    return n


def _remark(path: Path, graph: Graph) -> str:
    batch = graph.image_shape[0]
    if batch is None:
        return ""
    axes = f"dynamic_axes={{'{graph.image}': {{0: 'batch'}}}}"
    return f"'{path}' was exported for batches of {batch}; if that is the reason, export it with {axes}"


def _text(graph: Graph) -> str:
    return "[" + ", ".join("?" if n is None else str(n) for n in graph.image_shape) + "]"
