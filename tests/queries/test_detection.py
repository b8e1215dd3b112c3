"""Detectors: the score of one box against the module in float64, its anchor against suppression one by one."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kdb
from kdb.errors import BindError, ExecutionError, ModelError
from kdb.models.detection import RetinaNet, detections
from tests.networks_of_boxes import retinanet, yolo
from tests.support import examples

pytestmark = pytest.mark.dense

SIZE = (64, 96)
LABELS = ["cat", "dog", "car", "tree", "sign"]


@pytest.fixture(scope="module")
def detector() -> kdb.Session:
    """A session with a detector, which is traced once for several tests."""
    db = kdb.connect()
    db.register_model("net", yolo(0), input_size=SIZE, mean=0, std=1, head="yolo", labels=LABELS)
    return db


def picture(seed: int) -> np.ndarray:
    coarse = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.interpolate(coarse, SIZE, mode="bicubic")[0].movedim(0, -1)
    return np.asarray((smooth * 60 + 128).clamp(0, 255), np.uint8)


def outputs_of(module: nn.Module, image: np.ndarray, positions: np.ndarray, patch: int) -> np.ndarray:
    """[n + 1, 4 + K, A] in float64, with zeros over each patch; the first is of the image as it is."""
    images = torch.from_numpy(np.moveaxis(image, -1, 0) / 255.0).repeat(len(positions) + 1, 1, 1, 1)
    for each, (y, x) in zip(images[1:], positions, strict=True):
        each[:, y : y + patch, x : x + patch] = 0
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(images).numpy()


def left_one_by_one(outputs: np.ndarray, iou: float) -> list[tuple[float, int, int]]:
    """(score, class, anchor) of the boxes that are left, best first, by the definition of suppression."""

    def overlap(a: int, b: int) -> float:
        sides = []
        for centre, extent in ((0, 2), (1, 3)):
            low = max(outputs[centre, i] - outputs[extent, i] / 2 for i in (a, b))
            high = min(outputs[centre, i] + outputs[extent, i] / 2 for i in (a, b))
            sides.append(max(high - low, 0))
        common = sides[0] * sides[1]
        whole = sum(outputs[2, i] * outputs[3, i] for i in (a, b)) - common
        return common / whole if whole > 0 else 0

    candidates = [(outputs[4:, a].max(), int(outputs[4:, a].argmax()), a) for a in range(outputs.shape[1])]
    left: list[tuple[float, int, int]] = []
    for each in sorted(candidates, key=lambda each: -each[0]):
        if all(other[1] != each[1] or overlap(other[2], each[2]) <= iou for other in left):
            left.append(each)
    return left


@cache
def traced(seed: int, iou: float) -> tuple[nn.Module, kdb.Session]:
    """A detector, and a session with it: to trace it takes longer than a map."""
    module, db = yolo(seed), kdb.connect()
    db.register_model("net", module, input_size=SIZE, mean=0, std=1, head="yolo", iou=iou, labels=LABELS)
    return module, db


@settings(max_examples=examples(4, 6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_score_of_a_box_is_the_module_s(data: st.DataObject) -> None:
    seed, iou = data.draw(st.sampled_from([(1, 0.7), (2, 0.3)]))
    (module, db), image = traced(seed, iou), picture(data.draw(st.integers(0, 9)))
    score = data.draw(st.sampled_from(["probability", "drop", "logit", "logit_drop"]))
    unmodified = outputs_of(module, image, np.zeros((0, 2), int), 1)[0]
    left = left_one_by_one(unmodified, iou)
    number = data.draw(st.integers(1, min(len(left), 9)))
    wanted = data.draw(st.sampled_from([None, left[number - 1][1]]))
    _, index, anchor = left[number - 1]
    clause = f"FOR DETECTION {number}"
    if wanted is not None:
        within = [each for each in left if each[1] == wanted]
        clause = f"FOR DETECTION {within.index(left[number - 1]) + 1} CLASS {wanted}"
    found = {}
    for demand in ("on", "off"):
        db.execute(f"SET rule.demand = {demand}")
        text = f"OCCLUDE $x WITH patch(16) STRIDE 16 USING net {clause} SCORE {score}"
        found[demand] = db.execute(text, {"x": image})
    positions = found["on"].positions.reshape(-1, 2)
    expected = outputs_of(module, image, positions, 16)[:, 4 + index, anchor]
    expected = np.log(expected / (1 - expected)) if score.startswith("logit") else expected
    expected = expected[0] - expected if score.endswith("drop") else expected
    for each in found.values():
        assert (each.class_index, each.label) == (index, LABELS[index])
        most = 5e-5 * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(each.values.reshape(-1), expected[1:], rtol=0, atol=most)
        own = each.detection - 1
        assert each.box_classes[own] == index and each.box_scores[own] == pytest.approx(left[number - 1][0], abs=1e-4)
        y, x, height, width = each.boxes[own]
        there = [x + width / 2, y + height / 2, width, height]
        np.testing.assert_allclose(there, unmodified[:4, anchor], rtol=0, atol=2e-2)
    assert found["on"].stats.executed_macs < found["off"].stats.executed_macs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_suppression_is_that_of_its_definition(seed: int, iou: float) -> None:
    random = np.random.default_rng(seed)
    anchors = int(random.integers(2, 30))
    boxes = np.concatenate([random.integers(0, 20, (2, anchors)), random.integers(0, 12, (2, anchors))])
    outputs = np.concatenate([boxes, random.permutation(3 * anchors).reshape(3, anchors) / (3 * anchors)])
    found = detections(outputs, iou)
    expected = left_one_by_one(outputs, iou)
    assert list(zip(found.classes.tolist(), found.anchors.tolist(), strict=True)) == [each[1:] for each in expected]


def test_a_part_of_the_boxes_is_not_computed_at_all(detector: kdb.Session) -> None:
    """What gives the boxes is no layer of the network, though they are concatenated with the scores level by level."""
    plan = detector.explain("OCCLUDE $x USING net", {"x": picture(0)})
    assert "detector.scores.2.2" in plan and "detector.boxes" not in plan
    assert "outside the vocabulary" not in plan


def test_predicted_is_the_best_box(tmp_path: Path) -> None:
    _, db = traced(1, 0.7)
    one, two = (
        db.execute(f"OCCLUDE $x WITH patch(16) STRIDE 16 USING net {clause}", {"x": picture(1)})
        for clause in ("", "FOR DETECTION 1")
    )
    assert "FOR DETECTION 1" in one.query and one.query == two.query and np.array_equal(one.values, two.values)
    assert one.detection == 1 and (np.diff(one.box_scores) <= 0).all()
    one.save(tmp_path / "one.npz")
    again = kdb.HeatMap.load(tmp_path / "one.npz")
    assert again.detection == 1 and np.array_equal(again.boxes, one.boxes)
    one.save(tmp_path / "one.png")
    verified = db.execute(f"VERIFY '{tmp_path / 'one.npz'}'")
    assert str(verified).startswith("agrees") and "detection" in str(verified)


def test_the_shortcut_takes_detections(detector: kdb.Session) -> None:
    one = detector.execute("OCCLUDE $x WITH patch(16) STRIDE 16 USING net FOR DETECTION 2", {"x": picture(1)})
    options = {"head": "yolo", "mean": 0, "std": 1, "input": SIZE, "labels": LABELS}
    two = kdb.occlude(picture(1), yolo(0), patch=16, stride=16, detection=2, **options)
    assert np.array_equal(one.values, two.values) and one.detection == two.detection
    with pytest.raises(BindError, match="detection is the number of a box, from 1; got 'two'"):
        kdb.occlude(picture(1), yolo(0), detection="two", **options)


def test_several_images_each_have_their_box(tmp_path: Path) -> None:
    from PIL import Image

    for seed in range(3):
        Image.fromarray(picture(seed)).save(tmp_path / f"{seed}.png")
    db = kdb.connect()
    db.register_model("net", yolo(2), input_size=SIZE, mean=0, std=1, head="yolo", resize="stretch")
    maps = db.execute(f"OCCLUDE '{tmp_path}/*.png' WITH patch(32) STRIDE 32 USING net FOR DETECTION 2")
    for each, seed in zip(maps, range(3), strict=True):
        alone = db.execute("OCCLUDE $x WITH patch(32) STRIDE 32 USING net FOR DETECTION 2", {"x": picture(seed)})
        assert np.array_equal(each.values, alone.values) and np.array_equal(each.boxes, alone.boxes)


@pytest.mark.parametrize("axes", [(1,), (1, 2)])
def test_yolo_of_an_onnx_file_is_that_of_onnx_runtime(tmp_path: Path, axes: tuple[int, ...]) -> None:
    """Exported as users do, with boxes and scores in one output; the other order of axes is refused."""
    module, path = yolo(3), tmp_path / "yolo.onnx"
    given: nn.Module = module if axes == (1,) else Turned(module)
    torch.onnx.export(
        given,
        (torch.zeros(2, 3, *SIZE),),
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        input_names=["images"],
        verbose=False,
    )
    db = kdb.connect()
    db.execute(f"CREATE MODEL net FROM '{path}' (head = 'yolo', mean = 0, std = 1)")
    text, image = "OCCLUDE $x WITH patch(16) STRIDE 16 USING net FOR DETECTION 3 SCORE drop", picture(3)
    if axes == (1, 2):
        with pytest.raises(ModelError, match="it looks transposed"):
            db.execute(text, {"x": image})
        return
    heat_map = db.execute(text, {"x": image})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    positions = heat_map.positions.reshape(-1, 2)
    images = np.repeat(np.moveaxis(image, -1, 0)[None] / np.float32(255), len(positions) + 1, 0)
    for each, (y, x) in zip(images[1:], positions, strict=True):
        each[:, y : y + 16, x : x + 16] = 0
    outputs = session.run(None, {"images": images})[0]
    _, index, anchor = left_one_by_one(outputs[0], 0.7)[2]
    scores = outputs[:, 4 + index, anchor]
    assert np.ptp(scores) > 0.01
    np.testing.assert_allclose(heat_map.values.reshape(-1), scores[0] - scores[1:], rtol=0, atol=1e-4)
    assert "outside the vocabulary" not in db.explain(text, {"x": image})


class Turned(nn.Module):
    """[N, A, 4 + K], as some exports have it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x).transpose(1, 2)


