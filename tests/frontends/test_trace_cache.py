"""Traces as text: the same network comes back, and whatever else is found in the cache counts as not there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from kdb.frontends import torch_export, trace_cache
from kdb.frontends import translate as translate_module
from kdb.frontends.functions import ATEN, is_plain
from kdb.frontends.graph import CONSTANT_BYTES, Graph, Ref
from kdb.frontends.trace_cache import trace
from kdb.models import zoo
from kdb.operators.network import Network
from kdb.operators.sources import Opaque
from kdb.session.session import Session
from kdb.system import cache
from tests.kept_traces import recipe as recipe_of
from tests.networks import modules
from tests.support import examples
from tests.traces import comes_back, same

SHAPE = (3, 12, 10)


class Constants(nn.Module):
    """Tensors that are no parameters: a buffer that is not saved, an attribute, literals, an arange; and a cast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("gain", torch.linspace(1, 2, 4), persistent=False)
        self.shift = torch.rand(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) * self.gain.view(-1, 1, 1) + torch.arange(4, dtype=torch.float32).view(-1, 1, 1)
        return (y * torch.tensor([[2.0]]) - self.shift).to(torch.float32).clamp(max=float("inf")).mean((2, 3))


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(320, 5)).eval()


@pytest.mark.parametrize("module", [small(), Constants().eval()], ids=["layers", "constants"])
def test_a_graph_comes_back_from_its_text(module: nn.Module) -> None:
    comes_back(module, SHAPE, *torch_export.traced(module, SHAPE))


@pytest.mark.slow
@settings(max_examples=examples(5, 8))
@given(st.data())
def test_and_those_of_random_networks(data: st.DataObject) -> None:
    module = data.draw(modules(SHAPE[1:])).eval()
    network, graph = torch_export.traced(module, SHAPE)
    assume(not any(isinstance(node.operator, Opaque) for node in network))
    comes_back(module, SHAPE, network, graph)


def test_nodes_that_the_result_does_not_need_are_left_out() -> None:
    class Wasteful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            _ = torch.cumsum(x, 1)
            return F.relu(x.to(x.dtype)).mean((2, 3))

    graph = torch_export.traced(Wasteful().eval(), SHAPE)[1]
    assert {call.operator for call in graph.calls} <= {"relu", "mean", "_to_copy"}
    assert graph.calls[-1].reads == (graph.calls[-2].name,) and graph.calls[-1].args[0] == Ref(graph.calls[-2].name)


# --- the files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDB_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache" / "traces"


EXPORTED: dict[tuple[object, ...], tuple[Network, Graph]] = {}
"""What was exported for earlier tests, by all of the module, its weights too."""


