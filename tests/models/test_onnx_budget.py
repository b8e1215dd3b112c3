"""Small ONNX files that ask for much: they are refused at once, by an error that says what is too much."""

from __future__ import annotations

import itertools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdb.errors import ModelError
from kdb.models.onnx import budget
from kdb.models.onnx.graph import Names
from kdb.models.onnx_module import load
from tests.onnx_files import classifier, model, node, outputs, saved

SECONDS = 10.0
BYTES = 2 << 30

resource = pytest.importorskip("resource", reason="the system does not tell how much memory a process took")


@pytest.fixture(autouse=True)
def cheap() -> Iterator[None]:
    """Each of these takes little time and memory; without limits, all of the machine's."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < BYTES


def nested(depth: int, each: int = 2, circle: bool = False) -> onnx.ModelProto:
    """Functions that call the one before ``each`` times: ``each`` to the power ``depth`` nodes."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = []
    for k in range(depth):
        called = ("Relu", "") if k == 0 and not circle else (f"F{(k - 1) % depth}", "own")
        names = ["a", *(f"t{i}" for i in range(each - 1)), "b"]
        body = [helper.make_node(called[0], [x], [y], domain=called[1]) for x, y in itertools.pairwise(names)]
        functions.append(helper.make_function("own", f"F{k}", ["a"], ["b"], body, opsets))
    proto = model([helper.make_node(f"F{depth - 1}", ["x"], ["y"], domain="own")])
    return helper.make_model(proto.graph, functions=functions, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    ("depth", "circle", "said"),
    [(25, False, "has 33554432 nodes"), (200, False, r"has some 2e\+60 nodes"), (3, True, "calls itself")],
)
def test_functions_that_expand_to_too_many_nodes(depth: int, circle: bool, said: str, tmp_path: Path) -> None:
    path = saved(nested(depth, circle=circle), tmp_path)
    assert path.stat().st_size < 2000 or depth > 25
    with pytest.raises(ModelError, match=said):
        load(path)


def test_functions_that_expand_to_a_few_are_inlined(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    module = load(saved(nested(5), tmp_path)).module
    assert np.array_equal(outputs(module, images), np.maximum(images, 0))


def test_a_function_of_many_bytes_that_is_called_often(tmp_path: Path) -> None:
    proto = nested(12)
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1 << 20], bytes(4 << 20), raw=True)
    proto.functions[0].node.append(helper.make_node("Constant", [], ["c"], value=constant))
    with pytest.raises(ModelError, match="bytes, which is too much"):
        load(saved(proto, tmp_path))


def test_many_nodes_are_refused_and_fewer_of_one_name_are_not_slow(tmp_path: Path) -> None:
    def chain(length: int) -> onnx.ModelProto:
        names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
        return model([helper.make_node("Relu", [a], [b], name="r") for a, b in itertools.pairwise(names)])

    with pytest.raises(ModelError, match="has 100001 nodes"):
        load(saved(chain(100_001), tmp_path))
    began = time.process_time()
    assert len(load(saved(chain(5000), tmp_path)).module._calls) == 5000
    assert time.process_time() - began < 4


@pytest.mark.parametrize("folded", [False, True])
def test_reading_is_interrupted_at_once(folded: bool, tmp_path: Path) -> None:
    """By Ctrl-C, in the midst of a file that takes long to read."""
    names = ["x" if not folded else "one", *(f"t{i}" for i in range(20_000))]
    steps = [node("Relu", a, b) for a, b in itertools.pairwise(names)]
    path = saved(model([*steps, node("Add", f"x {names[-1]}", "y")], weights=LARGE), tmp_path)
    timer = threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        load(path)
        timer.join()
        pytest.fail("it was read before it could be interrupted")
    assert time.monotonic() - began < 2.5


def test_names_are_another_each_time() -> None:
    name_of = Names({"taken"}.__contains__)
    names = [name_of(each) for each in ("a", "a!", "a_2", "taken", "", "a", "\x1b[2J", "a_2")]
    assert names == ["a", "a_2", "a_2_2", "taken_2", "node", "a_3", "2J", "a_2_3"]


