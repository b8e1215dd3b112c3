"""kdb leaves a module of the user's, what its forward writes, and random numbers as they were."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdb
from kdb.captum import Occlusion
from kdb.errors import Interrupted, ModelError
from kdb.frontends.state.snapshot import Snapshot
from kdb.frontends.state.untouched import untouched

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
COUNTS = {"calls": 0}
CALLS = 0


class Log:
    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines = 0


class Writing(nn.Module):
    """Counts its calls wherever that is possible, and keeps what it computes."""

    made = 0

    def __init__(self, fails: type[BaseException] | None = None, after: int = 0) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.plain, self.array = torch.zeros(2), np.zeros(2)
        self.count, self.features, self.seen, self.log = 0, [torch.ones(1)], {"first": 1}, Log()
        self.nested: dict[str, list[int]] = {"list": [1, 2]}
        self.generator = random.Random(0)
        self.fails, self.after = fails, after
        self.last.weight.requires_grad_(False)
        self.norm.train()
        self.conv.eval()

    def forward(self, x: Tensor) -> Tensor:
        global CALLS
        CALLS += 1
        COUNTS["calls"] += 1
        Writing.made += 1
        self.calls += 1
        self.count += 1
        self.log.lines += 1
        self.array += 1
        self.generator.random()
        self.nested["list"].append(self.count)
        self.seen[f"call {len(self.seen)}"] = self.count
        self.flag = True
        if self.fails is not None and self.count > self.after:
            raise self.fails
        x = self.norm(self.conv(x))
        self.features.append(x)
        return self.last(x.mean((2, 3)))


def drawing(module: nn.Module, given: Any, made: Tensor) -> None:
    torch.rand(3)
    np.random.rand(3)
    random.random()


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), [str(each) for each in np.random.get_state()]


def with_hooks(module: Writing) -> tuple[Writing, list[Tensor]]:
    outputs: list[Tensor] = []
    module.conv.register_forward_hook(drawing)
    module.last.register_forward_hook(lambda module, given, made: outputs.append(made))
    return module, outputs


def snapshot(module: Writing) -> tuple[Any, ...]:
    """All that could be written, apart from how kdb finds it."""
    return (
        *(module.count, len(module.features), copy.deepcopy(module.seen), module.log.lines, module.array.tolist()),
        *(copy.deepcopy(module.nested), module.generator.getstate(), CALLS, dict(COUNTS), Writing.made),
        *(sorted(vars(module)), int(module.calls), id(module.calls), id(module.features)),
        {name: (id(value), value.tolist(), value.requires_grad) for name, value in module.named_parameters()},
        {name: (id(value), value.tolist()) for name, value in module.named_buffers()},
        [(name, part.training, len(part._forward_hooks)) for name, part in module.named_modules()],
        *states(),
    )


def ask(module: nn.Module) -> kdb.HeatMap:
    query = "OCCLUDE $image WITH patch(4, 4) STRIDE 4 USING $m (input = (12, 12))"
    return kdb.connect().execute(query, {"image": IMAGE, "m": module})


def test_a_query_leaves_all_as_it_was() -> None:
    module, outputs = with_hooks(Writing())
    before, digest = snapshot(module), Snapshot(module).fingerprint
    ask(module)
    assert snapshot(module) == before and not outputs and Snapshot(module).fingerprint == digest
    module.eval()
    before = snapshot(module)
    assert Occlusion(module).why_not(torch.rand(1, 3, 12, 12)) is None
    assert module.count == 1 and len(outputs) == 1  # the model itself, as captum calls it


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(("fails", "raised"), [(ValueError, ModelError), (KeyboardInterrupt, Interrupted)])
def test_so_does_one_that_fails(fails: type[BaseException], raised: type[Exception], after: int) -> None:
    module, outputs = with_hooks(Writing(fails, after))
    before = snapshot(module)
    with pytest.raises(raised):
        ask(module)
    assert snapshot(module) == before and not outputs


def test_what_is_not_dense_or_has_no_memory_is_left_alone() -> None:
    """Nothing can be said of it but that no query fails for it."""
    module: Any = nn.Linear(2, 2)
    module.sparse = torch.eye(3).to_sparse()
    module.meta = torch.empty(3, device="meta")
    module.half = torch.ones(3, dtype=torch.bfloat16)
    module.strange = [open, iter([1]), (n for n in ()), memoryview(b"1"), np.array([{}, None], dtype=object), object()]
    with torch.inference_mode():
        module.inference = torch.zeros(3)
    digest = Snapshot(module).fingerprint
    with untouched(module):
        module.half += 1
        with torch.inference_mode():
            module.inference += 1
        module.strange.clear()
    assert Snapshot(module).fingerprint == digest
    assert float(module.half[0]) == 1 and float(module.inference[0]) == 0 and len(module.strange) == 6
    module.half[1] = 5
    assert Snapshot(module).fingerprint != digest


def test_a_tensor_that_was_written_to_is_the_same_object_in_the_same_memory() -> None:
    module = nn.BatchNorm2d(3)
    mean, alias = module.running_mean, module.running_mean.numpy()  # type: ignore[union-attr]
    weight, numbers = module.weight, module.weight.data.clone()
    with untouched(module):
        module.running_mean.add_(1)  # type: ignore[union-attr]
        module.running_var.data = torch.full((3,), float("nan"))  # type: ignore[union-attr]
        module.weight.data = torch.zeros(3)
        module.bias.requires_grad_(False)
        module.num_batches_tracked = torch.tensor(7)
        del module.eps
    assert module.running_mean is mean and alias.tolist() == [0, 0, 0] and np.shares_memory(alias, mean.numpy())
    assert module.weight is weight and torch.equal(weight, numbers) and module.bias.requires_grad
    assert module.running_var.tolist() == [1, 1, 1] and int(module.num_batches_tracked) == 0 and module.eps == 1e-5


class Stubborn(nn.Module):
    """Cannot be put into eval mode, by any of three ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))

    def eval(self) -> Stubborn:
        if self.how == "eval":
            raise RuntimeError("no modes here")
        return super().eval()

    def train(self, mode: bool = True) -> Stubborn:
        if self.how == "train":
            raise RuntimeError("no modes here")
        return super().train(mode)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" and vars(self).get("how") == "set":
            raise RuntimeError("no modes here")
        super().__setattr__(name, value)


@pytest.mark.parametrize("how", ["eval", "train", "set"])
def test_a_module_that_has_no_eval_mode_is_named(how: str) -> None:
    stubborn = Stubborn(how)
    with pytest.raises(ModelError, match=r"the model \(Stubborn\) cannot be put into eval mode: no modes here"):
        kdb.occlude(IMAGE, stubborn, patch=4)
    assert stubborn.training and stubborn.conv.training, "left as it was"
    if how != "eval":  # which is called of the outermost module alone
        whole = nn.Sequential(nn.Identity(), stubborn)
        with pytest.raises(ModelError, match=r"layer '1' \(Stubborn\) cannot be put into eval mode"):
            kdb.occlude(IMAGE, whole, patch=4)
        assert all(part.training for part in whole.modules())
