"""ONNX files against ONNX Runtime: networks and their heat maps, batches, layouts, activations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import BindError, ModelError
from kdb.frontends.torch_export import trace
from kdb.models.model import Model
from kdb.models.onnx.operators import OPERATORS
from kdb.models.onnx_module import LoadedOnnx, load, onnx_model
from kdb.models.zoo import resolve
from kdb.operators.network import Network
from kdb.operators.pointwise import SelectChannels
from kdb.operators.sources import Opaque
from tests.networks import Shuffle
from tests.onnx_files import HEAD, by_runtime, classifier, close, exported, keras_like, model, node, outputs, saved


def opaque(network: Network) -> list[str]:
    return [each.operator.because for each in network if isinstance(each.operator, Opaque)]


# --- networks ------------------------------------------------------------------------------------------------------


def heat_map_is_exact(loaded: LoadedOnnx, path: Path, size: tuple[int, int], photo: np.ndarray) -> None:
    """By register_model, at nine positions, against ONNX Runtime on the occluded images."""
    image = np.ascontiguousarray(photo[: size[0], : size[1]])
    db = kdb.connect()
    db.register_model("net", loaded.module, input_size=size, activation="none")
    places = np.array([(y, x) for y in (0, 21, size[0] - 16) for x in (0, 35, size[1] - 16)])
    heat = db.execute("OCCLUDE $image WITH patch(16, 16) AT $places USING net", {"image": image, "places": places})
    images = np.repeat(image[None], len(places) + 1, 0).astype(np.float32)
    for each, (y, x) in zip(images, places, strict=False):
        each[y : y + 16, x : x + 16] = 0
    scores = by_runtime(path, images.transpose(0, 3, 1, 2) / np.float32(255), one_by_one=True)
    scores = scores.reshape(len(scores), -1)
    assert heat.class_index == scores[-1].argmax()
    close(heat.values, scores[:-1, heat.class_index])


NETWORKS = ("squeezenet1_1", "efficientnet_b0")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_torchvision_networks(name: str, tmp_path: Path, photo: np.ndarray) -> None:
    torch.manual_seed(0)
    size = (80, 96)
    module = resolve(name, {"weights": "random", "input": size}).module
    path = exported(module, (3, *size), tmp_path / "net.onnx", fixed=name == "squeezenet1_1")
    loaded = load(path)
    assert (loaded.input_size, loaded.n_channels, loaded.activation) == (size, 3, None)
    images = np.random.default_rng(0).random((2, 3, *size), np.float32)
    close(outputs(loaded.module, images), by_runtime(path, images, one_by_one=True))
    heat_map_is_exact(loaded, path, size, photo)


def test_the_newer_exporter_of_pytorch(tmp_path: Path) -> None:
    """It writes constant shapes into Reshape, with ``allowzero``."""
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), Shuffle(body), Shuffle(body), nn.MaxPool2d(2), *head).eval()
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.rand(1, 3, 64, 64),), path, dynamo=True, external_data=True, verbose=False)
    loaded = load(path)
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    close(outputs(loaded.module, images), by_runtime(path, images, one_by_one=True))
    assert opaque(trace(loaded.module, (3, 64, 64))) == []


def test_an_old_file_stays_incremental() -> None:
    """Opset 9, a batch of one; a file that comes with onnx, of Caffe2's time."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    loaded = load(path)
    assert (loaded.input_size, loaded.activation) == ((224, 224), "softmax")
    assert opaque(trace(loaded.module, (3, 224, 224))) == []


def test_a_keras_network_stays_incremental(tmp_path: Path, photo: np.ndarray) -> None:
    """Transposes vanish, SAME becomes padding: no layer is evaluated in full or only moves channels about."""
    path = saved(keras_like(np.random.default_rng(0), 52), tmp_path)
    loaded = load(path)
    assert (loaded.input_size, loaded.n_channels, loaded.activation) == ((52, 52), 3, "softmax")
    network = trace(loaded.module, (3, 52, 52))
    assert opaque(network) == []
    assert not any(isinstance(each.operator, SelectChannels) for each in network)
    images = np.random.default_rng(0).random((3, 3, 52, 52), np.float32)
    wanted = by_runtime(path, images.transpose(0, 2, 3, 1))
    close(torch.softmax(torch.from_numpy(outputs(loaded.module, images)), 1).numpy(), wanted)
    db = kdb.connect()
    db.register_model("net", loaded.module, input_size=(52, 52), activation=loaded.activation)
    heat = db.execute("OCCLUDE $image WITH patch(9, 7) STRIDE 20 USING net", {"image": photo[:52, :52]})
    occluded = photo[None, :52, :52].repeat(heat.values.size, 0).astype(np.float32)
    for each, (y, x) in zip(occluded, heat.positions.reshape(-1, 2), strict=True):
        each[y : y + 9, x : x + 7] = 0
    probabilities = by_runtime(path, occluded / np.float32(255))
    close(heat.values.reshape(-1), probabilities[:, heat.class_index])


