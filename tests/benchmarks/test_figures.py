"""The figures on a small network: counts against brute force and known numbers; every part runs and is drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import __main__ as command
from benchmarks.figures import bounds, common, endtoend, lesion, sweep
from benchmarks.figures.common import QUICK, block, grid_block
from benchmarks.figures.sweep import FullInference, Query, batches, spaced
from benchmarks.timing import write_json
from kdb.geometry import Spans, Window

TABLE = {"vgg16": (6.8, 10, 14), "resnet18": (2.2, 2.9, 3.9), "inception_v3": (1.8, 2.0, 2.2)}
"""Known speedups of a 16 x 16 patch, convolutions alone, to two digits: eq. 14 in the centre, exact boxes, deltas."""


class TestBounds:
    @pytest.mark.slow
    def test_they_equal_known_speedups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounds, "PATCHES", (16,))
        found = bounds.measure(common.Scale(bounded=tuple(TABLE)))
        assert not found["left out"]
        for name, expected in TABLE.items():
            each = found["networks"][name]["16"]
            got = [each["convolutions"][bound] for bound in ("centre", "exact", "deltas")]
            np.testing.assert_allclose(got, expected, rtol=0.035, err_msg=name)
            assert each["all"]["plan"] < each["all"]["exact"], "batches share their extents"
        vgg = found["networks"]["vgg16"]["16"]["all"]
        np.testing.assert_allclose([vgg["centre"], vgg["exact"], vgg["deltas"]], (6.5, 9.1, 12.6), rtol=0.01)

    @given(
        window=st.builds(
            Window, st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)
        ),
        length=st.integers(13, 20),
        start=st.integers(0, 19),
        size=st.integers(-1, 8),
    )
    def test_pairs_are_counted_as_by_hand(self, window: Window, length: int, start: int, size: int) -> None:
        start = min(start, length)
        stop = min(start + size, length)
        outputs = window.output_length(length)
        by_hand = sum(
            start <= output * window.stride - window.before + tap * window.dilation < stop
            for output in range(outputs)
            for tap in range(window.kernel)
        )
        spans = Spans(np.array([start]), np.array([stop]))
        assert bounds.pairs(window, spans, length, outputs).tolist() == [by_hand]

    def test_an_unknown_network_is_reported(self) -> None:
        found = bounds.measure(common.Scale(bounded=("no_such_network",)))
        assert "no_such_network" in found["left out"] and not found["networks"]


class TestPositions:
    def test_a_block_is_in_the_middle_of_the_upper_left_quarter(self) -> None:
        rows, columns = np.divmod(block(53, 53, 196), 53)
        for axis in (rows, columns):
            assert (axis.min(), axis.max()) == (6, 19)
        assert len(rows) == 196

    @pytest.mark.parametrize(("shape", "count"), [((3, 3), 100), ((1, 40), 16), ((5, 2), 7), ((53, 53), 200)])
    def test_a_block_stays_inside(self, shape: tuple[int, int], count: int) -> None:
        indices = block(*shape, count)
        assert 0 < len(indices) <= count
        assert len(set(indices)) == len(indices)
        assert indices.min() >= 0 and indices.max() < math.prod(shape)

    def test_a_block_of_the_grid_has_its_stride(self) -> None:
        positions = grid_block((208, 208), 4)
        assert (positions - positions[0]).tolist() == [[0, 0], [0, 4], [4, 0], [4, 4]]
        assert not (positions % 4).any()

    @pytest.mark.parametrize("count", [1, 16, 64, 256, 1024, 4096])
    def test_spaced_positions_are_distinct_and_symmetric(self, count: int) -> None:
        positions = spaced((208, 283), count)
        assert len(np.unique(positions, axis=0)) == count
        assert positions.min() >= 0 and (positions <= (208, 283)).all()
        assert (np.abs(positions + positions[::-1] - (208, 283)) <= 1).all()

    @pytest.mark.parametrize(("images", "batch"), [(2, 2), (17, 17), (65, 17), (25, 13), (64, 16)])
    def test_batches_are_about_equal(self, images: int, batch: int) -> None:
        assert batches(images) == batch


class TestCandidates:
    def test_candidates_that_run_in_part_are_extrapolated(self) -> None:
        setting = sweep.Setting("squeezenet1_1", (64, 64))
        few, many = spaced((48, 48), 4), spaced((48, 48), 400)
        whole, part = FullInference(setting, few), FullInference(setting, many)
        assert (len(whole.positions), whole.factor, whole.naive.batch) == (5, 1, 5)
        assert (len(part.positions), part.factor, part.naive.batch) == (64, 401 / 64, 16)
        with setting.subject.connect(threads=1) as db:
            seeds = iter(range(1, 99))
            part_of = Query(db, setting, many, "krypton", seeds)
            assert (len(part_of.positions), part_of.factor) == (64, 400 / 64)
            assert len(Query(db, setting, many, "kdb", seeds).positions) == 400
            candidate = Query(db, setting, few, "krypton", seeds)
            for _ in range(2):
                assert candidate() > 0
            assert len(db._engine._plans) == 2, "each call makes a new plan"
            assert db.settings["preset"] == "krypton"

    def test_rules_that_do_not_fire_are_left_out(self) -> None:
        setting = sweep.Setting("squeezenet1_1", (64, 64))
        with setting.subject.connect(threads=1) as db:
            found = lesion.fired(db, setting, spaced((48, 48), 4))
            assert list(found) == [rule.name for rule in lesion.RULES]
            assert found["incremental"] == "" and found["fold_batch_norm"] != ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick run of all parts."""
    folder = tmp_path_factory.mktemp("docs")
    quick = ["--quick", "--threads", "1", "--out", str(folder)]
    assert command.main([*quick, "--only", "sweep"]) == 0
    assert command.main([*quick, "--only", "bounds,lesion,patches"]) == 0
    assert command.main([*quick, "--only", "threshold,tuning,drilldown,endtoend,maps"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.xdist_group("figures")  # one run serves all
class TestPage:
    def test_parts_run_apart_make_one_page(self, folder: Path) -> None:
        page = (folder / "benchmarks" / "figures.md").read_text()
        titles = [part.TITLE for part in command.PARTS.values()]
        found = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
        assert found == titles
        for line in page.splitlines():
            assert len(line) <= 120 or line.startswith(("|", "processor", "- ")), line
        links = [line.partition("](")[2].rstrip(")") for line in page.splitlines() if line.startswith("![")]
        assert len(links) == 11
        assert all((folder / "benchmarks" / link).read_bytes().startswith(b"\x89PNG") for link in links)

    def test_the_files_of_exact_parts(self, folder: Path) -> None:
        files = {
            name: json.loads((folder / "benchmarks" / f"figures-{name}.json").read_text()) for name in command.PARTS
        }
        (variants,) = (each["variants"] for each in files["lesion"]["networks"].values())
        assert {"full plan", "without incremental", "without cut_over", "kernels = taps"} <= set(variants)
        assert variants["full plan"]["ratio"]["mean"] == 1
        assert all(len(each["seconds"]["seconds"]) == QUICK.rounds for each in variants.values())
        assert max(each["difference"] for each in variants.values()) < 1e-4
        (by_side,) = files["patches"]["networks"].values()
        assert list(by_side) == ["8", "16"]
        assert all(1 < each["eq. 14"] < 4 for each in by_side.values())
        (rows,) = files["sweep"]["networks"].values()
        assert [(row["positions"], row["run"]["naive"]) for row in rows] == [(1, 2), (64, 65)]
        assert set(rows[0]["seconds"]) == {"kdb", "krypton", "naive"}

    def test_the_files_of_approximations(self, folder: Path) -> None:
        names = ("threshold", "tuning", "drilldown", "endtoend", "maps")
        files = {name: json.loads((folder / "benchmarks" / f"figures-{name}.json").read_text()) for name in names}
        (fields,) = files["threshold"]["networks"].values()
        assert fields["theory"] == sorted(fields["theory"]) and fields["theory"][0] < fields["theory"][-1]
        assert fields["error"][0] == 0 and 0 < fields["error"][-1] < 1
        tuned = files["tuning"]
        assert tuned["tune"][0][0] == tuned["test"][0][0] == 1 and tuned["tune"] != tuned["test"]
        theories = {(each["ratio"], each["coarse"]): each["theory"] for each in files["drilldown"]["settings"]}
        assert theories[0.25, 16] == 16**2 / (8**2 + 0.25 * 16**2)
        (ends,) = files["endtoend"]["networks"].values()
        whats = ["exact", *endtoend.SETTINGS]
        assert list(ends["speedup"]) == [f"{of} {what}" for of in ("krypton", "kdb") for what in whats]
        for each in files["maps"]["photos"]:
            assert each["maps"]["exact"]["ssim"] == each["maps"]["exact"]["coloured"] == 1
            # A guaranteed SSIM on so small a map makes the strategy evaluate all of it.
            assert each["maps"]["APPROXIMATE"]["ssim"] == 1
            assert all(of["ssim"] < 1 for title, of in each["maps"].items() if title.startswith(("DRILL", "THRESHOLD")))

    def test_the_page_is_drawn_from_the_files(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "benchmarks").mkdir()
        files = json.loads((folder / "benchmarks" / "figures-sweep.json").read_text())
        (rows,) = files["networks"].values()
        rows[0]["kdb vs naive"] = {"mean": 7.5, "low": None, "high": None}
        rows[0]["within"] = True
        write_json(tmp_path / "benchmarks" / "figures-sweep.json", files)
        assert command.main(["--draw", "--out", str(tmp_path)]) == 0
        page = (tmp_path / "benchmarks" / "figures.md").read_text()
        assert "7.5x [-inf, inf]" in page and page.count("## ") == 1
        assert (tmp_path / "images" / "figures" / "sweep-ratio.png").exists()


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(SystemExit, match="sweeep"):
        command.main(["--only", "bounds,sweeep"])


def test_a_partial_run_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "DOCS", tmp_path)
    monkeypatch.setattr(bounds, "NETWORKS", ())
    assert command.main(["--only", "bounds", "--threads", "1"]) == 0
    assert list(tmp_path.iterdir()) == []
