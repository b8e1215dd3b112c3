"""What a query is about, for those who show it before it is run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdb.errors import BindError
from kdb.images.image import SourceImage
from kdb.images.preprocessing import Prepared
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.model import Model
from kdb.queries import clauses
from kdb.session.binding import Binder
from kdb.session.environment import Environment


@dataclass(frozen=True, eq=False)
class Subject:
    """The model and the image of a query, which is canonical for them; nothing has been traced or run.

    ``image`` is as it was read, ``prepared`` as the model sees it.
    """

    query: syntax.Occlude
    model: Model
    image: SourceImage
    prepared: Prepared


def subject(environment: Environment, query: syntax.Occlude, arguments: Arguments) -> Subject:
    """What the query is about; raises BindError, ModelError and ExecutionError as running it would.

    Several images are a BindError.
    """
    binder = Binder(environment)
    found, _ = binder.find_images(query, arguments)
    if len(found) != 1:
        raise BindError(f"{query.source} names {len(found)} images, and one is looked at a time: name one of them")
    model = environment.catalog.find(query.model, arguments)
    image = found[0][1](model.preprocessing)
    prepared = model.preprocessing.prepare(image)
    return Subject(clauses.on_axes(query, prepared.pixels.shape[:-1]), model, image, prepared)


def region(environment: Environment, query: syntax.Occlude, arguments: Arguments) -> NDArray[np.bool_] | None:
    """bool [*size, K] of a dense output: the cells that the query scores of each class, [*size, 1] for all alike.

    None for models that give vectors, and of a detector's boxes.  Raises what running the query would.
    """
    binder = Binder(environment)
    bound = binder.bind(query, arguments)
    if bound.reading is None or bound.traced.model.head is not None:
        return None
    found, _ = binder.find_images(query, arguments)
    head = binder.bind_on(query, arguments, found[0]).bound.traced.head
    assert head is not None, "a dense output is scored by one"
    cells = np.zeros((*head.size, head.weights.shape[-1]), bool)
    cells[tuple(map(slice, head.part.start, head.part.stop))] = head.weights > 0
    return cells
