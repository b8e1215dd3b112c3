"""Arrays in messages: described in the content, their bytes in buffers beside it; ui/src/protocol.ts has the types."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

UPLOAD_LIMIT = 1 << 28
"""Bytes of an image that is dropped on the page."""

Buffer = bytes | memoryview
Content = dict[str, Any]

_ON_THE_WIRE = {"u": np.uint8, "b": np.uint8, "i": np.int32, "f": np.float32}


class Packing:
    """The buffers of one message, to which arrays are added as the content is written."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def __call__(self, array: NDArray[Any]) -> Content:
        """The description of an array of truth values, whole numbers or floats, whose bytes join the buffers.

        Truth values become uint8, signed whole numbers int32 and floats float32.
        """
        plain = np.ascontiguousarray(array, _ON_THE_WIRE[array.dtype.kind])
        if sys.byteorder == "big":
            plain = plain.byteswap()
        self.buffers.append(plain.tobytes())
        return {"dtype": plain.dtype.name, "shape": [*array.shape], "buffer": len(self.buffers) - 1}


def bytes_of(buffers: Sequence[Buffer]) -> bytes:
    """Those of the only buffer of a request; raises ValueError where there is another number of them."""
    if len(buffers) != 1:
        raise ValueError(f"one buffer belongs to this request, and {len(buffers)} came")
    return bytes(buffers[0])
