"""The runtimes that full inference is timed by give the module's logits, or the reason why they are not measured."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import few
from benchmarks.runtimes import RUNTIMES, Run, Runtime, comparison
from benchmarks.runtimes.comparison import Row
from benchmarks.runtimes.full import Disagrees, FullInference
from benchmarks.verify import scattered

SIZE = (24, 32)


def module() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head).eval()
        nn.init.uniform_(net[1].running_var, 0.5, 2)
        return net


class Counting:
    """The module, or something else; notes how many images it was given."""

    name = "counting"
    packages: tuple[str, ...] = ()

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.given = factor, list[int]()

    def load(self, module: nn.Module, example: Tensor, threads: int) -> Run:
        def run(images: Tensor) -> Tensor:
            assert images.shape == example.shape, "a runtime may be made for one shape alone"
            self.given.append(len(images))
            return module(images) * self.factor  # type: ignore[no-any-return]

        return run


SLOW = {"inductor"}
CASES = [pytest.param(each, id=each.name, marks=[pytest.mark.slow] * (each.name in SLOW)) for each in RUNTIMES]


@pytest.mark.parametrize("runtime", CASES)
def test_a_runtime_gives_the_modules_logits(runtime: Runtime) -> None:
    if any(find_spec(package) is None for package in runtime.packages):
        pytest.skip("it is not installed")
    net, images = module(), torch.rand(4, 3, *SIZE)
    run = runtime.load(net, images, 1)
    with torch.inference_mode():
        torch.testing.assert_close(run(images.clone()), net(images), rtol=1e-4, atol=1e-5)


def test_all_positions_are_run_in_whole_batches() -> None:
    counting = Counting()
    full = FullInference(counting, module(), torch.rand(3, *SIZE), threads=2)
    counting.given.clear()
    assert full.seconds(torch.zeros(3), (4, 4), scattered((20, 28), 32, seed=0)) > 0
    assert sum(counting.given) == 32 and set(counting.given) == {full.way.batch}


def test_what_computes_something_else_is_not_measured() -> None:
    with pytest.raises(Disagrees, match=r"differ by 0\.1 of the largest"):
        FullInference(Counting(1.1), module(), torch.rand(3, *SIZE), threads=1)


ROW = Row(
    "a", 10, {"kdb": [1e-3, 2e-3], "captum": [4e-3, 4e-3], "OpenVINO": [3e-3, 5e-3]}, {}, {"inductor": "no"}, True
)


def test_the_table_names_the_strongest_and_what_is_missing(tmp_path: Path) -> None:
    assert ROW.strongest in ("captum", "OpenVINO") and ROW.ratios("kdb") == [4, 2]
    assert ROW.ratios("kdb, first map") == []
    assert "- a, inductor: not measured: no" in comparison.table([ROW])
    comparison.report([ROW], 2, 16, tmp_path)
    alone = Row("resnet18", 10, {"kdb": [1e-3]}, {}, {}, True)
    comparison.report([alone], 2, 16, tmp_path)
    assert [row.network for row in comparison.kept(tmp_path)] == ["resnet18", "a"], "other rows are kept"
    assert (
        "4.00x" not in comparison.table([alone]) and "inductor: not measured" in (tmp_path / "runtimes.md").read_text()
    )


def test_a_query_takes_other_positions_each_time() -> None:
    case = few.Case(few.Subject("m", module(), (40, 48)), None, 4, "m", None)  # type: ignore[arg-type]
    first, second = case._positions(), case._positions()
    assert first.shape == second.shape == (4, 2) and (first != second).any()
