"""Signals in EDF files, by edfio: [length, channels] in physical units; annotations are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.errors import BindError, did_you_mean
from kdb.images.image import SourceImage
from kdb.images.readers.base import WINDOW, Options, Reader, check_size, floats, package


def _read(path: str, axes: int, options: Options) -> SourceImage:
    signals = {signal.label: signal for signal in package("edfio", EDF).read_edf(path).signals}
    chosen = options.get("signals", tuple(signals))
    labels = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if not labels:
        raise ValueError("it has no signals")
    for label in labels:
        if label not in signals:
            hint = did_you_mean(str(label), signals)
            raise BindError(f"there is no signal {label!r}{hint}; there are {list(signals)}")
    rates = {label: float(signals[label].sampling_frequency) for label in labels}
    if len(set(rates.values())) > 1:
        each = ", ".join(f"'{label}' {rate:g}" for label, rate in rates.items())
        raise ValueError(f"its signals have different samples a second: {each}; choose some by signals = (..)")
    check_size((len(signals[labels[0]].data), len(labels)))
    return replace(floats(np.stack([signals[label].data for label in labels], axis=1), axes), axes="t")


EDF = Reader(
    "EDF files",
    "edfio",
    _read,
    extra="signals",
    suffixes=(".edf",),
    options={"signals": "the labels of those that are taken, in that order", **WINDOW},
)
