"""Paths under a root: what :meth:`Root.path` gives lies below it when all links are followed, or it raises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdb.errors import BindError
from kdb.system.paths import ANYWHERE, Root

PARTS = st.sampled_from(["..", ".", "a", "sub", "out", "up", "in", "loop", "none", "file", "*", "[a]", "", "ä"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with links of all kinds, in a folder with wildcards in its name."""
    base = Path(os.path.realpath(tmp_path_factory.mktemp("base")))
    root, outside = base / "ro[o]t", base / "outside"
    (root / "sub" / "a").mkdir(parents=True)
    (outside / "a").mkdir(parents=True)
    for place in (root, root / "sub", outside, outside / "a"):
        (place / "file").write_text("")
    (root / "out").symlink_to(outside)
    (root / "sub" / "up").symlink_to("..")
    (root / "sub" / "out").symlink_to("../../outside/a")
    (root / "in").symlink_to(root / "sub")
    (root / "loop").symlink_to("loop")
    (base / "root-beside").mkdir()
    return root


@given(st.lists(PARTS, max_size=6), st.sampled_from(["relative", "absolute", "beside"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_path_is_below_the_root_or_refused(folder: Path, parts: list[str], how: str) -> None:
    start = {"relative": "", "absolute": str(folder), "beside": f"{folder}-beside"}[how]
    given = os.path.join(start, *parts)
    real = Path(os.path.realpath(os.path.join(folder, given)))
    root = Root.at(folder)
    try:
        found = root.path(given)
    except BindError as error:
        assert "is outside the root" in str(error) and not real.is_relative_to(folder)
    else:
        assert Path(found) == real and real.is_relative_to(folder) and os.path.isabs(found)
    try:
        pattern = root.pattern(given)
    except BindError:
        pass
    else:
        assert pattern.startswith((str(folder), str(folder).replace("[", "[[]")))
        assert ".." not in Path(pattern).parts
    assert ANYWHERE.path(given) == given and ANYWHERE.pattern(given) == given


def test_the_root_itself_may_be_a_link_and_must_be_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert Root.at(tmp_path / "link") == Root.at(folder)
    assert Root.at(tmp_path / "link").path(tmp_path / "link" / "file") == str(folder / "file")
    for wrong in (folder / "none", folder / "file"):
        with pytest.raises(BindError, match=r"root = '.*' is no folder"):
            Root.at(wrong)


def test_a_path_with_a_nul_character_is_a_bind_error(folder: Path) -> None:
    with pytest.raises(BindError, match="is no path"):
        Root.at(folder).path("a\0b")
