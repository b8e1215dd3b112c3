"""Signals in WFDB records, as PhysioNet has them, by wfdb: [length, channels] in physical units."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from kdb.images.image import SourceImage
from kdb.images.readers.base import WINDOW, Options, Reader, check_axes, check_size, floats, package


def _read(path: str, axes: int, options: Options) -> SourceImage:
    check_axes("a signal", 1, axes)
    wfdb = package("wfdb", WFDB)
    folder = os.path.dirname(os.path.realpath(path))
    record = os.path.splitext(os.path.abspath(path))[0]
    header = wfdb.rdheader(record)
    if getattr(header, "segments", None) is not None or hasattr(header, "seg_name"):
        raise ValueError("it is of several segments; give the header of one of them")
    if not header.n_sig or not header.sig_len:
        raise ValueError("it has no signals, or does not say how long they are")
    for name in set(header.file_name):
        # the header may come from a stranger, and name any file
        if os.path.dirname(os.path.realpath(os.path.join(folder, name))) != folder:
            raise ValueError(f"its signals are in '{name}', which is in another folder")
        if not os.path.isfile(os.path.join(folder, name)):
            raise ValueError(f"its signals are in '{name}', which is not there")
    check_size((header.sig_len, header.n_sig))
    values = np.asarray(wfdb.rdrecord(record).p_signal)
    return replace(floats(values, axes), axes="t")


WFDB = Reader("WFDB records", "wfdb", _read, extra="signals", suffixes=(".hea",), options=WINDOW)
