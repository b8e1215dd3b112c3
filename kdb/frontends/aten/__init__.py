"""Translators of ATen nodes into operators, by the node's name and overload (``relu``, ``add.Tensor``).

A translator is called with the builder, the output's shape in the trace, and the node's arguments; tensors that depend
on the image are :class:`~kdb.frontends.axes.Traced`, others are constants.  It returns the traced output or outputs, or
raises Unsupported.  It names all arguments that it honours, and takes no others: a node that has more is not
translated.  Only a ``dtype`` may be left unread, since no node of another dtype than the image comes here.
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
