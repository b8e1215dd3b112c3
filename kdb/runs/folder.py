"""A run's folder.

    run.json          what the run is: its query, model, parameters, settings, versions
    images.arrow      the list of its images
    parameters.npz    the arrays among its parameters
    maps/             a map an image, each written atomically
    journals/         a journal a worker: what was done, and what it gave
    results.parquet   a row an image, made of the journals when the run is done and whenever it is looked at
    locks/            held by the processes that drive the run, one file a part

Any number of processes may look at a run while others work on it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from kdb.errors import BindError, ExecutionError, reason
from kdb.results.frames import import_optional
from kdb.runs import naming, rows
from kdb.runs.images import Images
from kdb.runs.state import State
from kdb.system.files import write_atomically

VERSION = 1
"""Of the folder's layout; run.json has it."""
GROUP = 16
"""Batches of rows in a group of results.parquet."""
PATIENCE = 3.0
"""Seconds that a lock is waited for: others look at it for a moment, to begin their part or to see who works."""
WHOLE = "whole"
"""The lock of who drives all of a run; others are of shards."""


class RunFolder:
    """The run in the folder at ``path``, absolute; it may not be there yet.

    Raises ExecutionError for files that cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def maps(self) -> Path:
        """The folder of maps."""
        return self.path / "maps"

    @property
    def journals(self) -> Path:
        """The folder of journals."""
        return self.path / "journals"

    @property
    def results(self) -> Path:
        """The table of results."""
        return self.path / "results.parquet"

    # ---- what the run is

    def exists(self) -> bool:
        """Whether there is a run."""
        return (self.path / "run.json").is_file()

    def check_new(self) -> None:
        """Raise an Error unless a run can be made here: in no folder yet, or one that is empty."""
        if self.path.exists() and not self.path.is_dir():
            raise BindError(f"'{self}' is a file; a run is a folder")
        if self.path.is_dir() and any(entry.name != "locks" for entry in os.scandir(self.path)):
            raise BindError(f"'{self}' is a folder with other files in it, and no run; a run has one of its own")

    def create(self, facts: Mapping[str, Any], images: Images, arrays: dict[str, Any]) -> None:
        """Write what the run is; run.json last, so that there is a run once all is there."""
        with self.told():
            self.maps.mkdir(parents=True, exist_ok=True)
            self.journals.mkdir(exist_ok=True)
            images.write(self.path / "images.arrow")
            if arrays:
                write_atomically(self.path / "parameters.npz", lambda file: np.savez_compressed(file, **arrays))
            text = json.dumps({"layout": VERSION, **facts}, indent=2)
            write_atomically(self.path / "run.json", lambda file: file.write(text.encode()))
        for cached in ("facts", "images"):
            self.__dict__.pop(cached, None)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What run.json says; raises BindError where there is no run, or one of a newer kdb."""
        try:
            text = (self.path / "run.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise BindError(f"there is no run in '{self}'; OCCLUDE .. INTO RUN '{self}' makes one") from None
        except (OSError, ValueError) as error:
            raise ExecutionError(f"cannot read the run in '{self}': {reason(error)}") from error
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ExecutionError(f"the run in '{self}' is damaged: run.json holds no JSON ({error})") from error
        if not isinstance(found, dict) or not isinstance(found.get("layout"), int):
            raise ExecutionError(f"the run in '{self}' is damaged: run.json does not say what the run is")
        if found["layout"] > VERSION:
            raise BindError(f"the run in '{self}' is of a newer kdb, {found.get('versions', {}).get('kdb', '')}")
        return found

    @cached_property
    def images(self) -> Images:
        """The list of its images."""
        return Images.read(self.path / "images.arrow")

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays among its parameters."""
        path = self.path / "parameters.npz"
        if not path.is_file():
            return {}
        with self.told(), np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    @property
    def formats(self) -> tuple[str, ...]:
        """The extensions of the files that each map is written to; the first counts."""
        return tuple(self.facts["formats"])

    def map_file(self, item_id: str, extension: str | None = None) -> str:
        """The file of an image's map, relative to the run's folder."""
        return "maps/" + naming.file_of(item_id, extension or self.formats[0])

    # ---- how far it is

    def state(self) -> State:
        """How far it is; a row counts only where its map is there."""
        images = self.images
        with self.told():
            state = State.of(self.journals, len(images))
            done = state.done()
            if len(done):
                there = self._files()
                state.without(np.array([n for n, file in self._map_files(done) if file not in there], np.int64))
        return state

    def _map_files(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        wanted, number, extension = np.zeros(len(self.images), np.bool_), 0, self.formats[0]
        wanted[numbers] = True
        for part in self.images.batches():
            for name, _, _ in part:
                if wanted[number]:
                    yield number, naming.file_of(name, extension)
                number += 1

    def _files(self) -> set[str]:
        """The paths of all files under the folder of maps, relative to it."""
        found: set[str] = set()
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(self.maps / folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(f"{folder}{entry.name}/")
                    else:
                        found.add(f"{folder}{entry.name}")
        return found

    def looked_at(self) -> State:
        """The state now; the table of results is written, where the folder may be written to."""
        state = self.state()
        with contextlib.suppress(ExecutionError):  # of somebody else, or the disk is full: it can be looked at
            self.write_results(state)
        return state

    def table(self) -> Any:
        """The table of results as it is now, a pyarrow ``Table``; it is written too, as by :meth:`looked_at`."""
        state, class_axis = self.looked_at(), bool(self.facts["class_axis"])
        found = rows.batches(self.images, state, class_axis)
        return import_optional("pyarrow").Table.from_batches(found, rows.schema(self.images, class_axis))

    def write_results(self, state: State) -> None:
        """Write the table of results as of a state."""
        pyarrow, parquet = import_optional("pyarrow"), import_optional("pyarrow.parquet")
        class_axis = bool(self.facts["class_axis"])
        columns = rows.schema(self.images, class_axis)

        def write(file: IO[bytes]) -> None:
            with parquet.ParquetWriter(file, columns) as writer:
                batches = rows.batches(self.images, state, class_axis)
                while group := list(islice(batches, GROUP)):
                    writer.write_table(pyarrow.Table.from_batches(group))

        with self.told():
            write_atomically(self.results, write)

    # ---- who works on it

    @contextmanager
    def making(self) -> Iterator[None]:
        """Around looking whether there is a run and making it: one process at a time, others wait."""
        with self.told():
            (self.path / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "locks" / "making", timeout=600):
            yield

    @contextmanager
    def driven(self, part: str = WHOLE) -> Iterator[None]:
        """Around work on all of the run, or on a part of it.

        Raises ExecutionError where another process works on that, or on all.
        """
        with self.told():
            (self.path / "locks").mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as own:
            with contextlib.ExitStack() as held:
                self._hold(held, WHOLE)
                for other in self._parts():
                    if part == WHOLE or other.rpartition("-of-")[2] != part.rpartition("-of-")[2]:
                        with contextlib.ExitStack() as looking:  # images are shared out otherwise among other parts
                            self._hold(looking, other)
                if part != WHOLE:
                    self._hold(own, part)
                else:
                    own.enter_context(held.pop_all())
            yield

    def is_driven(self) -> bool:
        """Whether some process works on it now."""
        return any(not self._is_free(name) for name in (WHOLE, *self._parts()))

    def _parts(self) -> list[str]:
        folder = self.path / "locks"
        return sorted(path.name for path in folder.glob("shard-*")) if folder.is_dir() else []

    def _is_free(self, name: str) -> bool:
        path = self.path / "locks" / name
        if not path.exists():
            return True
        try:
            with FileLock(path, timeout=0):
                return True
        except Timeout:
            return False
        except OSError:  # of somebody else, who lets us look
            return True

    def _hold(self, held: contextlib.ExitStack, name: str) -> None:
        """Hold a lock; raises ExecutionError where another process does."""
        try:
            held.enter_context(FileLock(self.path / "locks" / name, timeout=PATIENCE))
        except Timeout:
            what = "all of it" if name == WHOLE else f"its {name.replace('-', ' ')}"
            raise ExecutionError(
                f"another process works on the run in '{self}', on {what}; SHOW RUN '{self}' says how far it is"
            ) from None
        except OSError as error:
            raise ExecutionError(f"cannot use the run's folder '{self}': {reason(error)}") from error

    @contextmanager
    def told(self) -> Iterator[None]:
        """Around use of the folder: what the system refuses is an ExecutionError that names it."""
        try:
            yield
        except OSError as error:
            raise ExecutionError(f"cannot use the run's folder '{self}': {reason(error)}") from error
