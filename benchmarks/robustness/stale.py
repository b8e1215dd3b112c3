"""Part: models that change between two queries of one session, in ways that a cache of traces may not see.

The map after a change must be that of the model as it is now, and the one after undoing the first again; likewise
through the adapter to captum.
"""

from __future__ import annotations

import copy
import functools
import operator
import os
import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import prune

import kdb
from benchmarks import photos
from benchmarks.robustness.part import Part, Row
from benchmarks.robustness.trial import RAW, REFUSED, WRONG, Trial, errors, first_line, logits_of, places, verification
from benchmarks.timing import markdown_table
from kdb.results.maps import HeatMap

SIZE = (22, 26)
PATCH = (4, 5)
Undo = Callable[[], None]
RIGHT = "right"


@dataclass(frozen=True)
class Way:
    """A module, and a change of it that returns what undoes it."""

    build: Callable[[], nn.Module]
    change: Callable[[Any], Undo]


# ---- models


class Reader(nn.Module):
    """A small network between whose convolutions a function of (this module, x) is applied."""

    gain = 1.0

    def __init__(self, step: Callable[..., Tensor] | None = None, **parts: Any) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(8, 4)
        self.activation: nn.Module = nn.LeakyReLU(0.1)
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.step = step
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 4]."""
        x = self.activation(self.norm(self.first(x)))
        if self.step is not None:
            x = self.step(self, x)
        logits: Tensor = self.head(self.last(self.pool(x)).relu().mean((2, 3)))
        return logits


class Patched(Reader):
    """Its class is changed."""

    def middle(self, x: Tensor) -> Tensor:
        """The map between the convolutions."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 4]."""
        x = self.middle(self.activation(self.first(x)))
        logits: Tensor = self.head(self.last(x).relu().mean((2, 3)))
        return logits


class Slotted:
    """Settings that are in no ``__dict__``."""

    __slots__ = ("gain",)

    def __init__(self, gain: float) -> None:
        self.gain = gain


