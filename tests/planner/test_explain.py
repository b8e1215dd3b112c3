"""EXPLAIN prints the same each time: golden files, which ``KDB_GOLDEN=write`` writes anew for a reviewer to read."""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.execution.engine import Engine
from kdb.planner.cost import CostProfile
from kdb.session.session import Session
from tests.networks import SqueezeExcite

pytestmark = pytest.mark.usefixtures("plain")

GOLDEN = Path(__file__).parent / "golden"

QUERY = "OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 4 USING residual"
QUERIES = {
    "whole_map": f"EXPLAIN {QUERY}",
    "within": f"EXPLAIN {QUERY} WITHIN box(0, 0, 16, 24)",
    "few": f"EXPLAIN {QUERY} WITHIN box(0, 0, 8, 8)",
    "native": f"SET kernels = native; EXPLAIN {QUERY}",
    "krypton": f"SET preset = krypton; EXPLAIN {QUERY}",
    "naive": f"SET rule.incremental = off; EXPLAIN {QUERY}",
    "no_cut_over": f"SET rule.cut_over = off; EXPLAIN {QUERY}",
    "unbatched": f"SET rule.multi_query_batching = off; EXPLAIN {QUERY} WITHIN box(0, 0, 16, 24)",
    "threshold": f"SET rule.cut_over = off; EXPLAIN {QUERY} THRESHOLD 0.5",
    "opaque": "EXPLAIN OCCLUDE 'cat.png' WITH patch(8, 8) USING sorting",
    "interior": "EXPLAIN OCCLUDE 'cat.png' WITH patch(40, 40) STRIDE 2 USING wide",
    "live": "SET kernels = native; EXPLAIN OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 2 USING excited APPROXIMATE",
    "graph": f"EXPLAIN (FORMAT dot) {QUERY}",
}


class Residual(nn.Module):
    """One of everything that the rules look for."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 16, 3, stride=2), nn.BatchNorm2d(16), nn.SiLU())
        self.pool = nn.MaxPool2d(2)
        self.left = nn.Conv2d(16, 32, 3, padding=1)
        self.right = nn.Conv2d(16, 32, 1)
        self.wide = nn.Conv2d(32, 64, 5, padding=2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        return self.head(torch.relu(self.wide(torch.relu(self.left(x) + self.right(x)))))


class Wide(nn.Module):
    """Many channels early, as VGG16 has them: where what lies under a large patch is worth leaving out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


class Excited(nn.Module):
    """Squeeze-and-excitation twice, while a change is narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), SqueezeExcite(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), SqueezeExcite(32), nn.Conv2d(32, 32, 3), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)))


class Sorting(nn.Module):
    """Ends in what kdb has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(self.convolution(x).mean((2, 3)), dim=1).values


@pytest.fixture
def db() -> Session:
    torch.manual_seed(0)
    session = kdb.connect()
    session.register_model("residual", Residual(), input_size=(64, 64), mean=0, std=1)
    session.register_model("wide", Wide(), input_size=(64, 64), mean=0, std=1)
    session.register_model("excited", Excited(), input_size=(64, 64), mean=0, std=1)
    session.register_model("sorting", Sorting(), input_size=(32, 32), mean=0, std=1)
    session.execute("SET threads = 2")
    return session


@pytest.mark.parametrize("name", list(QUERIES))
def test_golden(db: Session, name: str) -> None:
    got = str(db.execute(QUERIES[name])) + "\n"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("KDB_GOLDEN") == "write":
        file.write_text(got)
    assert got == file.read_text(), f"{file.name} differs; KDB_GOLDEN=write writes it anew"


def test_every_golden_file_is_of_a_query() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(QUERIES)


def test_what_differs_is_seen_in_the_plan() -> None:
    """The golden files do differ where they should."""
    whole, naive, native = ((GOLDEN / f"{name}.txt").read_text() for name in ("whole_map", "naive", "native"))
    assert "\ndeltas " in whole and "\ndeltas " not in naive
    assert "direct" in whole and "direct" not in native
    assert "switched off" in naive
    assert ", ring " in (GOLDEN / "interior.txt").read_text() and ", ring" not in whole


