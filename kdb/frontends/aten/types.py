"""Types that all translators share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kdb.frontends.axes import Traced, Unsupported

Ints = Sequence[int]
Translator = Callable[..., Any]


def only_constants(*values: Any) -> None:
    """Raise Unsupported if a value is a traced tensor."""
    if any(isinstance(value, Traced) for value in values):
        raise Unsupported("weights that depend on the image")


def refused(because: str) -> Translator:
    """A translator that raises Unsupported with the reason ``because``."""

    def translate(*ignored: Any, **keywords: Any) -> NoReturn:
        raise Unsupported(because)

    return translate