class Scaler:
    """Something to call that is no module."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def __call__(self, x: Tensor) -> Tensor:
        """x, scaled."""
        return x * self.gain


GAIN = 1.0
"""What models read from this module: a number, a tensor, a function, a table, a setting of a class."""
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.0, -1.0, 0.3])
TABLE = {"gains": [1.0, 2.0]}
SHARED = {"gain": 1.0}


def helper(x: Tensor) -> Tensor:
    """What models call."""
    return x * 1.5


def _with_default(_: Any, x: Tensor, gain: float = 1.0) -> Tensor:
    return x * gain


def _closure() -> nn.Module:
    gain = [1.0]
    return Reader(lambda _, x: x * gain[0], turn=lambda value: operator.setitem(gain, 0, value))


def _nonlocal() -> nn.Module:
    gain = 1.0

    def step(_: Any, x: Tensor) -> Tensor:
        return x * gain

    def turn(value: float) -> None:
        nonlocal gain
        gain = value

    return Reader(step, turn=turn)


def _hidden() -> nn.Module:
    return Reader(lambda m, x: m.outside[0](x), outside=[nn.Conv2d(6, 6, 1)])


def _large() -> nn.Module:
    return Reader(lambda m, x: x * m.field, field=nn.Parameter(torch.rand(6, *SIZE)))


# ---- changes


def put(path: str, value: Any) -> Callable[[Any], Undo]:
    """Set an attribute, ``value`` or what that gives for the one there."""

    def change(module: Any) -> Undo:
        *parents, name = path.split(".")
        holder = functools.reduce(getattr, parents, module)
        before = getattr(holder, name)
        setattr(holder, name, value(before) if isinstance(value, types.FunctionType) else value)
        return lambda: setattr(holder, name, before)

    return change


def item(path: str, key: Any, value: Any) -> Callable[[Any], Undo]:
    """Set an item of a list or dict."""

    def change(module: Any) -> Undo:
        find = operator.attrgetter(path)
        before = copy.copy(find(module)[key])
        find(module)[key] = value

        def undo() -> None:
            find(module)[key] = before

        return undo

    return change


def write(path: str, where: Any = ..., how: str = "grad", times: float = -2) -> Callable[[Any], Undo]:
    """Multiply (part of) a tensor in place: under no_grad, through ``.data``, or through a numpy view."""

    def change(module: Any) -> Undo:
        tensor = operator.attrgetter(path)(module)
        before = tensor.detach().clone()

        def to(values: Tensor) -> None:
            if how == "numpy":
                tensor.detach().numpy()[...] = values.numpy()
            elif how == "data":
                tensor.data[...] = values
            else:
                with torch.no_grad():
                    tensor.copy_(values)

        after = before.clone()
        after[where] *= times
        to(after)
        return lambda: to(before)

    return change


def of_module(name: str, value: Any) -> Callable[[Any], Undo]:
    """Set a name of this Python module."""

    def change(_: Any) -> Undo:
        here = sys.modules[__name__]
        before = getattr(here, name)
        setattr(here, name, value)
        return lambda: setattr(here, name, before)

    return change


def _nested(module: Any) -> Undo:
    module.d["a"]["gain"] = -2.0
    return lambda: operator.setitem(module.d["a"], "gain", 1.0)


def _shared(_: Any) -> Undo:
    SHARED["gain"] = -2.0
    return lambda: operator.setitem(SHARED, "gain", 1.0)


def _global_tensor(_: Any) -> Undo:
    before = WEIGHTS.clone()
    WEIGHTS.mul_(-1)

    def undo() -> None:
        WEIGHTS.copy_(before)

    return undo


def _global_table(_: Any) -> Undo:
    TABLE["gains"][1] = -3.0
    return lambda: operator.setitem(TABLE["gains"], 1, 2.0)


def _of_class(name: str, value: Any) -> Callable[[Any], Undo]:
    def change(module: Any) -> Undo:
        kind = type(module)
        before = getattr(kind, name)
        setattr(kind, name, value)
        return lambda: setattr(kind, name, before)

    return change


def _patched_instance(module: Any) -> Undo:
    module.forward = types.MethodType(lambda self, x: type(self).forward(self, -x), module)
    return lambda: delattr(module, "forward")


def _patched_layer(module: Any) -> Undo:
    module.activation.forward = torch.tanh
    return lambda: delattr(module.activation, "forward")


def _hook(module: Any) -> Undo:
    return module.first.register_forward_hook(lambda m, given, made: made * -1.5).remove  # type: ignore[no-any-return]


def _pre_hook(module: Any) -> Undo:
    return module.last.register_forward_pre_hook(lambda m, given: (given[0] + 0.7,)).remove  # type: ignore[no-any-return]


def _hook_removed(module: Any) -> Undo:
    module.handle.remove()

    def undo() -> None:
        module.handle = module.first.register_forward_hook(_negated)

    return undo


def _negated(m: Any, given: Any, made: Tensor) -> Tensor:
    return -made


def _with_hook() -> nn.Module:
    module: Any = Reader()
    module.handle = module.first.register_forward_hook(_negated)
    return module  # type: ignore[no-any-return]


def _global_hook(_: Any) -> Undo:
    def hook(m: Any, given: Any, made: Any) -> Any:
        return made * -1.5 if isinstance(m, nn.Conv2d) else None

    return nn.modules.module.register_module_forward_hook(hook).remove


def _parametrised(module: Any) -> Undo:
    class Negative(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return -w

    torch.nn.utils.parametrize.register_parametrization(module.last, "weight", Negative())
    return lambda: _unparametrised(module)


def _unparametrised(module: Any) -> None:
    torch.nn.utils.parametrize.remove_parametrizations(module.last, "weight", leave_parametrized=False)


def _pruned(module: Any) -> Undo:
    module.requires_grad_(False)  # what pruning computes could not be copied otherwise
    weight = module.last.weight
    mask = torch.zeros_like(weight)
    mask[::2] = 1
    prune.custom_from_mask(module.last, "weight", mask)  # type: ignore[no-untyped-call]

    def undo() -> None:
        prune.remove(module.last, "weight")  # type: ignore[no-untyped-call]
        module.last.weight.data[...] = before

    before = weight.detach().clone()
    return undo


def _loaded(module: Any) -> Undo:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(
        {name: value * 1.5 for name, value in before.items() if value.is_floating_point()}, strict=False
    )
    return lambda: module.load_state_dict(before)


def _defaults(module: Any) -> Undo:
    before = module.step.__defaults__
    module.step.__defaults__ = (-2.0,)

    def undo() -> None:
        module.step.__defaults__ = before

    return undo


def _code(module: Any) -> Undo:
    before = module.step.__code__
    module.step.__code__ = (lambda m, x: x * 1.0 - 0.5).__code__

    def undo() -> None:
        module.step.__code__ = before

    return undo


def _environment(_: Any) -> Undo:
    os.environ["ROBUSTNESS_GAIN"] = "-2"
    return lambda: os.environ.__delitem__("ROBUSTNESS_GAIN")


def _reversed(module: Any) -> Undo:
    module.steps.reverse()
    return lambda: module.steps.reverse()


def _turned(module: Any) -> Undo:
    module.turn(-2.0)
    return lambda: module.turn(1.0)


def _trained(module: Any) -> Undo:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    images = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    F.cross_entropy(module(images), torch.tensor([0, 1, 2, 3])).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return lambda: module.load_state_dict(before)


def _plain(**parts: Any) -> Callable[[], nn.Module]:
    """A reader whose map is multiplied by what ``of`` gives of the module."""
    of = parts.pop("of")
    return lambda: Reader(lambda m, x: x * of(m), **copy.deepcopy(parts))


def _vector() -> Tensor:
    return torch.linspace(0.5, 2, 6)[:, None, None]


WAYS: Mapping[str, Way] = {
    "a weight, in place": Way(Reader, write("last.weight")),
    "one filter, through .data": Way(Reader, write("last.weight", 3, "data")),
    "a weight, through a numpy view": Way(Reader, write("head.weight", slice(0, 2), "numpy")),
    "a few numbers of a large weight, through .data": Way(_large, write("field", (2, 11, slice(3, 9)), "data", -60)),
    "a bias": Way(Reader, write("first.bias", times=-9)),
    "another parameter object": Way(Reader, put("head.weight", lambda w: nn.Parameter(-2 * w.detach()))),
    "a step of training": Way(Reader, _trained),
    "load_state_dict": Way(Reader, _loaded),
    "a buffer, in place": Way(_plain(of=lambda m: m.b, b=nn.Buffer(_vector())), write("b")),
    "another buffer": Way(_plain(of=lambda m: m.b, b=nn.Buffer(_vector())), put("b", lambda b: b.flip(0))),
    "running statistics": Way(Reader, write("norm.running_var", slice(0, 3), times=9)),
    "eps": Way(Reader, put("norm.eps", 1.0)),
    "a slope": Way(Reader, put("activation.negative_slope", -0.7)),
    "a stride": Way(Reader, put("last.stride", (2, 2))),
    "a padding mode": Way(Reader, put("first.padding_mode", "circular")),
    "a pool's kernel": Way(Reader, put("pool.kernel_size", 3)),
    "a layer of another kind": Way(Reader, put("activation", lambda old: nn.Tanh())),
    "a layer of the same kind": Way(Reader, put("activation", lambda old: nn.LeakyReLU(-0.7))),
    "a layer removed": Way(Reader, put("activation", lambda old: nn.Identity())),
    "the order of layers": Way(
        lambda: Reader(
            lambda m, x: functools.reduce(lambda y, f: f(y), m.steps, x), steps=[torch.tanh, lambda x: 2 * x]
        ),
        _reversed,
    ),
    "a plain tensor": Way(_plain(of=lambda m: m.t, t=_vector()), put("t", lambda t: -2 * t)),
    "a plain tensor, in place": Way(_plain(of=lambda m: m.t, t=_vector()), write("t")),
    "one number of a plain tensor": Way(_plain(of=lambda m: m.t, t=_vector()), write("t", 4)),
    "a number": Way(_plain(of=lambda m: m.t, t=1.0), put("t", -2.0)),
    "a class's number": Way(_plain(of=lambda m: m.gain), _of_class("gain", -2.0)),
    "a dict's number": Way(_plain(of=lambda m: m.d["gain"], d={"gain": 1.0}), item("d", "gain", -2.0)),
    "a dict's tensor": Way(_plain(of=lambda m: m.d["gain"], d={"gain": _vector()}), item("d", "gain", -_vector())),
    "a nested dict": Way(
        _plain(of=lambda m: m.d["a"]["gain"], d={"a": {"gain": 1.0}}),
        _nested,
    ),
    "a dict that others hold too": Way(lambda: Reader(lambda m, x: x * m.d["gain"], d=SHARED), _shared),
    "a list's number": Way(_plain(of=lambda m: m.t[1], t=[1.0, 1.0]), item("t", 1, -2.0)),
    "a list of weights": Way(_plain(of=lambda m: m.t[1], t=[_vector(), _vector()]), item("t", 1, -_vector())),
    "a numpy array": Way(
        _plain(of=lambda m: torch.from_numpy(m.t), t=np.linspace(0.5, 2, 26, dtype=np.float32)),
        item("t", slice(0, 9), -3.0),
    ),
    "a settings object": Way(_plain(of=lambda m: m.c.gain, c=types.SimpleNamespace(gain=1.0)), put("c.gain", -2.0)),
    "a settings object with slots": Way(_plain(of=lambda m: m.c.gain, c=Slotted(1.0)), put("c.gain", -2.0)),
    "something called": Way(lambda: Reader(lambda m, x: m.scale(x), scale=Scaler(1.0)), put("scale.gain", -2.0)),
    "a function": Way(lambda: Reader(lambda m, x: m.f(x), f=torch.tanh), put("f", torch.cos)),
    "a lambda": Way(lambda: Reader(lambda m, x: 2 * x), put("step", lambda old: lambda m, x: x.sin())),
    "a partial": Way(
        lambda: Reader(lambda m, x: m.f(x), f=functools.partial(F.leaky_relu, negative_slope=0.1)),
        put("f", functools.partial(F.leaky_relu, negative_slope=-0.8)),
    ),
    "a partial's keywords": Way(
        lambda: Reader(lambda m, x: m.f(x), f=functools.partial(F.leaky_relu, negative_slope=0.1)),
        lambda m: item("k", "negative_slope", -0.8)(types.SimpleNamespace(k=m.f.keywords)),
    ),
    "a default argument": Way(
        lambda: Reader(types.FunctionType(_with_default.__code__, globals(), argdefs=(1.0,))), _defaults
    ),
    "a function's code": Way(
        lambda: Reader(types.FunctionType(_with_default.__code__, globals(), argdefs=(1.0,))), _code
    ),
    "a closure's list": Way(_closure, _turned),
    "a closure's variable": Way(_nonlocal, _turned),
    "forward, of the instance": Way(Reader, _patched_instance),
    "forward, of a layer": Way(Reader, _patched_layer),
    "forward, of the class": Way(
        Patched, _of_class("forward", lambda self, x: self.head(self.last(self.first(x)).relu().mean((2, 3))))
    ),
    "a method of the class": Way(Patched, _of_class("middle", lambda self, x: -x)),
    "a global number": Way(lambda: Reader(lambda m, x: x * GAIN), of_module("GAIN", -2.0)),
    "a global tensor": Way(lambda: Reader(lambda m, x: x * WEIGHTS[:, None, None]), _global_tensor),
    "a global function": Way(lambda: Reader(lambda m, x: helper(x)), of_module("helper", torch.sin)),
    "a global table": Way(lambda: Reader(lambda m, x: x * TABLE["gains"][1]), _global_table),
    "the environment": Way(
        lambda: Reader(lambda m, x: x * float(os.environ.get("ROBUSTNESS_GAIN", "1"))), _environment
    ),
    "a module in a list": Way(_hidden, lambda m: write("weight")(m.outside[0])),
    "a hook": Way(Reader, _hook),
    "a pre-hook": Way(Reader, _pre_hook),
    "a hook removed": Way(_with_hook, _hook_removed),
    "a hook of all modules": Way(Reader, _global_hook),
    "a parametrisation": Way(Reader, _parametrised),
    "pruning": Way(Reader, _pruned),
}


# ---- the part


def cases() -> list[str]:
    """Each way, on maps of many positions and of few, and through the adapter to captum."""
    return [f"{way}: {through}" for way in WAYS for through in THROUGH]


@dataclass(frozen=True)
class Answer:
    """One map, or attribution: its largest error over what is allowed, the model's identity, and what was warned."""

    error: float
    identity: str
    warned: str
    truth: NDArray[np.float64]


