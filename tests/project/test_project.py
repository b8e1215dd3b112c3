"""The files around the code: what they say of the project agrees with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import kdb

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def loaded(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML, of the dev extra, is not installed")
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_is_sound_and_of_this_version() -> None:
    cited = loaded("CITATION.cff")
    assert cited.keys() >= {"cff-version", "message", "title", "authors"}  # what CFF 1.2.0 requires
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["version"] == kdb.__version__
    assert cited["license"] == PROJECT["license"]
    assert cited["keywords"] == PROJECT["keywords"]
    assert all(author.keys() == {"name"} for author in cited["authors"])


def test_the_papers_citation_is_complete() -> None:
    (paper,) = loaded("CITATION.cff")["references"]
    assert paper["type"] == "conference-paper"
    assert [author["family-names"] for author in paper["authors"]] == ["Nakandala", "Kumar", "Papakonstantinou"]
    assert (paper["year"], paper["doi"]) == (2019, "10.1145/3299869.3319874")
    assert paper["title"] and paper["conference"]["name"]


def test_the_license_is_the_one_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_extras_refer_to_the_distribution_by_its_name() -> None:
    extras = PROJECT["optional-dependencies"]
    own = [re.fullmatch(r"kdb-occlusion\[(.*)]", each) for extra in extras.values() for each in extra if "[" in each]
    assert len(own) >= 3
    assert PROJECT["name"] == "kdb-occlusion" and all(own)
    assert {name for match in own if match for name in match[1].split(",")} <= extras.keys()


def test_messages_name_extras_that_there_are() -> None:
    advice = re.compile(r"pip install '([\w-]+)\[([\w,]+)]'")
    files = [*(ROOT / "kdb").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    found = [match for file in files for match in advice.findall(file.read_text(encoding="utf-8"))]
    assert {name for name, _ in found} == {PROJECT["name"]}
    assert {each for _, extras in found for each in extras.split(",")} <= PROJECT["optional-dependencies"].keys()


def test_hooks_are_local_and_run_what_the_environment_has() -> None:
    (local,) = loaded(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/python -m ")
        for file in re.findall(r"tests/\S+", hook["entry"]):
            assert (ROOT / file).is_file()