Steps = list[onnx.NodeProto]
LARGE = {
    "big": np.array([1 << 20, 1 << 20]),
    "some": np.array([1 << 28]),
    "one": np.array([1.0], np.float32),
    "end": np.array(1 << 40),
    "start": np.array(0),
    "step": np.array(1),
    "times": np.array([1 << 40]),
    "pads": np.array([0, 1 << 40]),
    "scales": np.array([2.0**40], np.float32),
    "row": np.zeros((1, 1 << 17), np.float32),
    "column": np.zeros((1 << 17, 1), np.float32),
    "places": np.zeros(1 << 18, np.int64),
    "depth": np.array(1 << 40),
    "values": np.array([0.0, 1.0], np.float32),
    "long": np.array([2] * 4096),
    "huge": np.array([1 << 62]),
    "axes": np.array([0]),
}
ADDED = node("ReduceSum", "c", "s", keepdims=0), node("Add", "x s", "y")


def doubled(first: str, length: int, axis: int) -> Steps:
    """A chain in which each is the one before, twice."""
    names = [first, *(f"d{i}" for i in range(length))]
    return [node("Concat", f"{a} {a}", b, axis=axis) for a, b in itertools.pairwise(names)]


FOLDED: dict[str, Steps] = {
    "ConstantOfShape": [node("ConstantOfShape", "big", "c"), *ADDED],
    "ConstantOfShape of 1 GiB": [node("ConstantOfShape", "some", "c"), *ADDED],
    "Expand": [node("Expand", "one big", "c"), *ADDED],
    "Tile": [node("Tile", "one times", "c"), *ADDED],
    "Range": [node("Range", "start end step", "r"), node("Cast", "r", "c", to=1), *ADDED],
    "Pad": [node("Pad", "one pads", "c"), *ADDED],
    "Resize": [node("Resize", "one - scales", "c"), *ADDED],
    "Add": [node("Add", "row column", "c"), *ADDED],
    "Where": [node("Equal", "row row", "e"), node("Where", "e row column", "c"), *ADDED],
    "MatMul": [node("MatMul", "column row", "c"), *ADDED],
    "Gather": [node("Gather", "row places", "c", axis=0), node("Gather", "c places", "c2", axis=1), *ADDED],
    "Einsum": [node("Einsum", "row row", "c", equation="ij,kl->jl"), *ADDED],
    "OneHot": [node("OneHot", "places depth values", "c"), *ADDED],
    "Concat": [*doubled("row", 30, 0), node("ReduceSum", "d29", "s", keepdims=0), node("Add", "x s", "y")],
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants_that_are_computed_from_a_few(name: str, tmp_path: Path) -> None:
    path = saved(model(FOLDED[name], weights=LARGE), tmp_path)
    with pytest.raises(ModelError, match=r"makes a tensor of|would be computed, which is too large"):
        load(path)


OF_SHAPES: dict[str, Steps] = {
    "products": [
        node("Shape", "x", "d0"),
        *(node("Mul", f"d{i} d{i}", f"d{i + 1}") for i in range(9)),
        node("Expand", "x d9", "y"),
    ],
    "a product of many": [
        node("Shape", "x", "s"),
        node("Concat", "s long", "l", axis=0),
        node("ReduceProd", "l", "p", axes=[0]),
        node("Expand", "x p", "y"),
    ],
    "large numbers": [node("Shape", "x", "s"), node("Add", "s huge", "t"), node("Add", "t huge", "u")],
    "twice as long each time": [node("Shape", "x", "s"), *doubled("s", 40, 0), node("Reshape", "x d39", "y")],
    "from end to end": [node("Size", "x", "s"), node("Mul", "s end", "e"), node("Range", "start e step", "r")],
    "spread": [node("Shape", "x", "s"), node("Expand", "s big", "r")],
}
OF_SHAPES["large numbers"].append(node("Expand", "x u", "y"))
for each in ("from end to end", "spread"):
    OF_SHAPES[each].append(node("Expand", "x r", "y"))


@pytest.mark.parametrize("name", OF_SHAPES)
def test_arithmetic_of_shapes_has_64_bits_and_few_elements(name: str, tmp_path: Path) -> None:
    path = saved(model(OF_SHAPES[name], (1, 3, 12, 12), weights=LARGE), tmp_path)
    with pytest.raises(ModelError, match=r"more than 64 bits|makes a tensor of") as caught:
        load(path).module(torch.rand(1, 3, 12, 12))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "steps",
    [
        [*doubled("x", 40, 1), node("GlobalAveragePool", "d39", "y")],
        [node("Add", "x wide", "a"), node("Add", "a deep", "b"), node("GlobalAveragePool", "b", "y")],
    ],
)
def test_maps_that_grow_beyond_what_a_map_can_be(steps: Steps, tmp_path: Path) -> None:
    weights = {"wide": np.zeros((1 << 14, 1, 1, 1, 1), np.float32), "deep": np.zeros((1 << 14, *[1] * 5), np.float32)}
    with pytest.raises(ModelError, match=r"makes a tensor of|which is too large"), torch.no_grad():
        load(saved(model(steps, weights=weights), tmp_path)).module(torch.rand(1, 3, 12, 12))