def test_retinanet_s_box_is_that_of_its_own_parts() -> None:
    """Boxes and scores as torchvision's decoder has them, and the map of one box in float64."""
    module, image = retinanet(0), picture(4)
    net = RetinaNet(module)
    x = torch.from_numpy(np.moveaxis(image, -1, 0) / np.float32(255))[None].float()
    with torch.no_grad():
        found = net(x)[0]
        levels = list(module.backbone(x).values())
        given = module.head(levels)
        anchors = torch.cat(
            module.anchor_generator.grid_anchors(
                [each.shape[-2:] for each in levels],
                [[torch.tensor(s // n) for s, n in zip(SIZE, each.shape[-2:], strict=True)] for each in levels],
            )
        )
        boxes = module.box_coder.decode_single(given["bbox_regression"][0], anchors)
        scores = given["cls_logits"][0].sigmoid()
    low, high = found[:2] - found[2:4] / 2, found[:2] + found[2:4] / 2
    ours, first = torch.cat([low, high, found[4:]]).T, 0
    for level in levels:  # theirs have the anchors of a cell together, ours those of one shape
        count = 9 * level.shape[-2:].numel()
        own = ours[first : first + count].reshape(9, -1, 8).transpose(0, 1).reshape(-1, 8)
        theirs = torch.cat([boxes, scores], 1)[first : first + count]
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-3)
        first += count

    db = kdb.connect()
    db.register_model("net", module, input_size=SIZE, mean=0, std=1, head="retinanet")
    heat_map = db.execute("OCCLUDE $x WITH patch(32) STRIDE 16 USING net FOR DETECTION 2 SCORE logit", {"x": image})
    outputs = outputs_of(net, image, heat_map.positions.reshape(-1, 2), 32)
    _, index, anchor = left_one_by_one(outputs[0], 0.7)[1]
    expected = np.log(outputs[:, 4 + index, anchor] / (1 - outputs[:, 4 + index, anchor]))
    np.testing.assert_allclose(heat_map.values.reshape(-1), expected[1:], rtol=0, atol=1e-4 * np.abs(expected).max())


class Proposing(nn.Module):
    """With the parts of a detector of two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn, self.roi_heads, self.backbone = nn.Identity(), nn.Identity(), nn.Conv2d(3, 8, 3)

    def forward(self, x: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{"boxes": each} for each in x]


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("FOR DETECTION 0", "DETECTION takes whole numbers from 1; not 0"),
        ("FOR DETECTION 9999", "DETECTION 9999: the detector finds .* boxes in this image"),
        ("FOR DETECTION 999 CLASS 'cat'", "the detector finds .* of 'cat' in this image"),
        ("FOR DETECTION 1 CLASS 'cow'", "has no class 'cow'"),
        ("FOR DETECTION 1 CLASS 5", "class 5 is out of range: .* 0 to 4"),
        ("FOR DETECTION 1 OVER ALL", "DETECTION is of one box, so it excludes OVER"),
        ("OVER ALL", "OVER is of segmentations"),
        ("FOR TOP 2", "is a detector, whose scores are of boxes: FOR DETECTION k"),
        ("FOR CLASS 'cat'", "is a detector, whose scores are of boxes: FOR DETECTION k"),
        ("FOR DETECTION 1 SCORE cosine TO $x", "SCORE cosine is of the whole output, so it excludes FOR"),
        ("SCORE cosine TO $x", "SCORE cosine is for models that give vectors"),
    ],
)
def test_clauses_that_are_refused(detector: kdb.Session, clause: str, message: str) -> None:
    with pytest.raises(BindError, match=message):
        detector.execute(f"OCCLUDE $x WITH patch(16) STRIDE 16 USING net {clause}", {"x": picture(0)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "yolo", "labels": LABELS[:3]}, "has 5 classes, but 3 labels"),
        ({"head": "detr"}, "head .*'detr'"),
        ({"head": "yolo", "iou": 1.5}, "iou is a number above 0, at most 1, not 1.5"),
        ({"iou": 0.5}, "iou is of detectors: give their head too"),
        ({"head": "yolo", "background": 0}, "background is of segmentations, and head of detectors"),
        ({"head": "retinanet"}, "head = 'retinanet' is of torchvision's RetinaNet, not of Yolo"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    db = kdb.connect()
    with pytest.raises(BindError, match=message):
        db.register_model("net", yolo(0), input_size=SIZE, mean=0, std=1, **options)
        db.execute("OCCLUDE $x WITH patch(16) STRIDE 16 USING net", {"x": picture(0)})


def test_a_classifier_has_no_boxes() -> None:
    db = kdb.connect()
    module = nn.Sequential(nn.Flatten(), nn.Linear(18432, 3))
    db.register_model("net", module, input_size=SIZE, mean=0, std=1, n_channels=3)
    with pytest.raises(BindError, match="DETECTION is of the boxes of a detector; 'net' has none"):
        db.execute("OCCLUDE $x WITH patch(16) STRIDE 16 USING net FOR DETECTION 1", {"x": picture(0)})


@pytest.mark.parametrize("shape", [(3,), (7, 20, 1), (4, 20)])
def test_an_output_without_boxes_and_scores_is_told(shape: tuple[int, ...]) -> None:
    class Other(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3)).reshape(-1, *(1 for _ in shape)).expand(-1, *shape)

    db = kdb.connect()
    db.register_model("net", Other(), input_size=SIZE, mean=0, std=1, n_channels=3, head="yolo")
    with pytest.raises(ModelError, match=r"the output of a detector is \[N, 4 \+ K, A\]"):
        db.execute("OCCLUDE $x USING net", {"x": picture(0)})


def test_a_detector_of_two_stages_is_refused_with_the_reason() -> None:
    db = kdb.connect()
    with pytest.raises(BindError, match="boxes that its first stage proposes"):
        db.register_model("net", Proposing(), input_size=SIZE, mean=0, std=1, head="retinanet")
    db.register_model("net", Proposing(), input_size=SIZE, mean=0, std=1)
    with pytest.raises(ModelError, match="boxes that its first stage proposes"):
        db.execute("OCCLUDE $x USING net", {"x": picture(0)})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("detection", 99, "detection must be the number of a box"),
        ("detection", None, "must all be there"),
        ("boxes", np.zeros((3, 3), np.float32), "boxes float32"),
        ("box_scores", np.arange(100, dtype=np.float32), "boxes"),
    ],
)
def test_a_map_with_other_boxes_is_none(detector: kdb.Session, field: str, value: Any, said: str) -> None:
    heat_map = detector.execute("OCCLUDE $x WITH patch(32) STRIDE 32 USING net", {"x": picture(0)})
    with pytest.raises((ValueError, ExecutionError), match=said):
        dataclasses.replace(heat_map, **{field: value})


def test_channels_and_segments_go_with_detections() -> None:
    db = kdb.connect()
    module, image = yolo(4), picture(5)
    db.register_model("net", module, input_size=SIZE, mean=0, std=1, head="yolo")
    labels = np.zeros(SIZE, int)
    for number, (y, x) in enumerate(itertools.product((0, 32), (0, 48)), 1):
        labels[y : y + 32, x : x + 48] = number
    heat_map = db.execute("OCCLUDE $x WITH segments($s) USING net FOR DETECTION 1", {"x": image, "s": labels})
    images = torch.from_numpy(np.moveaxis(image, -1, 0) / 255.0).repeat(5, 1, 1, 1)
    for number in range(1, 5):
        images[number][:, torch.from_numpy(labels == number)] = 0
    with torch.no_grad():
        outputs = copy.deepcopy(module).double()(images).numpy()
    _, index, anchor = left_one_by_one(outputs[0], 0.7)[0]
    np.testing.assert_allclose(heat_map.values, outputs[1:, 4 + index, anchor], rtol=0, atol=5e-5)


def test_explain_tells_what_is_read(detector: kdb.Session) -> None:
    text = "OCCLUDE $x WITH patch(16) STRIDE 16 USING net FOR DETECTION 1"
    plan = detector.explain(text, {"x": picture(0)})
    assert "the box of DETECTION is of each image; planned over all anchors" in plan
    assert "one cell of 126x1 of the output" in detector.explain(text, {"x": picture(0)}, analyze=True)


class Undefined(nn.Module):
    """Gives numbers for noise, and none for a black image."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return (mean * 0 / mean).reshape(-1, 1, 1) + x.flatten(2)[:, :1, :50].expand(-1, 7, -1)


def test_an_output_that_is_not_finite_is_told() -> None:
    db = kdb.connect()
    db.register_model("net", Undefined(), input_size=SIZE, mean=0, std=1, n_channels=3, head="yolo")
    with pytest.raises(ExecutionError, match="output for the unmodified image is not finite"):
        db.execute("OCCLUDE $x USING net", {"x": np.zeros((*SIZE, 3), np.uint8)})


class OtherHead(nn.Module):
    """Built as torchvision's SSD is: with the parts of a RetinaNet, which have other parts themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.anchor_generator, self.box_coder, self.head = (nn.Conv2d(3, 4, 3) for _ in range(4))
        self.head.classification_head = self.head.regression_head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x).flatten(2)


def test_a_detector_of_like_parts_is_not_taken_for_a_retinanet() -> None:
    with pytest.raises(BindError, match="head = 'retinanet' is of torchvision's RetinaNet, not of OtherHead"):
        kdb.connect().register_model("net", OtherHead(), input_size=SIZE, mean=0, std=1, head="retinanet")
