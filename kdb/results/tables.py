"""``Table``, the result of all statements but OCCLUDE, such as SHOW and DESCRIBE.

It holds plain values and shows them as text or HTML, or converts them to a pandas data frame.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from kdb.errors import ExecutionError, printable
from kdb.results import arrow

Row = tuple[Any, ...]


@dataclass(frozen=True, repr=False)
class Table(Sequence[Row]):
    """Named columns and rows of plain values: a sequence of tuples that prints as aligned text.

    Two tables are equal when columns and rows are.  Raises ``ValueError`` for a row with a wrong number of cells.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row!r}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table for other libraries; a column of several kinds of values is one of texts there."""
        stream: object = arrow.of_table(self.columns, self.rows).__arrow_c_stream__(requested_schema)
        return stream

    def __str__(self) -> str:
        cells = [[_text(cell) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        right = [_is_numeric(column) for column in zip(*self.rows, strict=True)] or [False] * len(widths)
        header, *body = (
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in cells
        )
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([header, rule, *(body or ["(no rows)"])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[object]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(_text(cell))}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{line('th', self.columns)}</thead><tbody>{body}</tbody></table>"

    def to_dataframe(self) -> Any:
        """A pandas ``DataFrame`` of the columns and rows; raises ``ExecutionError`` if pandas is not installed."""
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ExecutionError("a data frame needs pandas; pip install pandas") from error
        return DataFrame(list(self.rows), columns=list(self.columns))


@dataclass(frozen=True, repr=False)
class Headed(Table):
    """A table below some ``lines`` of text about the whole."""

    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*map(printable, self.lines), "", super().__str__()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{'<br>'.join(html.escape(printable(line)) for line in self.lines)}</p>{super()._repr_html_()}"


class PlanText(Table):
    """A plan as a table with one row per line; prints as the lines themselves, so that JSON can be piped to a
    parser.
    """

    def __str__(self) -> str:
        return "\n".join(printable(row[0]) for row in self.rows)

    __repr__ = __str__


def _text(cell: object) -> str:
    """A cell as one line of text: empty for None, six significant digits for a float."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return printable(str(cell))


def _is_numeric(column: Sequence[object]) -> bool:
    return all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in column if cell is not None)
