"""A run, as programs hold it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from kdb.errors import BindError, Error, ExecutionError, OmissionWarning, did_you_mean, printable
from kdb.results.compare import Difference
from kdb.results.files import FilePath
from kdb.results.frames import import_optional
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.results.tables import Headed
from kdb.runs import averages
from kdb.runs.averages import Means
from kdb.runs.folder import RunFolder
from kdb.runs.gallery import fiftyone, report
from kdb.runs.state import DONE, FAILED
from kdb.runs.summary import summary
from kdb.runs.watch import Progress, Watch


class Run:
    """One query on the images of a data set, and what came of it so far, in the run's ``folder``.

    ``again`` does what is left of it, and returns that run; ``watch`` is of the driver in this process, if one is.
    """

    def __init__(self, folder: RunFolder, again: Callable[[], Run], watch: Watch | None = None) -> None:
        self._folder, self._again, self._watch = folder, again, watch

    @property
    def folder(self) -> str:
        """The path of its folder."""
        return str(self._folder)

    @property
    def query(self) -> str:
        """Its query's canonical text."""
        return str(self._folder.facts["query"])

    @property
    def progress(self) -> Progress:
        """How far it is: of a shard that is computed here, the shard."""
        if self._watch is not None:
            return self._watch.progress
        state = self._folder.state()
        done, failed = (int((state.status == each).sum()) for each in (DONE, FAILED))
        return Progress(state.count, done, failed, finished=not self._folder.is_driven())

    def wait(self, seconds: float | None = None) -> Run:
        """Wait until nothing is going on any more, or so long; returns the run itself.

        Raises the error that stopped it, if one did; images that failed are rows.  Ctrl-C stops waiting, not the run.
        """
        if self._watch is not None and self._watch.wait(seconds) and self._watch.error is not None:
            raise self._watch.error
        return self

    def cancel(self) -> None:
        """Stop it between two batches; images that are under way are given up.  What is done is kept."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch.wait()

    def resume(self) -> Run:
        """Do what is left of it, or failed, as ``db.submit`` would: in the background."""
        if self._watch is not None and not self._watch.progress.finished:
            return self
        return self._again()

    def summary(self) -> Headed:
        """What SHOW RUN tells: its counts in a row, its failures by kind in lines."""
        return summary(self._folder)

    # ---- results

    def table(self) -> Any:
        """A pyarrow ``Table`` with a row for each image that has one, in the order of the list; docs/runs.md says more.

        It is what results.parquet holds, which is written anew.
        """
        return self._folder.table()

    def failures(self) -> Any:
        """The rows of the images that failed."""
        compute = import_optional("pyarrow.compute")
        table = self.table()
        return table.filter(compute.equal(table.column("status"), "failed"))

    def maps(self) -> HeatMaps:
        """The heat maps of the images that are done, in the order of the list; each is read when it is asked for.

        Raises ExecutionError where the run keeps maps in other files than npz.
        """
        table = self._done()
        paths = table.column("path").to_pylist()
        files = table.column("map").to_pylist()
        return HeatMaps(paths, lambda i: self._load(files[i]))

    def map(self, id: str) -> HeatMap:
        """The heat map of the image of that name; raises ExecutionError where it has none."""
        table = self._done()
        files = dict(zip(table.column("id").to_pylist(), table.column("map").to_pylist(), strict=True))
        if id not in files:
            raise ExecutionError(f"the run in '{self.folder}' has no map of '{id}'")
        return self._load(files[id])

    # ---- averages

    def mean(self, by: str | None = None) -> HeatMap | Means:
        """The mean of all maps; or one for each value of a column of the table, as ``by='truth'``.

        Raises ExecutionError where the maps are not of the same positions, and for a column that is none or a list.
        """
        table = self._done()
        files, groups = table.column("map").to_pylist(), _groups(table, by)
        found = averages.means([(group, self._reading(file)) for group, file in zip(groups, files, strict=True)], by)
        return found[None] if by is None else found

    def difference(self, other: Run | FilePath, by: str | None = None) -> Difference | dict[Any, Difference]:
        """The mean of this run's maps minus that of another's, or of that in a folder, over the images of both.

        Images are matched by their names.  Those whose maps explain different classes are left out, with an
        OmissionWarning.  ``by`` as of :meth:`mean`, by this run's table.  Raises ExecutionError where no image is left.
        """
        other = other if isinstance(other, Run) else Run(RunFolder(other), self._again)
        mine, theirs = self._done(), other._done()
        of_other = {
            name: (each, file)
            for name, each, file in zip(
                *(theirs.column(each).to_pylist() for each in ("id", "class_index", "map")), strict=True
            )
        }
        pairs, differing = [], 0
        columns = (mine.column(each).to_pylist() for each in ("id", "class_index", "map"))
        for name, classes, file, group in zip(*columns, _groups(mine, by), strict=True):
            if name not in of_other:
                continue
            their_classes, their_file = of_other[name]
            if classes != their_classes:
                differing += 1
                continue
            pairs.append((group, self._reading(file), other._reading(their_file)))
        if not pairs:
            why = (
                "their maps explain different classes; FOR CLASS makes them comparable" if differing else "by its name"
            )
            raise ExecutionError(f"no image of '{self.folder}' can be compared with one of '{other.folder}': {why}")
        if differing:
            text = f"{differing} of {differing + len(pairs)} images are left out, whose maps explain different classes"
            warnings.warn(text, OmissionWarning, stacklevel=2)
        found = averages.differences(pairs, by)
        return found[None] if by is None else found

    # ---- for people

    def report(self, path: FilePath, *, most: int = report.MOST) -> Path:
        """Write one HTML page with counts, failures and a gallery of at most so many images, and return its path.

        It needs no other file and no network.  Raises ExecutionError where it cannot be written.
        """
        self._check_readable()
        return report.write(path, self.table(), self._load, self._facts(), most=most)

    def export(self, kind: str, folder: FilePath, **options: Any) -> Path:
        """Write the run's images and maps for another tool; ``kind`` is 'fiftyone', FiftyOne's data set on disk.

        Options: ``shared=True`` for one scale of all heat maps.  Raises BindError for another kind, ExecutionError
        where the folder cannot be written.
        """
        if kind != "fiftyone":
            raise BindError(f"a run is exported to 'fiftyone', not {kind!r}{did_you_mean(str(kind), ['fiftyone'])}")
        self._check_readable()
        return fiftyone.export(folder, self.table(), self._load, self._facts(), **options)

    def _reading(self, file: str) -> Callable[[], HeatMap]:
        return partial(self._load, file)

    def _load(self, file: str) -> HeatMap:
        """The heat map of a row whose map is ``file``, which may be of a format that is not read."""
        path = self._folder.path / f"{file.removesuffix(self._folder.formats[0])}npz"
        try:
            return HeatMap.load(path)
        except ExecutionError as error:
            raise ExecutionError(f"{error}; once it is deleted, RESUME RUN '{self.folder}' makes it again") from error

    def _facts(self) -> dict[str, str]:
        """What a page says of the run as a whole."""
        facts, state = self._folder.facts, self._folder.state()
        told = {"query": facts["query"], "model": facts["model"]["name"], "score": facts["score"]}
        for name, moment in zip(("started", "finished"), state.between() or (), strict=False):
            told[name] = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
        return {**told, "folder": self.folder, "kdb": facts["versions"]["kdb"]}

    def _check_readable(self) -> None:
        if "npz" not in self._folder.formats:
            kept = ", ".join(self._folder.formats)
            raise ExecutionError(f"the run in '{self.folder}' keeps its maps as {kept}, which kdb does not read")

    def _done(self) -> Any:
        self._check_readable()
        compute = import_optional("pyarrow.compute")
        table = self.table()
        return table.filter(compute.equal(table.column("status"), "done"))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table for other libraries: pandas, Polars and DuckDB take a run as it is."""
        stream: object = self.table().__arrow_c_stream__(requested_schema)
        return stream

    def __len__(self) -> int:
        return len(self._folder.images)

    def __repr__(self) -> str:
        try:
            return f"<Run in {printable(self.folder)!r}: {self.progress}>"
        except Error as error:
            return f"<Run in {printable(self.folder)!r}: {error}>"


def _groups(table: Any, by: str | None) -> list[Any]:
    """What each row has in the column ``by``; None for all without one."""
    if by is None:
        return [None] * int(table.num_rows)
    if by not in table.column_names:
        raise ExecutionError(f"a run's table has no column '{by}'{did_you_mean(by, table.column_names)}")
    found: list[Any] = table.column(by).to_pylist()
    if any(isinstance(each, list) for each in found):
        raise ExecutionError(f"the column '{by}' has a list for each image, since the query is of several classes")
    return found
