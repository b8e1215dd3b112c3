"""Part: kdb with a fault inside, again and again: how many are noticed, and whether the map is right all the same.

Each fault is drawn by a seed.  How far off the map is that it causes is measured with kdb's check of itself switched
off; then the check is on, and may warn, repair or raise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.robustness.constructs import Apply, Construct
from benchmarks.robustness.faults import Fault, fault
from benchmarks.robustness.part import Part, Row
from benchmarks.robustness.trial import Logits, Trial, errors, first_line, logits_of, verification
from benchmarks.timing import markdown_table
from benchmarks.verify import grid
from kdb.frontends import torch_export
from kdb.results.maps import HeatMap
from kdb.results.tables import Table
from kdb.session.session import Session

SIZE, STRIDE = (28, 30), (1, 2)
PATCHES = {"plain": (12, 13), "wide": (20, 20)}
"""Large ones have an interior that sees nothing but the patch; of other networks they are 6 x 6."""
FAULTS = 300
TRIES = 40
"""Faults that are drawn for a case until one is reached by the network's map."""
HARMLESS, SMALL, MIDDLE, GROSS, LOCAL, RAISES = CLASSES = ("harmless", "small", "middle", "gross", "local", "raises")
LOCAL_SHARE = 0.05


# ---- networks


def _conv(inner: int, outer: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups), nn.BatchNorm2d(outer), nn.ReLU()
    )


def _head(channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def _plain() -> nn.Module:
    return nn.Sequential(_conv(3, 8), nn.MaxPool2d(2), _conv(8, 12), _conv(12, 12), _head(12))


def _wide() -> nn.Module:
    return nn.Sequential(_conv(3, 48), _conv(48, 48), nn.MaxPool2d(2), _conv(48, 24), _head(24))


def _flattened() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.LazyLinear(20), nn.ReLU(), nn.Linear(20, 5)),
    )


def _residual() -> nn.Module:
    def block() -> nn.Module:
        return Apply(lambda m, x: F.relu(x + m.b(x)), b=nn.Sequential(_conv(8, 8), nn.Conv2d(8, 8, 3, padding=1)))

    return nn.Sequential(_conv(3, 8, 2), block(), block(), _conv(8, 12), _head(12))


def _depthwise() -> nn.Module:
    def block(n: int) -> nn.Module:
        return nn.Sequential(_conv(n, n, groups=n), nn.Conv2d(n, n, 1), nn.BatchNorm2d(n), nn.ReLU6())

    return nn.Sequential(_conv(3, 8), block(8), nn.MaxPool2d(3, 2, 1), _conv(8, 16, kernel=1), block(16), _head(16))


def _dense() -> nn.Module:
    def layer(n: int) -> nn.Module:
        return Apply(lambda m, x: torch.cat([x, m.c(x)], 1), c=_conv(n, 4))

    return nn.Sequential(_conv(3, 6), layer(6), layer(10), nn.AvgPool2d(2), layer(14), _head(18))


def _squeezed() -> nn.Module:
    def gated(m: Any, x: Tensor) -> Tensor:
        gates: Tensor = m.up(m.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * gates

    gate = Apply(gated, down=nn.Conv2d(10, 4, 1), up=nn.Conv2d(4, 10, 1))
    return nn.Sequential(_conv(3, 10), nn.MaxPool2d(2), gate, _conv(10, 12), _head(12))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "plain": _plain,
    "wide": _wide,
    "flattened": _flattened,
    "residual": _residual,
    "depthwise": _depthwise,
    "dense": _dense,
    "squeeze-excite": _squeezed,
}
KERNELS = ("auto", "auto", "native", "taps", "winograd", "recompute")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network on an image: its query, the model's own logits, and the map of kdb without a fault."""

    trial: Trial
    truth: Logits
    plain: Logits

    def map(self, kernels: str, verify: bool) -> Logits:
        """The logits [n + 1, K] by a new session; ``verify`` False switches kdb's check off, where it has one."""
        db = self.trial.connect()
        db.execute(f"SET kernels = {kernels}")
        if not verify:
            unchecked(db)
        with exported_once():
            heat_map = db.execute(self.trial.query, self.trial.parameters)
        assert isinstance(heat_map, HeatMap)
        return logits_of(heat_map)


