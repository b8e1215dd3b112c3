"""Modules that a query is given live as long as their owner holds them, and what kdb made of them no longer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import ModelError
from kdb.models import catalog
from kdb.operators.network import Network

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
GIVEN = "OCCLUDE $image WITH patch(4, 4) STRIDE 4 USING $m (input = (16, 16){})"


class Sorted(nn.Module):
    """A layer outside kdb's vocabulary."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(1)[0].cumsum(1)


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)
    return nn.Sequential(*layers, *more).eval()


class Last(nn.Module):
    """Takes [N, H, W, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.permute(0, 3, 1, 2))


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Network]]]:
    """Those that were traced."""
    made: list[weakref.ref[Network]] = []
    traced = catalog.trace

    def kept(*arguments: object) -> Network:
        network = traced(*arguments)  # type: ignore[arg-type]
        made.append(weakref.ref(network))
        return network

    monkeypatch.setattr(catalog, "trace", kept)
    yield made


def alive(*references: weakref.ref) -> list[object]:
    for _ in range(2):  # what ends with the first collection lets go of what the second finds
        gc.collect()
    return [held for reference in references if (held := reference()) is not None]


@pytest.mark.parametrize("kind", ["plain", "NHWC", "opaque", "parallel"])
def test_a_module_is_freed_with_its_last_query(kind: str, networks: list[weakref.ref[Network]]) -> None:
    db = kdb.connect()
    m: nn.Module = Last() if kind == "NHWC" else network(*[Sorted()] * (kind == "opaque"))
    ref, weight = weakref.ref(m), weakref.ref(next(m.parameters()))
    if kind == "parallel":
        m = nn.DataParallel(m)
    query = GIVEN.format(", layout = 'NHWC'" if kind == "NHWC" else "")
    first = db.execute(query, {"image": IMAGE, "m": m})
    again = db.execute(query, {"image": IMAGE, "m": m})
    assert len(networks) == 1 and (first.values == again.values).all()
    del m
    assert not alive(ref, weight, *networks)
    assert not db._catalog._given and not db._engine._plans and not len(db._engine._rewritten)


def test_so_is_one_of_a_single_call() -> None:
    m = network()
    ref = weakref.ref(m)
    heat_map = kdb.occlude(IMAGE, m, patch=4)
    del m
    assert not alive(ref) and heat_map.values.shape == (4, 4)


def test_maps_that_are_still_to_be_made_hold_theirs() -> None:
    db, m = kdb.connect(), network()
    ref = weakref.ref(m)
    heat_maps = db.execute(GIVEN.format(""), {"image": [IMAGE, IMAGE], "m": m})
    del m
    assert alive(ref) and heat_maps[1].values.shape == (4, 4)
    del heat_maps
    assert not alive(ref)


def test_each_of_two_modules_has_its_own_map_whatever_its_address() -> None:
    """Of a module that was freed, the next one often has the id."""
    db = kdb.connect()
    for factor in range(1, 5):
        m = network()
        m[4].weight.data *= factor  # type: ignore[index,operator]
        found = db.execute(GIVEN.format("") + " SCORE logit FOR CLASS 0", {"image": IMAGE, "m": m})
        x = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            assert float(m(x)[0, 0]) == pytest.approx(found.baseline, rel=1e-4)
        del m
        gc.collect()


def test_a_registered_module_lives_as_long_as_its_name(networks: list[weakref.ref[Network]]) -> None:
    db, m = kdb.connect(), network()
    ref = weakref.ref(m)
    db.register_model("net", m, input_size=(16, 16))
    del m
    for query in ("OCCLUDE $i WITH patch(4, 4) USING net", "OCCLUDE $i WITH patch(4, 4) USING net (resize = 'crop')"):
        db.execute(query, {"i": IMAGE})
    assert alive(ref) and len(alive(*networks)) == 2
    db.register_model("net", network(), input_size=(16, 16))
    assert not alive(ref, *networks)
    db.execute("OCCLUDE $i WITH patch(4, 4) USING net", {"i": IMAGE})
    db.execute("DROP MODEL net")
    assert not alive(*networks)


def test_a_trace_of_earlier_weights_is_freed(networks: list[weakref.ref[Network]]) -> None:
    db, m = kdb.connect(), network()
    for _ in range(3):
        db.execute(GIVEN.format(""), {"image": IMAGE, "m": m})
        m[4].bias.data += 1  # type: ignore[index,operator]
    assert len(networks) == 3 and len(alive(*networks)) == 1


def test_a_model_whose_module_is_gone_says_so() -> None:
    from kdb.models.zoo import make_model

    model = make_model("gone", network(), input=(16, 16))
    model.let_go()
    gc.collect()
    with pytest.raises(ModelError, match="'gone' does not exist any more"):
        model.fingerprint()
