"""Fonts that have the characters of labels and paths, and lines that fit.

matplotlib's own font, DejaVu, has no Chinese, Japanese or Korean, nor many other scripts.  Whatever else is installed
is looked through for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from kdb.errors import GlyphWarning, printable

PREFERRED = (
    "Noto Sans CJK",
    "Source Han Sans",
    "Noto Sans",
    "PingFang",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Meiryo",
    "Malgun Gothic",
    "MS Gothic",
    "WenQuanYi",
    "IPA",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
"""How the names of fonts begin that are asked first, the best first; after them come all others, by name."""

_LAST = ("Unifont", "GNU Unifont")
"""These have nearly everything, as bitmaps."""

_BOXES = ("Last Resort", "Adobe Blank")
"""These have a box for every character."""

ELLIPSIS = "..."

_RULER_DPI = 150


@dataclass(frozen=True)
class Lettering:
    """The ``families`` of fonts for a figure's texts, the default ones first, and characters that none of them has."""

    families: tuple[str, ...]
    missing: frozenset[str]

    def shown(self, text: str) -> str:
        """``text`` on one line, with each missing character written as ``\\u732b``."""
        line = " ".join(printable(text).split())
        return "".join(_escaped(c) if c in self.missing else c for c in line)

    def legible(self, text: str) -> bool:
        """False where codes would be all that is left to read of ``text``."""
        return not self.missing.intersection(text) or any(c.isalnum() and c not in self.missing for c in text)


def lettering(texts: Iterable[str]) -> Lettering:
    """What ``texts`` can be written with; a ``GlyphWarning`` names the characters that no installed font has."""
    wanted = frozenset("".join(map(printable, texts)))
    families, missing = _families(wanted, _defaults())
    if missing:
        some = "".join(sorted(missing)[:8])
        warnings.warn(
            f"no installed font has {len(missing)} of the characters to be drawn ({some}); they are written as codes. "
            "Install one that has them, such as Noto Sans CJK",
            GlyphWarning,
            stacklevel=2,
        )
    return Lettering(families, missing)


def wrapped(text: str, points: float, families: Iterable[str], width: float, lines: int, end: str = "") -> str:
    """``text`` and ``end`` in at most ``lines`` lines no wider than ``width`` inches at a size of ``points``.

    Broken between words; within one that is wider than a line.  What does not fit becomes an ellipsis, before ``end``.
    """
    families = tuple(families)

    def fits(line: str) -> bool:
        return inches(line, points, families) <= width

    left, made = text.strip() + end, []
    while left:
        if fits(left):
            made.append(left)
            break
        last = len(made) == lines - 1
        count = _longest(left, ELLIPSIS + end if last else "", fits)
        if last:
            made.append(left[:count].rstrip() + ELLIPSIS + end)
            break
        space = left.rfind(" ", 0, count + 1)
        count = space if space > 0 else count
        made.append(left[:count].rstrip())
        left = left[count:].lstrip()
    return "\n".join(made)


def inches(line: str, points: float, families: Iterable[str]) -> float:
    """How wide a line of text is."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=list(families), size=points)
    width = _ruler().get_text_width_height_descent(line, font, False)[0]
    return float(width) / _RULER_DPI


@cache
def _ruler() -> Any:
    from matplotlib.backends import backend_agg

    make: Any = backend_agg.RendererAgg
    return make(1, 1, _RULER_DPI)


def _longest(text: str, end: str, fits: Any) -> int:
    """How many characters of ``text``, at least one, fit before ``end``; the width hardly falls with their number."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle] + end) else (low, middle - 1)
    return low


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _defaults() -> tuple[str, ...]:
    from matplotlib import rcParams

    return tuple(rcParams["font.family"])


@cache
def _families(wanted: frozenset[str], defaults: tuple[str, ...]) -> tuple[tuple[str, ...], frozenset[str]]:
    """``defaults`` and further families, until all of the ``wanted`` characters are there; and those that are not."""
    from matplotlib.font_manager import FontProperties, findfont

    missing = wanted - _characters(findfont(FontProperties(family=list(defaults)))) - {" "}
    families = list(defaults)
    for name, path in _installed() if missing else ():
        found = missing & _characters(path)
        if found:
            families.append(name)
            missing -= found
        if not missing:
            break
    return tuple(families), missing


def _installed() -> list[tuple[str, str]]:
    """(name, path) of a plain font of each family that is installed, in the order in which they are asked."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    def rank(name: str) -> tuple[int, str]:
        if name.startswith(_LAST):
            return len(PREFERRED) + 1, name
        return next((i for i, begin in enumerate(PREFERRED) if name.startswith(begin)), len(PREFERRED)), name

    names = {entry.name for entry in fontManager.ttflist if not entry.name.startswith(_BOXES)}
    return [(name, findfont(FontProperties(family=[name]))) for name in sorted(names, key=rank)]


@cache
def _characters(path: str) -> frozenset[str]:
    """The characters that a font file has; none where it cannot be read, or has bitmaps only."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()
