"""A new kernel is one file and one line in its backend's tuple: the planner, SET, EXPLAIN and CALIBRATE find it there.

Each file's stand-in here is a class; each line is a change of the tuple.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import kdb
from kdb.geometry import Boxes
from kdb.kernels.base import NO_MARGINS, Array, ConvolutionSpec, Delta, Epilogue, Sliding
from kdb.kernels.cpu import backend as cpu
from kdb.kernels.cpu.boxed import padded
from kdb.kernels.cpu.convolution import CpuConvolution
from kdb.kernels.cpu.direct import BF16, DIRECT
from kdb.kernels.cpu.taps import TAPS
from kdb.kernels.gpu import backend as gpu
from kdb.kernels.gpu import device as devices
from kdb.kernels.gpu.convolution import GpuConvolution
from kdb.kernels.work import Rates
from kdb.operators.base import Shape
from kdb.operators.convolution import Convolution
from kdb.operators.network import Network, Node, ParameterStore
from kdb.operators.sources import Source
from kdb.planner import calibration
from kdb.planner.cost import CostModel, CostProfile, data_sheet_profile
from tests.emulation.device import EmulatedDevice, compiler
from tests.execution.test_gpu_engine import blocks

QUERY = "OCCLUDE noise WITH patch(5, 5) STRIDE 5 USING small ON "
KINDS = ("wide", "point", "narrow", "depthwise")


class Einsum(CpuConvolution):
    """Ungrouped convolutions of stride 1 by one einsum, declared to be the fastest thing there is."""

    setting = "einsum"
    rates: Mapping[str, Rates] = {f"einsum.{kind}": ((1, 1e18),) for kind in KINDS}

    def applies(self, backend: Any, sliding: Sliding, groups: int) -> bool:
        return groups == 1 and sliding.stride == sliding.dilation == (1, 1)

    def evaluate(self, backend: Any, x: np.ndarray, spec: ConvolutionSpec) -> np.ndarray:
        windows = sliding_window_view(padded(x, spec.padding), spec.sliding.kernel, axis=(1, 2))
        y = np.einsum("nhwcij,ocij->nhwo", windows, spec.weight.array, optimize=True)
        return np.ascontiguousarray(y if spec.bias is None else y + spec.bias.array)


class Host(GpuConvolution):
    """Any convolution in fp32, by downloading it, declared likewise."""

    share = 1e6

    def evaluate(self, backend: Any, x: Array, spec: ConvolutionSpec) -> Array:
        return backend.memory.upload(TAPS.evaluate(cpu.CpuBackend(native=True), backend.memory.download(x), spec))

    def delta(
        self, backend: Any, spec: ConvolutionSpec, delta: Delta, boxes: Boxes, view: Array | None = None,
        result: Array | None = None, epilogue: Epilogue | None = None,
    ) -> Array:  # fmt: skip
        return self.evaluate(backend, backend.deltas.embed(delta, boxes.read_in(spec.windows)), spec.linear(NO_MARGINS))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Calibration that measures next to nothing, and keeps it apart."""
    monkeypatch.setenv("KDB_CACHE", str(tmp_path))
    for name, value in (("LEAST_SECONDS", 0.0), ("TRIES", 1), ("WIDTHS", (32,)), ("DENSE_WIDTHS", (32,)), ("BATCH", 1)):
        monkeypatch.setattr(calibration, name, value)


def session() -> Any:
    db = kdb.connect()
    db.register_model("small", blocks().module, input_size=(40, 40))
    db.register_image("noise", np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    db.execute("SET rule.cut_over = off")
    return db


def chosen(db: Any, device: str) -> set[str]:
    """The kernels of the plan's convolutions."""
    layers = json.loads(db.explain(QUERY + device, format="json"))["layers"]
    return {layer["kernel"] for layer in layers if layer["operator"] == "convolution"}


def agree(db: Any, device: str, kernel: str, expected: np.ndarray) -> None:
    """It is chosen, runs, and gives the map that other kernels give."""
    found = db.execute(QUERY + device)
    assert kernel in chosen(db, device) and found.stats.kernels[kernel] > 0 and found.exact
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-4 * np.ptp(expected))


def test_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without = session()
    expected = without.execute(QUERY + "cpu").values
    assert np.ptp(expected) > 1e-3 and "einsum" not in chosen(without, "cpu")
    with pytest.raises(
        kdb.BindError, match=r"one of auto, native, direct, taps, winograd, compiled, recompute, gemm; not 'einsum'"
    ):
        without.execute("SET kernels = einsum")

    monkeypatch.setattr(cpu, "KERNELS", (*cpu.KERNELS, Einsum("einsum")))
    db = session()
    agree(db, "cpu", "einsum", expected)
    for kernels, used in (("direct", False), ("einsum", True), ("native", True)):
        db.execute(f"SET kernels = {kernels}")
        assert ("einsum" in chosen(db, "cpu")) == used
    db.execute("SET threads = 1; RESET kernels")
    measured = {kind: rate for kind, _, rate in db.execute("CALIBRATE").rows}
    assert 0 < measured["einsum.wide"] < 1e6, "in billions a second: it is no longer what was declared"
    stored = calibration.kept(calibration.machine(1))
    assert stored is not None and stored.rates.keys() == CostProfile().rates.keys() >= Einsum.rates.keys()


@pytest.mark.skipif(compiler() is None, reason="there is no g++ to compile the kernels with")
def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    device = EmulatedDevice()
    monkeypatch.setattr(devices, "opened", lambda: device)
    monkeypatch.setattr(devices, "found", lambda: device)
    without = session()
    expected = without.execute(QUERY + "gpu").values
    assert chosen(without, "gpu") == {"gemm"}

    monkeypatch.setattr(gpu, "KERNELS", (*gpu.KERNELS, Host("host", "fp32")))
    db = session()
    agree(db, "gpu", "host", expected)
    db.execute("SET kernels = gemm")
    assert chosen(db, "gpu") == {"gemm"}
    db.execute("SET kernels = host")
    assert chosen(db, "gpu") == {"host"}
    profile = calibration.measure_device(device)
    assert profile.rates.keys() == data_sheet_profile().rates.keys() >= {f"host.{kind}" for kind in KINDS}
    assert profile.rates["host.wide"] != data_sheet_profile().rates["host.wide"]


def test_a_kernel_that_cannot_be_asked_for_competes_as_the_others_do() -> None:
    """bf16, which has no setting, is expected to take less than direct, but not by more than a tie."""
    shape, conv = Shape(3, (9, 9)), Convolution("w", None, 8, (3, 3))
    nodes = (Node("image", Source(shape), (), shape), Node("conv", conv, ("image",), conv.output_shape([shape])))
    network = Network(nodes, ParameterStore())
    backend = cpu.CpuBackend(reduced=True)
    competing = (DIRECT, BF16) if backend.multiplies_bf16 else (DIRECT,)
    rates = {**CostProfile().rates, "direct.narrow": ((1, 1e10),), "taps.narrow": ((1, 1e9),), "winograd": ((1, 1e8),)}
    for advantage, kernel in ((1.02, DIRECT), (1.05, competing[-1])):
        profile = replace(CostProfile(), rates={**rates, "bf16.narrow": ((1, advantage * 1e10),)}, call=0.0)
        extents = {"image": shape.size, "conv": nodes[1].shape.size}
        choice = CostModel(profile, backend).delta(network, nodes[1], extents, 1000)
        assert choice is not None and choice.kernel is kernel
