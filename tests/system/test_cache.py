"""The cache folder: bounded, private, and never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdb.system import cache


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_what_was_used_last_stays_within_the_bound(
    tmp_path: Path, sizes: list[int], most: int, data: st.DataObject
) -> None:
    for each in tmp_path.iterdir():
        each.unlink()
    paths = [tmp_path / f"{i}.json" for i in range(len(sizes))]
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        cache.write(path, b"x" * size)
        os.utime(path, (1000 + i, 1000 + i))
    used = data.draw(st.permutations(paths)) if paths else []
    for i, path in enumerate(used):
        assert cache.read(path) is not None and path.stat().st_mtime > 10_000  # reading is use
        os.utime(path, (2000 + i, 2000 + i))
    (tmp_path / "other.txt").write_bytes(b"x" * 999)
    cache.bound(tmp_path, most)
    left = [path for path in used if path.exists()]
    assert left == used[len(used) - len(left) :]  # those used last
    assert sum(path.stat().st_size for path in left) <= most
    if len(left) < len(used):  # and as many as possible
        assert sum(sizes[paths.index(path)] for path in used[len(used) - len(left) - 1 :]) > most
    assert (tmp_path / "other.txt").exists()


def test_it_is_of_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "traces" / "a.json"
    cache.write(path, b"{}")
    assert cache.read(path) == b"{}"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]


def test_where_no_folder_can_be_nothing_is_kept_and_nothing_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for chosen in (str(tmp_path / "file"), os.devnull, "/proc/none"):
        monkeypatch.setenv("KDB_CACHE", chosen)
        cache.write(cache.traces() / "a.json", b"{}")
        cache.bound(cache.traces(), 1)
        assert cache.read(cache.traces() / "a.json") is None


def test_without_a_home_there_is_a_folder_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KDB_CACHE", "HOME", "XDG_CACHE_HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert cache.folder().is_absolute()

    def homeless() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache, "user_cache_path", lambda *_, **__: homeless())
    assert cache.folder() == Path(os.devnull)
