"""The images that a query names, and the files that it writes beside them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdb.errors import BindError, ExecutionError, did_you_mean, reason
from kdb.images import reading as images
from kdb.images.image import SourceImage
from kdb.images.preprocessing import Preprocessing
from kdb.images.readers.series import Series, in_folder, is_dicom, with_series
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.queries import manifests
from kdb.results.files import check_template, file_format, files_of_several, filled_in, overwrites
from kdb.system.files import followed, mode_kept
from kdb.system.paths import ANYWHERE, Root

Load = Callable[[Preprocessing], SourceImage]
"""Reads an image for a model of that preprocessing."""
Found = tuple[str | None, Load]
"""An image that a query names: its name, if any, and what reads it."""


def names(found: Sequence[Found]) -> list[str]:
    """The name of each image; an image without one is called by its number."""
    return [name or f"image {i}" for i, (name, _) in enumerate(found)]


def find(
    source: syntax.Source,
    arguments: Arguments,
    registered: Mapping[str, Load],
    axes: Callable[[], int],
    root: Root = ANYWHERE,
) -> tuple[list[Found], bool]:
    """The images that ``source`` names, and whether it is a glob or a list, which may have one image or none.

    A model of three ``axes``, which are asked for where they matter, takes the slices of a folder or glob by their
    series.

    Raises BindError for a name that is neither a parameter's nor registered, for an empty list, and for a file outside
    the ``root``.
    """
    finder = _Finder(axes, root, of_reader(source, arguments))
    if isinstance(source, syntax.Manifest):
        listed = _of_manifest(source, arguments, root)
        return [finder.one(each, None) for each in listed.shown(root)], True
    if isinstance(source, syntax.Text):
        return finder.of_value(source.value, None)
    if isinstance(source, syntax.Parameter):
        return finder.of_value(arguments[source], source.name)
    if source.text in arguments.named:
        return finder.of_value(arguments.named[source.text], source.text)
    if source.text in registered:
        return [(source.text, registered[source.text])], False
    hint = did_you_mean(source.text, [*arguments.named, *registered])
    raise BindError(f"no image '{source.text}': neither a parameter nor registered{hint}; a path needs quotes")


def one(name: str | None, value: Any, options: Mapping[str, Any] | None = None) -> Found:
    """The image that ``value`` is, or is the path of, called ``name``."""
    return name, lambda wanted: images.load_image(value, wanted.rank, options, wanted.reading)


def of_saved(
    source: syntax.Source, arguments: Arguments, path: str, axes: Callable[[], int], root: Root = ANYWHERE
) -> Found:
    """The image at ``path``, read with the options that it had in the query whose ``source`` it is of."""
    return _Finder(axes, root, of_reader(source, arguments)).one(path, None)


def of_reader(source: syntax.Source, arguments: Arguments) -> dict[str, Any] | None:
    """The options of a source that its files' reader takes; None without files or options."""
    if isinstance(source, syntax.Manifest):
        options = _plain(source.options, arguments)
        return {key: value for key, value in options.items() if key not in manifests.COLUMNS} or None
    return _plain(source.options, arguments) if isinstance(source, syntax.Text) else None


def _plain(options: syntax.Options, arguments: Arguments) -> dict[str, Any]:
    return {key: arguments.plain(value) for key, value in options}


# ---- lists of files


@dataclass(frozen=True)
class Listed:
    """Images by their files, none of them read.

    paths    of each, absolute: of its file, or what its series is called
    base     the folder that they are named relative to, absolute
    series   of images that are several files, these by the image's place in the list
    ids      names, where the source gives them
    truths   true classes, where the source gives them
    """

    paths: Sequence[str]
    base: str
    series: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    ids: Sequence[str] | None = None
    truths: Sequence[manifests.Truth] | None = None

    def shown(self, root: Root) -> list[str]:
        """The paths as one would write them."""
        return [root.shown(path) for path in self.paths]


def listed(source: syntax.Source, arguments: Arguments, axes: Callable[[], int], root: Root = ANYWHERE) -> Listed:
    """The files that ``source`` names: of a manifest, a glob, a list of paths, or one path.

    Raises BindError for images that are no files, and what :func:`find` raises.
    """
    if isinstance(source, syntax.Manifest):
        return _of_manifest(source, arguments, root)
    value: Any = source.value if isinstance(source, syntax.Text) else None
    if isinstance(source, syntax.Parameter):
        value = arguments[source]
    elif isinstance(source, syntax.Name):
        if source.text not in arguments.named:
            raise BindError(f"a run takes images by their paths, and '{source}' is none: a path needs quotes")
        value = arguments.named[source.text]
    finder = _Finder(axes, root)
    found: Sequence[str | Series]
    if isinstance(value, str) and (matches := images.expand_sources(root.pattern(value))) is not None:
        fixed = Path(value).parts
        fixed = fixed[: next(i for i, part in enumerate(fixed) if glob.has_magic(part))]
        # No file of a model that takes no series is opened: there may be a million.
        found = finder.in_series(matches) if axes() == 3 else [root.shown(match) for match in matches]
        return _with_series(found, root, root.path(os.path.join("", *fixed) or os.curdir))
    each = list(value) if isinstance(value, list | tuple) else [value]
    if not each:
        raise BindError("the list of images is empty")
    odd = {type(one).__name__ for one in each if not isinstance(one, str | os.PathLike)}
    if odd:
        raise BindError(f"a run takes images by their paths, not {', '.join(sorted(odd))}: write them to files first")
    for one in each:
        if axes() != 3 and os.path.isdir(root.path(one)):
            raise BindError(f"'{os.fspath(one)}' is a folder; its files are matched by '{os.path.join(one, '*')}'")
    found = [part for one in each for part in finder.in_folder(one) or [os.fspath(one)]]
    folders = {os.path.dirname(os.path.abspath(root.path(one))) for one in each}
    return _with_series(found, root, os.path.commonpath(folders))