def exported(
    module: nn.Module,
    shape: tuple[int, int, int],
    traced: Callable[[nn.Module, tuple[int, ...]], tuple[Network, Graph]] = torch_export.traced,
) -> tuple[Network, Graph]:
    if (name := recipe_of(module)) is None:
        return traced(module, shape)
    weights = b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())
    key = (name, hashlib.sha256(weights).digest(), shape)
    if key not in EXPORTED:
        EXPORTED[key] = traced(module, shape)
    return EXPORTED[key]


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Modules that have been exported."""
    found: list[nn.Module] = []

    def counted(module: nn.Module, shape: tuple[int, int, int]) -> tuple[Network, Graph]:
        found.append(module)
        return exported(module, shape)

    monkeypatch.setattr(torch_export, "traced", counted)
    return found


def test_a_trace_is_kept_once_and_takes_its_weights_from_the_module(folder: Path, exports: list[nn.Module]) -> None:
    module, other = small(), small()
    with torch.no_grad():
        other[0].weight.mul_(2)
    first, second = trace(module, SHAPE, "recipe"), trace(other, SHAPE, "recipe")
    assert exports == [module] and len(list(folder.iterdir())) == 1
    same(second, torch_export.trace(other, SHAPE))
    assert first.digest == second.digest


def test_whatever_decides_the_graph_is_in_the_key(
    folder: Path, exports: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(strides: int = 1, bias: bool = True) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, strides, bias=bias), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

    trace(network(), SHAPE, "recipe")
    trace(network(strides=2), SHAPE, "other recipe")
    trace(network(), (3, 9, 9), "recipe")
    trace(network(bias=False), SHAPE, "recipe")
    trace(network().double(), SHAPE, "recipe")
    for name in ("FORMAT", "__version__"):
        monkeypatch.setattr(trace_cache, name, "another")
        trace(network(), SHAPE, "recipe")
    assert len(exports) == 7 == len(list(folder.iterdir()))


def test_what_cannot_be_kept_is_traced_each_time(folder: Path, exports: list[nn.Module]) -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [torch.rand(CONSTANT_BYTES // 4 + 1)]

        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) + self.hidden[0].sum()

    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(dim=3).values

    opaque = nn.Sequential(nn.Conv2d(3, 4, 3), Sorted(), nn.Flatten()).eval()
    for module, name in ((opaque, "opaque"), (Large().eval(), "large"), (small(), None)):
        for _ in range(2):
            trace(module, SHAPE, name)
    assert len(exports) == 6 and not folder.exists()


def truncated(data: bytes, key: str) -> bytes:
    return data[:-100]


def flipped(data: bytes, key: str) -> bytes:
    return data.replace(b"silu", b"relu").replace(b"sigmoid", b"tanh")


def unknown_weight(data: bytes, key: str) -> bytes:
    """Sound as a file, and of no use with this module."""
    text = data.partition(b"\n")[2].replace(b"0.weight", b"9.weight")
    return trace_cache._digest(key, text) + b"\n" + text


def name_without_bytes(data: bytes, key: str) -> bytes:
    """Half a surrogate pair."""
    text = data.partition(b"\n")[2].replace(b'"linear"', b'"\\udc80"')
    return trace_cache._digest(key, text) + b"\n" + text


def wider_than_any(data: bytes, key: str) -> bytes:
    """Padding that does not fit into 64 bits once it is added up."""
    record = json.loads(data.partition(b"\n")[2])
    convolution = next(call for call in record["calls"] if "convolution" in call[1])
    convolution[2][4] = [1 << 70, 1 << 70]
    text = json.dumps(record).encode()
    return trace_cache._digest(key, text) + b"\n" + text


def layer_without_a_name(data: bytes, key: str) -> bytes:
    record = json.loads(data.partition(b"\n")[2])
    record["calls"][0][-1] = True
    text = json.dumps(record).encode()
    return trace_cache._digest(key, text) + b"\n" + text


def no_graph(data: bytes, key: str) -> bytes:
    return trace_cache._digest(key, b"[]") + b"\n[]"


def of_another_key(data: bytes, key: str) -> bytes:
    text = data.partition(b"\n")[2]
    return trace_cache._digest("another key", text) + b"\n" + text


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        flipped,
        unknown_weight,
        name_without_bytes,
        wider_than_any,
        layer_without_a_name,
        no_graph,
        of_another_key,
        lambda *_: b"",
        lambda *_: b"\xff\n\x00",
    ],
)
def test_a_damaged_or_foreign_file_is_replaced(
    damage: Callable[[bytes, str], bytes], folder: Path, exports: list[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    module = small()
    first = trace(module, SHAPE, "recipe")
    (path,) = folder.iterdir()
    sound = path.read_bytes()
    path.write_bytes(damage(sound, path.stem))
    assert path.read_bytes() != sound
    same(trace(module, SHAPE, "recipe"), first)
    assert len(exports) == 2 and path.read_bytes() == sound
    warned = [each for each in caplog.records if each.name.startswith("kdb.")]
    assert [each.levelname for each in warned] == ["WARNING"] and str(path) in warned[0].getMessage()


def test_a_folder_that_cannot_be_written_breaks_nothing(
    tmp_path: Path, exports: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    module = small()
    for place in (tmp_path / "file", Path("/dev/null")):
        monkeypatch.setenv("KDB_CACHE", str(place))
        trace(module, SHAPE, "recipe")
    assert len(exports) == 2 and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    cache.write(tmp_path / "x", b"old")
    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.write(tmp_path / "x", b"new")
    assert cache.read(tmp_path / "x") == b"old" and len(list(tmp_path.iterdir())) == 1
    assert cache.read(tmp_path / "y") is None is cache.read(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="of other systems platformdirs has tests of its own")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/me/.cache/kdb"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/kdb"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/kdb"),
        ({"XDG_CACHE_HOME": "/xdg", "KDB_CACHE": "mine"}, "mine"),
        ({"KDB_CACHE": "~/mine"}, "/home/me/mine"),
    ],
)
def test_the_folder_is_the_one_of_earlier_versions(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KDB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.folder() == Path(expected)


def test_a_process_without_a_home_caches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("KDB_CACHE", raising=False)
    for found in (homeless, lambda *_, **__: Path("~/.cache/kdb")):
        monkeypatch.setattr(cache, "user_cache_path", found)
        assert cache.folder() == Path(os.devnull)


def test_a_cached_file_is_readable_by_the_user_alone(tmp_path: Path) -> None:
    cache.write(tmp_path / "x", b"data")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


# --- sessions ----------------------------------------------------------------------------------------------------

QUERY = "OCCLUDE $x WITH patch(8, 8) STRIDE 8 USING squeezenet1_1 (weights = 'random', input = (64, 64))"

SECOND = f"""
import sys, torch.export
def export(*_, **__): raise AssertionError("exported")
torch.export.export = export
import kdb
print(kdb.connect().explain({QUERY!r}))
assert "kdb.frontends.torch_export" not in sys.modules
"""


def test_a_second_process_exports_nothing(folder: Path) -> None:
    plan = Session().explain(QUERY)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SECOND], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == plan.rstrip()


def test_modules_that_a_user_brings_are_not_kept(folder: Path) -> None:
    db = Session()
    db.register_model("mine", small(), input_size=SHAPE[1:])
    db.explain("OCCLUDE $x WITH patch(4, 4) USING mine")
    db.explain("OCCLUDE $x WITH patch(4, 4) USING $net (input = (12, 10))", {"net": small()})
    assert not folder.exists()


def test_the_recipe_of_a_named_model_has_its_options_and_the_versions_of_its_code() -> None:
    def recipe(**options: object) -> str:
        found = zoo.resolve("squeezenet1_1", {"weights": "random", **options}).recipe
        assert found is not None
        return found

    assert "squeezenet1_1" in recipe() and "torchvision" in recipe()
    assert recipe() == recipe() != recipe(input=(96, 96))
    assert zoo.make_model("mine", small(), input=(12, 10)).recipe is None


# --- the functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ATEN))
def test_the_functions_of_a_cached_trace_touch_nothing(name: str) -> None:
    """Each is PyTorch's, gives the same each time, writes into none of its arguments, and takes no path."""
    operator, _, overload = name.partition(".")
    found = getattr(getattr(torch.ops.aten, operator), overload or "default")
    assert not found._schema.is_mutable and torch.Tag.nondeterministic_seeded not in found.tags
    texts = {argument.name for argument in found._schema.arguments if "str" in str(argument.type)}
    assert texts <= {"rounding_mode", "approximate"} and not operator.startswith("empty")