def unchecked(db: Session) -> bool:
    """Switch the check of maps off; False where this kdb has none."""
    settings = db.execute("SHOW SETTINGS")
    assert isinstance(settings, Table)
    if not any(name == "verify" for name, *_ in settings):
        return False
    db.execute("SET verify = off")
    return True


@cache
def subject(network: str) -> Subject:
    """A network, by name, on a photograph."""
    patch = PATCHES.get(network, (6, 6))
    size = SIZE[0] + patch[0] - 6, SIZE[1] + patch[1] - 6
    module = Construct(network, NETWORKS[network], size).module(seed=5)
    trial = Trial(
        module, photos.photo("chelsea", size), patch, grid((size[0] - patch[0], size[1] - patch[1]), STRIDE), "gray"
    )
    return Subject(trial, *trial.truth())


@cache
def clean(network: str, kernels: str) -> Logits:
    """The map without a fault."""
    return subject(network).map(kernels, verify=False)


# ---- one fault


@contextmanager
def exported_once() -> Iterator[None]:
    """PyTorch exports a module once, which takes far longer than all else; kdb translates it anew each time."""
    export = torch_export._export

    def remembered(module: nn.Module, example: Tensor) -> Any:
        key = (id(module), tuple(example.shape))
        if key not in _PROGRAMS:
            _PROGRAMS[key] = module, export(module, example)
        return _PROGRAMS[key][1]

    torch_export._export = remembered
    try:
        yield
    finally:
        torch_export._export = export


_PROGRAMS: dict[Any, tuple[nn.Module, Any]] = {}
"""With the module, so that no other takes its id."""


def size_class(use: NDArray[np.float64]) -> str:
    """How bad a map is whose positions are off by ``use`` [n] times what is allowed."""
    worst, share = float(use.max()), float((use > 1).mean())
    if worst <= 1:
        return HARMLESS
    if worst <= 10:
        return SMALL
    if worst <= 100:
        return MIDDLE
    return GROSS if share > LOCAL_SHARE else LOCAL


def examined(case: str) -> dict[str, Any]:
    """What a fault does, and whether kdb notices; of those drawn, the first that is reached."""
    number = int(case)
    for attempt in range(TRIES):
        seed = number * TRIES + attempt
        draw = np.random.default_rng((1, seed))
        network, kernels = list(NETWORKS)[draw.integers(len(NETWORKS))], KERNELS[draw.integers(len(KERNELS))]
        made = fault(seed)
        found = sabotaged(network, kernels, made)
        if made.draw.hits[0]:
            break
    after = clean_again(network, kernels)
    return {"network": network, "kernels": kernels, "kind": made.kind, "fault": str(made), **found, **after}


def sabotaged(network: str, kernels: str, made: Fault) -> dict[str, Any]:
    """The map with the fault: unchecked, for its size, and checked."""
    on = subject(network)
    clean(network, kernels)
    with made.installed():
        given, problem, _ = _attempt(on, kernels, verify=False)
        if given is None:
            return {"size": RAISES, "error": None, "share": 1.0, "caught": "error", "right": True, "problem": problem}
        use = errors(given, on.truth, on.plain)
        shown, problem, warned = _attempt(on, kernels, verify=True)
    right = shown is None or float(errors(shown, on.truth, on.plain).max()) <= 1
    caught = "warning" if warned else "error" if shown is None else ""
    return {
        "size": size_class(use),
        "error": min(float(use.max()), 1e300),
        "share": float((use > 1).mean()),
        "caught": caught,
        "right": right,
        "problem": problem or warned,
    }