class Query:
    """Queries of one session, of a map of all classes at ``count`` positions."""

    def __init__(self, module: nn.Module, count: int) -> None:
        self.trial = Trial(module, photos.photo("coffee", SIZE), PATCH, places(SIZE, PATCH, count, 0), "gray")
        self.db = self.trial.connect()

    def __call__(self) -> Answer:
        """The map as it is now, and the module's own."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            heat_map = self.db.execute(self.trial.query, self.trial.parameters)
        assert isinstance(heat_map, HeatMap)
        truth, plain = self.trial.truth()
        worst = float(errors(logits_of(heat_map), truth, plain).max())
        return Answer(worst, heat_map.model_identity, verification(caught), truth)


class Attribution:
    """Attributions by one adapter, compared with captum's own."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.occlusion = module, kdb.captum.Occlusion(module)
        pixels = photos.photo("coffee", SIZE).astype(np.float32)
        self.image = torch.from_numpy((pixels / 255 - 0.45) / 0.25).movedim(-1, 0)[None].contiguous()

    def __call__(self) -> Answer:
        """The attribution as it is now, and the module's own."""
        from captum.attr import Occlusion

        asked: dict[str, Any] = {"sliding_window_shapes": (3, *PATCH), "strides": (3, 2, 2), "target": 1}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            given = self.occlusion.attribute(self.image, **asked)
        truth = Occlusion(self.module).attribute(self.image, **asked).double().numpy().reshape(-1, 1)
        worst = float(errors(given.numpy().reshape(-1, 1), truth, truth).max())
        return Answer(worst, "", verification(caught), truth)


