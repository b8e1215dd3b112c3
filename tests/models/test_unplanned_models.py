"""Models that nobody planned for: evaluated where they must be by torch, and exact all the same, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kdb
from benchmarks import photos
from kdb.errors import ModelError
from kdb.frontends.torch_export import trace
from kdb.operators.sources import Opaque

SIDE = 24


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).mean((2, 3))
        return torch.cond(torch.ones(()) > 0, lambda a: a * 2, lambda a: a - 1, (y,))


class Unpooling(nn.Module):
    """Reads the indices of a max-pool, which kdb's own does not give."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.pool = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y, indices = self.pool(self.convolution(x))
        return self.unpool(y, indices).square().mean((2, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.rnn = nn.Conv2d(3, 4, 3, stride=4), nn.LSTM(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.convolution(x).flatten(2).transpose(1, 2))[0][:, -1]


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 8, 4, stride=4), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.randn(1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer.expand(x.shape[0], 3)


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * SIDE * SIDE, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x.reshape(len(x), -1))


class Twofold(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.convolution(x).mean((2, 3))
        return y, y


MODELS = {
    "conditional": Conditional,
    "unpooling": Unpooling,
    "recurrent": Recurrent,
    "attentive": Attentive,
    "dense alone": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 5)),
    "one window": lambda: nn.Sequential(nn.Conv2d(3, 2, SIDE), nn.Flatten()),
    "mean alone": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "upsampling": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2), nn.AdaptiveMaxPool2d(1), nn.Flatten()
    ),
    "transposed": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3), nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 3)
    ),
    "normed": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Mish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_any_model_is_exact(name: str) -> None:
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    image = photos.photo("chelsea", (SIDE, SIDE))
    hm = kdb.occlude(image, module, (7, 5), 6, score="logit", target=[0, 1], scale=64)
    assert isinstance(hm, kdb.HeatMap)
    occluded = []
    for y, x in hm.positions.reshape(-1, 2):
        copy = image.copy()
        copy[y : y + 7, x : x + 5] = 0
        occluded.append(copy)
    pixels = torch.tensor(np.stack(occluded)).permute(0, 3, 1, 2).double() / 64
    with torch.no_grad():
        truth = module.double()(pixels).numpy()[:, :2].T.reshape(hm.values.shape)
    assert (np.ptp(truth, axis=(1, 2)) > 1e-3 * np.abs(truth).max()).any()
    np.testing.assert_allclose(hm.values, truth, atol=1e-4 * np.abs(truth).max())


@pytest.mark.parametrize(
    ("model", "said"),
    [(Constant, "does not depend on its input"), (Twofold, "returns 2 outputs"), (FixedBatch, "size of the batch")],
)
def test_what_cannot_be_explained_is_refused(model: type[nn.Module], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        kdb.occlude(photos.photo("chelsea", (SIDE, SIDE)), model())


def test_models_that_differ_only_in_what_torch_evaluates_share_nothing() -> None:
    """Neither the weights nor the layers before it tell them apart."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image, found = photos.photo("chelsea", (SIDE, SIDE)), {}
    with kdb.connect() as db:
        db.register_model("plain", nn.Sequential(*layers), input_size=SIDE)
        db.register_model("halved", nn.Sequential(*layers[:2], nn.Hardtanh(-0.1, 0.1), *layers[2:]), input_size=SIDE)
        for name in ("plain", "halved"):
            query = f"OCCLUDE $x WITH patch(7, 5) STRIDE 6 USING {name} FOR ALL CLASSES SCORE logit"
            found[name] = db.execute(query, {"x": image}).baseline
    assert np.abs(found["halved"]).max() < 0.11 < np.abs(found["plain"]).max()


class PartlyScripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scripted, self.head = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.scripted(x).mean((2, 3)))


class WritesIntoItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.sub_(0.45).div_(0.2))


@pytest.mark.parametrize("kind", [PartlyScripted, WritesIntoItsInput])
def test_modules_that_need_care_are_right_or_refused(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module, image = kind().eval(), np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    query = "OCCLUDE $image WITH patch(8, 8) STRIDE 3 USING $m (input = (32, 32)) SCORE logit FOR CLASS 1"
    try:
        hm = kdb.connect().execute(query, {"image": image, "m": module})
    except kdb.ModelError:
        assert kind is PartlyScripted
        return
    occluded = torch.from_numpy(image / 255).permute(2, 0, 1).repeat(hm.values.size, 1, 1, 1)
    for each, (y, x) in zip(occluded, hm.positions.reshape(-1, 2), strict=True):
        each[:, y : y + 8, x : x + 8] = 0
    with torch.no_grad():
        expected = module.double()(occluded)[:, 1].numpy()
    np.testing.assert_allclose(hm.values.reshape(-1), expected, rtol=0, atol=1e-3 * np.ptp(expected))


def test_a_scripted_part_is_named_with_what_to_do() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(kdb.ModelError, match=r"'scripted' is scripted .* put the module that it was compiled from in"):
        kdb.occlude(image, PartlyScripted(), patch=8)


class OfSteps(nn.Module):
    """A recurrent layer behind a convolution; ``train`` leaves its dropout on whatever the mode."""

    def __init__(self, kind: type[nn.RNNBase], train: bool = False) -> None:
        super().__init__()
        self.convolution, self.train_ = nn.Conv1d(2, 4, 3, padding=1), train
        self.steps = kind(4, 5, num_layers=2, batch_first=True, dropout=0.5 if train else 0)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).relu().transpose(1, 2)
        if self.train_:
            start = y.new_zeros(2, y.shape[0], 5)
            made = torch.gru(y, start, self.steps._flat_weights, True, 2, 0.5, True, False, True)[0]
        else:
            made = self.steps(y)[0]
        return self.head(made[:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_is_one_layer_and_not_its_steps(kind: type[nn.RNNBase]) -> None:
    network = trace(OfSteps(kind).eval(), (2, 12))
    assert len(network) < 8
    because = [node.operator.because for node in network if isinstance(node.operator, Opaque)]
    assert len(because) == 1 and because[0].startswith("steps: ")


def test_a_recurrent_layer_that_drops_is_refused() -> None:
    with pytest.raises(ModelError, match="on chance"):
        trace(OfSteps(nn.GRU, train=True).eval(), (2, 6))
