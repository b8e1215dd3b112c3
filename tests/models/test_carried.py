"""What a module carries of its preprocessing is taken, what a user gives stands above it, and the rest is noted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import kdb
from kdb.errors import BindError
from kdb.images.preprocessing import Preprocessing
from kdb.models import carried, zoo
from kdb.models.model import Model
from kdb.models.torchvision_compat import import_torchvision

models = import_torchvision().models
transforms = pytest.importorskip("torchvision.transforms")

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ASSUMED = "mean 0 and std 1 are assumed, since neither the model nor an option says how its images are normalised"


def colours(model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return model.preprocessing.mean, model.preprocessing.std


@cache
def resnet() -> nn.Module:
    return models.resnet18().eval()


def plain(channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


# ---- torchvision


def weights() -> Iterator[Any]:
    for name in models.list_models(module=models):
        yield from models.get_model_weights(name)


def test_all_of_torchvision_s_classifiers_have_imagenet_s_mean_and_std_but_one() -> None:
    others = {}
    for each in weights():
        found = carried.of_preset(each.transforms(), "").colours.values
        if (found["mean"], found["std"]) != IMAGENET and each.meta["categories"]:
            others[str(each)] = (found["mean"], found["std"])
    assert others == {"EfficientNet_V2_L_Weights.IMAGENET1K_V1": ((0.5,) * 3, (0.5,) * 3)}


def test_the_number_of_parameters_tells_torchvision_s_builders_apart() -> None:
    names: dict[int, set[str]] = {}
    for name in models.list_models(module=models):
        for each in models.get_model_weights(name):
            names.setdefault(each.meta["num_params"], set()).add(name)
    assert all(len(each) == 1 for each in names.values()) and len(names) > 70


def test_a_module_of_torchvision_s_is_prepared_as_by_its_name() -> None:
    made = zoo.make_model("m", resnet())
    assert made.preprocessing == zoo.default_preprocessing("resnet18")
    assert made.facts == ("mean, std, input: of torchvision's ResNet18_Weights.IMAGENET1K_V1",) and not made.notes


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_a_last_layer_for_other_classes_does_not_matter(name: str) -> None:
    made = zoo.make_model("m", models.get_model(name, num_classes=7))
    assert made.preprocessing == zoo.default_preprocessing(name)


def test_weights_with_another_crop_are_noted_where_the_crop_is_taken() -> None:
    with torch.device("meta"):
        module = models.mobilenet_v2()
    found = carried.of_module(module)
    assert found.geometry.values["resize_size"] == 232 and "V1" in found.geometry.doubt and not found.colours.doubt


def test_an_exchanged_head_is_of_the_class_and_noted() -> None:
    module = models.resnet18()
    module.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 2))
    made = zoo.make_model("m", module, input=64)
    assert colours(made) == IMAGENET
    (note,) = made.notes
    assert note.startswith("mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225) are assumed") and "ResNet" in note
    with pytest.raises(BindError, match="needs an input size"):
        zoo.make_model("m", module)
    # torchvision's EfficientNets do not agree, so that nothing is known of a changed one
    with torch.device("meta"):
        changed = models.efficientnet_b0()
        changed.classifier = nn.Sequential(nn.Linear(1280, 8), nn.Linear(8, 2))
    assert not carried.of_module(changed).colours.values


def test_what_is_around_a_known_module_may_normalise_itself() -> None:
    assert zoo.make_model("m", nn.Sequential(resnet()), input=64).notes[0].startswith(ASSUMED)


# ---- what is given


def test_what_is_given_stands_above_what_is_carried() -> None:
    made = zoo.make_model("m", resnet(), mean=0.1, input=(64, 96))
    assert made.preprocessing == Preprocessing((64, 96), mean=0.1, std=IMAGENET[1])
    assert made.facts == ("mean: given", "std: of torchvision's ResNet18_Weights.IMAGENET1K_V1")
    stretched = zoo.make_model("m", resnet(), resize="stretch").preprocessing
    assert (stretched.resize, stretched.input_size) == ("stretch", (224, 224))
    turned = zoo.make_model("m", resnet(), channels="bgr")
    assert colours(turned) == (IMAGENET[0][::-1], IMAGENET[1][::-1])


def test_what_is_assumed_is_noted_and_giving_it_silences() -> None:
    made = zoo.make_model("m", plain(), input=8)
    assert colours(made) == ((0.0,) * 3, (1.0,) * 3) and made.notes == (f"{ASSUMED}; give mean = and std =",)
    assert zoo.make_model("m", plain(), input=8, mean=0).notes[0].startswith("std 1 is assumed")
    assert zoo.make_model("m", plain(), input=8, mean=0, std=1).notes == ()
    grey = models.resnet18()
    grey.conv1 = nn.Conv2d(1, 64, 7)
    assert zoo.make_model("m", grey, input=64).notes[0].startswith(ASSUMED)  # three numbers do not fit one channel


# ---- timm, transforms


def test_timm_s_configuration_is_taken() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("resnet18")
    made = zoo.make_model("m", module)
    assert made.preprocessing == zoo.resolve("timm/resnet18", {"weights": "random"}).preprocessing
    assert made.facts == ("mean, std, input: of timm's pretrained_cfg",) and not made.notes
    given = timm.data.create_transform(**timm.data.resolve_model_data_config(module))
    assert zoo.make_model("m", plain(), transforms=given).preprocessing == made.preprocessing
    border = {**module.pretrained_cfg, "crop_mode": "border"}
    assert "resize = 'stretch' is assumed" in carried.of_timm(border, "").geometry.doubt


def test_transforms_of_weights_are_taken() -> None:
    preset = models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    made = zoo.make_model("m", plain(), transforms=preset)
    assert made.preprocessing == Preprocessing((224, 224), "RGB", 3, *IMAGENET, resize="crop", resize_size=256)
    assert made.facts == ("mean, std, input: of the transforms given",) and not made.notes
    half = zoo.make_model("m", plain(), transforms=preset, input=112, std=1).preprocessing
    assert (half.input_size, half.resize_size, half.std) == ((112, 112), 128, (1.0, 1.0, 1.0))


def test_a_compose_is_read() -> None:
    normal = transforms.Normalize(*IMAGENET)
    whole = [transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor(), normal]
    made = zoo.make_model("m", plain(), transforms=transforms.Compose(whole)).preprocessing
    assert made == Preprocessing((32, 32), "RGB", 3, *IMAGENET, resize="crop", resize_size=40)
    bare = transforms.Compose([transforms.Resize((8, 9)), transforms.ToTensor()])
    model = zoo.make_model("m", plain(), transforms=bare)
    assert model.preprocessing == Preprocessing((8, 9), resize="stretch") and not model.notes


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([transforms.Resize(8)], "Resize without CenterCrop"),
        ([transforms.CenterCrop(8)], "does not read CenterCrop there"),
        ([transforms.RandomCrop(8)], "does not read RandomCrop there"),
        ([transforms.Resize((8, 8)), transforms.Normalize(*IMAGENET)], "does not read Normalize there"),
        ([transforms.ToTensor()], "needs an input size"),
        (3, "transforms = int: expected those of torchvision's weights"),
    ],
)
def test_transforms_that_are_not_read(steps: Any, said: str) -> None:
    given = transforms.Compose(steps) if isinstance(steps, list) else steps
    with pytest.raises(BindError, match=said):
        zoo.make_model("m", plain(), transforms=given)


# ---- files


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, None),
        ({"Image.NominalPixelRange": "Normalized_0_1"}, (0, 1)),
        ({"image.nominalpixelrange": "normalized_1_1"}, (0.5, 0.5)),
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, (0, 1 / 255)),
        ({"Image.NominalPixelRange": "NominalRange_16_235"}, None),
        ({"names": "{0: 'cat'}", "imgsz": "[12, 12]"}, None),
    ],
)
def test_the_metadata_of_an_onnx_file(
    said: dict[str, str], expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    import onnx

    from tests.onnx_files import classifier, node, saved

    proto = classifier(node("Softmax", "d", "y"))
    onnx.helper.set_model_props(proto, said | {"Image.BitmapPixelFormat": "Bgr8"})
    db = kdb.connect()
    path = saved(proto, tmp_path)
    (row,) = db.execute(f"CREATE MODEL m FROM '{path}'")
    described = db.execute("DESCRIBE MODEL m").lines
    assert any("BGR" in line for line in described)
    if expected is None:
        assert ASSUMED in row[-1] and any(line.startswith(f"note: {ASSUMED}") for line in described)
    else:
        assert "mean, std, channels: of the file's metadata" in row[-1] and ASSUMED not in row[-1]
        mean, std = expected
        assert any(f"mean ({mean:.6g}, " in line and f"std ({std:.6g}, " in line for line in described)


def test_a_state_dict_is_prepared_as_its_architecture(tmp_path: Path) -> None:
    torch.save(resnet().state_dict(), tmp_path / "net.pt")
    from kdb.models.files import load_model

    made = load_model("net", str(tmp_path / "net.pt"), {"arch": "resnet18"})
    assert made.preprocessing == zoo.default_preprocessing("resnet18") and not made.notes


def test_a_module_that_is_registered_bare_gives_the_map_of_its_name() -> None:
    """What was .252 instead of .164: the mean and std of a ResNet18 that is registered without them."""
    db = kdb.connect()
    module = zoo.resolve("resnet18", {"weights": "random"}).module
    db.register_model("mine", module)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    query = "OCCLUDE $image WITH patch(112, 112) STRIDE 112 USING {} FOR CLASS 7"
    mine, named = (
        db.execute(query.format(name), {"image": image}) for name in ("mine", "resnet18 (weights = 'random')")
    )
    assert mine.baseline == named.baseline and np.array_equal(mine.values, named.values) and not mine.notes


def test_a_configuration_that_says_no_more_than_it_must_is_taken() -> None:
    module = nn.Sequential(nn.Flatten())
    config = {"mean": (0.1, 0.2, 0.3), "std": (1, 1, 1), "input_size": (3, 40, 48)}
    module.pretrained_cfg = config  # type: ignore[assignment]
    found = carried.of_module(module)
    assert found.colours.values["mean"] == (0.1, 0.2, 0.3) and found.geometry.values["input_size"] == (40, 48)
    for key in config:
        module.pretrained_cfg = {k: v for k, v in config.items() if k != key}  # type: ignore[assignment]
        assert not carried.of_module(module).colours.values