THROUGH: Mapping[str, Callable[[nn.Module], Query | Attribution]] = {
    "80 positions": lambda module: Query(module, 80),
    "12 positions": lambda module: Query(module, 12),
    "captum": Attribution,
}


def examined(case: str) -> dict[str, Any]:
    """The outcome of three queries: of the model as it was, after the change, and after undoing it."""
    name, _, through = case.partition(": ")
    try:
        answers = list(_answers(WAYS[name], THROUGH[through]))
    except kdb.Error as error:
        return {"outcome": REFUSED, "errors": [], "problem": first_line(error)}
    except Exception as error:  # just what must not happen
        return {"outcome": RAW, "errors": [], "problem": f"{type(error).__name__}: {first_line(error)}"}
    before, after, again = answers
    reached = not _alike(after, before) and _alike(again, before)
    identities = before.identity != after.identity
    return {
        "outcome": RIGHT if reached and all(each.error <= 1 for each in answers) else WRONG,
        "errors": [each.error for each in answers],
        "identities": identities if through != "captum" else None,
        "warned": next((each.warned for each in answers if each.warned), ""),
        "problem": "" if reached else "the change did not reach the model, of which kdb has replaced a part",
    }


def _alike(a: Answer, b: Answer) -> bool:
    """Whether the model itself gave the same both times."""
    return bool(np.abs(a.truth - b.truth).max() < 1e-4 * np.ptp(b.truth))