def test_a_file_that_keras_wrote(photo: np.ndarray) -> None:
    """By tf2onnx; see data/keras_export.py."""
    path = Path(__file__).parents[1] / "data" / "keras.onnx"
    db = kdb.connect()
    db.execute(f"CREATE MODEL net FROM '{path}' (scale = 1)")
    assert db.explain("OCCLUDE $image USING net", {"image": None}).count("opaque") == 0
    image = photo[:48, :64]
    heat = db.execute("OCCLUDE $image WITH patch(9, 7) STRIDE 6 USING net FOR ALL CLASSES", {"image": image})
    occluded = image[None].repeat(heat.positions[..., 0].size, 0).astype(np.float32)
    for each, (y, x) in zip(occluded, heat.positions.reshape(-1, 2), strict=True):
        each[y : y + 9, x : x + 7] = 0
    wanted = by_runtime(path, occluded)
    assert np.ptp(wanted, axis=0).max() > 0.01
    close(heat.values.reshape(len(heat.label), -1).T, wanted)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("pads", [[1, 0, 0, 1], [0, 0, 1, 1], [2, 1, 0, 0]])
def test_uneven_padding_stays_incremental(op: str, pads: list[int], tmp_path: Path, photo: np.ndarray) -> None:
    nodes = [
        node("Conv", "x w", "c", pads=pads, strides=[2, 2]),
        node(op, "c", "p", kernel_shape=[3, 3], strides=[2, 2], pads=pads),
        node("LRN", "p", "l", size=3, alpha=0.1),
        node("HardSwish", "l", "h"),
        node("GlobalAveragePool", "h", "g"),
        node("Flatten", "g", "y"),
    ]
    path = saved(model(nodes, ("n", 3, 60, 60), HEAD), tmp_path)
    loaded = load(path)
    assert opaque(trace(loaded.module, (3, 60, 60))) == []
    heat_map_is_exact(loaded, path, (60, 60), photo)


def test_a_model_by_name_has_what_the_file_says(tmp_path: Path) -> None:
    path = saved(keras_like(np.random.default_rng(0)), tmp_path)
    made = onnx_model("net", path, mean=0.5, labels=[str(k) for k in range(10)])
    assert isinstance(made, Model)
    assert (made.input_shape, made.activation, made.label_of(3)) == ((3, 33, 33), "softmax", "3")
    with pytest.raises(BindError, match="no option 'maen'"):
        onnx_model("net", path, maen=0.5)


def test_two_files_of_the_same_weights_are_two_models(tmp_path: Path) -> None:
    digests = []
    for op in ("Relu", "Tanh"):
        nodes = [node("Conv", "x w", "c"), node(op, "c", "r"), node("GlobalAveragePool", "r", "y")]
        path = saved(model(nodes, weights={"w": np.ones((5, 3, 3, 3), np.float32)}), tmp_path)
        digests.append(onnx_model("net", path).weights_digest())
    assert digests[0] != digests[1]


# --- the batch, layouts, activations -------------------------------------------------------------------------------

FIXED = {
    "[1, -1]": [node("GlobalAveragePool", "c", "g"), node("Reshape", "g flat", "f")],
    "[1, 8]": [node("GlobalAveragePool", "c", "g"), node("Reshape", "g exact", "f")],
    "squeezed": [node("GlobalAveragePool", "c", "g"), node("Squeeze", "g", "f")],
    "its own shape": [
        node("GlobalAveragePool", "c", "g"),
        node("Shape", "g", "s"),
        node("Gather", "s first", "n", axis=0),
        node("Unsqueeze", "n zero", "n1"),
        node("Concat", "n1 rest", "to", axis=0),
        node("Reshape", "g to", "f"),
    ],
    "shuffled": [
        node("Reshape", "c groups", "h"),
        node("Transpose", "h", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t joined", "u"),
        node("GlobalAveragePool", "u", "g"),
        node("Flatten", "g", "f"),
    ],
    "a token": [
        node("Reshape", "c vectors", "v"),
        node("Concat", "token v", "all", axis=2),
        node("ReduceMax", "all", "f", axes=[2], keepdims=0),
    ],
}


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_batch_is_opened(name: str, tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), *FIXED[name], node("MatMul", "f dense", "y")]
    weights = HEAD | {"rest": np.array([-1])}
    path = saved(model(nodes, (1, 3, 12, 12), weights, 13), tmp_path)
    images = np.random.default_rng(0).random((3, 3, 12, 12), np.float32)
    loaded = load(path)
    close(outputs(loaded.module, images), by_runtime(path, images, one_by_one=True).reshape(3, 5))
    assert opaque(trace(loaded.module, (3, 12, 12))) == [] or name == "a token"


