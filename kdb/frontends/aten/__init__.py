"""ATen nodes -> operators: a table of small translators.

Each takes the builder, the output's shape in the trace, and the node's arguments with traced tensors in place; it
returns the traced output, or raises Unsupported.  ``Tensor`` arguments that do not depend on the image are constants.
"""

from __future__ import annotations

from kdb.frontends.aten import arithmetic, layers, reductions, shape
from kdb.frontends.aten.types import Translator

TRANSLATORS: dict[str, Translator] = {
    **layers.TRANSLATORS,
    **arithmetic.TRANSLATORS,
    **reductions.TRANSLATORS,
    **shape.TRANSLATORS,
}
