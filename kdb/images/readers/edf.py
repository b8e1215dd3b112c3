"""Signals in EDF files, by edfio: [length, channels] in physical units; annotations are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kdb.errors import BindError, did_you_mean
from kdb.images.image import SourceImage
from kdb.images.readers.base import WINDOW, Options, Reader, check_size, floats, package


def _read(path: str, axes: int, options: Options) -> SourceImage:
    signals = list(package("edfio", EDF).read_edf(path).signals)
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
