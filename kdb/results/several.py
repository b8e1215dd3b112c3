"""The heat maps of several images: each is made when it is asked for, and kept as long as somebody holds it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakValueDictionary

import numpy as np

from kdb.errors import STOPS, Cancel, Error, ExecutionError, Interrupted, OmissionWarning, Timeout, behind_of
from kdb.geometry import AXES
from kdb.results import arrow, frames
from kdb.results.files import FilePath, check_apart, file_format, files_of_several
from kdb.results.maps import HeatMap
from kdb.results.pictures import figure, pages, panels
from kdb.results.pictures.style import Colors, Range, Style
from kdb.system.locks import ProcessLock

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class HeatMaps(Sequence[HeatMap]):
    """The heat maps of several images, in the order of ``sources``; each is computed when it is asked for.

    A map is kept as long as somebody holds it, and the one that was last asked for by its index; it is the same object
    as long as it is kept.  Any other is read from the npz file that :meth:`save` or INTO wrote of it, if that is as it
    was, or else computed again.  Iterating keeps nothing.

    All maps are of one model, that of the first, and a map that is computed again is of the same image and fill; where
    one of these has changed, it fails.

    If an image fails, the access to that item, and so an iteration that reaches it, raises the ``Error``; other items
    are unaffected, and ``outcomes`` goes through all of them without raising.  An item that failed, was interrupted, or
    took too long, is computed at its next access.  A cancelled one is the partial map, with which an iteration ends.
    Threads may share the sequence.

    ``compute`` is called in a ``turn``, a context that one thread at a time is in; it may refuse to be entered.
    """

    def __init__(
        self,
        sources: Sequence[str],
        compute: Callable[[int], HeatMap],
        turn: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.sources = tuple(sources)
        lock = ProcessLock()
        self._compute, self._turn = compute, turn or (lambda: lock)
        self._held: WeakValueDictionary[int, HeatMap] = WeakValueDictionary()
        self._last: HeatMap | None = None
        self._computed: set[int] = set()
        self._errors: dict[int, Error] = {}
        self._inputs: dict[int, bytes] = {}
        self._files: dict[int, tuple[Path, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> HeatMap: ...
    @overload
    def __getitem__(self, index: slice) -> list[HeatMap]: ...
    def __getitem__(self, index: int | slice) -> HeatMap | list[HeatMap]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        try:
            self._last = _raised(self._outcome(range(len(self))[index]))
        except Cancel as cancelled:
            if cancelled.partial is None:
                raise
            self._last = cancelled.partial
        return self._last

    def __iter__(self) -> Iterator[HeatMap]:
        return map(_raised, self.outcomes())

    def _outcome(self, index: int) -> HeatMap | Error:
        known = self._held.get(index)
        if known is not None:
            return known
        with self._turn():  # no lock of its own, which a thread might hold that waits for its turn
            found = self._held.get(index) or self._read(index) or self._made(index)
            if isinstance(found, HeatMap):
                self._held[index] = found
                self._computed.add(index)
            return found

    def _made(self, index: int) -> HeatMap | Error:
        try:
            made = self._compute(index)
            inputs = _inputs(made)
            if self._inputs.setdefault(index, inputs) != inputs:
                what = f"{self.sources[index]!r}, or what covers it,"
                raise ExecutionError(f"{what} has changed since its map was made; run the query again")
        except STOPS:
            raise
        except Error as error:
            self._errors[index] = _bare(error)
            return error
        self._errors.pop(index, None)
        return made

    def _read(self, index: int) -> HeatMap | None:
        """The map from its file; None where there is none, or it has been written to since."""
        path, written = self._files.get(index, (None, None))
        if path is None or _state(path) != written:
            return None
        try:
            return HeatMap.load(path)
        except Error:
            return None

    def outcomes(self) -> Iterator[HeatMap | Error]:
        """Each image's heat map or error, in order, computed if necessary."""
        for i in range(len(self)):
            try:
                yield self._outcome(i)
            except Cancel as cancelled:
                if cancelled.partial is None:
                    raise
                yield cancelled.partial
                return

    @property
    def errors(self) -> Mapping[int, Error]:
        """The errors of the images that failed when they were last computed, by index."""
        return dict(sorted(self._errors.copy().items()))

    def _succeeded(self, level: int = 3) -> Iterator[tuple[int, HeatMap]]:
        """The maps that there are, with their indices; the warnings of others are of the ``level``-th caller's line."""
        for i in range(len(self)):
            outcome = self._outcome(i)
            if isinstance(outcome, Error):
                warnings.warn(f"{self.sources[i]!r} is left out: {outcome}", OmissionWarning, stacklevel=level)
            else:
                yield i, outcome

    def plot(self, *, range: Range = "shared", colors: Colors = "effect", caption: bool = True) -> Figure:
        """The maps side by side in one figure, by default on one colour scale: ``kdb.plot`` of them.

        Images that failed are left out with a warning.  Maps beyond what the figure shows are not computed.
        """
        style = Style(range, colors, caption)
        return _plot((each for _, each in self._succeeded(level=5)), len(self), style)

    def save(self, template: str) -> list[Path]:
        """Save each heat map to ``template``, with ``{stem}`` replaced by its source's file name without extension.

        Images that failed are left out with a warning.  Raises ``ExecutionError``, before anything is computed, for a
        template without ``{stem}`` or with another placeholder, an unknown extension, sources that would share a file,
        and the file of a source; and later for a file that cannot be written.  Raises ``Cancel`` where a progress
        callback does.
        """
        paths = files_of_several(template, self.sources)
        for path in paths:
            if os.path.exists(path):
                check_apart(path, self.sources)
        return self._write(paths)

    def save_to(self, paths: Sequence[FilePath]) -> list[Path]:
        """The same to these files, one for each source; those written, in order."""
        return self._write(paths)

    def _write(self, paths: Sequence[FilePath]) -> list[Path]:
        written: list[Path] = []
        try:
            for i, heat_map in self._succeeded(level=4):
                written.append(heat_map.save(paths[i]))
                if file_format(paths[i]) == "npz":
                    self._files[i] = written[-1], _state(written[-1])
                del heat_map  # before the next is computed
        except (Interrupted, Timeout) as stop:
            last = f", the last to '{written[-1]}'" if written else ""
            count = f"{len(written)} of {len(paths)} maps are written{last}"
            raise type(stop)(f"{stop}; {count}", stop.partial) from stop
        return written

    def to_dataframe(self) -> Any:
        """The concatenated data frames of all heat maps; images that failed are left out with a warning."""
        pandas = frames.import_optional("pandas")
        each = [heat_map.to_dataframe() for _, heat_map in self._succeeded()]
        return pandas.concat(each, ignore_index=True) if each else pandas.DataFrame(columns=frames.columns(AXES[2]))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The cells of all heat maps, as :meth:`to_dataframe` lists them, for other libraries; computed one by one."""
        maps = (each for _, each in self._succeeded())
        first = next(maps, None)
        axes, segments = (AXES[2], False) if first is None else (first.axes, first.segments is not None)
        every = chain([] if first is None else [first], maps)
        stream: object = arrow.of_maps(every, axes, segments).__arrow_c_stream__(requested_schema)
        return stream

    def _repr_html_(self) -> str:
        return pages.of_maps(self.sources, {**self._held, **self._errors}, self._computed)

    def __repr__(self) -> str:
        computed, failed = len(self._computed), len(self._errors)
        return f"<HeatMaps of {len(self)} images: {computed} computed, {failed} failed>"


def plot(
    maps: HeatMap | Iterable[HeatMap], *, range: Range = "shared", colors: Colors = "effect", caption: bool = True
) -> Figure:
    """Heat maps side by side in one figure, a panel for each class of each map, titled with its source and model.

    range    'shared': one width of the colour scale for all scores of the same unit; 'each': one a panel; a number
             above 0: half the width, in the score's unit
    colors   'effect', or 'krypton' for the paper's
    caption  whether a line under the figure says what the maps have in common

    A figure has at most 16 panels, and says how many maps it leaves out.  Raises ``ExecutionError`` for anything but
    heat maps, for none, and for other arguments.
    """
    if isinstance(maps, HeatMaps):
        return maps.plot(range=range, colors=colors, caption=caption)
    style = Style(range, colors, caption)
    given = [maps] if isinstance(maps, HeatMap) else list(maps) if isinstance(maps, Iterable) else [maps]
    for each in given:
        if not isinstance(each, HeatMap):
            raise ExecutionError(f"kdb.plot takes heat maps, not {type(each).__name__}")
    return _plot(given, len(given), style)


def _plot(maps: Iterable[HeatMap], count: int, style: Style) -> Figure:
    """The figure of the first of ``count`` maps, as many as have room."""
    shown: list[HeatMap] = []
    room = 0
    for heat_map in maps:
        classes = len(heat_map.by_class()[1])
        room = room if shown else panels.room(heat_map)
        if shown and classes > room:
            break
        shown.append(heat_map)
        room -= classes
        if room <= 0:
            break
    if not shown:
        raise ExecutionError("there are no heat maps to plot")
    return figure.of_several(shown, count, style)


def _raised(outcome: HeatMap | Error) -> HeatMap:
    """A heat map; an error is raised."""
    if isinstance(outcome, Error):
        raise outcome.with_traceback(None)  # or each access would lengthen the traceback of the last
    return outcome


def _inputs(heat_map: HeatMap) -> bytes:
    """A digest of what a map's scores depend on, beside its query: the model, the image, what covers it."""
    digest = hashlib.blake2b(heat_map.model_identity.encode(), digest_size=16)
    for pixels in (heat_map.image, heat_map.fill):
        digest.update(b"" if pixels is None else np.ascontiguousarray(pixels).tobytes())
    return digest.digest()


def _bare(error: Error) -> Error:
    """The error without tracebacks, whose frames would keep what they have computed."""
    for each in behind_of(error):
        each.__traceback__ = None
    return error


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file is written to; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
