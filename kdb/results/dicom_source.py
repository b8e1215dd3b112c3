"""The DICOM files that a map was made of, found again: what they say of the patient, the study, and where they lie."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from kdb.errors import ExecutionError
from kdb.geometry import spelled
from kdb.results.frames import import_optional
from kdb.system.locks import WARNINGS

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap

PACKAGE = "pydicom"
"""What reads DICOM files."""
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
"""What a file must say of itself, so that another can refer to it."""
INSTEAD = "save it as .npz, or as a picture such as .png"

_STRING = re.compile("'(?:[^']|'')*'")
_FRAME = re.compile(r"OCCLUDE ''\s*\((?:[^()]|\([^()]*\))*?\bframe = (\d+)")


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of the source, on which one of the map's lies.

    Attributes:
        file: what its file says, without pixels.
        frame: its number among the file's frames, from 1; None in a file of one.
        position: of the centre of its first pixel, [3], in mm; None where the file does not say so.
        orientation: the directions of its rows and of its columns, [6]; or None.
        spacing: between rows, and between columns, in mm; or None.
        thickness: in mm; or None.
    """

    file: Any
    frame: int | None
    position: Sequence[Any] | None
    orientation: Sequence[Any] | None
    spacing: Sequence[Any] | None
    thickness: Any

    @property
    def placed(self) -> bool:
        """Whether it is known where it lies, and in which frame of reference."""
        known = self.position is not None and self.orientation is not None and self.spacing is not None
        return known and bool(self.file.get("FrameOfReferenceUID"))


def check(read_by: str) -> None:
    """Raise ExecutionError unless the package that read an image reads DICOM files."""
    if read_by != PACKAGE:
        raise ExecutionError(
            f"DICOM files of maps belong to the study of the DICOM file that is explained, and this image is of none; "
            f"{INSTEAD}"
        )


def planes(heat_map: HeatMap) -> list[Plane]:
    """The planes of the source of a map of two or three axes; of three in the order of the source's first axis.

    Raises ExecutionError where the source is no DICOM file, is not at hand, has changed, or lacks what refers to it.
    """
    with quiet():
        return _planes(heat_map, [_header(path) for path in _found(heat_map)])


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress what pydicom and highdicom warn of: oddities of a file that was read before."""
    with WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _planes(heat_map: HeatMap, files: Sequence[Any]) -> list[Plane]:
    for name in NEEDED:
        if any(not each.get(name) for each in files):
            raise ExecutionError(
                f"{heat_map.source!r} has no {name}, which DICOM files of its maps refer to it by; {INSTEAD}"
            )
    rows, columns = _size_in_the_file(heat_map)[-2:]
    if any((int(each.get("Rows") or 0), int(each.get("Columns") or 0)) != (rows, columns) for each in files):
        size = spelled((rows, columns))
        raise ExecutionError(f"{heat_map.source!r} is not of {size} pixels, as the map's source was")
    if len(files) > 1:
        return [_plane(each, None) for each in files]
    (file,) = files
    count = int(file.get("NumberOfFrames") or 1)
    if count == 1:
        return [_plane(file, None)]
    if len(heat_map.size) == 2:
        return [_plane(file, _frame(heat_map, count))]
    found = [_plane(file, i) for i in range(1, count + 1)]
    return [found[i] for i in _in_order(found)]


def _size_in_the_file(heat_map: HeatMap) -> list[int]:
    """The source's cells along each axis, in the order of its file; those of volumes may have been turned."""
    if heat_map.space is None:
        return list(heat_map.source_size)
    return [heat_map.source_size[i] for i in np.argsort([of_file for of_file, _ in heat_map.space.turns])]


def _found(heat_map: HeatMap) -> Sequence[str]:
    """The paths of the files that the map was made of, by their digest."""
    made, source = heat_map.provenance, heat_map.source
    if made is None or made.source_sha256 is None:
        raise ExecutionError(f"this map does not say which file it is of; {INSTEAD}")
    check(PACKAGE if PACKAGE in made.versions and made.source_of in ("file", "files") else "")
    advice = "where it is elsewhere now, dataclasses.replace(hm, source_files=('path', ...)) names its files"
    changed = False
    for files in _candidates(heat_map):
        try:
            digest = _digest(files, made.source_of)
        except OSError:
            continue
        if digest == made.source_sha256:
            return files
        changed = True
    if changed:
        raise ExecutionError(
            f"{source!r} is not what this map was made of: its SHA-256 differs; run the query again, or, {advice}"
        )
    raise ExecutionError(f"the source {source!r} of this map is not there, and its maps as DICOM need it; {advice}")


