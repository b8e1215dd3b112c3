"""What all translators take and are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kdb.frontends.axes import Unsupported

Ints = Sequence[int]
Translator = Callable[..., Any]


def refused(because: str) -> Translator:
    """The translator of what stays outside the vocabulary, with the reason."""

    def translate(*ignored: Any, **keywords: Any) -> NoReturn:
        raise Unsupported(because)

    return translate
