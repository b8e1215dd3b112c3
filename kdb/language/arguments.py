"""The values that a script's parameters stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.errors import BindError, did_you_mean
from kdb.language import syntax


class Arguments:
    """The values of a script's parameters: a mapping for ``$name`` and bare names, a sequence for ``?``.

    Raises BindError for anything else, and for more values than a ``script`` that is given has ``?``.
    """

    def __init__(
        self, given: Mapping[str, Any] | Sequence[Any] | None = None, script: syntax.Script | None = None
    ) -> None:
        if given is not None and (isinstance(given, str) or not isinstance(given, Mapping | Sequence)):
            raise BindError(f"parameters are a dict or a list, not {type(given).__name__}")
        self.named: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self._placed: Sequence[Any] = given if isinstance(given, Sequence) else ()
        # VERIFY of a file says itself that the ? of the query there cannot be given.
        if script is not None and not any(isinstance(each, syntax.VerifyFile) for each in script):
            places = 1 + max((each.index for each in syntax.parameters(script) if each.index is not None), default=-1)
            if len(self._placed) > places:
                raise BindError(
                    f"too many parameters: {len(self._placed)} values are given, and the text has {places or 'no'} ?"
                )

    def beside(self, named: Mapping[str, Any]) -> Arguments:
        """These values and some that are ``named``; of one name, those here."""
        both = Arguments({**named, **self.named})
        both._placed = self._placed
        return both

    def placed_as(self, placed: Sequence[Any]) -> Arguments:
        """The same named values, and these for the ``?``."""
        both = Arguments(self.named)
        both._placed = placed
        return both

    def replacing(self, values: Mapping[syntax.Parameter, Any]) -> Arguments:
        """The same with other values for some parameters."""
        named = {each.name: value for each, value in values.items() if each.name is not None}
        placed = {each.index: value for each, value in values.items() if each.index is not None}
        both = Arguments({**self.named, **named})
        both._placed = [placed.get(place, value) for place, value in enumerate(self._placed)]
        return both

    def __getitem__(self, parameter: syntax.Parameter) -> Any:
        """The value of a parameter; raises BindError where none was given."""
        if parameter.name is not None:
            if parameter.name not in self.named:
                hint = did_you_mean(parameter.name, self.named)
                raise BindError(f"no value was given for the parameter ${parameter.name}{hint}")
            return self.named[parameter.name]
        assert parameter.index is not None
        if parameter.index >= len(self._placed):
            raise BindError(f"no value was given for the parameter ? number {parameter.index + 1}")
        return self._placed[parameter.index]

    def array(self, parameter: syntax.Parameter) -> npt.NDArray[Any]:
        """Its value as an array; raises BindError where the value's rows are of different lengths."""
        try:
            return np.asarray(self[parameter])
        except ValueError as error:
            raise BindError(f"the parameter {parameter} is no array: {error}") from error

    def plain(self, value: syntax.Value) -> Any:
        """An option's value, with parameters replaced by their values."""
        if isinstance(value, tuple):
            return tuple(self.plain(item) for item in value)
        return self[value] if isinstance(value, syntax.Parameter) else value
