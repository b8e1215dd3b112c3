"""What all translators take and are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Ints = Sequence[int]
Translator = Callable[..., Any]
