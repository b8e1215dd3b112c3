"""Live gates: exact where their box is the map or all is linear, right to first order elsewhere; and their plans."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.execution.engine import Engine, Planned, default_settings
from kdb.execution.occlusion import Replacement
from kdb.frontends.torch_export import trace
from kdb.geometry import Size
from kdb.kernels.base import Array
from kdb.operators.gates import Adjoint, Corrections, LiveGate, Outside, summed
from kdb.operators.inference import gradients
from kdb.planner.permissions import Permissions
from kdb.queries.bind import BoundQuery
from kdb.queries.scoring import Scorer
from kdb.results.similarity import ssim
from kdb.sampling.strategy import Everything, Fidelity
from tests import kept_traces, networks_by_axes
from tests.networks import StripGate, modules
from tests.support import close, examples, heat_map, normal

LIVE = Permissions(freeze_context=True, live=1)
CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIDES: dict[int, Size] = {1: (40,), 2: (20, 18), 3: (10, 9, 8)}


class Gate(nn.Module):
    """``x g(mean x)``, or ``x + g(mean x)``; ``nudge`` is added to the gate."""

    def __init__(self, rank: int, channels: int, function: Callable[[Tensor], Tensor], adds: bool = False) -> None:
        super().__init__()
        self.rank, self.function, self.adds = rank, function, adds
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.mix, self.nudge = CONV[rank](channels, channels, 1), 0.0

    def forward(self, x: Tensor) -> Tensor:
        gate = self.function(self.mix(x.mean(tuple(range(2, 2 + self.rank)), keepdim=True))) + self.nudge
        return x + gate if self.adds else x * gate


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class ResponseNorm(nn.Module):
    """Global response normalization over space, as ConvNeXt V2 has it."""

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        return x + 0.5 * x * (length / (length.mean(1, keepdim=True) + 1e-6))


def gated(rank: int, gates: Sequence[nn.Module], between: nn.Module, seed: int = 0, kernel: int = 3) -> nn.Sequential:
    """Convolutions of four channels with gates and other layers between them, three logits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [CONV[rank](2, 4, kernel, padding=kernel // 2)]
        for gate in gates:
            layers += [between, gate, CONV[rank](4, 4, kernel, padding=kernel // 2)]
        return nn.Sequential(*layers, Mean(), nn.Linear(4, 3)).eval()


class Case:
    """A module on an image, whose ``positions`` are covered by ``fill``."""

    def __init__(self, module: nn.Module, size: Size, positions: np.ndarray, patch: Size, seed: int = 0) -> None:
        self.module, self.patch, self.positions = module, patch, positions
        channels = next(module.parameters()).shape[1]
        self.image = normal(seed, *size, channels)
        self.fill = Replacement(np.full((*patch, channels), 0.7, np.float32))
        self.network = kept_traces.trace(module, (channels, *size))

    def corrections(self) -> Corrections:
        """Of every logit."""
        count = self.network.output.shape.channels
        return Corrections(tuple(range(count)), np.eye(count, dtype=np.float32))

    def planned(self, permissions: Permissions, engine: Engine) -> Planned:
        live = self.network.output.shape.channels if permissions.live else 0
        return engine.plan(self.network, self.positions, self.patch, replace(permissions, live=live))

    def logits(self, permissions: Permissions = LIVE, **chosen: object) -> np.ndarray:
        """By a plan, under settings of its own."""
        engine = Engine(default_settings())
        for name, value in chosen.items():
            engine.settings.set(name.replace("__", "."), value)
        planned = self.planned(permissions, engine)
        views, _ = engine.materialize(planned, "net", self.image)
        views = engine.with_corrections(planned, views, "net", self.image, self.corrections)
        plan = planned.physical.logical
        found = np.full((len(plan.positions), plan.network.output.shape.channels), np.nan)

        def take(members: np.ndarray, logits: Array) -> None:
            found[members] = logits

        engine.execute(planned, views, self.fill, take)
        return found if plan.duplicates is None else found[plan.duplicates]

    def truth(self) -> np.ndarray:
        """By the module, in float64."""
        images = self.fill.applied(self.image, self.positions, self.patch).astype(np.float64)
        with torch.no_grad():
            return copy.deepcopy(self.module).double()(torch.from_numpy(images).movedim(-1, 1)).numpy()


def lattice(size: Size, patch: Size, step: int) -> np.ndarray:
    axes = [np.arange(0, length - own + 1, step) for length, own in zip(size, patch, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(size))


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(found - truth).max())


# ---- laws


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("adds", [False, True])
def test_where_gate_and_network_are_linear_it_is_exact(rank: int, adds: bool) -> None:
    size, patch = SIDES[rank], (3,) * rank
    gate = Gate(rank, 4, lambda x: x, adds)
    case = Case(gated(rank, [gate], nn.Identity(), rank), size, lattice(size, patch, 3), patch)
    truth = case.truth()
    close(case.logits(rule__cut_over=False), truth, 1e-6)
    assert error(case.logits(replace(LIVE, live=0)), truth) > 1e-4 * np.abs(truth).max(), "frozen gates err"


def test_a_layer_may_be_called_as_the_rule_calls_its_own() -> None:
    layers = list(gated(2, [Gate(2, 4, lambda x: x)], nn.Identity()))
    module = nn.Sequential(OrderedDict(zip(("corrections", *map(str, range(1, len(layers)))), layers, strict=True)))
    case = Case(module.eval(), (20, 18), lattice((20, 18), (3, 3), 5), (3, 3))
    assert "corrections" in {node.name for node in case.network}
    close(case.logits(rule__cut_over=False), case.truth(), 1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_where_the_box_is_the_map_it_is_exact(rank: int) -> None:
    size = SIDES[rank]
    gates = [Gate(rank, 4, torch.sigmoid), Gate(rank, 4, nn.functional.hardsigmoid, adds=True)]
    case = Case(gated(rank, gates, nn.SiLU()), size, np.zeros((1, rank), np.int64), size)
    close(case.logits(rule__cut_over=False), case.truth(), 1e-5)


@settings(max_examples=examples(4, 12))
@given(seed=st.integers(0, 99), rank=st.sampled_from([1, 2, 3]))
def test_the_error_is_of_second_order(seed: int, rank: int) -> None:
    """A quarter of the change makes about a sixteenth of the error, where frozen gates leave about a quarter."""
    size, patch = SIDES[rank], (3,) * rank
    gates = [Gate(rank, 4, lambda x: torch.sigmoid(6 * x)), Gate(rank, 4, torch.tanh, adds=True)]
    case = Case(gated(rank, gates, nn.Softplus(), seed), size, lattice(size, patch, 4)[:9], patch, seed)
    errors = {}
    for strength in (4.0, 1.0):
        case.fill = Replacement(np.full((*patch, 2), strength, np.float32))
        case.image = np.zeros_like(case.image) + 0.1 * normal(seed, *case.image.shape)
        truth = case.truth()
        errors[strength] = error(case.logits(), truth), error(case.logits(replace(LIVE, live=0)), truth)
    (live, frozen), (less, frozen_less) = errors[4.0], errors[1.0]
    assert live < 0.5 * frozen and less < 0.5 * frozen_less
    assert less < live / 6 + 1e-6


@settings(max_examples=examples(6, 20))
@given(data=st.data())
def test_gradients_are_the_modules_own(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2, 2, 3]))
    if rank == 2:
        module, shape = data.draw(modules((12, 14))), (3, 12, 14)
    else:
        module, shape = data.draw(networks_by_axes.networks(rank, 2)), (2, *(20, 9, 8)[rank - 1 :][:1] * rank)
        with torch.no_grad():
            module(torch.zeros(1, *shape))
    network = trace(module.eval(), shape)
    image, seeds = normal(1, *shape[1:], shape[0]), normal(2, 2, network.output.shape.channels)
    found = gradients(network, image, network.output.name, seeds, [network.source.name])[network.source.name]
    x = torch.from_numpy(image[None].astype(np.float64)).movedim(-1, 1).requires_grad_()
    logits = copy.deepcopy(module).double()(x)[0]
    expected = [torch.autograd.grad((logits * seed).sum(), x, retain_graph=True)[0][0] for seed in torch.tensor(seeds)]
    close(found, torch.stack(expected).movedim(1, -1).numpy(), 1e-4)


def test_adjoints_are_finite_differences_of_the_module() -> None:
    gate = Gate(2, 4, torch.sigmoid)
    module = gated(2, [gate, Gate(2, 4, torch.sigmoid)], nn.SiLU())
    case = Case(module, (12, 14), np.zeros((1, 2), np.int64), (3, 3))
    planned = case.planned(LIVE, Engine(default_settings()))
    network = planned.physical.logical.network
    first = next(node.name for node in network if isinstance(node.operator, LiveGate))
    found = gradients(network, case.image, network.output.inputs[0], np.eye(3, dtype=np.float32), [first])[first]
    x = torch.from_numpy(case.image[None].astype(np.float64)).movedim(-1, 1)
    doubled = copy.deepcopy(module).double()
    for box in ((slice(None), slice(None)), (slice(2, 5), slice(7, 14))):
        for channel in range(4):
            values = []
            for sign in (1, -1):
                nudge = torch.zeros(1, 4, 12, 14, dtype=torch.float64)
                nudge[0, channel][box] = sign * 1e-4
                next(part for part in doubled if isinstance(part, Gate)).nudge = nudge
                with torch.no_grad():
                    values.append(doubled(x)[0].numpy())
            differences = (values[0] - values[1]) / 2e-4
            close(found[:, *box, channel].sum((1, 2)), differences, 1e-4)
            y, x_ = (part.indices(length) for part, length in zip(box, (12, 14), strict=True))
            table = summed(found).reshape(13, 15, 3, 4)[..., channel]
            corners = table[y[1], x_[1]] - table[y[0], x_[1]] - table[y[1], x_[0]] + table[y[0], x_[0]]
            close(corners, differences, 1e-4)


def test_a_batch_equals_its_singletons() -> None:
    """Where its boxes are as large as each position's own: a larger box leaves less to first order."""
    size, patch = (40, 40), (4, 4)
    module = gated(2, [Gate(2, 4, torch.sigmoid), Gate(2, 4, torch.sigmoid)], nn.ReLU())
    case = Case(module, size, lattice((20, 20), patch, 4) + 10, patch)
    together, alone = (case.logits(batch_size=n, rule__cut_over=False) for n in (16, 1))
    close(together, alone, 1e-6)


@pytest.mark.parametrize("part", [ResponseNorm(), StripGate(4, 20)])
def test_other_gates(part: nn.Module) -> None:
    """Norms of the map are gates; one along an axis alone keeps the image's values."""
    case = Case(gated(2, [part], nn.ReLU()), (20, 18), lattice((20, 18), (4, 4), 5), (4, 4))
    planned = case.planned(LIVE, Engine(default_settings()))
    network = planned.physical.logical.network
    live = any(isinstance(node.operator, LiveGate) for node in network)
    truth = case.truth()
    frozen = case.logits(replace(LIVE, live=0))
    if isinstance(part, StripGate):
        assert not live and planned.physical.logical.frozen
        np.testing.assert_array_equal(case.logits(), frozen)
    else:
        assert live and error(case.logits(), truth) < 0.3 * error(frozen, truth)


# ---- plans


def sigmoids() -> Case:
    size, patch = (20, 18), (4, 4)
    module = gated(2, [Gate(2, 4, torch.sigmoid), Gate(2, 4, torch.sigmoid)], nn.ReLU())
    return Case(module, size, lattice(size, patch, 4), patch)


def test_without_the_rule_gates_are_frozen_and_without_permission_exact() -> None:
    case = sigmoids()
    frozen = case.logits(replace(LIVE, live=0))
    np.testing.assert_array_equal(case.logits(rule__gates_live=False), frozen)
    close(case.logits(Permissions()), case.truth(), 1e-5)
    assert error(case.logits(), case.truth()) < 0.2 * error(frozen, case.truth())


@pytest.mark.parametrize("cut", range(1, 40))
def test_wherever_the_cut_is_gates_behind_it_are_exact(cut: int) -> None:
    case = sigmoids()
    engine = Engine(default_settings())
    engine.settings.set("rule.cut_over", False)
    plan = case.planned(LIVE, engine).physical.logical
    if cut >= len(plan.network):
        return
    moved = replace(plan, cut=cut)
    if isinstance(plan.network.nodes[cut].operator, Outside):
        with pytest.raises(ValueError, match="the cut parts"):
            moved.verify()
    else:
        moved.verify()


def test_a_gate_of_two_readers_is_two() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.left, self.right = (nn.Conv2d(*each, 3, padding=1) for each in ((2, 4), (4, 4), (4, 4)))
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            gate = torch.sigmoid(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
            left, right = torch.relu(self.left(x)) * gate, torch.relu(self.right(x)) + gate
            return self.out(torch.cat([left * right, right], 1).mean((2, 3)))

    case = Case(Twice(), (20, 18), lattice((20, 18), (4, 4), 4), (4, 4))
    network = case.planned(LIVE, Engine(default_settings())).physical.logical.network
    assert sum(isinstance(node.operator, LiveGate) for node in network) == 2
    assert error(case.logits(), case.truth()) < 0.2 * error(case.logits(replace(LIVE, live=0)), case.truth())


def test_why_there_are_none() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = gated(2, [Gate(2, 4, torch.sigmoid)], nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(self.net(x), dim=1).values

    plain = nn.Sequential(nn.Conv2d(2, 4, 3), Mean(), nn.Linear(4, 3))
    for module, permissions, expected in (
        (Sorted(), LIVE, "no gradient is taken of layers outside the vocabulary"),
        (plain, LIVE, "no layer multiplies every cell by means of the map"),
        (plain, Permissions(), "the query has no APPROXIMATE"),
        (plain, Permissions(approximate=True), "no correction of these positions is permitted"),
    ):
        network = trace(module.eval(), (2, 20, 18))
        planned = Engine(default_settings()).plan(network, np.array([[0, 0]]), (4, 4), permissions)
        (reason,) = (each.reason for each in planned.history if each.rule.name == "gates_live")
        assert reason == expected


def test_operators_refuse_what_does_not_fit() -> None:
    network = sigmoids().planned(LIVE, Engine(default_settings())).physical.logical.network
    for node in network:
        if isinstance(node.operator, LiveGate | Outside):
            shapes = network.input_shapes(node)
            wrong = [replace_channels(shape) if i == len(shapes) - 1 else shape for i, shape in enumerate(shapes)]
            if isinstance(node.operator, LiveGate):
                wrong = [shapes[1], *shapes[1:]]
            with pytest.raises(ValueError, match=r"cannot repeat|no sums"):
                node.operator.output_shape(wrong)
        if isinstance(node.operator, Adjoint):
            assert node.operator.of in {each.name for each in network}


def replace_channels(shape: Any) -> Any:
    return shape._replace(channels=shape.channels + 1)


def test_a_class_that_is_there_twice_is_corrected_once() -> None:
    places = Corrections((2, 0, 2), np.zeros((3, 4), np.float32)).places
    np.testing.assert_array_equal(places, [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


# ---- queries


@pytest.fixture(scope="module")
def db() -> kdb.Session:
    session = kdb.connect()
    torch.manual_seed(0)
    gates = [Gate(2, 4, lambda x: torch.sigmoid(8 * x)), Gate(2, 4, lambda x: torch.sigmoid(8 * x))]
    session.register_model("gated", nn.Sequential(nn.Conv2d(3, 2, 1), gated(2, gates, nn.SiLU())), input_size=(40, 40))
    return session


IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)


@pytest.mark.parametrize("rest", ["", "FOR CLASS 1 SCORE drop", "FOR CLASSES (0, 2)", "FOR TOP 2 SCORE logit"])
def test_queries_use_them(db: kdb.Session, monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    query = f"OCCLUDE $image WITH patch(8, 8) STRIDE 2 USING gated {rest}"
    exact = heat_map(db, query, image=IMAGE)
    errors = {}
    for fidelity in Fidelity:
        everything = partial(evaluated_at, fidelity)
        monkeypatch.setattr("kdb.queries.rounds.strategy_for", everything)
        errors[fidelity] = error(heat_map(db, query, image=IMAGE).values, exact.values)
    assert errors[Fidelity.EXACT] == 0 and errors[Fidelity.LIVE] < 0.2 * errors[Fidelity.FROZEN]


def evaluated_at(fidelity: Fidelity, engine: Engine, bound: BoundQuery, anytime: bool = False) -> Everything:
    """All cells in one round."""
    strategy = Everything(len(bound.selection.cells))
    strategy.fidelity = fidelity
    return strategy


def test_cosines_and_many_classes_do_without(db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdb.sampling.choose.MIN_GAIN", 0.0)
    query = "OCCLUDE $image WITH patch(8, 8) STRIDE 2 USING gated FOR ALL CLASSES APPROXIMATE"
    assert "follow it in the boxes" in db.explain(query, {"image": IMAGE})
    monkeypatch.setattr("kdb.queries.planning.MOST_CORRECTED", 2)
    assert "follow it in the boxes" not in db.explain(query, {"image": IMAGE})
    cosine = "OCCLUDE $image WITH patch(8, 8) STRIDE 2 USING gated SCORE cosine TO $image APPROXIMATE"
    assert "follow it in the boxes" not in db.explain(cosine, {"image": IMAGE})


def test_promises_are_kept(db: kdb.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdb.sampling.choose.MIN_GAIN", 0.0)
    kept, live = [], 0
    exact: dict[int, np.ndarray] = {}
    for seed in range(12):
        picture = seed % 4
        image = np.random.default_rng(picture).integers(0, 256, (8, 8, 3), np.uint8).repeat(5, 0).repeat(5, 1)
        query = "OCCLUDE $image WITH patch(8, 8) STRIDE 2 USING gated SCORE logit"
        if picture not in exact:
            exact[picture] = np.asarray(heat_map(db, query, image=image).values, np.float64)
        db.execute(f"SET seed = {seed}")
        found = heat_map(db, f"{query} APPROXIMATE TO SSIM 0.9 GUARANTEED", image=image)
        kept.append(ssim(np.asarray(found.values, np.float64), exact[picture], 2) >= 0.9)
        live += not found.evaluated.all()
    db.execute("RESET seed")
    assert np.mean(kept) >= 0.95 and live > 6


def test_corrections_are_of_log_odds(db: kdb.Session) -> None:
    """The seeds of probabilities are the gradients of log-odds, those of logits unit vectors."""
    logits = normal(3, 5).astype(np.float64)
    scorer = object.__new__(Scorer)
    scorer.classes = (1, 3)
    for activation in ("softmax", "none", "sigmoid"):
        scorer._activation = activation
        found = scorer.corrections(logits)
        assert found.classes == (1, 3)
        for seed, index in zip(found.seeds, scorer.classes, strict=True):
            x = torch.tensor(logits, requires_grad=True)
            score = x[index]
            if activation == "softmax":
                score = score - torch.logsumexp(x[[0, 2, 4]], 0)
            score.backward()
            assert x.grad is not None
            close(seed, x.grad.numpy().astype(np.float32), 1e-6)