class Recurrent(torch.nn.Module):
    """The rows of one channel, one after another; its exporter writes a state for the batch at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = torch.nn.LSTM(12, 8, batch_first=True), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x[:, 0])[0][:, -1])


@pytest.mark.parametrize("what", ["m", "m (resize = crop)"])
def test_a_batch_that_stays_fixed_is_told(tmp_path: Path, what: str) -> None:
    db, query = kdb.connect(), f"OCCLUDE $x WITH patch(4, 4) STRIDE 4 USING {what}"
    path, x = exported(Recurrent(), (3, 12, 12), tmp_path / "lstm.onnx", fixed=True), np.zeros((12, 12, 3), np.uint8)
    db.execute(f"CREATE MODEL m FROM '{path}'")
    said = r"lstm\.onnx' was exported for batches of 1; .* dynamic_axes=\{'x': \{0: 'batch'\}\}"
    with pytest.raises(ModelError, match=said):
        db.execute(query, {"x": x})
    exported(Recurrent(), (3, 12, 12), path)
    db.execute(f"CREATE OR REPLACE MODEL m FROM '{path}'")
    assert db.execute(query, {"x": x}).values.shape == (3, 3)


@pytest.mark.parametrize(
    ("last", "activation"),
    [
        ([node("Softmax", "d", "y", axis=-1)], "softmax"),
        ([node("Softmax", "d", "p", axis=1), node("Identity", "p", "y")], "softmax"),
        ([node("LogSoftmax", "d", "y", axis=1)], "softmax"),
        ([node("Sigmoid", "d", "y")], "sigmoid"),
        ([node("Relu", "d", "y")], None),
        ([node("Softmax", "d", "p", axis=1), node("Neg", "p", "y")], None),
        ([node("Softmax", "d", "y", axis=0)], None),
    ],
)
def test_a_last_activation_is_the_models(last: list[onnx.NodeProto], activation: str | None, tmp_path: Path) -> None:
    path = saved(classifier(*last), tmp_path)
    loaded = load(path)
    assert loaded.activation == activation
    images = np.random.default_rng(0).random((3, 3, 12, 12), np.float32)
    made = torch.from_numpy(outputs(loaded.module, images))
    functions = {"softmax": lambda y: y.softmax(1), "sigmoid": torch.sigmoid, None: lambda y: y}
    wanted = by_runtime(path, images)
    close(functions[activation](made).numpy(), np.exp(wanted) if last[0].op_type == "LogSoftmax" else wanted)


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_without_an_activation_the_outputs_are_the_files(last: str, photo: np.ndarray, tmp_path: Path) -> None:
    path, image = saved(classifier(node(last, "d", "y")), tmp_path), photo[:12, :12].copy()
    query = "OCCLUDE $x WITH patch(5, 5) STRIDE 4 USING {} FOR ALL CLASSES SCORE {}"
    db = kdb.connect()
    db.execute(f"CREATE MODEL plain FROM '{path}' (activation = 'None')")
    db.execute(f"CREATE MODEL ended FROM '{path}'")
    raw, same = (db.execute(query.format("plain", score), {"x": image}) for score in ("logit", "probability"))
    ended = db.execute(query.format("ended", "probability"), {"x": image})
    np.testing.assert_array_equal(raw.values, same.values)
    close(np.exp(raw.values) if last == "LogSoftmax" else raw.values, ended.values)
    unmodified = np.ascontiguousarray(image.transpose(2, 0, 1)[None] / np.float32(255), dtype=np.float32)
    close(np.array(raw.baseline), by_runtime(path, unmodified)[0])
    assert "none" in str(db.execute("DESCRIBE MODEL plain WITH patch(5, 5)"))


def test_the_activation_of_a_map_is_not_that_of_the_classes(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Softmax", "c", "p", axis=-1), node("Flatten", "p", "y")]
    assert load(saved(model(nodes, (2, 3, 12, 12), HEAD), tmp_path)).activation is None


@pytest.mark.parametrize(
    ("shape", "layout", "size", "channels"),
    [
        (("n", 3, 12, 14), None, (12, 14), 3),
        (("n", 3, "h", "w"), None, None, 3),
        ((1, None, None, None), None, None, 3),
        (("n", 12, 14, 3), None, (12, 14), 3),
        ((None, None, None, 3), None, None, 3),
        (("n", 3, 14, 3), "NHWC", (3, 14), 3),
        (("n", 12, 14, 1), "nhwc", (12, 14), 1),
        (("n", 6, 12, 14), "NCHW", (12, 14), 6),
        (("n", 4, 12, 14), None, (12, 14), 4),
    ],
)
def test_layouts(shape: Any, layout: str | None, size: Any, channels: int, tmp_path: Path) -> None:
    path = saved(model([node("Flatten", "x", "y")], shape), tmp_path)
    loaded = load(path, layout)
    assert (loaded.input_size, loaded.n_channels) == (size, channels)


# --- outside the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layout", "size", "channels"),
    [
        (("n", 12, 40), None, (40,), 12),
        (("n", 40, 2), None, (40,), 2),
        (("n", 1, 9, 10, 11), None, (9, 10, 11), 1),
        (("n", 9, 3, 10, 11), "NTCHW", (9, 10, 11), 3),
        (("n", 1, "d", 10, 11), None, None, 1),
    ],
)
def test_signals_and_volumes(shape: Any, layout: str | None, size: Any, channels: int, tmp_path: Path) -> None:
    place = 1 if layout is None and shape[-1] != channels else shape.index(channels, 1)
    axes = len(shape) - 2
    inner = [axis for axis in range(axes + 2) if axis not in (0, place)]
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.normal(size=(4, channels, *[3] * axes)).astype(np.float32),
        "v": draw.normal(size=(5, 4)).astype(np.float32),
    }
    nodes = [
        node("Transpose", "x", "t", perm=[0, place, *inner]),
        node("Conv", "t w", "c", pads=[1] * (2 * axes)),
        node("Relu", "c", "r"),
        node("MaxPool", "r", "m", kernel_shape=[2] * axes, strides=[2] * axes),
        node("GlobalAveragePool", "m", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f v", "y", transB=1),
    ]
    path = saved(model(nodes, shape, weights), tmp_path)
    loaded = load(path, layout)
    assert loaded.input_size == size and loaded.n_channels == channels
    sides = [n if isinstance(n, int) else 9 for n in (shape[axis] for axis in inner)]
    images = draw.normal(size=(2, channels, *sides)).astype(np.float32)
    close(loaded.module(torch.from_numpy(images)).numpy(), by_runtime(path, np.moveaxis(images, 1, place)))
    network = trace(loaded.module, (channels, *sides))
    assert not opaque(network)


def test_other_operators_are_evaluated_in_full_by_the_standard(tmp_path: Path, photo: np.ndarray) -> None:
    """LpPool has no function here; all before it stays incremental."""
    nodes = [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node("LpPool", "r", "l", kernel_shape=[4, 4], strides=[4, 4], p=2),
        node("GlobalAveragePool", "l", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f dense", "y"),
    ]
    path = saved(model(nodes, ("n", 3, 64, 72), HEAD), tmp_path)
    loaded = load(path)
    assert "LpPool" not in OPERATORS
    network = trace(loaded.module, (3, 64, 72))
    assert len(opaque(network)) == 1 and "LpPool" in opaque(network)[0]
    assert len(list(network)) > 3
    heat_map_is_exact(loaded, path, (64, 72), photo)


@pytest.mark.parametrize("result", [["n", 3], ["n", 3, 1, 1], ["n", "k"], None])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_labels_are_one_a_class_where_the_file_says_how_many(result: Any, count: int, tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "x", "p"), node("Softmax", "p", "y", axis=1)]
    if result is not None and len(result) == 2:
        nodes[1:] = [node("Flatten", "p", "f"), node("Softmax", "f", "y", axis=1)]
    path = saved(model(nodes, result=result), tmp_path)
    labels = ", ".join(f"'{i}'" for i in range(count))
    db = kdb.connect()
    statement = f"CREATE MODEL net FROM '{path}' (mean = 0, std = 1, labels = ({labels}))"
    if count == 3:
        assert db.execute(statement)
    else:
        with pytest.raises(kdb.BindError, match=f"'net' has 3 classes, but {count} labels"):
            db.execute(statement)
        assert "net" not in str(db.execute("SHOW MODELS")).split()
