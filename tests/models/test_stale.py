"""A module that was changed between two queries, in whatever way, gives the map of what it is now, and is known for
another; one that was not changed is not traced again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

import kdb
from benchmarks import photos
from benchmarks.oracle import exactness, full_inference
from kdb.captum import Occlusion
from kdb.frontends.state.snapshot import Snapshot
from kdb.models import catalog, traces

SIDE, PATCH, STRIDE = 16, 4, 4
QUERY = f"OCCLUDE $image WITH patch({PATCH}, {PATCH}) STRIDE {STRIDE} USING net FOR CLASS 1 SCORE logit"
IMAGE = photos.photo("chelsea", (SIDE, SIDE))

GAIN = 1.0
SHIFT = torch.full((6, 1, 1), 0.1)
TABLE = {"slope": 0.5, "inner": {"power": 1.0}}
settings = ModuleType("settings_of_a_model")
settings.gain = 1.0  # type: ignore[attr-defined]


def inner(x: Tensor) -> Tensor:
    return x * TABLE["inner"]["power"]  # type: ignore[index]


def bent(x: Tensor, by: float = 1.0) -> Tensor:
    return inner(x) * by


@dataclass
class Config:
    bias: float = 0.1


class Scaler:
    def __init__(self) -> None:
        self.by = 1.0

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.by


def scaling(by: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * by


class Net(nn.Module):
    """Reads its numbers from wherever a forward can have them."""

    common = 1.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.first, self.second = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.blocks = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1))
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(6, 3, bias=False)
        for part in (self.conv, self.first, self.second, *self.blocks):
            part.weight.data *= 3  # so that a patch makes a difference
        self.register_buffer("place", torch.linspace(-1, 1, SIDE * SIDE).reshape(SIDE, SIDE))
        self.number, self.text, self.listed, self.options = 1.0, "relu", [1.0, 0.5], {"gain": 1.0}
        self.config, self.space = Config(), SimpleNamespace(gain=1.0)
        self.plain, self.array = torch.full((6, 1, 1), 0.1), np.full((6, 1, 1), 0.1, np.float32)
        self.tensors = {"gain": torch.ones(6, 1, 1)}
        self.parts, self.unlisted = {"end": nn.Tanh()}, [nn.PReLU(6)]
        self.function: Callable[[Tensor], Tensor] = lambda x: x * 1.0
        self.closure, self.partial = scaling(1.0), functools.partial(bent, by=1.0)
        self.scaler = Scaler()
        self.method = self.scaler.scaled
        self.eval()

    @property
    def gain(self) -> float:
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)) * self.number + self.place
        x = x.relu() if self.text == "relu" else x.sigmoid()
        x = (self.first(x) * self.listed[1] + self.second(x)) * self.options["gain"] * self.space.gain
        x = x + self.config.bias + self.plain + torch.from_numpy(self.array) + SHIFT
        x = self.parts["end"](self.unlisted[0](x * self.tensors["gain"]))
        x = (
            self.partial(self.scaler.scaled(self.method(self.closure(self.function(x)))))
            * GAIN
            * settings.gain
            * self.common
            * self.gain
        )
        x = bent(self.pool(self.blocks(x)))
        return self.last(x.flatten(2).mean(2))


class Sorted(Net):
    """With a layer outside kdb's vocabulary."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sort(1)[0].cumsum(1) * self.number