def _candidates(heat_map: HeatMap) -> Iterator[Sequence[str]]:
    """What may be the files of a map: those that were read, else what its source is called by now."""
    if heat_map.source_files:
        yield heat_map.source_files
    source = heat_map.source
    if source is None:
        return
    assert heat_map.provenance is not None
    if heat_map.provenance.source_of == "file":
        yield (source,)
        return
    for folder in (source, os.path.dirname(source)):  # a series is called by its folder, or by its UID in that
        if os.path.isdir(folder):
            yield from _series(folder)
            return


def _series(folder: str) -> Iterator[Sequence[str]]:
    """The files of each series of DICOM files in a folder, in the order of their slices."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.path):
        if entry.is_file():
            try:
                header = _header(entry.path)
            except ExecutionError:  # another file
                continue
            if header.get("SeriesInstanceUID") and "Rows" in header:
                found.append((str(header.SeriesInstanceUID), entry.path, _plane(header, None)))
    found.sort(key=lambda each: each[0])
    for _, group in groupby(found, key=lambda each: each[0]):
        members = list(group)
        yield [members[i][1] for i in _in_order([plane for _, _, plane in members])]


def _in_order(found: Sequence[Plane]) -> list[int]:
    """The indices of planes by their positions along the normal of the first, else by their numbers.

    As :func:`kdb.images.readers.slices.arranged` has them.
    """
    if any(each.position is None or each.orientation is None for each in found):
        numbers = [int(each.file.get("InstanceNumber") or 0) if each.frame is None else each.frame for each in found]
        return sorted(range(len(found)), key=lambda i: numbers[i])
    positions = np.array([each.position for each in found], np.float64)
    orientation = np.array(found[0].orientation, np.float64)
    heights = positions @ np.cross(orientation[:3], orientation[3:])
    return [int(i) for i in np.argsort(heights, kind="stable")]


def _digest(files: Sequence[str], of: str | None) -> str:
    """As :class:`kdb.images.image.Origin` has it."""
    digests = []
    for path in files:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if of == "file" else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _header(path: str) -> Any:
    """What a DICOM file says, without its pixels; raises ExecutionError for another file."""
    pydicom = import_optional(PACKAGE)
    try:
        try:
            syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        except pydicom.errors.InvalidDicomError:
            syntax = None
        if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:  # reading it would unpack it, to any size
            raise ValueError("it is compressed as a whole")
        data = pydicom.dcmread(path, stop_before_pixels=True, force=syntax is None)
    except Exception as error:  # pydicom has many for bytes that make no sense
        raise ExecutionError(f"cannot read {path!r} as a DICOM file: {error}") from error
    if "SOPClassUID" not in data:
        raise ExecutionError(f"{path!r} is no DICOM file")
    return data


def _frame(heat_map: HeatMap, count: int) -> int:
    """The number of the frame that a map of two axes is of, as its query says."""
    found = _FRAME.match(_STRING.sub("''", heat_map.query))
    if found is None or not 1 <= int(found[1]) <= count:
        raise ExecutionError(
            f"{heat_map.source!r} has {count} frames, and the map's query does not say which one it is of; write its "
            "number into the query, as in 'x.dcm' (frame = 1)"
        )
    return int(found[1])


def _plane(file: Any, frame: int | None) -> Plane:
    """A frame of a file, by its number; None of a file of one."""
    index = 0 if frame is None else frame - 1
    position = _group(file, index, "PlanePositionSequence")
    if frame is not None and "PerFrameFunctionalGroupsSequence" not in file:
        position = None  # that of the file is of all frames together
    elif position is None:
        position = file
    orientation = _group(file, index, "PlaneOrientationSequence") or file
    measures = _group(file, index, "PixelMeasuresSequence") or file
    return Plane(
        file,
        frame,
        _numbers(position, "ImagePositionPatient", 3),
        _numbers(orientation, "ImageOrientationPatient", 6),
        _numbers(measures, "PixelSpacing", 2),
        measures.get("SliceThickness") or None,
    )


def _group(file: Any, index: int, sequence: str) -> Any:
    """The item of a functional group of a frame: its own, else the one that all share; None without."""
    for groups, which in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = file.get(groups)
        if items and which < len(items) and items[which].get(sequence):
            return items[which].get(sequence)[0]
    return None


def _numbers(data: Any, name: str, count: int) -> Sequence[Any] | None:
    """So many numbers, as the file writes them; else None."""
    values = None if data is None else data.get(name)
    return list(values) if values is not None and np.shape(values) == (count,) else None
