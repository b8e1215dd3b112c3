"""What ``SET`` changes: each setting with its default, the values it takes, and what it is for.

Settings belong to a session; who reads them is the session's business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdb.errors import BindError, did_you_mean
from kdb.kernels.cpu import backend as cpu
from kdb.kernels.gpu import backend as gpu
from kdb.kernels.kernel import settings as kernel_settings


def kernels() -> tuple[str, ...]:
    """What ``SET kernels`` takes: auto, native, or one of the kernels that the backends name."""
    return ("auto", "native", *kernel_settings((*cpu.KERNELS, *gpu.KERNELS)))


RENAMED = {"rule.hold_context": "rule.freeze_context", "rule.merge_location_wise": "rule.merge_pointwise"}
"""Settings by the names they had in earlier versions, as studies and scripts may still call them."""

_SWITCH = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True)
class Setting:
    """One setting: ``parse`` turns a written value into the one kept, or raises ValueError saying what it takes.

    ``note`` says of a value what whoever sets it should know; None where there is nothing.
    """

    name: str
    default: Any
    parse: Callable[[Any], Any]
    summary: str
    note: Callable[[Any], str | None] = lambda value: None


def _crowded(threads: int) -> str | None:
    """A note on more threads than cores."""
    have = cores()
    if threads <= have:
        return None
    return f"more than the {have} core{'' if have == 1 else 's'} that this process may use, which is slower"


def _whole(least: int, word: str | None = None, most: int | None = None) -> Callable[[Any], Any]:
    """A whole number from ``least`` to ``most``; or ``word``, kept as None."""
    span = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(value: Any) -> int | None:
        if word is not None and isinstance(value, str) and value.lower() == word:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= (most or value):
            raise ValueError(f"a whole number, {span}" + (f", or {word}" if word else ""))
        return value

    return parse


def _one_of(choices: Sequence[str]) -> Callable[[Any], Any]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value.lower()

    return parse


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in _SWITCH:
        raise ValueError("on or off")
    return _SWITCH[value.lower()]


def _verify(value: Any) -> int | bool | None:
    """None for auto, False for off, or a number of positions."""
    if isinstance(value, str) and value.lower() in ("auto", *_SWITCH):
        return None if value.lower() == "auto" or _SWITCH[value.lower()] else False
    if isinstance(value, bool):
        return None if value else False
    if not isinstance(value, int) or value < 1:
        raise ValueError("auto, off, or a whole number of positions, 1 or more")
    return value


_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(rf"(\d+\.?\d*|\.\d+)\s*({'|'.join(_UNITS)})?")


def _duration(value: Any) -> float | bool:
    """Seconds, as a number or a text with a unit; False for off."""
    if isinstance(value, str) and _SWITCH.get(value.lower()) is False:
        return False
    if value is False:
        return False
    found = _DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ValueError("off, or seconds above 0, as 30, '30s', '200ms' or '5min'")
    return float(seconds)


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Worker threads where none are SET: those of the environment's KDB_THREADS, else one for each core.

    Raises BindError where KDB_THREADS is no number of threads.
    """
    given = os.environ.get("KDB_THREADS", "").strip()
    if not given:
        return cores()
    if not given.isdecimal() or not 1 <= int(given) <= most_threads():
        raise BindError(f"KDB_THREADS = {given!r} in the environment is no whole number from 1 to {most_threads()}")
    return int(given)


def most_threads() -> int:
    """The most worker threads: far more than help, and not so many that a process breaks down."""
    return max(64, 4 * cores())


def declared(rules: Sequence[tuple[str, str]], presets: Sequence[str]) -> tuple[Setting, ...]:
    """All settings; ``rules`` are the planner's, (name, summary), each with a switch ``rule.NAME``."""
    return (
        Setting(
            "threads", default_threads(), _whole(1, most=most_threads()), "worker threads, each on one core", _crowded
        ),
        Setting("preset", "kdb", _one_of(presets), "plans of kdb's own, or those of the KRYPTON paper"),
        Setting(
            "kernels", "auto", _one_of(kernels()), "convolutions: by cost; kdb's own alone (native); or one kernel"
        ),
        Setting("batch_size", None, _whole(1, "auto"), "positions a batch; auto leaves it to the planner"),
        Setting("view_budget", 1024, _whole(0), "megabytes of materialized views kept between queries"),
        Setting(
            "memory_limit",
            None,
            _whole(1, "auto"),
            "megabytes that a query takes at most, also of a GPU; auto: what there is",
        ),
        Setting("statement_timeout", False, _duration, "seconds that a statement takes at most, as 30 or '5min'; off"),
        Setting(
            "verify", None, _verify, "positions at which a map is compared with the model itself: auto, off, or so many"
        ),
        Setting("seed", 0, _whole(0), "of random choices: samples, and positions to verify"),
        *(Setting(f"rule.{name}", True, _switch, summary) for name, summary in rules),
    )


class Settings:
    """The values of one session."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self._settings = {setting.name: setting for setting in settings}
        self._values = {setting.name: setting.default for setting in settings}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[tuple[Setting, Any]]:
        """Each setting with its value, in order."""
        return ((setting, self._values[name]) for name, setting in self._settings.items())

    def set(self, name: str, value: Any) -> str:
        """Change one and return its name of today; raises BindError for an unknown name or a value it does not take."""
        setting, parsed = self._parsed(name, value)
        self._values[setting.name] = parsed
        return setting.name

    def reset(self, name: str) -> str:
        """Back to the default; returns its name of today.  Raises BindError for an unknown name."""
        setting = self._find(name)
        self._values[setting.name] = setting.default
        return setting.name

    def check(self, name: str, value: Any) -> str:
        """What :meth:`set` returns and raises, without changing anything."""
        return self._parsed(name, value)[0].name

    def named(self, name: str) -> str:
        """The name of today; raises BindError for an unknown one."""
        return self._find(name).name

    def note(self, name: str) -> str | None:
        """What whoever changes a setting to its value should know; None where there is nothing."""
        return self._find(name).note(self[name])

    def reset_all(self) -> None:
        """Every one back to its default."""
        self._values = {name: setting.default for name, setting in self._settings.items()}

    def changed(self) -> dict[str, Any]:
        """The values that are not the defaults, by name: numbers, texts, truth values and None, for :meth:`take`."""
        return {name: value for name, value in self._values.items() if value != self._settings[name].default}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what :meth:`changed` gave of another session; settings that this version does not have are left."""
        self._values.update({name: value for name, value in values.items() if name in self._settings})

    def _parsed(self, name: str, value: Any) -> tuple[Setting, Any]:
        setting = self._find(name)
        try:
            return setting, setting.parse(value)
        except ValueError as error:
            raise BindError(f"{setting.name} takes {error}; not {value!r}") from None

    def _find(self, name: str) -> Setting:
        found = self._settings.get(RENAMED.get(name.lower(), name.lower()))
        if found is None:
            hint = did_you_mean(name.lower(), self._settings) or "; SHOW SETTINGS lists them"
            raise BindError(f"unknown setting '{name}'{hint}")
        return found


def earlier_names(name: str) -> list[str]:
    """The names that a setting had in earlier versions."""
    return [earlier for earlier, today in RENAMED.items() if today == name]


def shown(value: Any) -> str:
    """A value as one would write it."""
    if value is None or isinstance(value, bool):
        return {None: "auto", True: "on", False: "off"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
