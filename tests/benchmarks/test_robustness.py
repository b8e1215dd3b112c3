"""The examination for maps that are wrong without a word: how it judges, short runs of its parts, and the command."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.robustness import __main__ as command
from benchmarks.robustness import cancelling, faults, modules, sabotage, stale, trial
from benchmarks.robustness.constructs import Apply, Construct
from benchmarks.robustness.faults import Fault
from benchmarks.robustness.part import Part, Row, Rows, run
from benchmarks.robustness.parts import PARTS
from benchmarks.robustness.trial import (
    IN_FULL,
    MATCHED,
    RAW,
    REFUSED,
    WRONG,
    Trial,
    allowance,
    classify,
    errors,
    examine,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 18, 3), dtype=np.uint8)


def net(middle: nn.Module | None = None) -> nn.Module:
    around = [nn.Conv2d(3, 4, 3), nn.ReLU()], [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return Construct("", lambda: nn.Sequential(*around[0], middle or nn.Identity(), *around[1]), (16, 18)).module()


def trial_of(module: nn.Module, fill: str = "black") -> Trial:
    return Trial(module, IMAGE, (4, 3), trial.places((16, 18), (4, 3), 20, 0), fill)


# ---- how errors are judged


def test_what_is_allowed_is_the_least_of_scale_and_range_or_twice_the_error_of_float32() -> None:
    truth = np.array([[10.0, 100.0], [11.0, 100.5]])
    np.testing.assert_allclose(allowance(truth, truth), [1e-3, 5e-4])  # of the range 1; of the range .5
    np.testing.assert_allclose(allowance([[0.0], [10.0]], [[0.0], [10.0]]), [1e-3])  # of the largest logit
    np.testing.assert_allclose(allowance(truth, truth + np.array([[0.0, 3e-3], [0.0, 0.0]])), [1e-3, 6e-3])
    np.testing.assert_allclose(allowance([[1.0], [1.0]], [[1.0], [1.0]]), [1e-5])  # flat


def test_errors_are_over_what_is_allowed_and_of_the_worst_class() -> None:
    truth = np.array([[10.0, 1.0], [11.0, 2.0], [10.5, 1.5]])
    given = truth + np.array([[0.0, 0.0], [5e-4, 0.0], [1e-4, 1e-3]])
    np.testing.assert_allclose(errors(given, truth, truth), [0.0, 0.5, 5.0])
    assert errors(truth * [1, 0], truth * [1, 0], truth * [1, 0]).tolist() == [0, 0, 0]  # a class that is zero
    assert errors(given * np.nan, truth, truth).tolist() == [np.inf] * 3
    with pytest.raises(ValueError, match="cannot be compared"):
        errors(given[:2], truth, truth)


@pytest.mark.parametrize(
    ("error", "own", "warned", "outcome"),
    [
        (0.9, 3, False, MATCHED),
        (0.9, 3, True, IN_FULL),
        (0.9, 0, False, IN_FULL),
        (1.1, 3, False, WRONG),
        (1.1, 3, True, WRONG),
        (np.inf, 3, False, WRONG),
        (np.nan, 3, False, WRONG),
    ],
)
def test_outcomes_of_maps(error: float, own: int, warned: bool, outcome: str) -> None:
    assert classify(error, own, warned) == outcome


def test_a_right_map_is_matched_whatever_the_fill() -> None:
    for fill in ("mean", "blur(2)", "rgb(200, 30.5, 90)"):
        found = examine(trial_of(net(), fill))
        assert found.outcome == MATCHED and found.deltas > 0 and found.signal > 0.01, found


def test_a_wrong_map_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Trial.truth

    def other(self: Trial) -> tuple[Any, Any]:
        exact, _ = truth(self)
        exact[7, 1] += 0.01 * np.ptp(exact[:, 1])
        return exact, exact

    monkeypatch.setattr(Trial, "truth", other)
    found = examine(trial_of(net()))
    assert found.outcome == WRONG and found.share == pytest.approx(1 / 21)
    assert found.error is not None and found.error > 5


def test_errors_of_kdb_are_refusals_and_others_are_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(trial_of(net(nn.Sequential(Apply(lambda m, x: x + torch.rand_like(x))))))
    assert found.outcome == REFUSED and "random" in found.problem
    monkeypatch.setattr(Trial, "connect", lambda self: (_ for _ in ()).throw(KeyError("oh")))
    found = examine(trial_of(net()))
    assert found.outcome == RAW and "KeyError" in found.problem


def test_warnings_of_the_check_are_found() -> None:
    class VerificationWarning(UserWarning):
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("another", stacklevel=1)
        assert trial.verification(caught) == ""
        warnings.warn("layer conv is to blame\nmore", VerificationWarning, stacklevel=1)
        assert trial.verification(caught) == "layer conv is to blame"


def test_the_truth_is_the_modules_own_in_float64_where_it_can_be() -> None:
    exact, plain = trial_of(net()).truth()
    assert exact.shape == (21, 3) and 0 < np.abs(exact - plain).max() < 1e-5
    mixed = net(Apply(lambda m, x: m.c(x.float()), c=nn.Conv2d(4, 4, 1)))
    exact, plain = trial_of(mixed).truth()
    assert np.abs(exact - plain).max() < 1e-5  # in other batches
    assert np.array_equal(exact, exact.astype(np.float32))


@pytest.mark.parametrize(
    ("use", "size"),
    [
        ([0.0, 1.0], "harmless"),
        ([0.0, 9.0], "small"),
        ([11.0, 0.0], "middle"),
        ([101.0] + [0.0] * 18, "gross"),
        ([101.0] + [0.0] * 20, "local"),
        ([np.inf, np.inf], "gross"),
    ],
)
def test_sizes_of_faults(use: Sequence[float], size: str) -> None:
    assert sabotage.size_class(np.array(use)) == size


def test_modules_that_matched_at_first_may_not_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "first", lambda: {"a": MATCHED, "b": MATCHED, "c": IN_FULL})
    base = {"error": 0.1, "signal": 1.0, "share": 0.0, "problem": "", "warned": ""}
    rows: list[Row] = [
        {**base, "case": "a", "outcome": MATCHED},
        {**base, "case": "b", "outcome": IN_FULL},
        {**base, "case": "c", "outcome": IN_FULL},
        {**base, "case": "d", "outcome": WRONG, "error": 12.0},
        {**base, "case": "e", "outcome": MATCHED, "signal": 1e-5},
    ]
    said = modules.failures(rows)
    assert [text.partition(":")[0] for text in said] == ["d", "b", "e"]
    assert modules.totals(rows) == {MATCHED: 2, IN_FULL: 2, REFUSED: 0, WRONG: 1, RAW: 0, "lost": 1}


# ---- short runs of the parts


def test_there_are_hundreds_of_modules_and_all_were_run_at_first() -> None:
    names = list(modules.by_name())
    assert len(names) >= 230 and {*modules.first()} == {*names}
    assert sum(outcome == MATCHED for outcome in modules.first().values()) >= 170


@pytest.mark.parametrize("name", ["activation: hardtanh -.3 .7", "gate: squeeze-excite", "input: 4 channels"])
def test_modules(name: str) -> None:
    found = modules.examined(name)
    assert found["outcome"] == MATCHED and found["signal"] > 1e-3


def test_heads_give_finite_numbers_on_every_image() -> None:
    for case in cancelling.cases():
        asked = cancelling.trial(case)
        with torch.inference_mode():
            image, content, _ = asked.prepared()
            y, x = (int(cell) for cell in asked.positions[0])
            image[:, y : y + asked.patch[0], x : x + asked.patch[1]] = content
            assert torch.isfinite(asked.module(image[None])).all(), case


def test_the_patch_covers_all_that_is_not_black() -> None:
    for image, nothing in (("a white square, covered exactly", True), ("a pixel is left", False)):
        asked = cancelling.trial(f"2-norm of the map: {image}")
        with torch.inference_mode():
            black = asked.module.double()(torch.zeros(1, 3, cancelling.SIDE, cancelling.SIDE).double()).numpy()
        assert np.allclose(asked.truth()[0][0], black, atol=1e-9) is nothing


def test_every_way_changes_a_model_and_is_undone() -> None:
    image = torch.rand(1, 3, *stale.SIZE, generator=torch.Generator().manual_seed(0))
    for name, way in stale.WAYS.items():
        torch.manual_seed(1)
        module = way.build().eval()

        def logits(module: nn.Module = module) -> torch.Tensor:
            with torch.inference_mode():
                return module(image)

        before = logits()
        undo = way.change(module)
        after = logits()
        undo()
        assert (after - before).abs().max() > 1e-3 * before.abs().max(), name
        assert torch.allclose(logits(), before, rtol=1e-5), name


def test_changes_are_seen() -> None:
    for way in ("a weight, in place", "a layer of another kind", "a hook"):
        found = stale.examined(f"{way}: 12 positions")
        assert found["outcome"] == stale.RIGHT and found["identities"] is True, (way, found)


def test_a_map_of_the_model_as_it_was_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(self: stale.Query) -> stale.Answer:
        truth, plain = self.trial.truth()
        self.__dict__.setdefault("given", truth)
        return stale.Answer(float(errors(self.__dict__["given"], truth, plain).max()), "same", "", truth)

    monkeypatch.setattr(stale.Query, "__call__", kept)
    found = stale.examined("a weight, in place: 12 positions")
    assert found["outcome"] == WRONG and found["identities"] is False
    said = stale.failures([{"case": "x", **found}])
    assert len(said) == 1 and "after the change" in said[0] and "undoing" not in said[0]


def test_faults_are_in_kdb_for_their_time_alone() -> None:
    on, before = sabotage.subject("plain"), sabotage.clean("plain", "auto")
    assert errors(before, on.truth, on.plain).max() <= 1
    made = Fault("kdb.execution.executor:_Execution._deliver", "a class", faults.Draw(3, 0.5))
    found = sabotage.sabotaged("plain", "auto", made)
    assert found["size"] == "gross" and made.draw.hits[0] > 0
    assert sabotage.clean_again("plain", "auto") == {"leaked": False, "false_alarm": False}
    assert np.array_equal(on.map("auto", verify=False), before)


def test_every_place_of_a_fault_is_there_and_is_put_back() -> None:
    import importlib

    def current(place: str) -> Any:
        table, _, name = place.partition(":")
        holder: Any = {"translator": faults.TRANSLATORS, "function": faults.FUNCTIONS}.get(table)
        if holder is not None:
            return holder[name]
        holder = importlib.import_module(table)
        for part in name.split("."):
            holder = getattr(holder, part)
        return holder

    for place, (_, ways) in faults.PLACES.items():
        before = current(place)
        for how in ways:
            with Fault(place, how, faults.Draw(0, 0.1)).installed():
                assert current(place) is not before, place
            assert current(place) is before, place


def test_faults_of_a_seed_are_the_same_each_time() -> None:
    assert [str(faults.fault(seed)) for seed in range(20)] == [str(faults.fault(seed)) for seed in range(20)]
    assert len({faults.fault(seed).kind for seed in range(200)}) >= 10


# ---- rows and the command


def part(ran: list[str], fails: bool = False) -> Part:
    def examined(case: str) -> dict[str, Any]:
        ran.append(case)
        return {"outcome": "right"}

    return Part(
        "some",
        "Some part",
        lambda: ["a", "b", "c"],
        examined,
        lambda rows: f"{len(rows)} rows",
        lambda rows: ["a: bad"] if fails else [],
        lambda rows: {"right": len(rows)},
    )


def test_a_killed_run_continues_where_it_was(tmp_path: Path) -> None:
    ran: list[str] = []
    rows = Rows("some", "this", tmp_path)
    steps = run(part(ran), rows, "this")
    next(steps)
    next(steps)
    with (tmp_path / "some.jsonl").open("a") as file:
        file.write('{"code": "this", "row": {"case": "c", "outc')  # killed while it wrote
    found = list(run(part(ran), rows, "this"))
    assert ran == ["a", "b", "c"] and [new for _, new in found] == [False, False, True]
    assert list(Rows("some", "this", tmp_path).load()) == ["a", "b", "c"]
    assert not Rows("some", "other", tmp_path).load() and len(Rows("some", None, tmp_path).load()) == 3


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []
    assert command.main(["--out", str(tmp_path)], [part(ran)], tmp_path / "cache") == 0
    assert command.main(["--out", str(tmp_path)], [part(ran)], tmp_path / "cache") == 0
    assert ran == ["a", "b", "c"]
    text = (tmp_path / "robustness.md").read_text()
    assert "## Some part\n\n3 rows" in text and "| Some part | 3 | right 3 | 0 |" in text
    assert json.loads((tmp_path / "robustness.json").read_text())["some"]["totals"] == {"right": 3}
    assert command.main(["--fresh", "--only", "some"], [part(ran, fails=True)], tmp_path / "cache") == 1
    assert len(ran) == 6 and "a: bad" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["--only", "none"], [part(ran)], tmp_path / "cache")


def test_parts_have_names_and_cases_of_their_own() -> None:
    assert len({each.name for each in PARTS}) == len(PARTS)
    for each in PARTS:
        assert len(set(each.cases())) == len(each.cases()) > 0
    for each in (modules, cancelling, stale, sabotage):
        assert len(each.PART.cases()) >= 20
    assert len(stale.WAYS) >= 20 and len(cancelling.HEADS) >= 20 and len(sabotage.cases()) == 300
