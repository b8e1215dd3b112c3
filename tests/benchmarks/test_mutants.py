"""The part of the examination that changes lines of kdb: which changes there are, how tests are chosen and run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.robustness import covered, mutants
from benchmarks.robustness.covered import Covered
from benchmarks.robustness.mutants import CONTROL, KILLED, SURVIVED, TIMEOUT, Drawn
from benchmarks.robustness.mutating import mutants as mutants_of

ROOT = Path(__file__).resolve().parents[2]


def changes(body: str, head: str = "def f(x):") -> list[tuple[str, str]]:
    source = head + "".join(f"\n    {line}" for line in body.splitlines())
    return [(each.before, each.after) for each in mutants_of(source.encode())]


# ---- which changes


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("g(x < y)", [("g(x < y)", "pass"), ("x < y", "(x <= y)")]),
        ("y = x - z", [("x - z", "(x + z)")]),
        ("y = x is None and x", [("x is None and x", "(x is None or x)"), ("x is None", "(x is not None)")]),
        ("y = 7", [("7", "8")]),
        ("return x", [("return x", "return None")]),
        ("x.y = z", [("x.y = z", "pass")]),
        ("x += z", [("x += z", "pass")]),
        ("if x: pass", [("x", "(not x)")]),
        ("if not x: pass", [("not x", "(x)")]),
        ("if x == z: pass", [("x == z", "(x != z)")]),
        ("y = [z for z in x if z]", [("z", "(not z)")]),
        ("y = True", [("True", "False")]),
        ("raise ValueError(1 + 2)", [("raise ValueError(1 + 2)", "pass")]),
        ("y = (é, 7)", [("7", "8")]),
    ],
)
def test_changes(body: str, expected: list[tuple[str, str]]) -> None:
    assert sorted(changes(body)) == sorted(expected)


@pytest.mark.parametrize(
    "body",
    [
        '"""Says 7 > 3."""',
        'y = "7" + "8"',
        'y = f"{x + 1}"',
        "y: Literal[3]",
        "assert x > 3, 4",
        "y = zip(x, z, strict=True)",
        "return None",
        "import x",
        "for z in x: pass",
        "logger.debug(3)",
    ],
)
def test_what_is_left_alone(body: str) -> None:
    assert changes(body) == []


def test_only_functions_and_their_defaults_are_changed() -> None:
    source = b"""\
A = 3
class B:
    b: int = 4
    @cache(5)
    def f(self, x: Literal[6] = 7, *, y=None) -> Literal[8]:
        '''Text.'''
        return x
if TYPE_CHECKING:
    def g(): return 9
@overload
def h(x=1): ...
"""
    found = mutants_of(source)
    assert [(each.kind, each.before, each.line) for each in found] == [
        ("default", "7", 5),
        ("return value", "return x", 7),
    ]
    assert found[0].run == range(7, 8)  # a default is used where the function is, not where it is defined


def test_every_mutant_of_kdb_is_another_program() -> None:
    for file in ("kdb/results/files.py", "kdb/planner/rules/rebatch.py", "kdb/models/onnx/operators/resize.py"):
        source = (ROOT / file).read_bytes()
        whole = ast.dump(ast.parse(source))
        found = mutants_of(source)
        assert len(found) >= 15
        for mutant in found:
            assert ast.dump(ast.parse(mutant.apply(source))) != whole, mutant


# ---- which tests


def made_up(seconds: dict[str, float], tests: dict[int, set[str]]) -> Covered:
    return Covered(seconds, {"kdb/results/tables.py": {line: frozenset(ran) for line, ran in tests.items()}}, {})


def test_tests_of_the_folder_and_the_fastest_come_first() -> None:
    of = made_up({"tests/a": 0.1, "tests/results/b": 9.0, "tests/results/c": 1.0}, {})
    order = mutants._in_order("kdb/results/tables.py", of.seconds, of)
    assert order == ["tests/results/c", "tests/results/b", "tests/a"]


def test_tests_are_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "CHUNKS", (2.0, 3.0))
    of = made_up(dict.fromkeys("abcdefg", 1.0) | {"long": 9.0}, {})
    assert list(mutants._chunks("abcdefg", of)) == [["a", "b"], ["c", "d", "e"]]
    assert list(mutants._chunks(["long", "a"], of)) == [["long"], ["a"]]


def test_a_mutant_is_on_a_line_that_a_test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (ROOT / "kdb/results/tables.py").read_text().splitlines()
    lines = [number for number, text in enumerate(source, start=1) if "len(row) != len(self.columns)" in text]
    of = made_up({"t": 1.0}, {line: {"t"} for line in lines})
    monkeypatch.setattr(mutants, "FOLDERS", ("kdb/results",))
    drawn = [mutants.drawn("kdb/results", number, of) for number in range(3)]
    assert {each.mutant.line for each in drawn} == {*lines} and drawn == [
        mutants.drawn("kdb/results", number, of) for number in range(3)
    ]
    assert all(each.tests == ("t",) for each in drawn)


def test_contexts_are_node_ids() -> None:
    assert covered._test("tests/a.py::test_b[x@y]|run") == "tests/a.py::test_b[x@y]"
    assert covered._test("tests/a.py::test_b[x]@group|setup") == "tests/a.py::test_b[x]"


def test_times_are_of_tests_that_passed(tmp_path: Path) -> None:
    file = tmp_path / "times.xml"
    file.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.a" name="test_b[1]" file="tests/a.py" time="0.5" />
        <testcase classname="tests.a.TestC" name="test_d@group" file="tests/a.py" time="1.5"><system-out /></testcase>
        <testcase classname="tests.a" name="test_e" file="tests/a.py" time="2"><failure /></testcase>
        <testcase classname="tests.a" name="test_f" file="tests/a.py" time="0"><skipped /></testcase>
        </testsuite></testsuites>"""
    )
    assert dict(covered._passed(file)) == {"tests/a.py::test_b[1]": 0.5, "tests/a.py::TestC::test_d": 1.5}


