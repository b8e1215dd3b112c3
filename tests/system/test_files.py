"""Atomic writes: at any moment the old or the new file, whatever happens; and what killed processes leave."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdb.errors import ExecutionError, printable
from kdb.results.files import write_result
from kdb.system import files
from kdb.system.files import create_atomically, write_atomically

OLD, NEW = b"old " * 5000, b"new " * 9000
GONE = 4_194_304 + 7
"""A process id above the largest one of Linux."""

WRITER = """
import os, signal, sys
from kdb.system import files
point, path = int(sys.argv[1]), sys.argv[2]
calls = 0
def counted(function):
    def call(*arguments, **keywords):
        global calls
        if calls == point:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return function(*arguments, **keywords)
    return call
for name in ("open", "fsync", "replace", "chmod", "close", "scandir"):
    setattr(os, name, counted(getattr(os, name)))
def write(file):
    for _ in range(9):
        counted(file.write)(b"new " * 1000)
        counted(file.flush)()
files.write_atomically(path, write)
print("done", calls)
"""


def content(data: bytes) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write(data)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
class TestKilled:
    @pytest.mark.parametrize("there", [True, False])
    def test_at_any_point_there_is_the_old_or_the_new_file(self, tmp_path: Path, there: bool) -> None:
        """The writer is killed before its n-th call, for n from 0 until it lives to its end."""
        path, killed, moments = tmp_path / "a.bin", 0, set()
        for point in range(0, 100, 3):
            if there:
                path.write_bytes(OLD)
            else:
                path.unlink(missing_ok=True)
            done = subprocess.run(
                [sys.executable, "-c", WRITER, str(point), str(path)], capture_output=True, timeout=60
            )
            found = path.read_bytes() if path.exists() else None
            assert found in (NEW, OLD if there else None)
            moments.add(found)
            if done.returncode == 0:
                break
            assert done.returncode == -signal.SIGKILL, done.stderr
            killed += 1
        assert killed >= 7 and len(moments) == 2
        files._tidied.clear()
        write_atomically(path, content(OLD))
        assert names(tmp_path) == ["a.bin"]  # and nothing that the killed ones left


class TestAFile:
    @given(st.binary(max_size=99), st.binary(max_size=99), st.sampled_from([0o600, 0o640, 0o644, 0o755]))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
    def test_keeps_its_mode(self, tmp_path: Path, before: bytes, after: bytes, mode: int) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(before)
        path.chmod(mode)
        write_atomically(path, content(after))
        assert path.read_bytes() == after and stat.S_IMODE(path.stat().st_mode) == mode
        write_atomically(path, content(before), private=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert names(tmp_path) == ["a.bin"]

    def test_is_of_the_umask_where_it_is_new(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / "a", content(b""))
            create_atomically(tmp_path / "b", content(b""))
        finally:
            os.umask(before)
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]

    def test_is_replaced_behind_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "far").mkdir()
        (tmp_path / "link").symlink_to(Path("far") / "a.bin")
        for data in (OLD, NEW):
            write_atomically(tmp_path / "link", content(data))
            assert (tmp_path / "far" / "a.bin").read_bytes() == data and (tmp_path / "link").is_symlink()
        assert names(tmp_path / "far") == ["a.bin"]

    def test_is_on_the_disk_before_it_has_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def synced(descriptor: int) -> None:
            calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)

        replace = os.replace
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), replace(*names)))
        write_atomically(tmp_path / "a", content(NEW))
        assert calls == [len(NEW), "rename", "folder"]

    def test_that_is_created_is_left_where_another_was_quicker(self, tmp_path: Path) -> None:
        create_atomically(tmp_path / "a", content(OLD))
        with pytest.raises(FileExistsError):
            create_atomically(tmp_path / "a", content(NEW))
        assert (tmp_path / "a").read_bytes() == OLD and names(tmp_path) == ["a"]


class TestWhatFails:
    def test_a_full_disk_is_told_with_the_path_and_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        path.write_bytes(OLD)

        class Full:
            """A file on a disk that has no more room; numpy's writer of archives stumbles over it twice."""

            def __init__(self, file: IO[bytes]) -> None:
                self._file = file

            def __getattr__(self, name: str) -> object:
                return getattr(self._file, name)

            def write(self, data: bytes) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(ExecutionError, match=r"cannot write '.*a.npz': No space left on device$"):
            write_result(path, lambda file: np.savez_compressed(Full(file), a=np.ones(9)))  # type: ignore[call-overload]
        assert path.read_bytes() == OLD and names(tmp_path) == ["a.npz"]

    def test_what_is_no_file_to_replace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "folder.png").mkdir()
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "read-only.png").write_bytes(OLD)
        wrong = {
            "folder.png": "it is a folder",
            "pipe.png": "it is no regular file",
            "none/a.png": "No such file or directory",
            "read-only.png/a.png": "Not a directory",
            "read-only.png": "the file that is there is read-only",
        }
        access = os.access  # as root all files are writable
        monkeypatch.setattr(os, "access", lambda path, mode: "read-only" not in str(path) and access(path, mode))
        for name, said in wrong.items():
            with pytest.raises(ExecutionError, match=f"{name}': {said}"):
                write_result(tmp_path / name, content(NEW))
        assert names(tmp_path) == ["folder.png", "pipe.png", "read-only.png"]
        assert (tmp_path / "read-only.png").read_bytes() == OLD

    def test_a_folder_that_may_not_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(os, "open", refused)
        with pytest.raises(ExecutionError, match=r"cannot write '.*a.png': Permission denied"):
            write_result(tmp_path / "a.png", content(NEW))


class TestLeftOver:
    def temporary(self, folder: Path, host: str, process: int) -> Path:
        path = folder / f".kdb-{host}-{process}-{'0' * 15}{len(names(folder)):x}.tmp"
        path.write_bytes(b"half")
        return path

    def test_files_of_processes_that_are_gone_or_long_ago_are_removed(self, tmp_path: Path) -> None:
        gone = self.temporary(tmp_path, files._host(), GONE)
        own = self.temporary(tmp_path, files._host(), os.getpid())
        elsewhere = self.temporary(tmp_path, "00000000", GONE)
        long_ago = self.temporary(tmp_path, "00000000", os.getpid())
        os.utime(long_ago, (time.time() - files.OLD - 60,) * 2)
        others = [tmp_path / name for name in (".kdb-mine.tmp", f".kdb-{files._host()}-{GONE}-xyz.tmp", "a.tmp")]
        for other in others:
            other.touch()
        folder = tmp_path / f".kdb-{files._host()}-{GONE}-{'f' * 16}.tmp"
        folder.mkdir()
        write_atomically(tmp_path / "a", content(NEW))
        assert not gone.exists() and not long_ago.exists()
        assert all(each.exists() for each in (own, elsewhere, *others, folder))

    def test_a_folder_is_looked_at_once(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", content(NEW))
        left = self.temporary(tmp_path, files._host(), GONE)
        write_atomically(tmp_path / "a", content(NEW))
        assert left.exists()


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_what_is_printable_can_be_encoded_and_text_is_left_alone(text: str) -> None:
    shown = printable(text)
    shown.encode()
    if text.isprintable():
        assert shown == text
    assert printable(os.fsdecode(b"n\xff.png")) == r"n\udcff.png"
