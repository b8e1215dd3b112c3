"""Names of images become paths of maps: one each, inside the folder, whatever the names."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdb.errors import BindError
from kdb.queries.sources import Listed
from kdb.runs import naming

pytestmark = pytest.mark.law

odd = st.sampled_from(
    ["..", ".", "", "/", "a", "%", "%2F", "con", "a b ", "a.", "~", "\\", "é", "x" * 40, "\x00", "\n"]
)
names = st.lists(st.one_of(odd, st.text(max_size=8)), min_size=1, max_size=4).map("/".join)


def listed(*ids: str) -> Listed:
    return Listed([f"/data/{i}" for i in range(len(ids))], "/data", ids=ids)


@given(names, names)
def test_two_names_never_share_a_file(one: str, two: str) -> None:
    assert (naming.file_of(one, "npz") == naming.file_of(two, "npz")) == (one == two)


@given(names)
def test_every_file_lies_inside_the_folder(name: str) -> None:
    file = naming.file_of(name, "npz")
    assert os.path.normpath(os.path.join("maps", file)) == os.path.join("maps", *file.split("/"))
    assert not set(file) & set('\x00\n\\:*?"<>|')
    assert file.endswith(".npz")
    os.fsencode(file)


def test_usual_names_stay_as_they_are() -> None:
    for name in ("a.png", "sub-01/anat/T1 w.nii.gz", "été/Ω.png", "2024-01-01_x(1).jpg"):
        assert naming.file_of(name, "npz") == f"{name}.npz"
    assert naming.file_of("../x.png", "npz") == "%2E%2E/x.png.npz"
    assert naming.file_of("a:b.png", "npz") == "a%3Ab.png.npz"


def test_names_are_relative_paths_so_that_equal_stems_do_not_clash() -> None:
    found = Listed([os.path.join(os.sep, "d", "a", "x.png"), os.path.join(os.sep, "d", "b", "x.png")], "/d")
    assert naming.ids(found) == ["a/x.png", "b/x.png"]


def test_duplicates_are_refused_by_their_name() -> None:
    with pytest.raises(BindError, match="two images of the run are called 'x': '/data/0' and '/data/2'"):
        naming.ids(listed("x", "y", "x"))


def test_a_map_that_would_be_another_s_folder_is_refused() -> None:
    with pytest.raises(BindError, match="would be a file where"):
        naming.ids(listed("x", "x.npz/y"))


def test_a_name_too_long_for_a_file_is_refused() -> None:
    with pytest.raises(BindError, match="too long"):
        naming.ids(listed("x" * 201))
