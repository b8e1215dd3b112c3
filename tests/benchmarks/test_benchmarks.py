"""Photographs, oracle, exactness, calibrated networks and competitors, checked before they judge anything else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.algorithm1 import Algorithm1
from benchmarks.baselines import LAYOUTS, TRIALS, Naive, captum_occlusion, captum_seconds, fold_batch_norms, naive
from benchmarks.calibrated import calibrate, calibrated, input_size, signal
from benchmarks.oracle import (
    RANGE_BOUND,
    SCALE_BOUND,
    exactness,
    float32_logits,
    occlude,
    oracle_logits,
    relative_range,
    worst_share,
)
from kdb.execution.engine import Engine, default_settings
from kdb.frontends.torch_export import trace

MEAN_COLOUR = torch.zeros(3)


def small_network() -> nn.Module:
    """Convolutions with and without a batch-norm after them, and five classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(12),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(48, 5),
    )


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return calibrate(small_network(), photos.normalised(photos.crops((32, 32), 6)))


@pytest.fixture(scope="module")
def image() -> Tensor:
    return photos.normalised(photos.photo("coffee", (32, 32)))


CORNERS = np.array([[0, 0], [24, 24], [3, 17], [3, 17], [8, 5]])


class TestPhotos:
    @pytest.mark.parametrize("name", photos.NAMES)
    def test_every_photograph_is_there(self, name: str) -> None:
        image = photos.photo(name)
        assert image.dtype == np.uint8
        assert image.ndim == 3 and image.shape[2] == 3
        assert image.std() > 5, "a photograph, not a blank"

    def test_a_size_is_height_then_width(self) -> None:
        assert photos.photo("coffee", (40, 70)).shape == (40, 70, 3)

    def test_a_size_cuts_the_centre_and_keeps_the_proportions(self) -> None:
        whole = photos.photo("chelsea")  # 300 x 451
        assert np.array_equal(photos.photo("chelsea", (300, 301)), whole[:, 75:376])

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(KeyError, match="chelsea"):
            photos.photo("lenna")

    def test_crops_depend_on_the_seed_alone(self) -> None:
        first, again, other = (photos.crops((24, 32), 3, seed) for seed in (1, 1, 2))
        assert first.shape == (3, 24, 32, 3)
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_normalised(self) -> None:
        image = np.zeros((2, 3, 3), np.uint8)
        image[0, 1] = (255, 128, 0)
        got = photos.normalised(image)
        assert got.shape == (3, 2, 3) and got.dtype == torch.float32
        want = (np.array([1, 128 / 255, 0]) - photos.MEAN) / photos.STD
        np.testing.assert_allclose(got[:, 0, 1], want, rtol=1e-6)


class TestOcclude:
    @given(y=st.integers(0, 5), x=st.integers(0, 4), h=st.integers(1, 4), w=st.integers(1, 6))
    def test_the_patch_and_nothing_else_changes(self, y: int, x: int, h: int, w: int) -> None:
        image = torch.arange(3 * 9 * 10.0).reshape(3, 9, 10)
        fill = -1 - torch.arange(3.0 * h * w).reshape(3, h, w)
        (got,) = occlude(image, fill, (h, w), torch.tensor([[y, x]]))
        assert torch.equal(got[:, y : y + h, x : x + w], fill)
        inside = torch.zeros(9, 10, dtype=torch.bool)
        inside[y : y + h, x : x + w] = True
        assert torch.equal(got[:, ~inside], image[:, ~inside])

    def test_a_colour_fills_the_patch(self) -> None:
        got = occlude(torch.zeros(3, 4, 4), torch.tensor([1.0, 2, 3]), (2, 2), np.array([[1, 1]]))
        assert got[0, :, 1:3, 1:3].mean((1, 2)).tolist() == [1, 2, 3]

    @pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 3)])
    def test_a_patch_that_leaves_the_image_is_refused(self, corner: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="leaves the image"):
            occlude(torch.zeros(3, 4, 4), MEAN_COLOUR, (2, 2), np.array([corner]))


