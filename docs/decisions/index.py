"""Writes README.md beside itself: the decisions, each with its title and the first sentence of what was decided.

``python docs/decisions/index.py``, or ``make index``.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HEAD = """# Decisions

<!-- Made by index.py: run `make index` after a change. -->

Why kdb is built as it is: one page for each decision, with its context, what was decided, and what follows from it.

| | decision | in one sentence |
| --- | --- | --- |
"""
_PAGE = re.compile(r"# (?P<number>\d+)\. (?P<title>[^\n]+)\n.*?\n## Decision\n\n(?P<first>.+?)(?:\n\n|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[^a-z])")


def row(page: Path) -> str:
    """The line of the index for a page; raises ValueError for one without number, title or ``## Decision``."""
    found = _PAGE.match(page.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{page.name} does not begin with '# NUMBER. TITLE', or has no '## Decision'")
    sentence = _SENTENCE_END.split(" ".join(found["first"].split()))[0].replace("|", "\\|")
    return f"| {found['number']} | [{found['title']}]({page.name}) | {sentence} |\n"


def index(folder: Path = FOLDER) -> str:
    """The text of the index of all pages in ``folder``, in the order of their numbers."""
    return HEAD + "".join(row(page) for page in sorted(folder.glob("[0-9]*.md")))


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
