"""Binding: a query is bound once, whatever is done with it, and bound anew only for a model that has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.errors import BindError, ClauseError
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.models.catalog import Catalog
from kdb.planner.permissions import EXACT, Permissions
from kdb.queries import bind
from kdb.queries.planning import frozen
from kdb.results.several import HeatMaps

SIDE = 24


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 22 * 22, 3)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[syntax.Occlude]:
    """The queries bound so far."""
    queries: list[syntax.Occlude] = []
    original = bind.bind

    def counted(query: syntax.Occlude, *arguments: Any) -> bind.BoundQuery:
        queries.append(query)
        return original(query, *arguments)

    monkeypatch.setattr(bind, "bind", counted)
    return queries


REST = "WITH patch(4, 4) STRIDE 2 USING net"


@pytest.mark.parametrize(
    "statement",
    [
        "OCCLUDE '{0}/0.png' {1}",
        "OCCLUDE '{0}/*.png' {1}",
        "EXPLAIN OCCLUDE '{0}/0.png' {1}",
        "EXPLAIN ANALYZE OCCLUDE '{0}/0.png' {1}",
        "TUNE net ON '{0}/*.png' WITH patch(4, 4) STRIDE 2",
    ],
)
def test_a_query_is_bound_once(bound: list[syntax.Occlude], folder: Path, statement: str) -> None:
    db = kdb.connect()
    db.register_model("net", network(), input_size=SIDE)
    result = db.execute(statement.format(folder, REST))
    if isinstance(result, HeatMaps):
        assert len([heat_map.values for heat_map in result]) == 3
    assert len(bound) == 1


def test_a_tuned_query_is_bound_once(bound: list[syntax.Occlude], folder: Path) -> None:
    db = kdb.connect()
    db.register_model("net", network(), input_size=SIDE)
    db.execute(f"TUNE net ON '{folder}/*.png' WITH patch(4, 4) STRIDE 2")
    bound.clear()
    plan = db.explain(f"OCCLUDE '{folder}/0.png' {REST} THRESHOLD AUTO", analyze=True)
    assert len(bound) == 1 and plan.startswith("OCCLUDE") and "THRESHOLD AUTO" in plan.splitlines()[0]


def test_a_stream_is_bound_once(bound: list[syntax.Occlude], folder: Path) -> None:
    db = kdb.connect()
    db.register_model("net", network(), input_size=SIDE)
    assert list(db.stream(f"OCCLUDE '{folder}/0.png' {REST}")) and len(bound) == 1


def test_maps_that_are_computed_later_are_not_bound_anew(bound: list[syntax.Occlude], folder: Path) -> None:
    db, module = kdb.connect(), network()
    db.register_model("net", module, input_size=SIDE)
    maps = db.execute(f"OCCLUDE '{folder}/*.png' {REST}")
    assert isinstance(maps, HeatMaps) and maps[0].complete
    with torch.no_grad():
        module[0].weight.mul_(-1)  # type: ignore[union-attr, operator]
    with pytest.raises(kdb.ExecutionError, match="run the query again"):
        maps[1]
    assert len(bound) == 1


class TestABoundQuery:
    def bind(self, rest: str) -> bind.BoundQuery:
        query = parse_one(f"OCCLUDE $image WITH patch(4, 6) FILL {rest}")
        assert isinstance(query, syntax.Occlude)
        return bind.bind(query, Arguments({"net": network(), "image": None}), Catalog())

    def test_it_says_what_is_permitted(self) -> None:
        net = f"USING $net (input = {SIDE})"
        assert self.bind(f"mean {net} ON cpu").permissions == EXACT
        bound = self.bind(f"mean {net} THRESHOLD 0.5 PRECISION bf16 ON cpu")
        assert bound.permissions == Permissions("bf16", 0.5)
        assert frozen(bound.permissions) == Permissions("bf16", 0.5, freeze_context=True)
        assert frozen(EXACT) == Permissions("bf16", 0.8, freeze_context=True)
        assert bound.with_threshold(0.25).permissions.threshold == 0.25
        assert self.bind(f"mean {net} APPROXIMATE ON gpu").permissions == Permissions(device="gpu", approximate=True)

    def test_it_knows_its_patch(self) -> None:
        net = f"USING $net (input = {SIDE})"
        assert self.bind(f"mean {net}").uniform and not self.bind(f"blur(2) {net}").uniform
        assert self.bind(f"mean {net}").patch == (4, 6)

    def test_contradictions_are_refused_before_the_model_is_looked_for(self) -> None:
        with pytest.raises(BindError, match="EXACT contradicts THRESHOLD"):
            self.bind("mean USING nothing EXACT THRESHOLD 0.5")


def test_a_clause_error_calls_clauses_by_other_names() -> None:
    error = ClauseError("{DRILL DOWN} takes {given}, not {STRIDE}", given="{4}")
    assert str(error) == "DRILL DOWN takes {4}, not STRIDE"
    assert error.said_with({"STRIDE": "stride"}) == "DRILL DOWN takes {4}, not stride"
