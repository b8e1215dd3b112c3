"""Signals in EDF files, by edfio: [length, channels] in physical units; annotations are left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kdb.errors import BindError, did_you_mean
from kdb.images.image import SourceImage
from kdb.images.readers.base import WINDOW, Options, Reader, check_axes, check_size, floats, package


def _read(path: str, axes: int, options: Options) -> SourceImage:
    check_axes("a signal", 1, axes)
    edfio = package("edfio", EDF)
    _check_whole(path)
    signals = list(edfio.read_edf(path).signals)
    if "signals" in options:
        signals = [_named(label, signals) for label in _labels(options["signals"])]
    if not signals:
        raise ValueError("it has no signals")
    rates = [float(signal.sampling_frequency) for signal in signals]
    if len(set(rates)) > 1:
        each = ", ".join(f"'{signal.label}' {rate:g}" for signal, rate in zip(signals, rates, strict=True))
        raise ValueError(f"its signals have different sampling rates, in Hz: {each}; choose some by signals = (..)")
    check_size((len(signals[0].data), len(signals)))
    return replace(floats(np.stack([signal.data for signal in signals], axis=1), axes), axes="t")


def _check_whole(path: str) -> None:
    """Raise ValueError for a file that is shorter than its header says, of which edfio would give what is there.

    The header (Kemp et al., "A simple format for exchange of digitized polygraphic recordings", 1992) has 256 bytes,
    and 256 for each signal; the numbers of samples a record are the last field but one.
    """
    with open(path, "rb") as file:
        head = file.read(256)
        try:
            records, count = int(head[236:244]), int(head[252:256])
            file.seek(256 + 216 * count)
            samples = sum(int(file.read(8)) for _ in range(count))
        except ValueError:
            raise ValueError("its header is damaged or truncated") from None
    declared = 256 * (1 + count) + 2 * max(records, 0) * samples  # of unknown length are -1 records
    if (size := os.path.getsize(path)) < declared:
        raise ValueError(f"it is truncated: {size} of {declared} bytes")


def _labels(value: object) -> tuple[str, ...]:
    labels = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    if not labels or not all(isinstance(label, str) for label in labels):
        raise BindError(f"signals = {value!r}: expected a label, or several")
    return labels


def _named(label: str, signals: Sequence[Any]) -> Any:
    known = [signal.label for signal in signals]
    if label not in known:
        raise BindError(f"there is no signal '{label}'{did_you_mean(label, known)}; there are {known}")
    return signals[known.index(label)]


EDF = Reader(
    "EDF files",
    "edfio",
    _read,
    extra="signals",
    suffixes=(".edf",),
    options={"signals": "the labels of those that are taken, in that order", **WINDOW},
)
