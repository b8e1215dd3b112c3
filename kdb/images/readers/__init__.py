"""Readers of files: one a file, and one line each here; other packages add theirs by entry points ``kdb.readers``."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from kdb.images.readers.base import Reader
from kdb.images.readers.dicom import DICOM
from kdb.images.readers.edf import EDF
from kdb.images.readers.nifti import NIFTI
from kdb.images.readers.npy import NPY
from kdb.images.readers.pictures import PICTURES
from kdb.images.readers.video import VIDEO
from kdb.images.readers.wfdb import WFDB

log = logging.getLogger(__name__)

READERS: tuple[Reader, ...] = (
    DICOM,
    NIFTI,
    NPY,
    VIDEO,
    WFDB,
    EDF,
    PICTURES,
)
"""A file is read by the first one whose magic it has, else by the first with its suffix, else by the last."""


@cache
def readers() -> tuple[Reader, ...]:
    """All readers, those of other packages first."""
    found = []
    for entry in entry_points(group="kdb.readers"):
        try:
            reader = entry.load()
        except Exception as error:  # of another package's code
            log.warning("the reader '%s' of %s cannot be loaded: %s", entry.name, entry.value, error)
            continue
        if isinstance(reader, Reader):
            found.append(reader)
        else:
            log.warning("the reader '%s' of %s is no kdb.images.readers.base.Reader", entry.name, entry.value)
    return (*found, *READERS)


def reader_of(path: str, head: bytes) -> Reader:
    """The reader of a file by its first bytes, else by its name."""
    name = path.lower()
    by_content = (reader for reader in readers() if reader.magic(head))
    by_name = (reader for reader in readers() if name.endswith(reader.suffixes or ("\0",)))
    return next(by_content, None) or next(by_name, PICTURES)
