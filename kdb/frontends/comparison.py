"""Compares a network with the module that it was translated from, and finds the node that was translated wrong.

No trace is used before the network has given the module's logits for random images.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils.flop_counter import FlopCounterMode

from kdb.errors import ModelError
from kdb.frontends.axes import Traced
from kdb.frontends.check import ALLOWED, doubled, first_line
from kdb.frontends.fallback import TorchTail, as_traced, from_traced, result_of, value_of
from kdb.frontends.state.untouched import untouched
from kdb.kernels.base import FloatArray, Weight
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.inference import evaluate
from kdb.operators.network import Network, ParameterStore
from kdb.operators.sources import Opaque

log = logging.getLogger(__name__)

EXPORTED = 5e-3
"""Of the largest logit, by which the exported graph may differ, a third of the digits: it computes some layers in
another way, and weights that were never trained may magnify the rounding of float32."""
ROUNDING = 2e-5
"""Of the largest value of a node that is computed from the same values in another way."""
BACKEND = CpuBackend()


class Comparison:
    """A module's ``logits`` for ``images`` [N, C, H, W], to be compared with those of networks for the same images.

    ``program`` is what torch.export makes of the module.
    """

    def __init__(
        self, module: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor, program: ExportedProgram
    ) -> None:
        self._module, self._images, self._program = module, images, program
        self._logits = logits.detach().cpu().double()

    def differs(self, network: Network) -> bool:
        """Whether the network's logits are not the module's, up to what Exact allows.

        Logits that are not finite cannot be compared, and are in no map either.
        """
        output = network.output.name
        return bool(self._logits.isfinite().all()) and self._are_others(
            self._maps(network, {output})[output].movedim(-1, 1)
        )

    def culprit(self, network: Network, values: Mapping[str, Any]) -> str | None:
        """The first node of the exported graph whose value is not that of the layers that it was translated into.

        Each node's layers are given the values of the exported graph, so that the rounding of those before does not
        count.  ``values`` are the translations of the nodes by name, as :func:`~kdb.frontends.translate.translated`
        gives them.  None if there is no such node: then the module itself magnifies the rounding of float32.  Raises
        ModelError where the fault is not in the translation of a node.
        """
        output = network.output
        tail = output.operator.tail if isinstance(output.operator, Opaque) else None
        keep = tail.crossing if isinstance(tail, TorchTail) else {}
        run = _Run(self._program, _with_own_weights(network), values, keep)
        exported = run.logits(self._images)
        if self._are_others(exported, EXPORTED, 10):
            raise ModelError(
                "the graph that torch.export makes of the model gives other logits than the model: its forward does "
                "something else while it is exported, or depends on more than the image"
            )
        if run.culprit is None:
            found = tail.of(run.kept) if isinstance(tail, TorchTail) else run.made_of_result()
            if _unlike(found.reshape(exported.shape), exported):
                raise ModelError(
                    "the model cannot be translated: its layers agree with the network's, its logits do not"
                )
        return run.culprit

    def counted(self, network: Network) -> Network:
        """The network, whose opaque layer, if it has one, knows its multiply-adds and what in it shows any rounding."""
        last = network.output
        if not isinstance(last.operator, Opaque):
            return network
        maps = self._maps(network, set(last.inputs))
        with FlopCounterMode(display=False) as counter:
            last.operator.tail([maps[name][:1] for name in last.inputs])
        jumps = last.operator.tail.jumps if isinstance(last.operator.tail, TorchTail) else ""
        operator = replace(last.operator, multiply_adds=int(counter.get_total_flops()) // 2, jumps=jumps)
        return replace(network, nodes=(*network.nodes[:-1], replace(last, operator=operator)))

    def _are_others(self, found: torch.Tensor, share: float = ALLOWED, times: float = 2) -> bool:
        """Whether ``found`` are further off than this ``share`` of the largest logit and so many ``times`` the module's
        own rounding.
        """
        found = found.detach().cpu().double().reshape(self._logits.shape)
        allowed = share * float(self._logits.abs().max())
        if float((found - self._logits).abs().max()) <= allowed:
            return False
        if self._exact is None:
            return True
        rounding = float((self._logits - self._exact).abs().max())
        return not float((found - self._exact).abs().max()) <= max(allowed, times * rounding)

    @cached_property
    def _exact(self) -> torch.Tensor | None:
        """The logits in float64, which decide in doubt; None if the module cannot be computed so."""
        try:
            module = doubled(self._module)
            with untouched(module), torch.no_grad():
                exact: torch.Tensor = module(self._images.double())
            return exact.detach().cpu().double()
        except Exception as error:  # modules may refuse to be copied, and functions to take float64
            log.debug("the model cannot be computed in float64: %s", first_line(error))
            return None

    def _maps(self, network: Network, wanted: set[str]) -> dict[str, torch.Tensor]:
        """The ``wanted`` layers [N, H, W, C] by name."""
        images = self._images.detach().cpu().float().movedim(1, -1).contiguous().numpy()
        maps = evaluate(_with_own_weights(network), images, BACKEND, wanted)
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in maps.items()}


def _with_own_weights(network: Network) -> Network:
    """The network with weights that share its arrays, so that the layouts that kernels derive do not outlive it."""
    own = {name: Weight(partial(getattr, weight, "array")) for name, weight in network.parameters.items()}
    return replace(network, parameters=ParameterStore(own))


class _Run(torch.fx.Interpreter):
    """Computes the exported graph node by node, and compares each with the layers that it was translated into.

    ``kept`` has the values of the nodes ``keep``, ``culprit`` is the first node that differs.
    """

    def __init__(
        self, program: ExportedProgram, network: Network, values: Mapping[str, Any], keep: Collection[str]
    ) -> None:
        super().__init__(program.graph_module)
        self._program, self._network, self._values, self._keep = program, network, values, keep
        self._layers = {node.name for node in network}
        self._result_node, self._result = result_of(program.graph), dict[str, FloatArray]()
        self.kept: dict[str, torch.Tensor] = {}
        self.culprit: str | None = None

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """The graph's logits [N, K]."""
        program, given = self._program, []
        for spec in program.graph_signature.input_specs:
            given.append(images if spec.kind == InputKind.USER_INPUT else value_of(program, str(spec.target)))
        with torch.no_grad():
            outputs = self.run(*given)
        logits: torch.Tensor = outputs[-1]
        return logits

    def made_of_result(self) -> torch.Tensor:
        """What the network makes of the value of the node that computes the logits: [N, K, 1, 1], or maps."""
        return torch.from_numpy(self._computed(self._network.output.name, self._result)).movedim(-1, 1)

    def run_node(self, node: torch.fx.Node) -> Any:
        """The node's value."""
        value = super().run_node(node)
        if node.name in self._keep:
            self.kept[node.name] = value
        translations = [(t, v) for t, v in _pairs(self._values.get(node.name), value) if t.name in self._layers]
        if node.op == "call_function" and translations and self.culprit is None:
            sources = [_pairs(self._values.get(each.name), self.env[each]) for each in node.all_input_nodes]
            maps = _maps_of([pair for pairs in sources for pair in pairs])
            if any(_unlike(as_traced(torch.from_numpy(self._computed(t.name, maps)), t), v) for t, v in translations):
                self.culprit = node.name
            if node is self._result_node:
                self._result = _maps_of(translations)
        return value

    def _computed(self, name: str, maps: dict[str, FloatArray]) -> FloatArray:
        """The map of a layer, given the ``maps`` of others, to which those in between are added."""
        if name not in maps:
            node = self._network[name]
            inputs = [self._computed(source, maps) for source in node.inputs]
            kernel = node.operator.evaluation_kernels(BACKEND)[0]
            value = node.operator.evaluate(BACKEND, self._network.parameters, inputs, kernel, False)
            maps[name] = np.ascontiguousarray(value)
        return maps[name]


def _maps_of(pairs: Sequence[tuple[Traced, torch.Tensor]]) -> dict[str, FloatArray]:
    """The maps by name that are equal to the values of traced tensors."""
    return {each.name: from_traced(value.detach().cpu().float(), each).numpy() for each, value in pairs}


def _pairs(translation: Any, value: Any) -> list[tuple[Traced, torch.Tensor]]:
    """A node's translation and its value, or those of its outputs if it has several."""
    if isinstance(translation, tuple | list):
        return [pair for each in zip(translation, value, strict=False) for pair in _pairs(*each)]
    return [(translation, value)] if isinstance(translation, Traced) else []


def _unlike(found: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether two tensors are not the same but for the rounding of one operator."""
    value = value.detach().cpu()
    if found.shape != value.shape:
        return True
    rounding = max(ROUNDING, 16 * torch.finfo(value.dtype).eps)
    found, value = found.double(), value.double()
    both = found.isfinite() & value.isfinite()
    if not torch.equal(found.where(~both, 0).nan_to_num(7), value.where(~both, 0).nan_to_num(7)):
        return True
    found, value = found.where(both, 0), value.where(both, 0)
    return value.numel() > 0 and float((found - value).abs().max()) > rounding * float(value.abs().max())
