"""VIA: who does the work of a run.  A way to start workers is a function here, and a crew in ``kdb/runs/starts``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from kdb.errors import ClauseError
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.results.frames import import_optional
from kdb.runs.driving import Crew
from kdb.runs.folder import WHOLE
from kdb.runs.starts import ray
from kdb.runs.starts.opening import Opening
from kdb.runs.starts.processes import Processes
from kdb.runs.state import DEATHS


@dataclass(frozen=True)
class Start:
    """How the work of a run is begun.

    said    who does the work, in words
    crew    makes the workers elsewhere; None where this process does the work itself
    part    which of ``parts`` is done, from 1
    threads of each worker elsewhere
    deaths  workers that an image kills before it is put into quarantine
    """

    said: str
    crew: Callable[[Opening], Crew] | None = None
    part: int = 1
    parts: int = 1
    threads: int = 1
    deaths: int = DEATHS

    @property
    def name(self) -> str:
        """Of the part, in the names of journals and locks."""
        return WHOLE if self.parts == 1 else f"shard-{self.part}-of-{self.parts}"


@singledispatch
def start(via: Any, arguments: Arguments, threads: int) -> Start:
    """What VIA asks for, in a session of so many ``threads``; raises BindError for numbers and options out of range."""
    raise NotImplementedError(type(via).__name__)


@start.register
def _local(via: syntax.Local | None, arguments: Arguments, threads: int) -> Start:
    return Start("in this process, one image after another")


@start.register
def _shard(via: syntax.Shard, arguments: Arguments, threads: int) -> Start:
    part, parts = (_number(each, arguments, "shard") for each in (via.part, via.parts))
    if part > parts:
        raise ClauseError(f"{{shard}} counts from 1: part {part} of {parts} is none")
    return Start(f"the images of part {part} of {parts}, in this process", part=part, parts=parts)


@start.register
def _processes(via: syntax.Processes, arguments: Arguments, threads: int) -> Start:
    count = _number(via.count, arguments, "processes")
    each = max(1, threads // count)
    said = f"by {count} process{'es' if count != 1 else ''} of {each} thread{'s' if each != 1 else ''} each"
    return Start(said, lambda opening: Processes(count, opening), threads=each)


@start.register
def _ray(via: syntax.Ray, arguments: Arguments, threads: int) -> Start:
    wanted = ray.Wanted.of({key: arguments.plain(value) for key, value in via.options})
    import_optional("ray")
    many = "as many actors of Ray as there is room for" if wanted.workers is None else f"{wanted.workers} actors of Ray"
    said = f"by {many}, each of {wanted.cpus} cores" + (f" and {wanted.gpus:g} GPUs" if wanted.gpus else "")
    return Start(said, lambda opening: ray.Actors(wanted, opening), threads=wanted.cpus, deaths=wanted.retries + 1)


def _number(value: int | syntax.Parameter, arguments: Arguments, what: str) -> int:
    number = arguments.plain(value)
    if isinstance(number, str) and number.strip().isdecimal():  # of the environment, as SLURM gives them
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ClauseError(f"{{{what}}} takes whole numbers from 1; not {number!r}")
    return int(number)
