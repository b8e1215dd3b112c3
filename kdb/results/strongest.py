"""Where a patch has the largest effect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def strongest(scores: NDArray[Any], neutral: float) -> int:
    """The index of the score, of one class [n], that is farthest from ``neutral``; one that is NaN has no effect."""
    return int(np.argmax(np.abs(np.where(np.isnan(scores), 0, scores - neutral))))
