"""ONNX files of segmentations and of several outputs, exported by PyTorch, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import kdb
from kdb.errors import ModelError
from tests import onnx_files

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Maps of four classes at half the size, made finer by a transposed convolution and by a linear resize."""
    torch.manual_seed(0)
    weight, up = nn.Conv2d(3, 4, 3).weight.detach().numpy(), nn.ConvTranspose2d(4, 4, 2, 2).weight.detach().numpy()
    scales = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        onnx_files.node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        onnx_files.node("Relu", "a", "b"),
        onnx_files.node("MaxPool", "b", "c", kernel_shape=[2, 2], strides=[2, 2]),
        onnx_files.node("ConvTranspose", "c u", "y", strides=[2, 2]),
        onnx_files.node("Resize", "c - s", "z", mode="linear", coordinate_transformation_mode="half_pixel"),
    ]
    proto = onnx_files.model(nodes, ("n", 3, 16, 16), {"w": weight, "u": up, "s": scales}, result=("n", 4, 16, 16))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("n", 4, 16, 16)))
    onnx.checker.check_model(proto)
    return onnx_files.saved(proto, tmp_path)


@pytest.mark.parametrize(("output", "place"), [("", 0), (", output = 'z'", 1), (", output = 1", 1)])
def test_a_map_of_each_output(file: Path, output: str, place: int) -> None:
    import onnxruntime

    db = kdb.connect()
    db.execute(f"CREATE MODEL net FROM '{file}' (mean = 0, std = 1{output})")
    text = "OCCLUDE $x WITH patch(4) STRIDE 3 USING net FOR ALL CLASSES SCORE logit OVER box(2, 4, 6, 5)"
    heat_map = db.execute(text, {"x": IMAGE})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    images = np.repeat(IMAGE[None], heat_map.positions[..., 0].size, 0)
    for each, (y, x) in zip(images, heat_map.positions.reshape(-1, 2), strict=True):
        each[y : y + 4, x : x + 4] = 0
    batch = np.moveaxis(images.astype(np.float32) / 255, -1, 1).copy()
    expected = session.run(None, {"x": batch})[place][:, :, 2:8, 4:9].mean((2, 3))
    np.testing.assert_allclose(heat_map.values.reshape(4, -1).T, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    plan = db.explain(text, {"x": IMAGE})
    assert "outside the vocabulary" not in plan and "of 16x16 cells of the output" in plan


def test_an_output_that_there_is_not_is_said(file: Path) -> None:
    with pytest.raises(ModelError, match="it has no output 'q'; it has 'y', 'z'"):
        kdb.connect().execute(f"CREATE MODEL net FROM '{file}' (output = 'q')")
