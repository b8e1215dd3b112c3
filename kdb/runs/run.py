"""A run, as programs hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kdb.errors import Error, ExecutionError, printable
from kdb.results.frames import import_optional
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.results.tables import Headed
from kdb.runs.folder import RunFolder
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
        self._folder.write_results()
        return import_optional("pyarrow.parquet").read_table(self._folder.results)

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
        files = [self._folder.path / file for file in table.column("map").to_pylist()]
        return HeatMaps(paths, lambda i: HeatMap.load(files[i]))

    def map(self, id: str) -> HeatMap:
        """The heat map of the image of that name; raises ExecutionError where it has none."""
        table = self._done()
        files = dict(zip(table.column("id").to_pylist(), table.column("map").to_pylist(), strict=True))
        if id not in files:
            raise ExecutionError(f"the run in '{self.folder}' has no map of '{id}'")
        return HeatMap.load(self._folder.path / files[id])

    def _done(self) -> Any:
        if "npz" not in self._folder.formats:
            kept = ", ".join(self._folder.formats)
            raise ExecutionError(
                f"the run in '{self.folder}' keeps its maps as {kept}, which kdb does not read; .npz it does"
            )
        compute = import_optional("pyarrow.compute")
        table = self.table()
        return table.filter(compute.equal(table.column("status"), "done"))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table for other libraries: pandas, Polars and DuckDB take a run as it is."""
        return self.table().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return len(self._folder.images)

    def __repr__(self) -> str:
        try:
            return f"<Run in {printable(self.folder)!r}: {self.progress}>"
        except Error as error:
            return f"<Run in {printable(self.folder)!r}: {error}>"
