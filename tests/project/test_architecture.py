"""Whether one finds one's way: where newcomers' questions are answered, and that docs/architecture.md names the place.

``tests/data/questions.json`` has questions, each with the symbol in the code that answers it, so that code may move.
``python -m tests.project.test_architecture answers.json`` counts how many of somebody's answers are right: a JSON
object of numbers of questions, from 1 on, to folders or files relative to the repository, as
``{"1": "kdb/planner/rules"}``.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.law

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS: list[dict[str, str]] = json.loads((ROOT / "tests" / "data" / "questions.json").read_text())


def definitions(body: list[ast.stmt], within: str) -> Iterator[str]:
    """The qualified names of classes and functions, but for those inside functions."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            name = f"{within}.{statement.name}"
            yield name
            if isinstance(statement, ast.ClassDef):
                yield from definitions(statement.body, name)


@cache
def symbols() -> list[tuple[str, str]]:
    """(qualified name, file relative to the repository) of all that kdb defines."""
    found = []
    for path in sorted((ROOT / "kdb").rglob("*.py")):
        file = path.relative_to(ROOT)
        module = ".".join(file.with_suffix("").parts)
        found += [(name, file.as_posix()) for name in definitions(ast.parse(path.read_text()).body, module)]
    return found


def files_of(symbol: str) -> list[str]:
    """The files that define what ``symbol`` is the end of the qualified name of."""
    return [file for name, file in symbols() if name.endswith("." + symbol)]


def right(answers: Mapping[str, str]) -> list[int]:
    """The numbers of the questions that are answered by the file, or its folder."""
    found = []
    for number, asked in enumerate(QUESTIONS, 1):
        (file,) = files_of(asked["symbol"])
        places = (PurePosixPath(file), PurePosixPath(file).parent)
        if PurePosixPath(answers.get(str(number), "?")) in places:
            found.append(number)
    return found


def main(path: str) -> None:
    """Print the score of the answers in a file, and what was asked where they are wrong."""
    answers = json.loads(Path(path).read_text())
    found = right(answers)
    for number, asked in enumerate(QUESTIONS, 1):
        if number not in found:
            (file,) = files_of(asked["symbol"])
            print(f"{number}. {asked['question']} {answers.get(str(number), 'no answer')}; it is {file}")
    print(f"{len(found)} of {len(QUESTIONS)} are right")


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked["symbol"])
def test_a_question_has_one_answer_in_a_folder_that_the_documentation_names(asked: dict[str, str]) -> None:
    files = files_of(asked["symbol"])
    assert len(files) == 1, f"{asked['symbol']} is defined in {files}"
    documented = (ROOT / "docs" / "architecture.md").read_text()
    for folder in PurePosixPath(files[0]).parent.parts:
        assert f"{folder}/" in documented


def test_there_are_twenty_questions() -> None:
    assert len({asked["question"] for asked in QUESTIONS}) == len(QUESTIONS) == 20


def test_answers_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [files_of(asked["symbol"])[0] for asked in QUESTIONS]
    answers = {str(number): file for number, file in enumerate(files, 1)}
    assert right({}) == [] and right(answers) == list(range(1, 21))
    answers["1"], answers["2"], answers["3"] = f"{PurePosixPath(files[0]).parent}/", "kdb/no/such.py", "docs"
    del answers["4"]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    main(str(tmp_path / "answers.json"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "17 of 20 are right" and [line.partition(".")[0] for line in printed[:-1]] == ["2", "3", "4"]


if __name__ == "__main__":
    main(sys.argv[1])
