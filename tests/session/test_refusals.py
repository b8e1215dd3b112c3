"""What a session refuses in its own words: once it is closed, and what neither Python nor a file system takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.session.session import Session

SIDE = 12
QUERY = "OCCLUDE $i WITH patch(4, 4) STRIDE 4 USING k"


@pytest.fixture(scope="module")
def db() -> Iterator[Session]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    session = kdb.connect()
    session.register_model("k", net, input_size=SIDE, mean=0, std=1)
    session.register_image("i", np.zeros((SIDE, SIDE, 3), np.uint8))
    yield session


def test_a_closed_session_with_a_study_says_so(tmp_path: Path) -> None:
    with kdb.connect(tmp_path / "study.kdb") as closed:
        pass
    closed.close()
    for statement in ("SHOW MODELS", "SET seed = 1", "SHOW RULES"):
        with pytest.raises(ExecutionError, match=r"the session is closed, and with it its study .*study\.kdb"):
            closed.execute(statement)
    with pytest.raises(ExecutionError, match="the session is closed"):
        list(closed.stream(QUERY.replace("$i", "'i.png'")))


def test_a_closed_session_without_a_study_stays_usable(db: Session) -> None:
    db.close()
    assert isinstance(db.execute(QUERY.replace("$", "")), kdb.HeatMap)


@pytest.mark.parametrize("form", ["{} INTO 'a\0.npz'", "{} INTO 'a\0.png'", "VERIFY 'a\0.npz'"])
def test_a_path_with_a_nul_character(db: Session, form: str) -> None:
    with pytest.raises(BindError, match="no path: it has a NUL character"):
        db.execute(form.format(QUERY.replace("$", "")))


def test_a_callback_that_raises_stop_iteration(db: Session) -> None:
    with pytest.raises(ExecutionError, match=r"callback raised StopIteration; raise kdb\.Cancel"):
        db.execute(QUERY.replace("$", ""), progress=lambda done, total: next(iter(())))


@pytest.mark.parametrize(
    ("text", "given"), [("SET seed = ?", [1, 2]), ("SHOW RULES", [1]), ("SHOW RULES; SHOW RULES", "ab")]
)
def test_values_that_no_question_mark_stands_for(db: Session, text: str, given: Sequence[Any]) -> None:
    with pytest.raises(BindError, match="parameters"):
        db.execute(text, given)
    for call in (db.explain, db.stream):
        with pytest.raises(BindError, match=r"too many parameters: 1 values are given, and the text has no \?"):
            call(QUERY.replace("$", ""), [1])


def test_values_are_counted_over_all_statements(db: Session) -> None:
    assert list(db.run("SET seed = ?; SET verify = ?; RESET ALL", [1, 2]))
    assert list(db.run("SHOW RULES", []))


def test_an_error_in_a_script_names_line_and_statement(db: Session) -> None:
    results = db.run(f"SHOW RULES; {QUERY.replace('$', '')};\n OCCLUDE 'none.png' USING k")
    assert len([next(results), next(results)]) == 2
    with pytest.raises(kdb.Error, match=r"none\.png.* \(in line 2: OCCLUDE 'none\.png' WITH \.\.\.\)$"):
        next(results)
    with pytest.raises(kdb.errors.UnknownName, match=r"\(in line 3: DESCRIBE MODEL nobody\)$") as caught:
        db.execute("SHOW RULES;\n\nDESCRIBE MODEL nobody")
    assert caught.value.name == "nobody"
    with pytest.raises(kdb.errors.UnknownName) as alone:
        db.execute("DESCRIBE MODEL nobody")
    assert "in line" not in str(alone.value)
