"""The positions of a query: how many there are is known before there is an array of them."""

from __future__ import annotations

import pytest

from kdb.errors import ExecutionError
from kdb.geometry import lattice
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.queries import positions


@pytest.mark.parametrize("size", [(4, 1 << 40), (1 << 20, 1 << 20)])
def test_more_positions_than_there_is_memory_for_take_none(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "lattice", lambda *_: pytest.fail("an array is made"))
    with pytest.raises(ExecutionError, match=r"a map of [0-9,]+ positions takes"):
        positions.select(parse_one("OCCLUDE i WITH patch(2, 2) STRIDE 1 USING m"), size, Arguments())


@pytest.mark.parametrize(("size", "patch", "stride"), [((9, 30), (4, 3), (2, 5)), ((7, 7), (7, 1), (3, 9))])
def test_as_many_are_counted_as_there_are(
    size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(positions, "require", lambda nbytes, what: told.append(what))
    query = parse_one(f"OCCLUDE i WITH patch{patch} STRIDE {stride} USING m")
    found = positions.select(query, size, Arguments())
    rows, columns = (len(lattice(n, p, min(s, n))) for n, p, s in zip(size, patch, stride, strict=True))
    assert found.grid.shape == (rows, columns, 2) and told == [f"a map of {rows * columns} positions"]
