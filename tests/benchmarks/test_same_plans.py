"""Two checkouts compared in plans: a planted difference is found, a stated renaming is not a difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import same_plans
from benchmarks.checkout import Checkout

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """
import json

class Error(Exception):
    pass

class Session:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def execute(self, text, parameters=None):
        if "REFUSED" in text:
            raise Error("no such setting")

    def explain(self, text, parameters, format):
        assert len(parameters["positions"]) == 100
        layers = [{"name": "conv", "KERNEL": "direct", "macs": MACS}]
        return json.dumps({"query": text, "milliseconds": id(self), "layers": layers})

connect = Session
"""


def stand_in(folder: Path, kernel: str = "kernel", macs: int = 3, refused: str = "no word") -> str:
    """Write a checkout whose kdb has one plan for all queries; returns its path."""
    (folder / "kdb").mkdir(parents=True)
    text = STAND_IN.replace("KERNEL", kernel).replace("MACS", str(macs)).replace("REFUSED", refused)
    (folder / "kdb" / "__init__.py").write_text(text)
    return str(folder)


class TestSamePlans:
    def test_milliseconds_are_ignored(self, tmp_path: Path) -> None:
        old, new = stand_in(tmp_path / "old"), stand_in(tmp_path / "new")
        assert same_plans.main([old, new, "--networks", "alexnet,vgg16"]) == 0

    def test_a_planted_difference_is_found(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        old, new = stand_in(tmp_path / "old"), stand_in(tmp_path / "new", macs=4)
        assert same_plans.main([old, new, "--networks", "alexnet"]) == 1
        printed = capsys.readouterr().out
        assert "alexnet, bf16: layers[conv].macs: 3, now 4" in printed and "same" not in printed

    def test_a_stated_renaming_is_no_difference(self, tmp_path: Path) -> None:
        old, new = stand_in(tmp_path / "old"), stand_in(tmp_path / "new", kernel="primitive")
        command = [old, new, "--networks", "alexnet"]
        assert same_plans.main(command) == 1
        assert same_plans.main([*command, "--renamed", "a=b", "kernel=primitive"]) == 0
        (tmp_path / "names").write_text("--renamed\nkernel=primitive\n")
        assert same_plans.main([*command, f"@{tmp_path / 'names'}"]) == 0
        assert same_plans.main([*command, "--ignored", "kernel", "primitive"]) == 0

    def test_settings_are_renamed_for_the_new_checkout(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        old, new = stand_in(tmp_path / "old"), stand_in(tmp_path / "new", refused="krypton")
        command = [old, new, "--networks", "alexnet"]
        assert same_plans.main(command) == 1
        assert "alexnet, krypton: new: no such setting" in capsys.readouterr().out
        assert same_plans.main([*command, "--renamed", "krypton=paper"]) == 0

    def test_a_query_that_both_refuse_counts_as_a_difference(self, tmp_path: Path) -> None:
        old, new = (stand_in(tmp_path / name, refused="native") for name in ("old", "new"))
        assert same_plans.main([old, new, "--networks", "alexnet"]) == 1

    def test_differences(self) -> None:
        def found(old: object, new: object) -> list[str]:
            return list(same_plans.differences(old, new))

        plan = {"cut": None, "rules": [{"name": "a", "fired": True}], "boxes": [[1, 2], [3, 4]]}
        assert found(plan, json.loads(json.dumps(plan))) == []
        assert found(plan, {**plan, "cut": "relu"}) == ["cut: None, now 'relu'"]
        assert found(plan, {**plan, "rules": [{"name": "a", "fired": False}]}) == ["rules[a].fired: True, now False"]
        assert found(plan, {**plan, "boxes": [[1, 2]]}) == ["boxes: 2 entries, now 1"]
        assert found(plan, {**plan, "boxes": [[1, 2], [3, 5]]}) == ["boxes[1][1]: 4, now 5"]
        assert found(plan, {**plan, "more": 0}) == ["more: None, now 0"]

    def test_whole_words_are_renamed(self) -> None:
        plan = {"taps": ["taps.wide", "rule taps_b", 3, None], "b": {"c": "taps"}}
        assert same_plans.renamed(plan, {"taps": "c", "c": "taps"}) == {
            "c": ["c.wide", "rule taps_b", 3, None],
            "b": {"taps": "c"},
        }

    @pytest.mark.slow
    def test_a_changed_cost_profile_of_kdb(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for folder in ("kdb", "grammar"):
            shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
        changed = 0
        for path in tmp_path.rglob("*.py"):
            text = path.read_text()
            path.write_text(text.replace("call: float = 12e-6", "call: float = 12e-4"))
            changed += text != path.read_text()
        assert changed == 1, "the seconds per call of the default cost profile"
        assert same_plans.main([str(ROOT), str(tmp_path), "--networks", "squeezenet1_1"]) == 1
        printed = capsys.readouterr().out
        assert "squeezenet1_1, native: " in printed and ".estimated_seconds: " in printed


class TestCheckout:
    def test_it_imports_its_own_kdb_and_has_an_empty_cache(self, tmp_path: Path) -> None:
        script = (
            "import kdb, os, pathlib\n"
            "cache = pathlib.Path(os.environ['KDB_CACHE'])\n"
            "def answer(x):\n"
            "    print('aside')\n"
            "    found = list(map(str, cache.iterdir()))\n"
            "    (cache / x).touch()\n"
            "    return [kdb.__file__, str(cache), found]\n"
        )
        with Checkout(stand_in(tmp_path), script) as checkout:
            (file, cache, found), (_, _, again) = checkout.ask("one"), checkout.ask("two")
        assert Path(file) == tmp_path / "kdb" / "__init__.py" and found == [] and again == [f"{cache}/one"]
        assert not Path(cache).exists()

    def test_a_folder_without_kdb_is_no_checkout(self, tmp_path: Path) -> None:
        # If kdb is installed, that one is imported and refused.
        with pytest.raises(RuntimeError, match="with status 1"), Checkout(tmp_path, "answer = repr\n") as checkout:
            checkout.ask(1)
