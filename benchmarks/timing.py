"""Timing of competitors: they take turns in one process, and every figure has a confidence interval.

A machine's speed drifts with its temperature and other load; with turns, drift affects all competitors alike.  Ratios
are formed within each round, so that drift cancels.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy import stats

from kdb.execution.settings import cores
from kdb.planner.calibration import processor

CONFIDENCE = 0.95


class Seconds(float):
    """Returned by a candidate that times itself; all others are timed by the caller."""


@dataclass(frozen=True)
class Estimate:
    """A mean and the ends of its 95 % confidence interval, which are infinite for a single sample."""

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """``mean [low, high]``, each number in the format ``spec``, ``.3g`` by default."""
        return "{0:{3}} [{1:{3}}, {2:{3}}]".format(self.mean, self.low, self.high, spec or ".3g")


@dataclass(frozen=True)
class Timing:
    """The seconds of one candidate, one of each round, in order."""

    name: str
    seconds: tuple[float, ...]

    @property
    def estimate(self) -> Estimate:
        """Arithmetic mean with Student's interval."""
        return estimate(self.seconds)

    def over(self, other: Timing) -> Estimate:
        """How many times as fast as ``other`` this is: the geometric mean of ``other / self`` over the rounds."""
        return ratio(other.seconds, self.seconds)


def estimate(samples: Sequence[float]) -> Estimate:
    """``mean ± t(0.975, n - 1) s / sqrt(n)``: Student's interval of the mean of n samples.

    Raises:
        ValueError: no sample.
    """
    if not samples:
        raise ValueError("no sample, no estimate")
    mean, count = fmean(samples), len(samples)
    if count == 1:
        return Estimate(mean, -math.inf, math.inf)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * stdev(samples) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """The geometric mean of the ratios of two candidates timed in the same rounds, with Student's interval of its log.

    Raises:
        ValueError: the two differ in their number of rounds, or have none.
    """
    logs = estimate([math.log(top / bottom) for top, bottom in zip(numerators, denominators, strict=True)])
    high = math.exp(logs.high) if math.isfinite(logs.high) else math.inf
    return Estimate(math.exp(logs.mean), math.exp(logs.low), high)


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 5, warmups: int = 1
) -> dict[str, Timing]:
    """Time the candidates in turns: each runs once a round, in an order that is rotated by one in each round.

    ``warmups`` untimed rounds come first.  Garbage is collected before each run and not during it.  A candidate must
    have finished its work when it returns (on a GPU it synchronises, or returns values on the CPU).  If it returns
    :class:`Seconds`, these are used instead of the measured time.

    Raises:
        ValueError: no candidate, or fewer than one round.
    """
    if not candidates or rounds < 1 or warmups < 0:
        raise ValueError(f"nothing to time: {len(candidates)} candidates, {rounds} rounds, {warmups} warm-ups")
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmups, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            elapsed = _clock(candidates[name])
            if turn >= 0:
                seconds[name].append(elapsed)
    return {name: Timing(name, tuple(each)) for name, each in seconds.items()}


def _clock(candidate: Callable[[], object]) -> float:
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        result = candidate()
        elapsed = time.perf_counter() - start
    finally:
        if collecting:
            gc.enable()
    return float(result) if isinstance(result, Seconds) else elapsed


def machine() -> dict[str, str | int]:
    """A description of this machine: processor, cores available, memory, GPU if any, versions, torch's threads."""
    described: dict[str, str | int] = {
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "torch threads": torch.get_num_threads(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        described["memory GiB"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
        described["cuda"] = str(torch.version.cuda)
    return described


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown: the first column left-aligned, the others right; floats with three significant digits.

    Raises:
        ValueError: a row is longer or shorter than the headers.
    """
    lines = [list(headers), ["---", *["---:"] * (len(headers) - 1)]]
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"{len(headers)} headers, but a row of {len(row)}: {row}")
        lines.append([_cell(cell) for cell in row])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else f"{value}"
    return text.replace("|", "\\|").replace("\n", " ")


def write_json(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write ``results`` as JSON to a file, with :func:`machine` under the key ``machine``.

    A Timing becomes an object of its name, seconds and estimate, an Estimate one of its fields; infinities and NaN
    become null.
    """
    text = json.dumps(_plain({"machine": machine(), **results}), indent=2, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """``value`` in terms of JSON; see :func:`write_json`."""
    if isinstance(value, Timing):
        return {"name": value.name, "seconds": list(value.seconds), **_plain(value.estimate)}
    if isinstance(value, Estimate):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_markdown(path: str | Path, title: str, tables: Mapping[str, str]) -> None:
    """Write a page to a file: the title, the machine, and each text or table under its heading."""
    described = "; ".join(f"{key}: {value}" for key, value in machine().items())
    sections = [f"# {title}", described] + [f"## {heading}\n\n{table.rstrip()}" for heading, table in tables.items()]
    Path(path).write_text("\n\n".join(sections) + "\n", encoding="utf-8")