class Gated(nn.Module):
    """A squeeze-excite gate early on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.body(x * self.gate(x.mean((2, 3), keepdim=True))).mean((2, 3))


WIDE = nn.Conv2d(3, 4, 81, padding=40)
WHY: dict[str, tuple[nn.Module, str]] = {
    "gate": (Gated(), "spreads every change over the whole map"),
    "boxes": (
        nn.Sequential(WIDE, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AvgPool2d(48), nn.Flatten()),
        "changes there cover",
    ),
    "vector": (nn.Sequential(WIDE, nn.Flatten()), "only vectors, which change as a whole"),
    "first layer": (
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 4)),
        "rule incremental did not apply: the first layer",
    ),
    "vocabulary": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Flatten()), "outside the vocabulary"),
}


@pytest.mark.parametrize("name", WHY)
def test_the_reason_for_what_is_evaluated_in_full(name: str, plain: None) -> None:
    module, because = WHY[name]
    db = kdb.connect()
    db.register_model("model", module, input_size=48)
    head = db.explain("OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 4 USING model").partition("\n\nrule")[0]
    assert re.search(f"evaluated in full from .* on: .*{because}", head), head


def test_nothing_is_said_where_deltas_go_all_the_way(db: Session) -> None:
    text = db.explain("OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 4 USING residual", format="json")
    assert json.loads(text)["cut"] is None and json.loads(text)["because"] is None


def test_the_summary_compares_with_full_inference_at_each_position(db: Session) -> None:
    explained = {}
    for name, query in (("deltas", QUERIES["whole_map"]), ("naive", QUERIES["naive"])):
        db.execute("RESET ALL")
        db.execute("SET threads = 2")
        script, _, query = query.rpartition("; ")
        if script:
            db.execute(script)
        explained[name] = json.loads(db.explain(query, format="json"))
    deltas, naive = explained["deltas"], explained["naive"]
    assert naive["naive_seconds"] == pytest.approx(deltas["naive_seconds"], rel=0.2), "of the network, not of the plan"
    assert naive["estimated_seconds"] == pytest.approx(naive["naive_seconds"], rel=0.2), "the plan is full inference"
    assert deltas["estimated_seconds"] < deltas["naive_seconds"] / 2
    for each in explained.values():
        assert sum(stage["planned_macs"] for stage in each["stages"]) == each["planned_macs"]
        assert sum(stage["estimated_seconds"] for stage in each["stages"]) == pytest.approx(
            each["estimated_seconds"] * each["threads"]
        )
        working = each["workers"] * (each["worker_bytes"] + each["scratch_bytes"])
        assert each["peak_bytes"] >= each["result_bytes"] + each["view_bytes"] + working > each["view_bytes"]


class Decoded(nn.Module):
    """A decoder, of which PyTorch evaluates all from the transposed convolution on, which is dilated."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(11, 16, 3)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2, 1, 1, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([x, self.up(self.down(x))], 1)).mean((2, 3))


def test_what_pytorch_evaluates_counts() -> None:
    db = kdb.connect()
    db.register_model("decoded", Decoded(), input_size=32)
    explained = json.loads(db.explain("OCCLUDE 'cat.png' WITH patch(8, 8) STRIDE 4 USING decoded", format="json"))
    first, rest = 16 * 16 * 27 * 8, 16 * 16 * 8 * 8 * 4 + 30 * 30 * 11 * 9 * 16
    assert explained["naive_macs"] == explained["positions"] * (first + rest)
    assert rest < explained["planned_macs"] / explained["positions"] <= first + rest
    assert 0.5 < explained["estimated_seconds"] / explained["naive_seconds"] < 1.1


def test_the_summary_says_whose_rates_it_uses(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, measured, said in (
        ("default", "", "rates       defaults"),
        ("measured", "", "rates       measured on this machine\n"),
        ("measured", "2025-12-31", "rates       measured on this machine on 2025-12-31\n"),
    ):
        profile = CostProfile(name, measured=measured)
        monkeypatch.setattr(Engine, "_profile", lambda *_, profile=profile: profile)
        db._engine._plans.clear()
        assert said in db.explain(QUERY)
        facts = json.loads(db.explain(QUERY, format="json"))
        assert (facts["rates_origin"], facts["rates_date"]) == (name, measured)


def test_the_table_of_layers_takes_100_columns_at_most(db: Session) -> None:
    deep = Residual()
    for _ in range(12):
        deep = nn.Sequential(OrderedDict(quite_a_long_name=deep))
    db.register_model("deep", deep, input_size=(64, 64))
    image = np.zeros((64, 64, 3), np.uint8)
    for analyze in (False, True):
        text = db.explain("OCCLUDE $x WITH patch(8, 8) USING deep", {"x": image}, analyze=analyze)
        table = text.rpartition("\n\n")[2].splitlines()
        assert max(map(len, table)) == 100 and any(" ..." in line and "name.wide " in line for line in table)
    record = json.loads(db.explain("OCCLUDE $x WITH patch(8, 8) USING deep", {"x": image}, format="json"))
    assert all(layer["name"].count("quite_a_long_name") == 12 for layer in record["layers"][:3])
