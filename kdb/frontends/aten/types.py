"""Types that all translators share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kdb.frontends.axes import Unsupported

Ints = Sequence[int]
Translator = Callable[..., Any]


def refused(because: str) -> Translator:
    """A translator that raises Unsupported with the reason ``because``."""

    def translate(*ignored: Any, **keywords: Any) -> NoReturn:
        raise Unsupported(because)

    return translate
