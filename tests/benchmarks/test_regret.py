"""Regret of the choice of kernels: launched layers are those of the plan, and tables follow from their times."""

from __future__ import annotations

import functools
import gc
import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import regret
from benchmarks.layers import HOPELESS, Launch, Layer, kernel_seconds, layers, typical_batch
from benchmarks.regret import Contest
from kdb.execution.engine import Engine, default_settings
from kdb.geometry import Boxes
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense
from kdb.planner import calibration
from kdb.planner.calibration import busy_seconds
from kdb.planner.cost import CostProfile
from kdb.planner.plan import PhysicalPlan

SMALL = "squeezenet1_1"
SIZE = (64, 64)


@functools.cache
def plan(name: str = SMALL) -> PhysicalPlan:
    engine = Engine(default_settings())
    engine.settings.set("threads", 1)
    return regret.plan_of(name, engine, SIZE)


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CostProfile:
    """A cost profile of this machine with one thread, stored in a cache of its own; measuring one would fail."""
    monkeypatch.setenv("KDB_CACHE", str(tmp_path / "cache"))
    kept = CostProfile("kept", bandwidth=7e9)
    calibration.keep(kept, calibration.machine(1))
    monkeypatch.setattr(calibration, "measure", lambda threads: pytest.fail("measured a profile that is stored"))
    return kept


class TestLayers:
    @pytest.mark.parametrize("name", [SMALL, "mobilenet_v2", "resnet18"])
    def test_they_make_up_the_plan(self, name: str) -> None:
        physical = plan(name)
        steps = [step for stage in physical.stages for step in stage.steps]
        counted = [step for step in steps if isinstance(step.node.operator, Convolution | Dense)]
        found = layers(physical)
        assert 1 < len(found) <= len(counted)
        positions = sum(layer.launches * len(layer.outputs) for layer in found)
        assert positions == pytest.approx(len(counted) * len(physical.logical.positions))
        chosen = {(step.node.name, step.kernel.name) for step in counted}
        assert all((layer.node.name, layer.chosen) in chosen for layer in found)
        if name == "resnet18":
            assert len(found) < len(counted), "repeated blocks have equal layers"

    def test_the_typical_batch_is_in_the_middle(self) -> None:
        physical = plan()
        batches = physical.logical.batches
        typical = typical_batch(physical)
        assert any(typical is batch for batch in batches)
        last = next(step.node for step in reversed(physical.stages[0].steps))
        cells = [math.prod(physical.logical.geometry.boxes(last, each).extent) * len(each) for each in batches]  # type: ignore[union-attr]
        boxes = physical.logical.geometry.boxes(last, typical)
        assert boxes is not None and min(cells) <= math.prod(boxes.extent) * len(typical) <= max(cells)

    @pytest.mark.parametrize("name", [SMALL, "mobilenet_v2", "resnet18"])
    def test_all_kernels_of_a_layer_give_the_same_result(self, name: str) -> None:
        physical = plan(name)
        for layer in layers(physical)[:12]:
            launch, kernels = Launch(physical, layer), layer.kernels(physical.backend)
            assert layer.chosen in kernels
            # The random output view does not follow from the random input view, so Algorithm 1 gives another result.
            first, *others = (launch(kernel) for name, kernel in kernels.items() if name != "recompute")
            assert first.shape == (len(layer.outputs), *layer.outputs.extent, layer.node.shape.channels)
            for other in others:
                np.testing.assert_allclose(other, first, atol=1e-4 * np.abs(first).max())
            if "recompute" in kernels and layer.incremental:
                assert launch(kernels["recompute"]).shape == first.shape

    def test_work_is_that_of_the_plan(self) -> None:
        """Layers evaluated in full, whose boxes do not differ between batches, have the work of the plan."""
        physical = plan("resnet18")
        steps = {step.node.name: step for stage in physical.stages for step in stage.steps}
        whole = [layer for layer in layers(physical) if not layer.incremental]
        assert whole
        for layer in whole:
            assert layer.work(layer.kernels(physical.backend)[layer.chosen]) == steps[layer.node.name].work

    @given(threads=st.integers(1, 3), repeats=st.integers(1, 4))
    def test_all_threads_are_busy_alike(self, threads: int, repeats: int) -> None:
        seen: list[tuple[int, int, bool]] = []
        inside = torch.get_num_threads()
        seconds = busy_seconds(
            lambda: seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled())),
            threads,
            repeats,
        )
        assert len(seen) == threads * repeats and seconds > 0
        assert all(each[1:] == (1, True) for each in seen)
        assert torch.get_num_threads() == inside

    def test_every_kernel_is_timed_and_hopeless_ones_only_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        physical = plan()
        layer = next(layer for layer in layers(physical) if len(layer.kernels(physical.backend)) > 2)
        kernels = layer.kernels(physical.backend)
        slow = next(kernel for kernel in kernels if kernel != layer.chosen)
        turns: list[str] = []

        def timed(call: Any, threads: int, repeats: int = 1) -> float:
            (kernel,) = call.args
            turns.append(kernel.name)
            return 2.0 * HOPELESS if kernel.name == slow else 1 + 0.01 * len(turns)

        monkeypatch.setattr("benchmarks.layers.busy_seconds", timed)
        found = kernel_seconds(physical, layer, rounds=3)
        assert list(found) == list(kernels)
        assert all(turns.count(kernel) == (1 if kernel == slow else 4) for kernel in kernels)