OF_MAPS: dict[str, Steps] = {
    "Resize": [node("Resize", "x - scales4", "y", mode="linear")],
    "ConvTranspose": [node("ConvTranspose", "x kernel", "y", strides=[1 << 12, 1 << 12])],
    "Conv": [node("Conv", "x kernel", "y", pads=[1 << 12] * 4, group=3)],
    "AveragePool": [node("AveragePool", "x", "y", kernel_shape=[1 << 12] * 2, pads=[1 << 12] * 4, strides=[1, 1])],
    "Einsum": [node("Einsum", "x x", "y", equation="abcd,efgh->abcdefgh")],
    "OneHot": [node("Cast", "x", "i", to=7), node("OneHot", "i depth values", "y")],
}


@pytest.mark.parametrize("name", OF_MAPS)
def test_an_output_that_is_too_large_is_not_computed(name: str, tmp_path: Path) -> None:
    weights = {"kernel": np.ones((3, 1, 1, 1), np.float32), "scales4": np.array([1, 1, 1 << 22, 1], np.float32)}
    loaded = load(saved(model(OF_MAPS[name], ("n", 3, 80, 80), weights=LARGE | weights), tmp_path))
    for _ in range(2):  # what is known of the first is not let through the second time
        with pytest.raises(ModelError, match=r"which is too large|makes a tensor of"), torch.no_grad():
            loaded.module(torch.rand(2, 3, 80, 80))


def test_sizes_are_told_by_shapes_and_by_types() -> None:
    """Of a sum with 1 and with 1.0, which are equal, and of tensors of other shapes and types."""
    add = torch.ops.aten.add.Tensor
    for shape in ((3,), (5, 2)):
        for x in (torch.ones(shape, dtype=torch.int32), torch.ones(shape, dtype=torch.float64)):
            for other in (1, 1.0, True):
                made = torch.add(x, other)
                assert list(budget._sizes(add, (x, other), {})) == [made.numel() * made.element_size()]


def test_what_watches_a_forward_sees_no_more_of_it(tmp_path: Path) -> None:
    """Sizes are found out beside it."""
    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            seen.extend(each.device.type for each in tree_leaves(made) if isinstance(each, torch.Tensor))
            return made

    loaded = load(saved(classifier(node("Softmax", "d", "y")), tmp_path), as_is=True)
    with torch.no_grad(), Watch():
        loaded.module(torch.rand(2, 3, 12, 12))
    assert set(seen) == {"cpu"}


@pytest.mark.parametrize(
    "made",
    [
        lambda: helper.make_node("ImageDecoder", ["bytes"], ["c"]),
        lambda: helper.make_node("RegexFullMatch", ["text"], ["c"], pattern="(a+)+$"),
        lambda: helper.make_node("StringConcat", ["text", "text"], ["c"]),
        lambda: helper.make_node("TreeEnsembleRegressor", ["x"], ["c"], domain="ai.onnx.ml"),
    ],
)
def test_what_the_reference_evaluator_is_not_asked_for(
    made: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would open an image of any format, EPS among them, match patterns and walk trees without an end."""
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("an image is opened"))
    weights = {"bytes": np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0", np.uint8), "text": np.array(["a" * 40 + "b"], object)}
    proto = model([made(), node("Add", "x c", "y")], weights=weights, opset=20)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(ModelError, match=r"(that kdb does not have|not a valid ONNX model)"):
        load(saved(proto, tmp_path))


def test_weights_that_all_name_the_same_file(tmp_path: Path) -> None:
    proto = classifier(node("Relu", "d", "y"))
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    for i in range(1000):
        tensor = TensorProto(name=f"w{i}", dims=[1 << 18], data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        proto.graph.initializer.append(tensor)
    with pytest.raises(ModelError, match=r"more than \d+ times"):
        load(saved(proto, tmp_path))


def test_an_operators_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    proto = classifier(helper.make_node("Foo\x1b[2J", ["d"], ["y"], name="n\x1b]0;x\x07\n", domain="com.microsoft"))
    with pytest.raises(ModelError) as caught:
        load(saved(proto, tmp_path))
    assert "\x1b" not in str(caught.value) and re.search(r"Foo\\u001b\[2J", str(caught.value))
