"""Writes ``transforms.h``, the transforms of minimal filtering as code: ``python -m kdb.kernels.compiled.generate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdb.kernels.cpu.winograd import MOST_ALONE, TAPS, sizes, tiles, transforms
from kdb.kernels.cpu.winograd_c import MOST_WIDE

FILE = Path(__file__).with_name("transforms.h")

Matrix = npt.NDArray[np.float64]


def axes() -> Iterator[tuple[int, int]]:
    """Inputs and taps of tiles along an axis."""
    for taps in TAPS:
        yield from ((inputs, taps) for inputs in sizes(taps, MOST_ALONE))


def _pairs(matrix: Matrix) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Pairs of rows that agree up to signs, as (i, j, where they have one sign), of numbers of both kinds."""
    free = set(range(len(matrix)))
    for i in range(len(matrix)):
        for j in range(i + 1, len(matrix)):
            a, b = matrix[i], matrix[j]
            if {i, j} <= free and np.allclose(abs(a), abs(b), rtol=1e-12, atol=1e-12):
                same = np.isclose(a, b, rtol=1e-12, atol=1e-12)
                if (~same).any() and (a[same] != 0).any():
                    free -= {i, j}
                    yield i, j, same


def _sum(row: npt.NDArray[np.float64], names: list[str]) -> str:
    """The sum of the ``names``, each times its number of the ``row``."""
    text = ""
    # The numbers of size 1 first, which are no multiplications.
    for number, name in sorted(((number, name) for number, name in zip(row, names, strict=True) if abs(number) > 1e-12),
                               key=lambda pair: abs(pair[0]) != 1):  # fmt: skip
        size = "" if abs(number) == 1 else f"{abs(number):.9g}"
        factor = "" if not size else f"{size}f * " if "." in size or "e" in size else f"{size}.0f * "
        sign = " - " if number < 0 else " + " if text else ""
        text += f"{sign if text else sign.strip()}{factor}{name}"
    return text


def _function(name: str, matrix: Matrix) -> str:
    """A function that writes the product of ``matrix`` with a vector of vectors."""
    inputs = matrix.shape[1]
    lines = [f"    const vec x{i} = x[{i} * from];" for i in range(inputs)]
    names = [f"x{i}" for i in range(inputs)]
    columns = matrix.round(12)  # an inverse is not exact
    # Of points p and -p the sum serves some outputs, the difference others.
    for i, j, same in list(_pairs(columns.T)):
        lines.append(f"    const vec s{i} = x{i} + x{j}, d{i} = x{i} - x{j};")
        columns[:, j] = np.where(same, 0, columns[:, i])
        columns[:, i] = np.where(same, columns[:, i], 0)
        names[i], names[j] = f"s{i}", f"d{i}"
    rows = {i: _sum(row, names) for i, row in enumerate(columns)}
    for i, j, same in list(_pairs(columns)):
        lines.append(f"    const vec e{i} = {_sum(np.where(same, columns[i], 0), names)};")
        lines.append(f"    const vec o{i} = {_sum(np.where(same, 0, columns[i]), names)};")
        rows[i], rows[j] = f"e{i} + o{i}", f"e{i} - o{i}"
    lines += [f"    y[{i} * to] = {text};" for i, text in rows.items()]
    return f"static void {name}(const vec *x, long from, vec *y, long to) {{\n" + "\n".join(lines) + "\n}\n"


def text() -> str:
    """All of ``transforms.h``."""
    parts = [
        "/* Written by generate.py: the matrices E and S of kdb/kernels/cpu/winograd.py as functions, of vectors that",
        "   lie `from` apart, to vectors that lie `to` apart; their numbers are inputs of a tile and taps. */",
        "#include \"vectors.h\"\n",
    ]  # fmt: skip
    for inputs, taps in axes():
        e, _, s = transforms(inputs, taps)
        parts += [_function(f"evaluate_{inputs}_{taps}", e), _function(f"interpolate_{inputs}_{taps}", s)]
    listed = " ".join(f"X({inputs}, {taps})" for inputs, taps in axes())
    points = (tiles((taps, taps), MOST_WIDE)[-1][0] + taps - 1 for taps in TAPS)
    most = f"#define MOST_CELLS {max(points) ** 2}"
    return "\n".join([*parts, most, f"#define AXES(X) {listed}"]) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
