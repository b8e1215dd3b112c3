"""``%kdb`` and ``%%kdb`` in a shell of IPython."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.results.maps import HeatMap
from kdb.results.tables import Table

pytestmark = pytest.mark.ui


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.run_line_magic("load_ext", "kdb")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    session = made.run_line_magic("kdb", "")
    session.register_model("tiny", net, input_size=24, mean=0, std=1)
    made.user_ns["image"] = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    yield made
    InteractiveShell.clear_instance()


def test_a_line_gives_its_result(shell: Any) -> None:
    done = shell.run_cell("hm = %kdb OCCLUDE $image WITH patch(8, 8) STRIDE 8 USING tiny\nhm.values.shape")
    assert done.success and done.result == (3, 3)
    assert isinstance(shell.user_ns["hm"], HeatMap)


def test_a_cell_is_a_script_and_gives_the_last_result(shell: Any) -> None:
    done = shell.run_cell(
        "%%kdb\nSET threads = 1;\n-- smaller\nOCCLUDE $image WITH patch(8, 8) STRIDE 8 USING tiny;\nSHOW SETTINGS;\n"
    )
    assert done.success and isinstance(done.result, Table)
    assert ("threads", "1") in {tuple(map(str, row))[:2] for row in done.result}
    assert isinstance(shell.run_cell("%%kdb SHOW RULES;\nSHOW SETTINGS").result, Table)


def test_without_a_statement_there_is_the_session(shell: Any) -> None:
    done = shell.run_cell("db = %kdb\ndb")
    assert isinstance(done.result, kdb.Session) and shell.run_cell("%kdb").result is done.result
    shell.user_ns["db"].execute("SET threads = 1")
    assert "threads" in str(shell.run_cell("%kdb SHOW SETTINGS").result)


def test_the_variables_of_parameters_alone_are_looked_at(shell: Any) -> None:
    class Watched(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    asked: list[str] = []
    magics = shell.magics_manager.magics["line"]["kdb"].__self__
    magics._shell = type("Shell", (), {"user_ns": Watched(image=1, tiny=2, other=3)})()
    assert magics._values("OCCLUDE $image USING tiny AT $places") == {"image": 1}
    assert asked == ["image"]


def test_a_value_is_not_written_into_the_text(shell: Any) -> None:
    shell.user_ns["path"] = "no {such} 'file'.png"
    done = shell.run_cell("%kdb OCCLUDE $path USING tiny")
    assert isinstance(done.error_in_exec, kdb.ExecutionError) and "no {such} 'file'.png" in str(done.error_in_exec)


@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        ("%kdb OCCLUDE $image USNG tiny", ["syntax error: ", "  OCCLUDE $image USNG tiny", "                 ^"]),
        ("%%kdb\nSHOW RULES;\nSHOW NOTHING", ["syntax error: ", "(line 2, column 6)"]),
        ("%kdb OCCLUDE $nothing USING tiny", ["BindError: no value was given for the parameter $nothing"]),
        ("%kdb OCCLUDE 'none.png' USING tiny", ["ExecutionError: ", "no such file"]),
    ],
)
def test_a_mistake_is_a_message_without_a_traceback(
    shell: Any, cell: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = shell.run_cell(cell)
    captured = capsys.readouterr()
    printed = captured.out + captured.err
    assert isinstance(done.error_in_exec, kdb.Error)
    for each in lines:
        assert each in printed
    assert "Traceback" not in printed and "magics.py" not in printed and len(printed.splitlines()) < 8


def test_an_error_can_be_caught(shell: Any) -> None:
    done = shell.run_cell(
        "import kdb\ntry:\n    %kdb OCCLUDE 'none.png' USING tiny\n"
        "except kdb.ExecutionError as error:\n    found = error"
    )
    assert done.success and isinstance(shell.user_ns["found"], kdb.ExecutionError)
