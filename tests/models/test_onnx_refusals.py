"""What is refused of ONNX files: by an error of kdb's that names the file, whatever is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import kdb
from kdb.errors import BindError, Error, ModelError
from kdb.models.onnx.graph import as_tensor
from kdb.models.onnx_module import load
from tests.onnx_files import HEAD, by_runtime, classifier, close, keras_like, model, node, outputs, saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


def changed(proto: onnx.ModelProto, **fields: Any) -> onnx.ModelProto:
    for name, value in fields.items():
        setattr(proto.opset_import[0], name, value)
    return proto


REFUSALS: list[tuple[str, Any]] = [
    ("opset 6 is too old", lambda: changed(classifier(node("Relu", "d", "y")), version=6)),
    ("is not a floating-point tensor", lambda: model([node("Flatten", "x", "y")], kind=TensorProto.UINT8)),
    ("has 2 axes", lambda: model([node("Flatten", "x", "y")], (1, 3))),
    ("counts channels is not clear", lambda: model([node("Flatten", "x", "y")], (1, 12, 12, 12))),
    ("draws random numbers", lambda: model([node("RandomNormalLike", "x", "y")])),
    ("'mine', which kdb does not run", lambda: model([helper.make_node("Foo", ["x"], ["y"], domain="mine")])),
    ("operator of 'com.microsoft'", lambda: model([helper.make_node("Foo", ["x"], ["y"], domain="com.microsoft")])),
    ("does not depend on its input", lambda: model([node("Relu", "w", "y")], weights=HEAD)),
    ("training mode", lambda: training()),
    ("one input, the image; it has 'x', 'z'", lambda: two_inputs()),
    ("control flow", lambda: branching()),
    ("makes a tensor of", lambda: model([node("ConstantOfShape", "big", "c"), node("Add", "x c", "y")], weights=BIG)),
]
BIG = {"big": np.array([1 << 20, 1 << 20])}


def training() -> onnx.ModelProto:
    norm = {name: np.ones(3, np.float32) for name in ("s", "b", "m", "v")}
    return model([node("BatchNormalization", "x s b m v", "y m1 v1", training_mode=1)], weights=norm)


def two_inputs() -> onnx.ModelProto:
    proto = model([node("Add", "x z", "y")])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    return proto


def branching() -> onnx.ModelProto:
    branch = helper.make_graph([node("Relu", "x", "b")], "b", [], [helper.make_tensor_value_info("b", 1, None)])
    each = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return model([each], weights={"yes": np.array(True)})


@pytest.mark.parametrize(("why", "build"), REFUSALS)
def test_refusals_name_the_file(why: str, build: Any, tmp_path: Path) -> None:
    path = saved(build(), tmp_path)
    with pytest.raises(ModelError, match=why) as caught, torch.no_grad():
        load(path).module(torch.rand(2, 3, 12, 12))
    assert str(path) in str(caught.value)


def test_a_layout_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="layout"):
        load(saved(classifier(node("Relu", "d", "y")), tmp_path), "HWC")


@pytest.mark.parametrize("content", [b"", b"hello", b"# a text\n" * 50, b"PK\x03\x04" + bytes(200), bytes(5000)])
def test_what_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.onnx': (it is damaged, or not an ONNX file$|there is no ONNX model)"):
        load(tmp_path / "x.onnx")


@pytest.mark.parametrize("name", [b"Relu_between", b"between", b"LeakyRelu"])
def test_names_that_are_no_text(name: bytes, tmp_path: Path) -> None:
    """protobuf gives such names as bytes, and says nothing."""
    content = classifier(node("Relu", "d", "between"), node("LeakyRelu", "between", "y")).SerializeToString()
    assert name in content
    (tmp_path / "x.onnx").write_bytes(content.replace(name, b"\xff" * len(name)))
    with pytest.raises(ModelError, match=r"x\.onnx': it is damaged, or not an ONNX file$"):
        load(tmp_path / "x.onnx")


def test_what_the_standard_does_not_allow(tmp_path: Path) -> None:
    """Two nodes give one value, and an attribute that its operator does not have: onnx's own checks say so."""
    for nodes in ([node("Relu", "d", "y"), node("Sigmoid", "d", "y")], [node("Relu", "d", "y", no_such=1)]):
        with pytest.raises(ModelError, match=r"x\.onnx': .*(single static assignment|[Uu]nrecognized attribute)"):
            load(saved(classifier(*nodes), tmp_path, "x.onnx"))


