"""The rules, each by a plan before and after it, and by the reason that it gives where it leaves a plan alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdb.errors import ExecutionError
from kdb.geometry import Part, lattice
from kdb.kernels.base import Instruction
from kdb.kernels.cpu.backend import CpuBackend
from kdb.operators.base import Operator, Shape
from kdb.operators.combine import Add, Concatenate, Expand, Multiply
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense, Flatten
from kdb.operators.indexing import SelectCells
from kdb.operators.network import Network, Node, ParameterStore
from kdb.operators.pointwise import Affine, Pointwise
from kdb.operators.pooling import AdaptiveAveragePool, GlobalMean, MaxPool, Pad
from kdb.operators.resampling import Interpolation, Resample
from kdb.operators.sources import Opaque, Source
from kdb.planner.cost import CostModel, CostProfile
from kdb.planner.lower import lower
from kdb.planner.optimize import SETTLED, optimize
from kdb.planner.partition import partition, work_by_axis
from kdb.planner.permissions import Permissions
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules import (
    RULES,
    Context,
    Rule,
    coarse_first,
    constant_interior,
    cut_over,
    distribute,
    few_positions,
    fold_batch_norm,
    fold_padding,
    freeze_context,
    incremental,
    incremental_aggregate,
    merge_flatten,
    merge_pointwise,
    multi_query_batching,
    null_deltas,
    projective_field,
    rebatch,
    share_duplicates,
    share_prefixes,
)
from kdb.planner.rules.aggregates import first_aggregate, first_opaque, first_spread, gates

pytestmark = [pytest.mark.law, pytest.mark.usefixtures("plain")]

# The rules are judged on fixed rates, whatever the machine's are.
PROFILE = CostProfile("fixed", dict.fromkeys(CostProfile().rates, ((1, 1e10),)), bandwidth=1e10, call=1e-6)
CONTEXT = Context(CostModel(PROFILE, CpuBackend()))

Layer = tuple[str, Operator, tuple[str, ...]]

RELU = Pointwise((Instruction("maximum", (0, 0.0)),))
SIGMOID = Pointwise((Instruction("sigmoid", (0,)),))
CONV = Convolution("w", "b", 4, (3, 3), padding=(1, 1, 1, 1))


def network(*layers: Layer, channels: int = 4, size: tuple[int, int] = (24, 24)) -> Network:
    """Layers behind a source named ``image``.

    Weights are ``w`` [4, 4, 3, 3], ``w1`` [4, 4], ``p`` [4, 4, 1, 1], ``d`` [2, 4], ``f`` [60, 60], ``a`` to ``c`` [4].
    """
    draw = np.random.default_rng(0)
    shapes = {"w": (4, channels, 3, 3), "v": (4, channels, 3, 3), "d": (2, 4), "a": (4,), "b": (4,), "c": (4,)}
    shapes |= {"w1": (4, channels), "p": (4, channels, 1, 1), "f": (60, 60)}
    arrays = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    source: Layer = ("image", Source(Shape(channels, tuple(size))), ())
    return Network.build([source, *layers], ParameterStore().extended(arrays))


def chain(*layers: tuple[str, Operator]) -> list[Layer]:
    """Each layer reads the one before."""
    names = ["image", *(name for name, _ in layers)]
    return [(name, operator, (before,)) for (name, operator), before in zip(layers, names, strict=False)]


FLAT = [("pool", AdaptiveAveragePool((5, 3))), ("flatten", Flatten()), ("dense", Dense("f", None, 60))]
HEAD = [("mean", GlobalMean()), ("dense", Dense("d", None, 2))]


def plan(net: Network, stride: int = 8, patch: int = 6, cut: int = 1) -> LogicalPlan:
    starts = lattice(net.source.shape.size[0], patch, stride)
    positions = np.stack(np.meshgrid(starts, starts, indexing="ij"), -1).reshape(-1, 2)
    return replace(LogicalPlan.naive(net, positions, (patch, patch)), cut=cut)


def fired(rule: Rule, before: LogicalPlan, context: Context = CONTEXT) -> LogicalPlan:
    after = rule.apply(before, context)
    assert isinstance(after, LogicalPlan), after
    after.verify()
    return after


def layers(net: Network) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(node.name, node.operator.label, node.inputs) for node in net]


def values(net: Network, x: np.ndarray) -> np.ndarray:
    """The last layer of ``net``, layer by layer."""
    found, k = {"image": x[None]}, CpuBackend(native=True)
    for node in net.nodes[1:]:
        inputs = [found[name] for name in node.inputs]
        kernel = node.operator.evaluation_kernels(k)[-1]
        found[node.name] = node.operator.evaluate(k, net.parameters, inputs, kernel, False)
    return found[net.output.name]


def equal(one: Network, other: Network) -> None:
    x = np.random.default_rng(1).normal(size=(24, 24, 4)).astype(np.float32)
    expected = values(one, x)
    np.testing.assert_allclose(values(other, x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# --- rules on networks -------------------------------------------------------------------------------------------


def test_fold_padding() -> None:
    before = network(*chain(("pad", Pad((0, 1, 2, 3))), ("conv", CONV)))
    after = fired(fold_padding.RULE, plan(before)).network
    assert layers(after) == [("image", "source", ()), ("conv", "convolution", ("image",))]
    assert after["conv"].operator == replace(CONV, padding=(1, 2, 3, 4))
    equal(before, after)


def test_padding_that_another_layer_reads_stays_for_it() -> None:
    pad = ("pad", Pad((1, 1, 1, 1)), ("image",))
    before = network(pad, ("conv", CONV, ("pad",)), ("relu", RELU, ("pad",)), ("add", Add(), ("conv", "relu")))
    after = fired(fold_padding.RULE, plan(before)).network
    assert [(node.name, node.inputs) for node in after.nodes[1:4]] == [
        ("pad", ("image",)), ("conv", ("image",)), ("relu", ("pad",)),
    ]  # fmt: skip
    equal(before, after)


@pytest.mark.parametrize("chained", [[("pad", Pad((1, 1, 1, 1), 0.5)), ("conv", CONV)], [("conv", CONV)]])
def test_padding_by_another_value_is_not_folded(chained: list[tuple[str, Operator]]) -> None:
    assert fold_padding.apply(plan(network(*chain(*chained))), CONTEXT) == "no zero padding before a convolution"


@pytest.mark.parametrize("bias", ["b", None])
@pytest.mark.parametrize("linear", [CONV, Dense("w1", "b", 4)])
def test_fold_batch_norm(linear: Convolution | Dense, bias: str | None) -> None:
    before = network(*chain(("linear", replace(linear, bias=bias)), ("norm", Affine("a", "c")), ("relu", RELU)))
    after = fired(fold_batch_norm.RULE, plan(before)).network
    assert layers(after)[1:] == [("norm", linear.label, ("image",)), ("relu", "pointwise", ("norm",))]
    equal(before, after)


def test_merge_flatten() -> None:
    before = network(*chain(*FLAT, ("relu", RELU)))
    after = fired(merge_flatten.RULE, plan(before)).network
    assert layers(after)[1:] == [
        ("pool", "adaptive_average_pool", ("image",)), ("dense", "dense", ("pool",)), ("relu", "pointwise", ("dense",)),
    ]  # fmt: skip
    equal(before, after)
    unflattened = network(*chain(("conv", CONV), *HEAD))
    assert merge_flatten.apply(plan(unflattened), CONTEXT) == "no dense layer reads a flattened map"


def test_a_flattened_map_that_others_read_stays() -> None:
    before = network(*chain(*FLAT), ("sum", Add(), ("flatten", "dense")))
    after = fired(merge_flatten.RULE, plan(before)).network
    assert after["dense"].inputs == ("pool",) and after["sum"].inputs == ("flatten", "dense")
    equal(before, after)


def test_planning_reads_no_weight() -> None:
    def unread() -> np.ndarray:
        raise AssertionError("a weight was read")

    net = network(*chain(("conv", CONV), ("norm", Affine("a", "c")), ("gate", SIGMOID), *HEAD))
    unreadable = Network(net.nodes, ParameterStore().extended(dict.fromkeys(net.parameters, unread)))
    after, _ = optimize(plan(unreadable), CONTEXT)
    lower(after, CONTEXT)
    assert [node.name for node in after.network] == ["image", "norm", "gate", "mean", "dense"]
    with pytest.raises(AssertionError, match="a weight was read"):
        _ = after.network.parameters["w*a"].array


def test_batch_norm_is_not_folded_into_what_others_read() -> None:
    reason = "no affine map follows a convolution or dense layer"
    shared = network(*chain(("conv", CONV), ("norm", Affine("a", "c"))), ("add", Add(), ("conv", "norm")))
    assert fold_batch_norm.apply(plan(shared), CONTEXT) == reason
    behind = network(*chain(("conv", CONV), ("relu", RELU), ("norm", Affine("a", "c"))))
    assert fold_batch_norm.apply(plan(behind), CONTEXT) == reason


def test_merge_pointwise() -> None:
    """Batch-norm, then silu as it arrives: one layer in the end."""
    before = network(
        ("conv", CONV, ("image",)),
        ("norm", Affine("a", "c"), ("conv",)),
        ("gate", SIGMOID, ("norm",)),
        ("silu", Multiply(), ("norm", "gate")),
        ("relu", RELU, ("silu",)),
    )
    after = fired(merge_pointwise.RULE, plan(before)).network
    assert [node.name for node in after] == ["image", "conv", "relu"]
    program = after["relu"].operator.program  # type: ignore[attr-defined]
    assert [instruction.function for instruction in program] == ["mul", "add", "sigmoid", "mul", "maximum"]
    assert after["relu"].inputs == ("conv",)
    equal(before, after)


@pytest.mark.parametrize("join", [Add(), Multiply()])
@pytest.mark.parametrize("operands", [("image", "g"), ("g", "image"), ("f", "g"), ("g", "f"), ("f", "f")])
def test_joins_of_one_map_are_merged(join: Operator, operands: tuple[str, str]) -> None:
    f = Pointwise((Instruction("mul", (0, "a")), Instruction("tanh", (1,)), Instruction("add", (2, 0))))
    before = network(("f", f, ("image",)), ("g", SIGMOID, ("image",)), ("join", join, operands))
    after = fired(merge_pointwise.RULE, plan(before)).network
    assert [(node.name, node.inputs) for node in after] == [("image", ()), ("join", ("image",))]
    equal(before, after)


@pytest.mark.parametrize(("taps", "chosen"), [(1e10, "direct"), (1.02e10, "direct"), (1.05e10, "taps")])
def test_the_first_kernel_wins_a_tie(taps: float, chosen: str) -> None:
    rates = {**PROFILE.rates, "taps.narrow": ((1, taps),)}
    costs = CostModel(replace(PROFILE, rates=rates, bandwidth=1e15, call=0.0), CpuBackend())
    net = network(*chain(("point", Convolution("p", None, 4, (1, 1))), *HEAD))
    choice = costs.full(net, net["point"], 1000)
    assert choice.kernel.name == chosen


def test_share_prefixes() -> None:
    """The longest stack that came before, and never the same one; inputs in another order are another stack."""
    layers = [(name, SIGMOID, ("image",)) for name in ("a", "b", "c", "d")]
    before = network(
        *layers,
        ("ab", Concatenate(), ("a", "b")),
        ("abc", Concatenate(), ("a", "b", "c")),
        ("ba", Concatenate(), ("b", "a", "c")),
        ("abcd", Concatenate(), ("a", "b", "c", "d")),
        ("again", Concatenate(), ("a", "b")),
        ("all", Concatenate(), ("ab", "abc", "ba", "abcd", "again")),
    )
    after = fired(share_prefixes.RULE, plan(before)).network
    found = {node.name: node.inputs for node in after if node.inputs != before[node.name].inputs}
    assert found == {"abc": ("ab", "c"), "abcd": ("abc", "d")}
    equal(before, after)
    assert share_prefixes.apply(plan(network(*layers[:2], ("ab", Concatenate(), ("a", "b")))), CONTEXT) == (
        "no concatenation begins with the inputs of an earlier one"
    )


FINER = SelectCells((tuple(i // 2 for i in range(48)),) * 2)
LINEAR = Resample((Interpolation.whole(24, 48, False, None),) * 2)
ONE_TAP = Convolution("p", "b", 4, (1, 1))


@pytest.mark.parametrize("finer", [FINER, LINEAR], ids=["nearest", "linear"])
def test_coarse_first(finer: Operator) -> None:
    before = network(*chain(("up", finer), ("mix", ONE_TAP), ("relu", RELU)))
    after = fired(coarse_first.RULE, plan(before)).network
    assert layers(after)[1:] == [
        ("mix.coarse", "convolution", ("image",)),
        ("mix", finer.label, ("mix.coarse",)),
        ("relu", "pointwise", ("mix",)),
    ]
    equal(before, after)


@pytest.mark.parametrize(
    "behind",
    [
        [("up", FINER), ("conv", CONV)],
        [("down", SelectCells((tuple(range(0, 24, 2)),) * 2)), ("mix", ONE_TAP)],
        [("up", FINER), ("mix", replace(ONE_TAP, padding=(1, 1, 1, 1)))],
        [("up", FINER), ("mix", replace(ONE_TAP, stride=(2, 2)))],
        [("mix", ONE_TAP), ("up", FINER)],
    ],
    ids=["taps", "coarser", "padding", "stride", "before"],
)
def test_what_does_not_commute_stays(behind: list[tuple[str, Operator]]) -> None:
    reason = "no convolution of one tap follows a map that was made finer"
    assert coarse_first.apply(plan(network(*chain(*behind))), CONTEXT) == reason


def test_a_finer_map_that_others_read_stays() -> None:
    up, mix = ("up", FINER, ("image",)), ("mix", ONE_TAP, ("up",))
    before = network(up, mix, ("add", Add(), ("mix", "up")))
    assert isinstance(coarse_first.apply(plan(before), CONTEXT), str)


def test_what_others_read_is_not_merged() -> None:
    reason = "no pointwise layers to merge"
    read_twice = network(
        ("relu", RELU, ("image",)),
        ("gate", SIGMOID, ("relu",)),
        ("conv", CONV, ("relu",)),
        ("add", Add(), ("conv", "gate")),
    )
    assert merge_pointwise.apply(plan(read_twice), CONTEXT) == reason
    gated = network(
        ("gate", SIGMOID, ("image",)),
        ("silu", Multiply(), ("image", "gate")),
        ("conv", CONV, ("gate",)),
        ("add", Add(), ("conv", "silu")),
    )
    assert merge_pointwise.apply(plan(gated), CONTEXT) == reason
    assert merge_pointwise.apply(plan(network(("twice", Add(), ("image", "image")))), CONTEXT) == reason


# --- rules on plans ----------------------------------------------------------------------------------------------


def skipping(*, wide: bool = True) -> Network:
    """A stack of the image, of whose cells few change, and of what a window of eleven cells makes of it."""
    draw = np.random.default_rng(0)
    window = 11 if wide else 1
    arrays = {
        "k": draw.normal(size=(4, 4, window, window)).astype(np.float32),
        "s": draw.normal(size=(32, 8, 3, 3)).astype(np.float32),
        "z": draw.normal(size=32).astype(np.float32),
    }
    spread = Convolution("k", None, 4, (window,) * 2, padding=(window // 2,) * 4)
    stacked = Convolution("s", "z", 32, (3, 3), padding=(1, 1, 1, 1))
    layers: list[Layer] = [
        ("image", Source(Shape(4, (24, 24))), ()),
        ("low", spread, ("image",)),
        ("stack", Concatenate(), ("image", "low")),
        ("mix", stacked, ("stack",)),
        ("relu", RELU, ("mix",)),
    ]
    return Network.build(layers, ParameterStore().extended(arrays))


def test_distribute() -> None:
    before = plan(skipping(), patch=2)
    after = fired(distribute.RULE, before)
    assert layers(after.network)[2:] == [
        ("mix.term#1", "convolution", ("image",)),
        ("mix.term#2", "convolution", ("low",)),
        ("mix", "add", ("mix.term#1", "mix.term#2")),
        ("relu", "pointwise", ("mix",)),
    ]
    assert [after.network[f"mix.term#{i}"].operator.bias for i in (1, 2)] == ["z", None]
    equal(before.network, after.network)
    again = fired(distribute.RULE, plan(before.network, stride=4, patch=2))
    assert again.network is after.network  # so that views are those of one network


def test_a_stack_of_like_boxes_is_not_distributed() -> None:
    reason = "the boxes of what is stacked are too much alike"
    assert distribute.apply(plan(skipping(wide=False), patch=2), CONTEXT) == reason
    assert distribute.apply(plan(network(*chain(("conv", CONV)))), CONTEXT) == "no convolution reads a concatenation"


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_a_sum_of_terms_is_the_convolution_of_the_stack(seed: int, count: int) -> None:
    """Of any number of inputs and channels, whatever the boxes."""
    draw = np.random.default_rng(seed)
    channels = draw.integers(1, 4, count).tolist()
    arrays = {f"p{i}": draw.normal(size=(n, 4, 1, 1)).astype(np.float32) for i, n in enumerate(channels)}
    arrays["s"] = draw.normal(size=(3, sum(channels), 3, 3)).astype(np.float32)
    parts: list[Layer] = [(f"c{i}", Convolution(f"p{i}", None, n, (1, 1)), ("image",)) for i, n in enumerate(channels)]
    net = Network.build(
        [
            ("image", Source(Shape(4, (24, 24))), ()),
            *parts,
            ("stack", Concatenate(), tuple(name for name, _, _ in parts)),
            ("mix", Convolution("s", None, 3, (3, 3), padding=(1, 0, 1, 2)), ("stack",)),
        ],
        ParameterStore().extended(arrays),
    )
    found = distribute._sum(net, net["mix"])
    assert found is not None
    split = distribute._with(net, [found])
    assert "stack" not in {node.name for node in split} and split.output.name == "mix"
    equal(net, split)


def test_share_duplicates() -> None:
    positions = np.array([(3, 4), (0, 0), (3, 4), (0, 9), (0, 0)])
    before = LogicalPlan.naive(network(*chain(("conv", CONV))), positions, (2, 2))
    after = fired(share_duplicates.RULE, before)
    assert after.positions.tolist() == [[0, 0], [0, 9], [3, 4]]
    assert after.positions[after.duplicates].tolist() == positions.tolist()
    assert lower(after, CONTEXT).naive_macs == 5 * before.network.macs
    assert share_duplicates.apply(after, CONTEXT) == "all positions are distinct"


# --- the model itself --------------------------------------------------------------------------------------------

WIDE_NET = [("conv", CONV), ("relu", RELU), ("conv2", replace(CONV, weight="w")), *HEAD]


def few(n: int, compared: int = 1, **permissions: bool | str | float) -> LogicalPlan | str:
    """What the rule makes of ``n`` positions."""
    before = plan(network(*chain(*WIDE_NET), size=(64, 64)), stride=2)
    before = LogicalPlan.naive(before.network, before.positions[:n], before.patch)
    permitted = Permissions(**{"alone": True, **permissions})  # type: ignore[arg-type]
    return few_positions.RULE.apply(before, replace(CONTEXT, permissions=permitted, compared=compared))


@given(st.integers(0, 8))
def test_few_positions_are_those_below_some_number(compared: int) -> None:
    by_model = [isinstance(few(n, compared), LogicalPlan) for n in range(1, 40)]
    assert by_model == sorted(by_model, reverse=True)
    assert sum(by_model) >= compared and not by_model[-1], "inferences that are saved decide, then deltas"


def test_few_positions_are_one_batch_that_no_rule_changes() -> None:
    after = few(2, compared=2)
    assert isinstance(after, LogicalPlan)
    assert (len(after.batches), after.groups, after.full_batch, after.cut) == (1, ((0,),), 3, 1)
    assert after.by_model.because.endswith(" or more of views, deltas and check")
    context = replace(CONTEXT, permissions=Permissions(alone=True), compared=1)
    whole, history = optimize(LogicalPlan.naive(after.network, after.positions[:1], after.patch), context)
    reasons = {applied.rule.name: applied.reason for applied in history if not applied.fired}
    assert whole.by_model and reasons["incremental"] == reasons["rebatch"] == SETTLED


def test_many_positions_are_not_left_to_the_model() -> None:
    said = few(30)
    assert isinstance(said, str) and said.endswith("of views, deltas and check")
    assert few(1, alone=False) == "others of the query's positions have a plan of their own"
    assert few(1, precision="bf16") == few(1, threshold=0.5) == "the query permits an approximation"
    assert few(64) == "with the unmodified image they are more than a batch"
    sized = replace(CONTEXT, permissions=Permissions(alone=True), batch_size=2, compared=1)
    before = LogicalPlan.naive(network(*chain(*WIDE_NET)), np.array([(0, 0), (4, 4)]), (6, 6))
    after = fired(few_positions.RULE, before, sized)
    assert after.full_batch == 2 and after.by_model, "the model itself takes no more at a time than is allowed"


def test_incremental() -> None:
    net = network(*chain(("conv", CONV), ("pool", MaxPool((2, 2), (2, 2), (0, 0, 0, 0), (12, 12))), *HEAD))
    after = fired(incremental.RULE, plan(net))
    assert after.cut == 3 and after.crossing() == ("pool",)
    stages = lower(after, CONTEXT).stages
    assert [(stage.name, [step.node.name for step in stage.steps], stage.keeps) for stage in stages] == [
        ("deltas", ["conv", "pool"], ("pool",)),
        ("full", ["mean"], ("mean",)),
        ("head", ["dense"], ("dense",)),
    ]
    assert [step.incremental for stage in stages for step in stage.steps] == [True, True, False, False]
    flat = network(*chain(("flatten", Flatten())))
    assert incremental.apply(plan(flat), CONTEXT) == "the first layer has no delta rule: flatten"


def test_incremental_aggregate() -> None:
    net = network(*chain(("conv", CONV), *HEAD))
    after = fired(incremental_aggregate.RULE, plan(net, cut=2))
    assert after.cut == 4
    assert lower(after, CONTEXT).stages[0].keeps == ("dense",)
    assert incremental_aggregate.apply(plan(net), CONTEXT) == "the plan is not incremental"
    tail = Opaque("an fft", Shape(2, (1, 1)), lambda maps: maps[0])
    opaque = network(*chain(("conv", CONV), ("tail", tail)))
    assert fired(incremental.RULE, plan(opaque)).cut == 2
    assert (
        incremental_aggregate.apply(plan(opaque, cut=2), CONTEXT)
        == "a layer without a delta rule comes before any aggregate"
    )


def test_where_the_cut_lies_follows_from_what_an_operator_says_of_itself() -> None:
    """Rules name no kinds of operators here, so that a new one needs no edit in them."""

    class Gathering(Operator):
        gathers = True

        def output_shape(self, inputs: Sequence[Shape]) -> Shape:
            return Shape(inputs[0].channels, (1, 1))

    class Opaque(Gathering):
        has_delta_rule = False

    class Broadcasting(Operator):
        broadcasts = True

        def output_shape(self, inputs: Sequence[Shape]) -> Shape:
            return Shape(inputs[0].channels, (24, 24))

    net = network(*chain(("conv", CONV), ("mean", Gathering()), ("gate", Broadcasting()), ("opaque", Opaque())))
    found = (first_aggregate(net), first_spread(net), first_opaque(net))
    assert [net.nodes[i].name for i in found] == ["mean", "gate", "opaque"]
    assert gates(net) == {"mean", "gate", "conv"}, "the convolution feeds nothing but the gate"
    frozen = frozenset({"mean", "gate"})
    found = (first_aggregate(net, frozen), first_spread(net, frozen))
    assert [net.nodes[i].name for i in found] == ["opaque", "opaque"]
    assert first_opaque(net, frozenset({"opaque"})) == len(net)


@pytest.mark.parametrize(
    ("threads", "batch", "sizes"),
    [(1, None, {36, 37}), (2, None, {36, 37}), (3, None, {24, 25}), (1, 50, {48, 49})],
)
def test_multi_query_batching(threads: int, batch: int | None, sizes: set[int]) -> None:
    net = network(*chain(("conv", CONV)))
    before = LogicalPlan.naive(net, np.array([(i // 18, i % 18) for i in range(146)]), (7, 7))
    after = fired(multi_query_batching.RULE, before, replace(CONTEXT, threads=threads, batch_size=batch))
    assert {len(each) for each in after.batches} == sizes
    assert len(after.batches) % threads == 0 and after.full_batch == (batch or 48)


def test_there_may_be_too_few_positions_to_batch() -> None:
    single = LogicalPlan.naive(network(*chain(("conv", CONV))), np.array([(0, 0)]), (2, 2))
    assert multi_query_batching.apply(single, CONTEXT) == "there are too few positions to batch"


def batched(net: Network, cut: int, parts: int = 3) -> LogicalPlan:
    naive = plan(net, stride=2, cut=cut)
    batches = tuple(partition(naive.positions, work_by_axis(naive), np.arange(len(naive.positions)), parts))
    return replace(naive, batches=batches, groups=tuple((i,) for i in range(parts)))


def test_cut_over() -> None:
    # A patch of 6 in 24 pixels: after nine convolutions its boxes cover everything.
    pairs = [(f"{kind}{i}", operator) for i in range(14) for kind, operator in (("conv", CONV), ("relu", RELU))]
    net = network(*chain(*pairs, *HEAD))
    before = batched(net, 31)
    after = fired(cut_over.RULE, before)
    assert 12 < after.cut < 22 and after.crossing() == (net.nodes[after.cut - 1].name,)
    small = batched(network(*chain(("conv", CONV), *HEAD)), 4)
    assert cut_over.apply(small, CONTEXT) == "full evaluation from an earlier layer on would cost more"
    assert cut_over.apply(plan(net), CONTEXT) == "the plan is not incremental"
    whole = replace(before, patch=(24, 24), positions=np.zeros_like(before.positions))
    assert fired(cut_over.RULE, whole).cut == 1


def test_constant_interior() -> None:
    net = network(*chain(("conv", CONV), ("relu", RELU), ("again", CONV), *HEAD), size=(48, 48))
    before = replace(plan(net, patch=30, cut=4), uniform=True)
    fast = replace(CONTEXT, costs=CostModel(replace(PROFILE, call=0.0), CpuBackend()))
    after = fired(constant_interior.RULE, before, fast)
    assert after.interior == {"conv", "again"}
    whole, ring = lower(before, fast), lower(after, fast)
    # At (8, 8) the second layer's box is 34 x 34; 26 x 26 of it read the patch alone.
    inner = [core for core in after.cores(net["again"]) if core.extent == (34, 34)]
    assert {core.part for core in inner} == {Part((4, 4), (26, 26))}
    saved = sum(core.cells for name in after.interior for core in after.cores(net[name])) * 4 * 4 * 9
    assert whole.planned_macs - ring.planned_macs == saved and ring.seconds < whole.seconds
    assert ring.views == whole.views | {"again", "conv"}


def test_an_interior_must_be_that_of_every_position_of_a_batch() -> None:
    """The one cell that sees the patch alone is elsewhere in the box at the border, where that is cut off."""
    net = network(*chain(("conv", CONV), *HEAD))
    both = plan(net, patch=3, cut=2)
    both = replace(both, batches=(np.arange(len(both.positions)),), groups=((0,),))
    inside = both.geometry.enclosed["conv"]
    assert (inside.areas == 1).all() and not any(core.part for core in both.cores(net["conv"]))
    refused = constant_interior.apply(replace(both, uniform=True), CONTEXT)
    assert refused == "no layer has a window that lies inside the patch at every position of a batch"


def test_a_constant_interior_must_gain() -> None:
    net = network(*chain(("conv", CONV), *HEAD), size=(48, 48))
    apply = constant_interior.apply
    assert apply(plan(net), CONTEXT) == "the plan is not incremental"
    assert apply(plan(net, patch=30, cut=2), CONTEXT) == "the patch is not of one colour"
    small = replace(plan(net, patch=2, cut=2), uniform=True)
    assert apply(small, CONTEXT) == "no layer has a window that lies inside the patch at every position of a batch"
    slow = replace(CONTEXT, costs=CostModel(replace(PROFILE, call=1e-3), CpuBackend()))
    assert (
        apply(replace(small, patch=(30, 30)), slow) == "the cells around the interior cost as much as the whole boxes"
    )


def test_rebatch() -> None:
    net = network(*chain(("conv", CONV), *HEAD))
    before = batched(net, 2, parts=10)  # 100 positions, 9 KiB each cross
    assert fired(rebatch.RULE, before).groups == (tuple(range(10)),)
    bounded = fired(rebatch.RULE, before, replace(CONTEXT, buffer_positions=40, threads=2))
    assert [len(group) for group in bounded.groups] == [3, 2, 2, 1, 1, 1]
    tight = fired(rebatch.RULE, before, replace(CONTEXT, buffer_bytes=1))
    assert tight.groups == before.groups
    assert fired(rebatch.RULE, before, replace(CONTEXT, batch_size=5)).full_batch == 5
    assert rebatch.apply(batched(net, 4), CONTEXT) == "no layer is evaluated in full"
    assert rebatch.apply(batched(net, 2, parts=1), CONTEXT) == "there is only one batch"


def test_freeze_context_says_whether_it_is_the_query_or_the_round_that_does_without() -> None:
    before = plan(network(*chain(("conv", CONV), *HEAD)))
    assert freeze_context.apply(before, CONTEXT) == "the query has no APPROXIMATE"
    full = replace(CONTEXT, permissions=Permissions(approximate=True))
    assert freeze_context.apply(before, full) == "these positions are evaluated at full fidelity"


def test_projective_field() -> None:
    def permitting(threshold: float) -> Context:
        return replace(CONTEXT, permissions=Permissions(threshold=threshold))

    before = plan(network(*chain(("conv", CONV), ("again", CONV), *HEAD)), cut=3)
    assert fired(projective_field.RULE, before, permitting(0.25)).threshold == 0.25
    assert projective_field.apply(before, CONTEXT) == "the query has no THRESHOLD"
    assert projective_field.apply(before, permitting(1.0)) == "THRESHOLD 1 does not limit boxes"
    naive = replace(before, cut=1)
    assert projective_field.apply(naive, permitting(0.25)) == "the plan is not incremental"


def test_null_deltas() -> None:
    before = plan(network(*chain(("conv", CONV))))
    assert not before.drop_null and fired(null_deltas.RULE, before).drop_null


# --- optimize, lower, verify, partition --------------------------------------------------------------------------


def test_rules_are_applied_in_order_timed_and_explained() -> None:
    net = network(*chain(("pad", Pad((1, 1, 1, 1))), ("conv", CONV), ("norm", Affine("a", "c")), ("relu", RELU), *HEAD))
    after, history = optimize(plan(net), CONTEXT, {"fold_batch_norm": False})
    assert [applied.rule for applied in history] == list(RULES)
    by_name = {applied.rule.name: applied for applied in history}
    assert by_name["fold_padding"].fired and not by_name["fold_padding"].reason
    assert not by_name["fold_batch_norm"].fired and by_name["fold_batch_norm"].reason == "switched off"
    assert by_name["share_duplicates"].reason == "all positions are distinct"
    assert all(applied.seconds >= 0 and applied.rule.summary for applied in history)
    assert [node.name for node in after.network] == ["image", "conv", "relu", "mean", "dense"]
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert [rule.name for rule in RULES if not rule.exact] == ["gates_live", "freeze_context", "projective_field"]


def broken(before: LogicalPlan, how: str) -> LogicalPlan:
    net = before.network
    conv = net["conv"]

    def with_conv(node: Node) -> Network:
        return Network((net.nodes[0], node, *net.nodes[2:]), net.parameters)

    changes: dict[str, dict[str, object]] = {
        "positions lost": {"batches": before.batches[:-1], "groups": before.groups[:-1]},
        "position twice": {"batches": (*before.batches[:-1], before.batches[0])},
        "batch lost": {"groups": before.groups[:-1]},
        "cut": {"cut": 99},
        "order": {"network": Network((net.nodes[0], *net.nodes[:0:-1]), net.parameters)},
        "shape": {"network": with_conv(replace(conv, shape=Shape(4, (9, 9))))},
        "weight": {"network": with_conv(replace(conv, operator=replace(CONV, weight="gone")))},
        "source": {"network": Network(net.nodes[1:], net.parameters)},
        "colours": {"interior": frozenset({"conv"})},
        "threshold": {"threshold": 0.0},
        "interior": {"interior": frozenset({"mean"}), "uniform": True, "cut": 3},
    }
    return replace(before, **changes[how])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "how",
    [
        "positions lost",
        "position twice",
        "batch lost",
        "cut",
        "order",
        "shape",
        "weight",
        "source",
        "colours",
        "interior",
        "cycle",
    ],
)
def test_a_rule_that_breaks_a_plan_is_caught_by_name(how: str) -> None:
    def apply(before: LogicalPlan, context: Context) -> LogicalPlan:
        if how == "cycle":
            return before.with_network(network(("a", RELU, ("b",)), ("b", RELU, ("a",))))
        return broken(before, how)

    net = network(*chain(("conv", CONV), *HEAD))
    with pytest.raises(ExecutionError, match=r"rule clumsy .*SET rule\.clumsy = off"):
        optimize(plan(net), CONTEXT, rules=[Rule("clumsy", "", apply)])
    assert optimize(plan(net), CONTEXT, {"clumsy": False}, [Rule("clumsy", "", apply)])[0].network is net


def test_layers_that_feed_nothing_are_left_out_and_shapes_must_fit() -> None:
    net = network(("unread", RELU, ("image",)), ("conv", CONV, ("image",)))
    assert [node.name for node in net] == ["image", "conv"]
    with pytest.raises(ValueError, match="cannot combine"):
        network(("mean", GlobalMean(), ("image",)), ("add", Add(), ("image", "mean")))


def test_memory_is_granted_only_at_the_last_reading_and_freed_there() -> None:
    """A residual block with a gate: ``conv`` is read three times, ``gate`` shares the memory of ``mean``."""
    net = network(
        ("conv", CONV, ("image",)),
        ("relu", RELU, ("conv",)),
        ("twice", Add(), ("relu", "relu")),
        ("mean", GlobalMean(), ("conv",)),
        ("gate", Expand(Shape(4, (24, 24))), ("mean",)),
        ("scaled", Multiply(), ("gate", "twice")),
        ("sum", Add(), ("scaled", "conv")),
    )
    for cut in (1, len(net)):
        steps = {s.node.name: s for stage in lower(plan(net, cut=cut), CONTEXT).stages for s in stage.steps}
        granted = {name: step.donate for name, step in steps.items()}
        assert granted == {
            "conv": (True,), "relu": (False,), "twice": (False, False), "mean": (False,), "gate": (False,),
            "scaled": (False, True), "sum": (True, True),
        }  # fmt: skip
        assert steps["sum"].releases == ("scaled", "conv") and steps["twice"].releases == ("relu",)
        assert steps["relu"].releases == ()


PLACES = st.tuples(st.integers(0, 30), st.integers(0, 30))
WORK = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(PLACES, WORK), min_size=1, max_size=60), st.integers(1, 20), st.data())
def test_a_partition_covers_every_member_once_near_equally(
    drawn: list[tuple[tuple[int, int], tuple[int, int]]], parts: int, data: st.DataObject
) -> None:
    table, work = (np.array(column) for column in zip(*drawn, strict=True))
    members = np.array(sorted(data.draw(st.sets(st.integers(0, len(table) - 1), min_size=min(parts, len(table))))))
    parts = max(min(parts, len(members)), 1)
    groups = partition(table, work, members, parts)
    assert sorted(np.concatenate(groups)) == members.tolist()
    assert len(groups) == parts
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    for group in groups:
        assert table[group].tolist() == sorted(table[group].tolist())


@given(st.dictionaries(PLACES, WORK, min_size=1, max_size=60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_partition_is_the_same_for_any_order_of_the_positions(
    drawn: dict[tuple[int, int], tuple[int, int]], parts: int, random: Random
) -> None:
    def groups(items: list[tuple[tuple[int, int], tuple[int, int]]]) -> list[list[list[int]]]:
        table, work = (np.array(column) for column in zip(*items, strict=True))
        found = partition(table, work, np.arange(len(items)), min(parts, len(items)))
        return [table[group].tolist() for group in found]

    items = list(drawn.items())
    shuffled = random.sample(items, len(items))
    assert groups(items) == groups(shuffled)


def test_a_partition_makes_neighbours_of_a_lattice_where_all_work_is_the_same() -> None:
    starts = np.arange(8)
    positions = np.stack(np.meshgrid(starts, starts, indexing="ij"), -1).reshape(-1, 2)
    groups = partition(positions, np.ones_like(positions), np.arange(64), 4)
    assert [np.ptp(positions[group], axis=0).tolist() for group in groups] == [[3, 3]] * 4


def test_a_partition_puts_like_work_together_wherever_it_lies() -> None:
    positions = np.stack([np.arange(12), np.zeros(12, int)], axis=1)
    work = np.stack([np.arange(12) % 3, np.ones(12, int)], axis=1)
    groups = partition(positions, work, np.arange(12), 3)
    assert [group.tolist() for group in groups] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@given(st.lists(st.tuples(st.integers(0, 18), st.integers(0, 18)), min_size=1, max_size=30, unique=True))
def test_work_by_axis_is_of_the_extents_alone(places: list[tuple[int, int]]) -> None:
    net = network(*chain(("conv", CONV), ("relu", RELU), ("conv2", replace(CONV, stride=(2, 2))), *HEAD))
    before = replace(LogicalPlan.naive(net, np.array(places), (6, 6)), cut=4)
    work = work_by_axis(before)
    footprints = [before.geometry.footprints[node.name] for node in net.nodes[:4]]
    for axis in (0, 1):
        each = [f.spans[axis] for f in footprints if f is not None]
        lengths = np.array([spans.spread(spans.lengths) for spans in each]).T
        for one in range(len(places)):
            longer = (lengths >= lengths[one]).all(axis=1)
            same = (lengths == lengths[one]).all(axis=1)
            assert (work[longer & ~same, axis] > work[one, axis]).all() and (work[same, axis] == work[one, axis]).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_batches_by_work_take_fewer_multiply_adds_than_neighbours(stride: int) -> None:
    net = network(*chain(*((f"conv{i}", CONV) for i in range(4)), *HEAD))
    before = plan(net, stride=stride, cut=5)
    members, parts = np.arange(len(before.positions)), len(before.positions) // 8

    def cells(work: np.ndarray) -> int:
        batches = tuple(partition(before.positions, work, members, parts))
        return sum(before.geometry.batched(batches).cells.values())

    by_work, neighbours = cells(work_by_axis(before)), cells(np.zeros_like(before.positions))
    exact = sum(int(f.areas.sum()) for f in before.geometry.footprints.values() if f is not None)
    assert exact <= by_work < neighbours