def _attempt(on: Subject, kernels: str, verify: bool) -> tuple[Logits | None, str, str]:
    """The map, or None and why there is none; and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return on.map(kernels, verify), "", verification(caught)
        except Exception as error:  # a fault may raise anything
            return None, f"{type(error).__name__}: {first_line(error)}", verification(caught)


def clean_again(network: str, kernels: str) -> dict[str, Any]:
    """Whether the map is as before once the fault is out, and whether the check gives a false alarm on it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = subject(network).map(kernels, verify=True)
    on = subject(network)
    return {
        "leaked": not float(errors(given, on.truth, on.plain).max()) <= 1,
        "false_alarm": bool(verification(caught)),
    }


# ---- the part


def cases() -> list[str]:
    """Numbers, of which each draws a fault."""
    return [f"{number:03}" for number in range(FAULTS)]


def failures(rows: Sequence[Row]) -> list[str]:
    """Gross and local faults whose map is wrong without a word; leaks and false alarms."""
    said = []
    for row in rows:
        if row["size"] in (GROSS, LOCAL) and not row["caught"] and not row["right"]:
            said.append(
                f"{row['case']}: {row['fault']} in {row['network']} ({row['kernels']}): {row['size']}, "
                f"{row['error']:.3g} times what is allowed at {row['share']:.1%} of the positions, without a word"
            )
        if row["leaked"]:
            said.append(f"{row['case']}: {row['fault']}: the map is wrong when the fault is out")
        if row["false_alarm"]:
            said.append(f"{row['case']}: a false alarm on {row['network']}")
    return said


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Of each class, how many are caught."""
    found = {}
    for name in CLASSES:
        mine = [row for row in rows if row["size"] == name]
        found[name] = f"{sum(bool(row['caught']) for row in mine)} of {len(mine)} caught"
    return found


def report(rows: Sequence[Row]) -> str:
    """The shares by class and by kind of place, and the wrong maps without a word."""
    by_class = [[name, *_shares([row for row in rows if row["size"] == name])] for name in CLASSES]
    kinds = dict.fromkeys(row["kind"] for row in rows)
    bad = [row for row in rows if row["size"] not in (HARMLESS, RAISES)]
    by_kind = [[kind, *_shares([row for row in bad if row["kind"] == kind])] for kind in kinds]
    missed = sorted((row for row in bad if not row["right"]), key=lambda row: -row["error"])
    lines = [
        [row["fault"], row["network"], row["kernels"], row["size"], float(row["error"]), f"{row['share']:.1%}"]
        for row in missed
        if not row["caught"]
    ]
    headers = ("faults", "caught", "share", "right all the same", "wrong without a word")
    parts = [DESCRIPTION, markdown_table(["size", *headers], by_class)]
    parts += [
        "By kind of place, without those that are harmless or raise:",
        markdown_table(["kind", *headers], by_kind),
    ]
    if lines:
        columns = ("fault", "network", "kernels", "size", "error / allowed", "of the positions")
        parts += ["Wrong without a word:", markdown_table(columns, lines)]
    alarms = sum(row["false_alarm"] for row in rows)
    parts.append(f"{alarms} false alarms in {len(rows)} maps without a fault.")
    return "\n\n".join(part.rstrip() for part in parts)


def _shares(rows: Sequence[Row]) -> list[object]:
    caught = sum(bool(row["caught"]) for row in rows)
    silent = sum(not row["caught"] and not row["right"] for row in rows)
    share = f"{caught / len(rows):.0%}" if rows else "-"
    return [len(rows), caught, share, sum(bool(row["right"]) for row in rows), silent]


DESCRIPTION = f"""\
{FAULTS} faults in translators, kernels, delta rules, rules, layouts of weights, boxes and the routing of logits, drawn
at random, in maps of {len(NETWORKS)} small networks with {len(grid((SIZE[0] - 6, SIZE[1] - 6), STRIDE))} positions. The
size of a fault is that of the unchecked map's error over what Exact allows: harmless up to 1, small to 10, middle to
100; above, gross where more than {LOCAL_SHARE:.0%} of the positions are off by more than is allowed, else local.
Caught is a VerificationWarning or an error."""

PART = Part("sabotage", "Sabotage", cases, examined, report, failures, totals)