class TestExactness:
    TRUTH = np.array([[1.0, -4.0], [3.0, -2.0], [2.0, -3.0]])  # both classes range over 2, the largest are 3 and 4

    def test_the_worst_share_of_a_few_positions_forgives_what_is_nearly_flat(self) -> None:
        flat = 1 + 1e-6 * self.TRUTH / np.abs(self.TRUTH).max()
        assert worst_share(flat + 9e-6, flat, flat) < 1 < worst_share(flat + 2e-5, flat, flat)
        assert worst_share(self.TRUTH, self.TRUTH, self.TRUTH) == 0
        off = self.TRUTH + 1e-4 * np.abs(self.TRUTH).max()
        assert worst_share(off, self.TRUTH, self.TRUTH) >= 1 > worst_share(off, self.TRUTH, off)

    def test_the_truth_is_exact(self) -> None:
        verdict = exactness(self.TRUTH, self.TRUTH, self.TRUTH)
        assert verdict.ok
        assert (verdict.scale_error, verdict.range_error, verdict.range_use) == (0, 0, 0)
        assert verdict.signal == pytest.approx(0.5)

    def test_the_figures_are_those_of_the_worst_class(self) -> None:
        off = np.add(self.TRUTH, [[0, 0], [0.003, 0], [0, 0.002]])
        verdict = exactness(off, self.TRUTH, self.TRUTH)
        assert verdict.scale_error == pytest.approx(0.003 / 3)
        assert verdict.range_error == pytest.approx(0.003 / 2)

    @given(factor=st.floats(0.01, 0.99), cell=st.integers(0, 5))
    def test_just_inside_is_ok_and_just_outside_is_not(self, factor: float, cell: int) -> None:
        # For this truth the bound on the scale is the tighter one: 1e-4 of 3 or 4, against 1e-3 of 2.
        largest = np.abs(self.TRUTH).max(axis=0)
        step = np.zeros(6)
        step[cell] = SCALE_BOUND * largest[cell % 2]
        step = step.reshape(3, 2)
        assert exactness(self.TRUTH + factor * step, self.TRUTH, self.TRUTH).ok
        assert not exactness(self.TRUTH + step / factor, self.TRUTH, self.TRUTH).ok

    def test_the_range_counts_where_it_is_small(self) -> None:
        truth = 100 + self.TRUTH
        off = np.add(truth, [[3 * RANGE_BOUND, 0], [0, 0], [0, 0]])
        verdict = exactness(off, truth, truth)
        assert verdict.scale_error < SCALE_BOUND
        assert verdict.range_use == pytest.approx(1.5)
        assert not verdict.ok
        reference = np.add(truth, [[0, 0], [2 * RANGE_BOUND, 0], [0, 0]])
        forgiven = exactness(off, truth, reference)
        assert forgiven.range_use == pytest.approx(0.75), "twice the error of fp32 itself is allowed"
        assert forgiven.ok

    def test_the_tolerance_of_one_class_does_not_apply_to_another(self) -> None:
        truth = 100 + self.TRUTH
        off = np.add(truth, [[3 * RANGE_BOUND, 0], [0, 0], [0, 0]])
        assert not exactness(off, truth, np.add(truth, [[0, 0], [0, 2 * RANGE_BOUND], [0, 0]])).ok

    def test_a_nan_is_not_exact(self) -> None:
        off = self.TRUTH.copy()
        off[1, 1] = np.nan
        assert not exactness(off, self.TRUTH, self.TRUTH).ok

    def test_agreement_without_signal_is_not_enough(self) -> None:
        flat = np.ones((4, 3))
        verdict = exactness(flat, flat, flat)
        assert verdict.range_error == 0 and verdict.signal == 0
        assert not verdict.ok

    def test_an_error_on_a_constant_class_is_infinite(self) -> None:
        truth = np.column_stack([self.TRUTH, np.ones(3)])
        assert exactness(truth, truth, truth).ok
        off = truth.copy()
        off[0, 2] += 1e-9
        assert math.isinf(exactness(off, truth, truth).range_error)

    @pytest.mark.parametrize("shape", [(2, 2), (3,), (0, 2)])
    def test_shapes_must_agree(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"\[n, K\]"):
            exactness(np.zeros(shape), self.TRUTH if shape == (2, 2) else np.zeros(shape), np.zeros(shape))

    def test_relative_range(self) -> None:
        np.testing.assert_allclose(relative_range(self.TRUTH), [0.5, 0.5])