def _answers(way: Way, through: Callable[[nn.Module], Query | Attribution]) -> Iterator[Answer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = way.build().eval()
    ask = through(module)
    yield ask()
    undo = way.change(module)
    try:
        yield ask()
    finally:
        undo()
    yield ask()


def failures(rows: Sequence[Row]) -> list[str]:
    """Changes after which a map is not the model's, and identities that do not tell the models apart."""
    said = []
    for row in rows:
        if row["outcome"] != RIGHT:
            said.append(f"{row['case']}: {row['outcome']} {_why(row)}")
        elif row["identities"] is False:
            said.append(f"{row['case']}: right, but identities do not tell the two models apart")
    return said


def _why(row: Row) -> str:
    return str(row["problem"]) or _where(row["errors"])


def _where(found: Sequence[float]) -> str:
    when = ("before", "after the change", "after undoing it")
    return ", ".join(f"{name} ({error:.3g})" for name, error in zip(when, found, strict=True) if not error <= 1)


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Cases by outcome."""
    ways: dict[str, bool] = {}
    for row in rows:
        way = row["case"].partition(": ")[0]
        ways[way] = ways.get(way, True) and row["outcome"] == RIGHT
    return {"ways": len(ways), "right throughout": sum(ways.values()), **Counter(row["outcome"] for row in rows)}


def report(rows: Sequence[Row]) -> str:
    """A row for each way."""
    shown: dict[str, dict[str, str]] = {}
    for row in rows:
        way, _, through = row["case"].partition(": ")
        shown.setdefault(way, {})[through] = _cell(row)
    lines = [[way, *(cells.get(through, "-") for through in THROUGH)] for way, cells in shown.items()]
    return f"{DESCRIPTION}\n\n{markdown_table(['what changes', *THROUGH], lines)}"


def _cell(row: Row) -> str:
    if row["outcome"] == WRONG:
        return f"**wrong** {_why(row)}"
    notes = ["with a warning"] * bool(row.get("warned")) + ["same identity"] * (row.get("identities") is False)
    return ", ".join([row["outcome"], *notes])


DESCRIPTION = """\
A model is asked, changed, asked again, changed back and asked a third time, by one session (or one adapter to captum)
and on one image. Each map is compared with the model as it is at that moment. Maps of 12 positions are too small for
kdb to compare positions of theirs with the model."""

PART = Part("stale", "Models that change", cases, examined, report, failures, totals)