def test_an_error_about_a_constant_ends(tmp_path: Path) -> None:
    """A pool of a vector that does not depend on the image: told once, by a query too."""
    weights = {**HEAD, "v": np.zeros(4, np.float32)}
    nodes = [node("MaxPool", "v", "p", kernel_shape=[1]), node("Add", "d p", "y")]
    before = [node("Conv", "x w", "c"), node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "f")]
    path = saved(model([*before, node("MatMul", "f dense", "d"), *nodes], ("n", 3, 12, 12), weights), tmp_path)
    with pytest.raises(ModelError, match="pools a tensor of 1 axes"):
        kdb.connect().execute(f"CREATE MODEL net FROM '{path}'")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "x.onnx", "wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match="at most 2 GiB"):
        load(tmp_path / "x.onnx")


def test_in_double_precision(tmp_path: Path) -> None:
    """The module is torch's: made double, it computes in double, whatever constants its functions make."""
    how = {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2], "count_include_pad": 1}
    nodes = [node("Conv", "x w", "c"), node("LRN", "c", "l", size=3), node("AveragePool", "l", "p", **how)]
    nodes += [node("Resize", "p - s", "r", mode="linear"), node("Flatten", "r", "y")]
    weights = HEAD | {"s": np.float32([1, 1, 2, 2])}
    loaded = load(saved(model(nodes, weights=weights), tmp_path))
    images = np.random.default_rng(0).random((2, 3, 12, 12), np.float32)
    single = outputs(loaded.module, images)
    double = outputs(loaded.module.double(), images.astype(np.float64))
    assert double.dtype == np.float64
    close(single, double.astype(np.float32), 1e-5)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            load(path)


SOUND = keras_like(np.random.default_rng(0)).SerializeToString()


@pytest.mark.slow
@settings(max_examples=30)
@given(data=st.data())
def test_damaged_files_give_kdbs_errors_only(folder: Path, data: st.DataObject) -> None:
    """Cut off, or with a few bytes changed; where it still loads, running it gives numbers or one of torch's errors."""
    content = bytearray(SOUND)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(1, 8))):
        if content:
            # Most bytes are weights; names, numbers and structure are near the ends.
            near = data.draw(st.integers(0, 1200))
            place = near if data.draw(st.booleans()) else -1 - near
            content[place % len(content)] = data.draw(st.integers(0, 255))
    path = folder / "damaged.onnx"
    path.write_bytes(content)
    try:
        loaded = load(path)
    except Error as error:
        assert str(path) in str(error)
        return
    db = kdb.connect()
    try:
        db.register_model("net", loaded.module, input_size=(33, 33), n_channels=loaded.n_channels)
        db.execute("OCCLUDE $x WITH patch(9, 9) STRIDE 12 USING net", {"x": np.zeros((33, 33, 3), np.uint8)})
    except Error:
        pass


def with_external_weights(folder: Path, location: str) -> Path:
    proto = classifier(node("Relu", "d", "y"))
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location=location)
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    (folder / "inside").mkdir()
    (folder / "inside" / "weights.bin").write_bytes(content)
    (folder / "weights.bin").write_bytes(content)
    (folder / "inside" / "link.bin").symlink_to(folder / "weights.bin")
    return saved(proto, folder / "inside")


def test_weights_in_a_file_beside_it(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path, "weights.bin")
    images = np.random.default_rng(0).random((2, 3, 12, 12), np.float32)
    close(outputs(load(path).module, images), by_runtime(path, images))


@pytest.mark.parametrize(
    "location", ["../weights.bin", "sub/../../weights.bin", "link.bin", "", "/etc/passwd", "none.bin", "."]
)
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    path = with_external_weights(tmp_path, location)
    with pytest.raises(ModelError, match=r"model\.onnx.*('w'|no sound)"):
        load(path)


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(classifier(node("Relu", "d", "y")), tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'kdb-occlusion\[onnx\]'"):
        load(path)


def test_half_and_double_weights_become_float32(tmp_path: Path) -> None:
    for kind, dtype in ((TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)):
        weights = {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in HEAD.items()}
        proto = model(classifier(node("Neg", "d", "y")).graph.node, weights=weights, kind=kind)
        made = outputs(load(saved(proto, tmp_path)).module, images := np.random.rand(2, 3, 12, 12).astype(np.float32))
        single = saved(classifier(node("Neg", "d", "y")), tmp_path, "single.onnx")
        close(made, by_runtime(single, images), 1e-2)
        assert made.dtype == np.float32


def test_tensors_of_arrays() -> None:
    assert as_tensor(np.array([1, 2], np.uint8)).dtype == torch.int32
    assert as_tensor(np.array([1.0])).dtype == torch.float32
    with pytest.raises(ValueError, match="numbers"):
        as_tensor(np.array(["a"]))