def _with_series(found: Sequence[str | Series], root: Root, base: str) -> Listed:
    names = [each.name if isinstance(each, Series) else each for each in found]
    paths = [os.path.abspath(root.path(name)) for name in names]
    series = {
        i: tuple(os.path.abspath(root.path(file)) for file in each.files)
        for i, each in enumerate(found)
        if isinstance(each, Series)
    }
    return Listed(paths, os.path.abspath(base), series)


def _of_manifest(source: syntax.Manifest, arguments: Arguments, root: Root) -> Listed:
    path = root.path(source.value)
    found = manifests.read(path, _plain(source.options, arguments))
    base = os.path.dirname(os.path.abspath(path))
    paths = [os.path.abspath(root.path(os.path.join(base, each))) for each in found.paths]
    return Listed(paths, base, ids=found.ids, truths=found.truths)


@dataclass(frozen=True)
class _Finder:
    """Finds the images of a value, whose files are under the ``root`` and are read with ``options``."""

    axes: Callable[[], int]
    root: Root
    options: Mapping[str, Any] | None = None

    def of_value(self, value: Any, name: str | None) -> tuple[list[Found], bool]:
        """One image, called by its path or ``name``; several for a glob, a list, or a folder of several series."""
        if isinstance(value, str) and (matches := images.expand_sources(self.root.pattern(value))) is not None:
            return [self._one(each, None) for each in self.in_series(matches)], True
        if isinstance(value, list | tuple):
            if not value:
                raise BindError("the list of images is empty")
            return [self.one(each, None) for each in value], True
        if len(series := self.in_folder(value)) > 1:
            return [self._one(each, None) for each in series], True
        return [self.one(value, name)], False

    def in_series(self, matches: Sequence[str]) -> list[str | Series]:
        """What a glob matches, as one would write it; for a model of three axes series in place of their slices."""
        paths = [self.root.path(self.root.shown(match)) for match in matches]
        if any(map(is_dicom, paths)) and self.axes() == 3:
            return [each if isinstance(each, Series) else self.root.shown(each) for each in with_series(paths)]
        return [self.root.shown(match) for match in matches]

    def in_folder(self, value: Any) -> list[Series]:
        """For a model of three axes the series of slices in a folder, whose files are under the root too."""
        if not isinstance(value, str | os.PathLike):
            return []
        folder = self.root.path(value)
        found = in_folder(folder) if os.path.isdir(folder) and self.axes() == 3 else []
        return [replace(each, files=tuple(map(self.root.path, each.files))) for each in found]

    def one(self, value: Any, name: str | None) -> Found:
        """The image that ``value`` is, or is the path of: of a file, or of a folder with one series."""
        series = self.in_folder(value)
        if len(series) == 1:
            return one(os.fspath(value), series[0], self.options)
        return self._one(value, name)

    def _one(self, value: Any, name: str | None) -> Found:
        if isinstance(value, Series):
            return one(self.root.shown(value.name), value, self.options)
        if isinstance(value, str | os.PathLike):
            return one(os.fspath(value), self.root.path(value), self.options)
        return one(name, value)


def registered(image: object) -> Load:
    """An image that is read now, as it is now, for models of the axes that it can have; of several two come first.

    Raises BindError or ExecutionError where it is of no axes an image.
    """
    array = images.array_of(image)
    kept = image if array is None else array.copy()
    first, axes, failed = None, 2, None
    for axes in (2, 3, 1):
        try:
            first = images.load_image(kept, axes)
            break
        except (BindError, ExecutionError) as error:
            failed = failed or error
    if first is None:
        assert failed is not None
        raise failed
    return lambda preprocessing: first if preprocessing.rank == axes else images.load_image(kept, preprocessing.rank)


def check_writable(path: str, root: Root = ANYWHERE) -> None:
    """Raise ExecutionError, before anything is computed, if the file ``path`` of INTO cannot be written.

    Raises BindError if it is outside the ``root``.
    """
    check_template(path)
    file_format(path)
    file = followed(root.path(path))
    folder = file.parent
    if not folder.is_dir():
        raise ExecutionError(f"cannot write '{path}': there is no folder '{folder}'")
    if not os.access(folder, os.W_OK):
        raise ExecutionError(f"cannot write '{path}': the folder '{folder}' is not writable")
    try:
        mode_kept(file)
    except OSError as error:
        raise ExecutionError(f"cannot write '{path}': {reason(error)}") from error


def check_apart(path: str, found: Sequence[Found], several: bool, root: Root = ANYWHERE) -> None:
    """Raise an Error if INTO would overwrite one of the images, or write the maps of several to one file."""
    if several:
        files_of_several(path, names(found))
    read = {name: root.path(name) for name, _ in found if name is not None}
    for name in read:
        target = root.path(filled_in(path, name))
        if os.path.exists(target) and any(overwrites(target, file) for file in read.values()):
            raise BindError(f"INTO '{path}' would overwrite the image '{target}' of the query")