# ---- what becomes of them


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one function, and a copy of it in which it is changed."""
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "root")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts sooner
    for folder in (tmp_path / "root", tmp_path / "copy"):
        folder.mkdir()
        (folder / "a.py").write_text("def f(x):\n    return x + 1\n")
        (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = -ra\n")
        (folder / "test_a.py").write_text(
            "import a, pathlib, time\n"
            "def test_weak(): a.f(1)\n"
            "def test_sum(): assert a.f(1) == 2\n"
            "def test_source(): assert '+ 1' in pathlib.Path('a.py').read_text() and False\n"
            "def test_slow(): time.sleep(0 if a.f(1) == 2 else 60)\n"
        )
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("tests", "outcome", "by"),
    [
        (["weak", "sum"], KILLED, "sum"),
        (["weak"], SURVIVED, ""),
        (["source"], CONTROL, "source"),
        (["slow"], TIMEOUT, ""),
    ],
)
def test_outcomes(checkout: Path, monkeypatch: pytest.MonkeyPatch, tests: list[str], outcome: str, by: str) -> None:
    monkeypatch.setattr(mutants, "LIMIT", (6.0 if outcome == TIMEOUT else 60.0, 0.0))
    source = (checkout / "a.py").read_bytes()
    (mutant,) = (each for each in mutants_of(source) if each.kind == "plus and minus")
    names = {f"test_a.py::test_{name}": 0.1 for name in tests}
    found = mutants.noticed(checkout, Drawn("a.py", mutant, tuple(names)), made_up(names, {}))
    assert found == (outcome, by and f"test_a.py::test_{by}", len(tests))
    assert (checkout / "a.py").read_bytes() == source


def test_too_few_that_are_noticed_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(number: int, outcome: str) -> dict[str, object]:
        facts = {"file": "kdb/images/a.py", "line": 3, "kind": "number", "before": "1 | 2", "after": "2", "by": "t"}
        return {"case": f"kdb/images {number}", "outcome": outcome, **facts}

    monkeypatch.setattr(covered, "current", lambda: True)
    monkeypatch.setattr(mutants, "_covered", lambda: Covered({}, {}, {"kdb/images/a.py": (3, 4), "kdb/cli.py": (1, 1)}))
    good = [row(i, KILLED if i % 2 else TIMEOUT) for i in range(9)] + [row(9, SURVIVED)]
    assert mutants.failures(good) == []
    assert mutants.failures([*good, row(10, CONTROL)]) == ["kdb/images 10: t failed without the mutant"]
    assert mutants.failures([*good, row(10, SURVIVED)])[0] == "82% of the mutants are noticed, less than 90%"
    assert mutants.totals(good) == {KILLED: 4, TIMEOUT: 5, SURVIVED: 1, CONTROL: 0}
    report = mutants.report(good)
    assert "| kdb/images | 10 | 4 | 5 | 1 | 0 | 90% |" in report and "| images/ | 4 | 3 | 75.0% |" in report
    assert r"| kdb/images/a.py:3 | number | `1 \| 2` | `2` |" in report
    assert len(set(mutants.cases())) == 100
