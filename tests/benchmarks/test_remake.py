"""A saved map says all that it was made of: its scores are found again without kdb."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import kdb
from benchmarks import remake

CASES = [case for case in remake.CASES if case.model in remake.OPTIONS]


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_scores_are_found_again(case: remake.Case, tmp_path: Path) -> None:
    row = remake.check(case, tmp_path)
    assert row is None or 0 < float(str(row[-1])) < 0.1


def test_what_is_not_as_the_file_says_is_found(tmp_path: Path) -> None:
    """The comparison can fail: with the 8 bits that earlier versions kept, and with another fill."""
    case = remake.Case("16-bit colour PNG", score="logit")
    assert float(str((remake.check(case, tmp_path) or ())[-1])) < 0.1
    path, module = tmp_path / "map.npz", remake.network(case.model)
    whole = kdb.HeatMap.load(path)
    values, allowed = whole.by_class()[0], 1e-3 * np.ptp(whole.values)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    for changed in ({"image": whole.picture}, {"fill": arrays["fill"] + 1}):
        np.savez(path, **{**arrays, **changed})
        assert np.abs(remake.scores(path, module) - values).max() > 3 * allowed


def test_scores_are_found_by_what_is_not_kdb() -> None:
    source = inspect.getsource(remake.scores)
    assert not re.search(r"kdb|photos|zoo", source)
    page = Path(__file__).parents[2] / "docs" / "checking.md"
    assert source.strip() in page.read_text(encoding="utf-8"), "the page has another function"