class TestOracle:
    def test_it_is_the_module_in_float64(self, network: nn.Module, image: Tensor) -> None:
        truth = oracle_logits(network, image, MEAN_COLOUR, (8, 8), CORNERS)
        plain = float32_logits(network, image, MEAN_COLOUR, (8, 8), CORNERS)
        assert truth.dtype == np.float64 and truth.shape == (5, 5)
        assert plain.dtype == np.float32
        assert next(network.parameters()).dtype == torch.float32, "the module itself is left alone"
        assert not np.array_equal(truth, truth.astype(np.float32)), "really computed in float64"
        assert exactness(plain, truth, plain).ok
        assert np.array_equal(truth[2], truth[3])


class TestCalibrated:
    @pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
    def test_a_patch_is_seen_in_the_logits(self, name: str) -> None:
        module = calibrated(name, (96, 96))
        image = photos.normalised(photos.photo("chelsea", (96, 96)))
        assert signal(module, image, positions=8) >= 1e-3
        assert signal(module, image, patch=(96, 96), positions=3) == 0, "one position, no range"

    def test_without_calibration_it_is_not(self) -> None:
        """Without calibration, a deep network with small weights gives the same logits for every image."""
        torch.manual_seed(0)
        pairs = [(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(20)]
        deep = nn.Sequential(*[layer for pair in pairs for layer in pair], nn.Flatten())
        images = photos.normalised(photos.crops((24, 24), 4))
        assert signal(deep.eval(), images[0], patch=(4, 4)) < 1e-3
        assert signal(calibrate(deep, images), images[0], patch=(4, 4)) > 1e-2

    def test_layers_are_calibrated_as_documented(self, image: Tensor) -> None:
        network = small_network()
        images = photos.normalised(photos.crops((32, 32), 6))
        calibrate(network, images)
        assert isinstance(network, nn.Sequential) and not network.training
        with torch.no_grad():
            first, third = network[0](images), network[:4](images)
            levels = network(images).mean(0)
        assert first.std().item() == pytest.approx(1, rel=0.05)
        assert third.std().item() == pytest.approx(1, rel=0.05)
        assert third.mean((0, 2, 3)).abs().max() < 1e-4
        assert torch.allclose(network[1].running_mean, first.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(network[1].running_var, first.var((0, 2, 3), correction=0), rtol=1e-4)
        assert levels.min() >= 1 and levels.max() <= 3 and levels.std() > 0.1

    def test_one_seed_one_network_and_nothing_else_moves(self) -> None:
        threads, state = torch.get_num_threads(), torch.random.get_rng_state()
        first, again, other = (calibrated("squeezenet1_1", (64, 64), seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not all(torch.equal(first[key], other[key]) for key in first)
        assert torch.get_num_threads() == threads
        assert torch.equal(torch.random.get_rng_state(), state)

    @pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
    def test_inceptions_transform_their_input_and_have_one_head(self, name: str) -> None:
        module = calibrated(name, (80, 80))
        assert module.transform_input
        assert not module.aux_logits
        assert module(torch.zeros(1, 3, 80, 80)).shape == (1, 1000)
        assert input_size(name) == ((299, 299) if name == "inception_v3" else (224, 224))


class TestNaive:
    def test_it_is_full_inference(self, network: nn.Module, image: Tensor) -> None:
        truth = oracle_logits(network, image, MEAN_COLOUR, (8, 8), CORNERS)
        plain = float32_logits(network, image, MEAN_COLOUR, (8, 8), CORNERS)
        for batch in (1, 2, 16):
            assert exactness(naive(network, image, MEAN_COLOUR, (8, 8), CORNERS, batch), truth, plain).ok

    @pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
    def test_every_layout_is(self, network: nn.Module, image: Tensor, layout: torch.memory_format) -> None:
        prepared = Naive(network, layout=layout).prepare((32, 32))
        assert prepared.layout == layout
        got = prepared(image, MEAN_COLOUR, (8, 8), CORNERS)
        np.testing.assert_allclose(got, float32_logits(network, image, MEAN_COLOUR, (8, 8), CORNERS), atol=1e-5)

    @pytest.mark.parametrize("quick", [torch.channels_last, torch.contiguous_format])
    def test_one_slow_trial_does_not_choose(
        self, network: nn.Module, quick: torch.memory_format, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The faster layout is slowed down at all but its last trial; both are tried equally often."""
        trials: list[torch.memory_format] = []

        def clock(self: Naive, module: nn.Module, images: Tensor) -> float:
            layout = next(each for each in LAYOUTS if images.is_contiguous(memory_format=each))
            trials.append(layout)
            return 1.0 if layout is quick and len(trials) > 2 * TRIALS else 2.0 + (layout is quick)

        monkeypatch.setattr(Naive, "_clock", clock)
        assert Naive(network).prepare((32, 32)).layout is quick
        assert trials == [*LAYOUTS] * (1 + TRIALS)

    def test_batch_norms_after_convolutions_are_folded(self, network: nn.Module, image: Tensor) -> None:
        folded, count = fold_batch_norms(network)
        assert count == 1, "the second batch-norm follows a ReLU and stays"
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules()) == 1
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) == 2
        with torch.no_grad():
            assert torch.allclose(folded(image[None]), network(image[None]), atol=1e-5)

    def test_all_of_a_resnet_is_folded(self) -> None:
        assert fold_batch_norms(calibrated("resnet18", (64, 64)))[1] == 20

    def test_a_shared_convolution_is_not_folded(self, image: Tensor) -> None:
        class Shared(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

            def forward(self, x: Tensor) -> Tensor:
                y = self.conv(x)
                return y + self.norm(y)

        shared = calibrate(Shared(), image[None])
        folded, count = fold_batch_norms(shared)
        assert count == 0
        assert torch.equal(folded(image[None]), shared(image[None]))

    def test_a_module_that_cannot_be_traced_runs_unchanged(self, image: Tensor) -> None:
        class Branching(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))

        got = naive(Branching(), image, MEAN_COLOUR, (8, 8), CORNERS)
        wanted = float32_logits(Branching(), image, MEAN_COLOUR, (8, 8), CORNERS)
        np.testing.assert_allclose(got, wanted, rtol=1e-5)  # the rounding of a mean depends on the layout

    def test_it_must_be_prepared(self, network: nn.Module, image: Tensor) -> None:
        with pytest.raises(RuntimeError, match="prepare"):
            Naive(network, layout=torch.channels_last)(image, MEAN_COLOUR, (8, 8), CORNERS)
        with pytest.raises(ValueError, match="at least one"):
            Naive(network, batch=0)


class TestCaptum:
    def test_attributions_are_logit_drops(self, network: nn.Module, image: Tensor) -> None:
        tiles = np.array([(y, x) for y in range(0, 32, 8) for x in range(0, 32, 8)])
        got = captum_occlusion(network, image, target=3, fill=MEAN_COLOUR, patch=(8, 8), stride=(8, 8))
        with torch.no_grad():
            baseline = network(image[None])[0, 3].item()
        drops = baseline - float32_logits(network, image, MEAN_COLOUR, (8, 8), tiles)[:, 3]
        assert got.shape == image.shape
        for (y, x), drop in zip(tiles, drops, strict=True):
            np.testing.assert_allclose(got[:, y : y + 8, x : x + 8], drop, atol=1e-5)

    def test_a_sample_of_batches_is_timed(self, network: nn.Module, image: Tensor) -> None:
        sizes: list[int] = []

        def counted(images: Tensor) -> Tensor:
            sizes.append(len(images))
            output = network(images)
            assert isinstance(output, Tensor)
            return output

        seconds = captum_seconds(
            counted, image, target=3, fill=MEAN_COLOUR, patch=(8, 8), stride=(4, 4), batch=4, batches=3
        )
        assert seconds > 0
        assert sizes == [1, 4, 4, 4], "the whole image once, then the batches, and no more"

    def test_a_map_too_small_to_be_sampled_is_refused(self, network: nn.Module, image: Tensor) -> None:
        with pytest.raises(ValueError, match="4 batches"):
            captum_seconds(network, image, target=3, fill=MEAN_COLOUR, patch=(8, 8), stride=(8, 8), batch=4, batches=4)
        with pytest.raises(ValueError, match="at least one"):
            captum_seconds(network, image, target=3, fill=MEAN_COLOUR, batches=0)


# --- Algorithm 1 in plain torch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_algorithm_1_in_plain_torch_is_full_inference(name: str) -> None:
    module = calibrated(name, (64, 64))
    image, fill = photos.normalised(photos.photo("chelsea", (64, 64))), torch.zeros(3)
    positions = np.array([(0, 0), (5, 40), (48, 48), (20, 17), (20, 17), (48, 3)])
    engine = Engine(default_settings())
    engine.settings.set("preset", "krypton")
    found = Algorithm1(engine, trace(module, (3, 64, 64)), image, "cpu")(fill, (16, 16), positions)
    truth = [logits(module, image, fill, (16, 16), positions) for logits in (oracle_logits, float32_logits)]
    assert exactness(found, *truth).ok
