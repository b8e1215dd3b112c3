"""Full inference of a network on a backend."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import networkx as nx

from kdb.errors import DeviceError, ExecutionError
from kdb.kernels import autograd
from kdb.kernels.base import Array, Backend, FloatArray
from kdb.operators.network import Network
from kdb.operators.sources import Source
from kdb.system.threads import checkpoint


def materialize(network: Network, image: Array, backend: Backend, wanted: Collection[str]) -> dict[str, Array]:
    """One full inference of ``image`` [H, W, C], a host's array, that keeps the ``wanted`` layers: [H, W, C] by name.

    Raises ExecutionError where a layer fails or the logits are not finite.
    """
    output = network.output.name
    maps = evaluate(network, image[None], backend, {*wanted, output})
    if not backend.memory.all_finite(maps[output]):
        raise ExecutionError("the model's output for the unmodified image is not finite (NaN or infinity)")
    return {name: value[0] for name, value in maps.items() if name in wanted}


def evaluate(network: Network, images: Array, backend: Backend, wanted: Collection[str]) -> dict[str, Array]:
    """Full inference of ``images`` [n, H, W, C], a host's array: the ``wanted`` layers [n, H, W, C] by name.

    Raises ExecutionError where a layer fails.
    """
    images = backend.memory.upload(images)
    last = {source: i for i, node in enumerate(network) for source in node.inputs}
    alive: dict[str, Array] = {}
    kept: dict[str, Array] = {}
    for i, node in enumerate(network):
        checkpoint()
        if isinstance(node.operator, Source):
            value = images
        else:
            kernel = node.operator.evaluation_kernels(backend)[0]
            inputs = [alive[source] for source in node.inputs]
            try:
                value = node.operator.evaluate(backend, network.parameters, inputs, kernel, False)
            except DeviceError:
                raise
            except Exception as error:  # a library's own complaint says little without the layer
                shapes = ", ".join(map(str, network.input_shapes(node)))
                raise ExecutionError(f"layer {node.name} ({node.operator.label}) fails on {shapes}: {error}") from error
        alive[node.name] = value
        if node.name in wanted:
            # Own memory: a view that shares another's would keep that one alive.
            kept[node.name] = value.copy() if node.operator.aliases else value
        for source in node.inputs:
            if last[source] == i:
                alive.pop(source, None)
    return kept


def gradients(
    network: Network, image: FloatArray, output: str, seeds: FloatArray, layers: Sequence[str]
) -> dict[str, FloatArray]:
    """Of ``seeds`` [k, K] times the vector that the layer ``output`` is, by some ``layers``: [k, H, W, C] by name.

    They are taken at ``image`` [H, W, C] by PyTorch, a forward and k backward passes.
    """
    backend = autograd.Autograd()
    needed = nx.ancestors(network.graph, output) | {output}
    maps: dict[str, Array] = {}
    with backend.running():
        for node in (node for node in network if node.name in needed):
            checkpoint()
            operator = node.operator
            if isinstance(operator, Source):
                maps[node.name] = backend.source(image)
                continue
            verbs = cast(Backend, backend)  # those of full evaluation, which are all that is called
            kernel = operator.evaluation_kernels(verbs)[0]
            inputs = [maps[name] for name in node.inputs]
            maps[node.name] = operator.evaluate(verbs, network.parameters, inputs, kernel, False)
        found = autograd.gradients(maps[output], seeds, [maps[name] for name in layers])
    return dict(zip(layers, found, strict=True))