def contest(measured: dict[str, float], chosen: str, launches: float = 1.0) -> Contest:
    boxes = Boxes.whole(2, (3, 3))
    (layer, *_) = layers(plan())
    layer = Layer(layer.node, layer.shape, boxes, boxes, True, chosen, launches)
    return Contest(SMALL, layer, measured, {kernel: 2 * seconds for kernel, seconds in measured.items()})


seconds = st.floats(1e-4, 1e2)


class TestRegret:
    @given(times=st.lists(seconds, min_size=1, max_size=4), launches=st.floats(1, 100), data=st.data())
    def test_only_the_fastest_kernel_loses_nothing(
        self, times: list[float], launches: float, data: st.DataObject
    ) -> None:
        measured = {f"kernel {i}": each for i, each in enumerate(times)}
        each = contest(measured, data.draw(st.sampled_from(list(measured))), launches)
        assert measured[each.best] == min(times)
        assert each.lost >= 0
        assert each.lost == pytest.approx(launches * (measured[each.layer.chosen] - min(times)), abs=1e-9)
        assert contest(measured, each.best, launches).lost == 0
        excess = measured[each.layer.chosen] / min(times)
        assert excess <= 1.1 + 1e-9 if each.near else excess >= 1.1 - 1e-9

    def test_tables(self) -> None:
        found = [
            contest({"direct": 2.0, "taps": 1.0}, "direct", 10),
            contest({"direct": 1.0, "taps": 1.05}, "taps"),
            replace(contest({"direct": 1.0}, "direct"), network="other"),
        ]
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in regret.network_table(found).splitlines()]
        assert rows[2] == [SMALL, "2", "50%", "21.1", "11", "1.914", "2.00", "2.00 to 2.00"]
        assert [row[0] for row in rows[2:]] == [SMALL, "other", "all"]
        worst = regret.worst_table(found).splitlines()[2:]
        assert [line.split("|")[-2].strip() for line in worst] == ["10", "0.05"], (
            "layers with the best kernel are not listed"
        )
        assert regret.kernel_table(found).count("2.00 to 2.00") == 2

    def test_garbage_collection_is_restored_afterwards(self) -> None:
        with regret.frozen_garbage():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() == 0

    def test_the_report(self, profile: CostProfile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "out"
        sized = ["--size", *map(str, SIZE), "--rounds", "1", "--threads", "1"]
        assert regret.main([SMALL, *sized, "--out", str(out)]) == 0
        read = json.loads((out / "regret.json").read_text())
        assert read["profile"] == "kept" and read["threads"] == 1
        for layer in read["layers"]:
            assert layer["seconds"].keys() == layer["estimates"].keys() >= {layer["chosen"], layer["best"]}
            assert all(0 < each < math.inf for of in ("seconds", "estimates") for each in layer[of].values())
        page = (out / "regret.md").read_text()
        printed = capsys.readouterr().out
        for heading in ("regret", "lost, s", "estimate / measured"):
            assert heading in page and heading in printed
        assert all(len(line) <= 120 or line.startswith(("|", "processor")) for line in page.splitlines())

    def test_a_machine_without_a_profile_is_calibrated(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("KDB_CACHE", str(tmp_path))
        monkeypatch.setattr(calibration, "measure", lambda threads: CostProfile(f"measured with {threads}"))
        assert regret.calibrated_engine(3).profile(3).name == "measured with 3"
        kept = calibration.kept(calibration.machine(3))
        assert kept is not None and kept.name == "measured with 3"

    def test_an_unknown_network_is_refused(self) -> None:
        with pytest.raises(SystemExit, match="vgg61"):
            regret.main(["vgg61"])
