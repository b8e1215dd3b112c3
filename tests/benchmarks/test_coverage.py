"""The coverage table on a plain network, one with gates and a transformer; the cache of rows; the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import coverage, roster
from benchmarks.calibrated import calibrated
from benchmarks.coverage import Reach, Row
from benchmarks.figures.bounds import speedups
from benchmarks.oracle import Exactness
from benchmarks.roster import Entry
from benchmarks.verify import Subject
from kdb.execution.engine import Engine, default_settings
from kdb.models import zoo
from kdb.models.catalog import Catalog

SIDE = 64
EXACT = Exactness(1e-6, 1e-5, 1e-5, 0.1, 0.1)
REACH = Reach(10, 0.5, 2.0, "features.8", "changes there cover 4x4 of 5x5 cells")


def row(name: str, convolutional: bool = True) -> Row:
    return Row(Entry(name, SIDE, convolutional), 1000, REACH, EXACT, "", 1.5)


def test_a_plain_network_is_incremental_and_exact() -> None:
    found = coverage.measure(Entry("squeezenet1_1", SIDE, True))
    assert found.incremental and found.exact and found.as_promised, found
    assert found.reach is not None and 0.2 < found.reach.share <= 1
    module = calibrated("squeezenet1_1", (SIDE, SIDE))
    traced = Catalog().traced(zoo.make_model("same", module, input_size=(SIDE, SIDE)))
    assert coverage.multiply_adds(module, SIDE) == traced.network.macs
    bound = speedups(traced, Engine(default_settings()), 16)["all"]["centre"]
    # By other numbers of positions, for which a sum of convolutions may or may not be worth it.
    assert found.reach.bound == pytest.approx(bound, rel=0.02)


def test_a_network_with_gates_is_incremental_up_to_the_first() -> None:
    found = coverage.measure(Entry("regnet_y_400mf", SIDE, True))
    assert found.incremental and found.exact, found
    assert found.reach is not None and 0 < found.reach.share < 0.5
    assert found.reach.cut is not None and "spreads every change over the whole map" in found.reach.because


class Attentive(nn.Module):
    """A small transformer: patches, one layer of attention, a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 5)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_a_transformer_is_exact_and_evaluated_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    entry, module = Entry("attentive", 32, False), Attentive().eval()
    monkeypatch.setattr(coverage, "load", lambda name, size: Subject(name, module, size))
    found = coverage.measure(entry)
    assert found.exact and not found.incremental and found.as_promised, found
    assert found.parameters == sum(weight.numel() for weight in module.parameters())
    assert found.reach is not None and 0 < found.reach.share < 0.5  # the patches
    assert found.reach.left_out and found.reach.left_out in found.reach.because
    assert "layer" in found.reach.left_out and "outside the vocabulary" in found.reach.because
    assert not replace(found, entry=replace(entry, convolutional=True)).as_promised


def test_a_model_that_does_not_run_is_a_row() -> None:
    found = coverage.measure(Entry("no_such_model", SIDE, True))
    assert not found.as_promised and "no_such_model" in found.problem and found.verdict.startswith("FAILS")


def test_the_roster_has_all_of_torchvision_and_many_of_timm() -> None:
    names = [entry.name for entry in roster.entries()]
    assert len(set(names)) == len(names)
    assert set(roster.torchvision_names()) <= set(names)
    assert set(roster.SIDES) <= {*names, *(name for name in roster.SIDES if name.startswith("timm/"))}
    assert len(roster.TIMM_CONVOLUTIONAL) >= 40
    assert not set(roster.TIMM_CONVOLUTIONAL) & set(roster.TIMM_OTHERS)


@pytest.mark.skipif(not find_spec("timm"), reason="timm is not installed")
def test_timms_models_are_of_many_families() -> None:
    zoo.known_names()  # imports torchvision even if its compiled operators do not load
    import timm

    module_of = {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}
    assert not {*roster.TIMM_CONVOLUTIONAL, *roster.TIMM_OTHERS} - set(module_of)
    assert len({module_of[name] for name in roster.TIMM_CONVOLUTIONAL}) >= 40


def test_rows_are_cached_until_the_code_changes(tmp_path: Path) -> None:
    rows = [row("vgg11"), Row(Entry("timm/broken", SIDE, False), problem="RuntimeError: no")]
    for each in rows:
        assert coverage.stored(each.entry, "this", tmp_path) is None
        coverage.store(each, "this", tmp_path)
        assert coverage.stored(each.entry, "this", tmp_path) == each
        assert coverage.stored(each.entry, "other", tmp_path) is None
        assert coverage.stored(replace(each.entry, side=SIDE + 1), "this", tmp_path) is None
    assert len(list(tmp_path.iterdir())) == len(rows)


class TestCommand:
    """``main`` with synthetic rows instead of measured ones."""

    @pytest.fixture(autouse=True)
    def synthetic(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.out, self.measured = tmp_path / "out", list[str]()
        self.rows = [row("vgg11"), row("timm/dla34"), row("vit_b_16", False)]
        folder = tmp_path / "stored"
        monkeypatch.setattr(coverage, "entries", lambda: tuple(each.entry for each in self.rows))
        monkeypatch.setattr(coverage, "measure", self.measure)
        monkeypatch.setattr(coverage, "store", lambda found, digest, store=coverage.store: store(found, digest, folder))
        monkeypatch.setattr(
            coverage, "stored", lambda entry, digest, stored=coverage.stored: stored(entry, digest, folder)
        )

    def measure(self, entry: Entry) -> Row:
        self.measured.append(entry.name)
        return next(each for each in self.rows if each.entry == entry)

    def run(self, *arguments: str) -> int:
        return coverage.main([*arguments, "--out", str(self.out)])

    def test_writes_a_row_for_each_model(self) -> None:
        assert self.run() == 0
        text = (self.out / "coverage.md").read_text()
        assert all(f"| {each.entry.name} | 64 |" in text for each in self.rows)
        assert "| torchvision: convolutional | 1 | 1 | 1 | 0 |" in text
        models = json.loads((self.out / "coverage.json").read_text())["models"]
        assert [(each["entry"]["name"], each["incremental"]) for each in models] == [
            (each.entry.name, True) for each in self.rows
        ]

    def test_continues_with_the_rows_that_are_missing(self) -> None:
        assert self.run("--only", "timm/*") == 0 and self.measured == ["timm/dla34"]
        assert self.run() == 0 and self.measured == ["timm/dla34", "vgg11", "vit_b_16"]
        assert self.run("--again", "--only", "vgg11") == 0 and self.measured[3:] == ["vgg11"]

    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({"found": replace(EXACT, scale_error=1.0)}, (1, 1, 1)),
            ({"found": None, "problem": "RuntimeError: no"}, (1, 1, 1)),
            ({"reach": replace(REACH, share=0.0)}, (1, 1, 0)),
            ({"reach": replace(REACH, left_out="0.attn: bmm")}, (1, 1, 0)),
        ],
    )
    def test_fails_where_a_promise_is_broken(self, changed: dict[str, object], status: Sequence[int]) -> None:
        sound = self.rows
        for i, expected in enumerate(status):
            self.rows = [replace(each, **changed) if i == j else each for j, each in enumerate(sound)]
            assert self.run("--again") == expected

    def test_a_pattern_that_fits_nothing_is_refused(self) -> None:
        with pytest.raises(SystemExit, match="no model is called x"):
            self.run("--only", "x")