@pytest.mark.parametrize(
    "target",
    [
        *("load_library", "aten.load_library", "aten.from_file.default", "aten.relu_.default", "aten.add.out"),
        *("aten.rand.default", "aten.bernoulli.default", "aten.copy_.default", "aten._print.default", "aten.save"),
        *("aten._native_batch_norm_legit.default", "aten.empty.memory_format", "prims.iota.default"),
        *("quantized.linear.default", "onnx_reference.node.default", "aten.relu.default.default", "", "relu"),
    ],
)
def test_others_are_not_plain(target: str) -> None:
    assert not is_plain(target)


def planted(target: str, *args: Any) -> Callable[[bytes, str], bytes]:
    """A sound file in which a constant is what ``target`` gives for ``args``."""

    def plant(data: bytes, key: str) -> bytes:
        record = json.loads(data.partition(b"\n")[2])
        record["calls"].insert(0, ["planted", target, list(args), {}, [], {"torch": "uint8"}, None, ""])
        text = json.dumps(record).encode()
        return trace_cache._digest(key, text) + b"\n" + text

    return plant


@pytest.mark.parametrize("target", ["load_library", "aten.from_file.default", "aten.rand.default", "profiler.x.y"])
def test_a_function_planted_in_the_cache_is_not_called(
    target: str, folder: Path, exports: list[nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even looked up: were it called, reading the trace would make the file."""
    module, victim = small(), tmp_path / "victim"
    first = trace(module, SHAPE, "recipe")
    (path,) = folder.iterdir()
    sound = path.read_bytes()
    path.write_bytes(planted(target, str(victim), True, 8)(sound, path.stem))
    looked_up: list[str] = []
    monkeypatch.setattr(translate_module, "_function", lambda call: looked_up.append(call.target))
    same(trace(module, SHAPE, "recipe"), first)
    assert not victim.exists() and target not in looked_up
    assert len(exports) == 2 and path.read_bytes() == sound


def test_a_function_that_is_planted_and_allowed_is_called(folder: Path, exports: list[nn.Module]) -> None:
    """The test above would otherwise show nothing: a planted constant alone does not make a file damaged."""
    trace(small(), SHAPE, "recipe")
    (path,) = folder.iterdir()
    path.write_bytes(planted("aten.zeros.default", [2])(path.read_bytes(), path.stem))
    trace(small(), SHAPE, "recipe")
    assert len(exports) == 1


@pytest.mark.parametrize("change", [(b'"torch":"float32"', b'"torch":"load"'), (b'"0.weight"', b'"0.forward"')])
def test_what_is_no_type_and_no_tensor_is_damage(
    change: tuple[bytes, bytes], folder: Path, exports: list[nn.Module]
) -> None:
    trace(small(), SHAPE, "recipe")
    (path,) = folder.iterdir()
    text = path.read_bytes().partition(b"\n")[2].replace(*change)
    path.write_bytes(trace_cache._digest(path.stem, text) + b"\n" + text)
    trace(small(), SHAPE, "recipe")
    assert len(exports) == 2


def test_a_trace_with_another_function_is_not_kept(folder: Path, exports: list[nn.Module]) -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) * torch.special.bessel_j0(torch.arange(3.0))

    for _ in range(2):
        trace(Sine().eval(), SHAPE, "recipe")
    assert len(exports) == 2 and not folder.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows tells nothing of who may write")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_that_others_may_write_is_not_used(
    mode: int, level: int, folder: Path, exports: list[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    module = small()
    trace(module, SHAPE, "recipe")
    (path,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    (folder, folder.parent)[level].chmod(mode)
    path.write_bytes(b"planted")
    for _ in range(2):
        trace(module, SHAPE, "recipe")
    assert len(exports) == 3 and path.read_bytes() == b"planted"
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warned) == 1 and "not used: others may write it" in warned[0]


@pytest.mark.skipif(os.name != "posix", reason="Windows tells nothing of who owns a folder")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write(tmp_path / "x", b"data")
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    assert (cache.read(tmp_path / "x") == b"data") == (owner == 0)  # root may write it anyway
