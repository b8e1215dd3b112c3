"""Dense outputs: models that give a map for each class, as a segmentation does, and the region that is scored.

The score of a class is the mean over a region of the output.  A :class:`Head` says over which; behind a dense network
it makes one that gives a number for each class, and behind the model itself a reference that does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from scipy import special
from xxhash import xxh3_128_digest

from kdb.geometry import Part, Size
from kdb.kernels.base import Array, Instruction
from kdb.models.reference import Logits, ModuleReference
from kdb.operators.base import Operator
from kdb.operators.indexing import Crop
from kdb.operators.network import Network
from kdb.operators.pointwise import Pointwise
from kdb.operators.regions import ObservedMean, RegionMean

REGION, CELLWISE, MEAN = "over.region", "over.activation", "over.mean"
"""The names of the layers that a head adds; those of the model's own are paths of modules, which have no such part."""

HEADS_KEPT = 8
"""Of one network, the heads that were asked for last."""
_behind: MutableMapping[Network, OrderedDict[Hashable, Network]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Head:
    """What a score reads of a dense output of ``size`` and K classes.

    ``weights`` float32 [*part, K], or [*part, 1] for all classes alike, are those of the ``part``'s cells in the mean:
    of each class they sum to one, or are all zero.  ``activation`` ('softmax', 'sigmoid' or 'none') is taken cell by
    cell before the mean.  ``ranking`` float64 [K] is larger for the class that is predicted rather.
    ``observed`` says that somebody asks which cells change.
    """

    size: Size
    part: Part
    weights: npt.NDArray[np.float32]
    activation: str
    ranking: npt.NDArray[np.float64]
    observed: bool = False

    @classmethod
    def over(
        cls,
        regions: npt.NDArray[np.bool_],
        activation: str,
        ranking: npt.NDArray[np.float64],
        observed: bool = False,
    ) -> Head:
        """The head of means over ``regions`` [*size, K], or [*size, 1] for one that all classes share."""
        size = regions.shape[:-1]
        anywhere = regions.any(axis=-1)
        cells = np.argwhere(anywhere) if anywhere.any() else np.zeros((1, anywhere.ndim), int)
        part = Part.between(cells.min(axis=0).tolist(), (cells.max(axis=0) + 1).tolist())
        inside = regions[tuple(map(slice, part.start, part.stop))].astype(np.float32)
        counts = np.maximum(inside.sum(axis=tuple(range(inside.ndim - 1)), dtype=np.float64), 1)
        return cls(size, part, np.ascontiguousarray(inside / counts, np.float32), activation, ranking, observed)

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """[K] or [1]: the classes without a cell."""
        found: npt.NDArray[np.bool_] = (self.weights.reshape(-1, self.weights.shape[-1]) == 0).all(axis=0)
        return found

    def behind(self, network: Network) -> Network:
        """The network whose output is the means, one cell; the same object for a head that says the same.

        So plans of it are found again, as are those of a network without a head.
        """
        known = _behind.setdefault(network, OrderedDict())
        key = self.part, self.activation, self.observed, self.weights.shape, xxh3_128_digest(self.weights.tobytes())
        if key not in known:
            known[key] = self._put_behind(network)
            if len(known) > HEADS_KEPT:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]

    def _put_behind(self, network: Network) -> Network:
        layers: list[tuple[str, Operator, tuple[str, ...]]] = [(n.name, n.operator, n.inputs) for n in network]
        last = network.output.name
        if self.part.extent != self.size:
            layers.append((REGION, Crop(self.part), (last,)))
            last = REGION
        if self.activation != "none":
            layers.append((CELLWISE, Pointwise((Instruction(self.activation, (0,)),)), (last,)))
            last = CELLWISE
        layers.append((MEAN, ObservedMean(MEAN) if self.observed else RegionMean(MEAN), (last,)))
        return Network.build(layers, network.parameters.extended({MEAN: self.weights}))

    def mean(self, outputs: Logits) -> Logits:
        """Outputs [n, K cells] -> the means [n, K]."""
        maps = self.cells(outputs)
        weighted = maps * np.moveaxis(self.weights.astype(np.float64), -1, 0)
        return np.asarray(weighted.sum(axis=tuple(range(2, maps.ndim))))

    def cells(self, outputs: Logits) -> Logits:
        """Outputs [n, K cells] -> what the means are of, [n, K, *part]."""
        maps = outputs.reshape(len(outputs), -1, *self.size)
        maps = maps[:, :, *map(slice, self.part.start, self.part.stop)]
        if self.activation == "softmax":
            maps = np.asarray(special.softmax(maps, axis=1))
        elif self.activation == "sigmoid":
            maps = np.asarray(special.expit(maps))
        return maps


class HeadReference:
    """The model itself with a head behind it; see :class:`kdb.execution.verification.Reference`."""

    def __init__(self, model: ModuleReference, head: Head) -> None:
        self._model, self._head = model, head

    def several(self) -> AbstractContextManager[None]:
        """As the model's own."""
        return self._model.several()

    def logits(self, images: Array) -> Logits:
        """[n, K]: the means."""
        return self._head.mean(self._model.logits(images))

    def in_float64(self, images: Array) -> Logits | None:
        """The same in float64."""
        found = self._model.in_float64(images)
        return None if found is None else self._head.mean(found)

    def layers(self, image: Array) -> Mapping[str, Array]:
        """Of the model's parts."""
        return self._model.layers(image)