class Double(TorchFunctionMode):
    """Computes in float64 what is written for float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def cast(value: Any) -> Any:
            return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value

        return func(*tree_map(cast, args), **tree_map(cast, kwargs or {}))


Change = Callable[[Net, pytest.MonkeyPatch], object]


def in_place(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor += 0.5


def patched_forward(self: Net, x: Tensor) -> Tensor:
    return 2 * Net.forward(self, x)


def swap(one: Tensor, other: Tensor) -> None:
    one.data, other.data = other.data, one.data


def decorated(net: Net) -> None:
    """What functools.wraps passes off as the function that it replaces."""

    @functools.wraps(nn.Conv2d.forward)
    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        return 2 * self._conv_forward(x, self.weight, self.bias)

    net.first.forward = MethodType(forward, net.first)  # type: ignore[method-assign]


def hooked(net: Net) -> Callable[[Any, Any, Tensor], Tensor]:
    factors = {"made": 1.0}

    def hook(module: nn.Module, given: Any, made: Tensor) -> Tensor:
        return made * factors["made"]

    net.conv.register_forward_hook(hook)
    net.options["hook"] = factors  # type: ignore[assignment]
    return hook


CHANGES: dict[str, Change] = {
    "weights in place": lambda net, _: in_place(net.conv.weight),
    "the data of one filter": lambda net, _: net.conv.weight.data[2].mul_(3),
    "one element by a view of numpy's": lambda net, _: net.first.weight.detach().numpy().__setitem__((1, 2, 1, 1), 2),
    "statistics": lambda net, _: net.norm.running_mean.add_(0.5),  # type: ignore[union-attr]
    "another parameter": lambda net, _: setattr(net.last, "weight", nn.Parameter(-net.last.weight.detach())),
    "weights of two layers exchanged": lambda net, _: swap(net.first.weight, net.second.weight),
    "two layers exchanged": lambda net, _: (
        net.__setattr__("blocks", nn.Sequential(net.blocks[1], net.blocks[0])),
        net.blocks[0].register_forward_hook(lambda module, given, made: made.relu()),
    ),
    "another layer": lambda net, _: setattr(net, "pool", nn.AvgPool2d(2)),
    "a stride": lambda net, _: setattr(net.blocks[0], "stride", (2, 2)),
    "a dilation": lambda net, _: (setattr(net.first, "dilation", (2, 2)), setattr(net.first, "padding", (2, 2))),
    "an epsilon": lambda net, _: setattr(net.norm, "eps", 1.0),
    "a plain tensor in place": lambda net, _: net.plain.add_(0.5),
    "a plain tensor": lambda net, _: setattr(net, "plain", torch.full((6, 1, 1), -0.5)),
    "a buffer in place": lambda net, _: net.place.mul_(-1),  # type: ignore[operator,union-attr]
    "an array in place": lambda net, _: net.array.__iadd__(0.5),
    "a number": lambda net, _: setattr(net, "number", 2.0),
    "a string": lambda net, _: setattr(net, "text", "sigmoid"),
    "an element of a list": lambda net, _: net.listed.__setitem__(1, -1.0),
    "an element of a dict": lambda net, _: net.options.update(gain=2.0),
    "a field of a dataclass": lambda net, _: setattr(net.config, "bias", 1.0),
    "a namespace": lambda net, _: setattr(net.space, "gain", 2.0),
    "a dict of tensors": lambda net, _: net.tensors["gain"].mul_(2),
    "a dict of modules": lambda net, _: net.parts.update(end=nn.Sigmoid()),
    "a weight of a module in a list": lambda net, _: net.unlisted[0].weight.data.fill_(0.9),
    "a function": lambda net, _: setattr(net, "function", lambda x: x * 2.0),
    "the function that makes it": lambda net, _: setattr(net, "closure", scaling(2.0)),
    "a variable of a closure": lambda net, _: setattr(net.closure.__closure__[0], "cell_contents", 2.0),  # type: ignore
    "keywords of a partial": lambda net, _: setattr(net, "partial", functools.partial(bent, by=2.0)),
    "defaults of a function": lambda net, patch: patch.setattr(bent, "__defaults__", (2.0,)),
    "code of a function": lambda net, patch: patch.setattr(inner, "__code__", (lambda x: x * 3.0).__code__),
    "the object of a bound method": lambda net, _: setattr(net.scaler, "by", 2.0),
    "a method of another class": lambda net, patch: patch.setattr(Scaler, "scaled", lambda self, x: x * 2.0),
    "an attribute of the class": lambda net, patch: patch.setattr(Net, "common", 2.0),
    "a property of the class": lambda net, patch: patch.setattr(Net, "gain", property(lambda self: 2.0)),
    "forward of the instance": lambda net, _: setattr(net, "forward", MethodType(patched_forward, net)),
    "forward of a layer": lambda net, _: decorated(net),
    "forward of the class": lambda net, patch: patch.setattr(
        Net, "forward", lambda self, x, old=Net.forward: old(self, x.flip(3))
    ),
    "forward of PyTorch's class": lambda net, patch: patch.setattr(
        nn.MaxPool2d, "forward", lambda self, x: nn.functional.avg_pool2d(x, self.kernel_size)
    ),
    "a hook": lambda net, _: net.first.register_forward_hook(lambda module, given, made: made * 2),
    "a hook before": lambda net, _: net.first.register_forward_pre_hook(lambda module, given: (given[0] * 2,)),
    "what a hook reads": lambda net, _: net.options["hook"].update(made=2.0),  # type: ignore[attr-defined]
    "a global number": lambda net, patch: patch.setitem(globals(), "GAIN", 2.0),
    "a global tensor in place": lambda net, patch: patch.setitem(globals(), "SHIFT", SHIFT + 1),
    "a global dict": lambda net, patch: patch.setitem(TABLE["inner"], "power", 2.0),  # type: ignore[arg-type]
    "a global function": lambda net, patch: patch.setitem(globals(), "inner", lambda x: x * 2.0),
    "a variable of another module": lambda net, patch: patch.setattr(settings, "gain", 2.0),
    "the sign of a constant": lambda net, patch: patch.setattr(
        Net, "forward", lambda self, x, old=Net.forward: old(_Negative(self), x)
    ),
}


class _Negative:
    """A net whose map of places is subtracted."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def __getattr__(self, name: str) -> Any:
        return -self.net.place if name == "place" else getattr(self.net, name)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many traces were made."""
    made: list[int] = []

    def counted(*arguments: Any, traced: Any = catalog.trace) -> Any:
        made.append(1)
        return traced(*arguments)

    monkeypatch.setattr(catalog, "trace", counted)
    monkeypatch.setattr(traces, "trace", counted)
    yield made


def assert_own(net: Net, hm: kdb.HeatMap) -> None:
    """The map is what full inference by the module itself gives, within what Exact promises."""
    image, fill = torch.from_numpy(IMAGE).permute(2, 0, 1).float() / 255, torch.zeros(3)
    positions = hm.positions.reshape(-1, 2)
    with Double():
        exact = full_inference(net, image.double(), fill, (PATCH, PATCH), positions).numpy()
    plain = full_inference(net, image, fill, (PATCH, PATCH), positions).numpy()
    assert exact.dtype == np.float64 and plain.dtype == np.float32
    found = exactness(hm.values.reshape(-1, 1), exact[:, 1:2], plain[:, 1:2])
    assert found.ok, found


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_module_has_another_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    if name == "what a hook reads":
        hooked(net)
    before, snapshot = Snapshot(net).fingerprint, Snapshot(net)
    assert Snapshot(net).fingerprint == before == snapshot.fingerprint and snapshot.same()
    CHANGES[name](net, monkeypatch)
    assert Snapshot(net).fingerprint != before and not snapshot.same()


TRACED = (
    *("the data of one filter", "another layer", "a stride", "an epsilon", "a plain tensor", "a dict of modules"),
    *("a function", "forward of the instance", "forward of a layer", "what a hook reads", "a global tensor in place"),
)
"""Of the changes one of each kind, since a trace takes a second."""


@pytest.mark.parametrize(("name", "kind"), [*((name, Net) for name in TRACED), ("a number", Sorted)])
def test_a_changed_module_is_noticed(
    name: str, kind: type[Net], count: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = kind()
    if name == "what a hook reads":
        hooked(net)
    db = kdb.connect()
    db.register_model("net", net, input_size=(SIDE, SIDE))
    before = db.execute(QUERY, {"image": IMAGE})
    again = db.execute(QUERY, {"image": IMAGE})
    assert len(count) == 1 and again.model_identity == before.model_identity
    assert_own(net, again)
    CHANGES[name](net, monkeypatch)
    after = db.execute(QUERY, {"image": IMAGE})
    assert len(count) == 2 and after.model_identity != before.model_identity
    assert not np.allclose(after.values, before.values, rtol=1e-3, atol=0)
    assert_own(net, after)
    db.execute(QUERY, {"image": IMAGE})
    assert len(count) == 2


def test_the_adapter_for_captum_notices_too(count: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    occlusion = Occlusion(net)
    image = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
    for name in ("a global number", "a string", "one element by a view of numpy's"):
        for expected in (2, 2):
            drops = occlusion.attribute(image, (3, 4, 4), (3, 4, 4), target=1)
            assert occlusion.report is not None and occlusion.report.incremental
            with torch.no_grad():
                covered = image.clone()
                covered[:, :, 4:8, 8:12] = 0
                assert torch.isclose(drops[0, 0, 4, 8], net(image)[0, 1] - net(covered)[0, 1], rtol=1e-3)
            assert len(count) <= expected
        assert len(count) == 1
        count.clear()
        CHANGES[name](net, monkeypatch)


def test_a_trace_that_was_forgotten_is_made_anew(count: list[int]) -> None:
    made = catalog.Catalog()
    model = made.register("net", Net(), input=(SIDE, SIDE))
    first = made.traced(model)
    assert made.traced(model) is first
    made.forget(model)
    second = made.traced(model)
    assert second is not first and second.identity == first.identity
    made.forget()
    assert made.traced(model) is not second and len(count) == 3

    kept = traces.Traces(Net())
    images = torch.rand(1, 3, SIDE, SIDE)
    one = kept.get(images, torch.rand(1, 3))
    assert kept.get(images, torch.rand(1, 3)) is one
    kept.forget()
    assert kept.get(images, torch.rand(1, 3)) is not one


def test_what_nobody_else_holds_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def noted(self: Snapshot, module: nn.Module, init: Any = Snapshot.__init__) -> None:
        looked.append(module)
        init(self, module)

    monkeypatch.setattr(Snapshot, "__init__", noted)
    db = kdb.connect()
    query = "OCCLUDE $image STRIDE 16 USING squeezenet1_1 (weights = 'random', input = (64, 64))"
    db.execute(query, {"image": photos.photo("chelsea", (64, 64))})
    first = len(looked)  # to tell it from others, and to leave it as it was when it is traced
    for _ in range(2):
        db.execute(query, {"image": photos.photo("chelsea", (64, 64))})
    assert first and len(looked) == first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((nn.GroupNorm(2, 4), nn.ReLU()), (nn.GroupNorm(2, 4), nn.ELU())),
        ((nn.GroupNorm(2, 4), nn.ReLU()), (nn.GroupNorm(2, 4, eps=0.7), nn.ReLU())),
    ],
    ids=["an activation", "an epsilon"],
)
def test_what_lies_outside_the_vocabulary_is_part_of_the_identity(
    one: tuple[nn.Module, ...], other: tuple[nn.Module, ...]
) -> None:
    identities = []
    for middle in (one, other, one):
        torch.manual_seed(0)
        body = (nn.Conv2d(3, 4, 3), *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        db = kdb.connect()
        db.register_model("net", nn.Sequential(*body), input_size=(SIDE, SIDE))
        identities.append(db.execute("OCCLUDE $image WITH patch(9, 9) USING net", {"image": IMAGE}).model_identity)
    assert identities[0] == identities[2] != identities[1]
