"""Maps as DICOM files: the picture and the scores lie in the study of their source, on its pixels, and refer to it."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import kdb
from kdb.errors import BindError, ExecutionError
from kdb.results.dicom import QUANTITIES
from kdb.results.files import filled_in
from kdb.results.maps import HeatMap, Score
from kdb.results.on_source import on_source
from tests.results.test_heatmap import heat_map, small

pytestmark = pytest.mark.runs
highdicom = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

CT, MAP, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.7"
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
TURNED = [0.8, 0.6, 0, 0, 0, -1]
"""Directions of rows and columns that are no axes of the patient."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flat() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*layers).eval()


def deep() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(32, 3)]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def db() -> kdb.Session:
    db = kdb.connect()
    labels = ["cat", "dog", "tiger"]
    db.register_model("flat", flat(), input_size=(24, 32), labels=labels, mean=0, std=1, resize="crop")
    db.register_model("deep", deep(), input_size=(4, 12, 10), n_channels=1, labels=labels)
    return db


def example(name: str = "CT_small.dcm") -> str:
    """A copy of one of pydicom's files in the current folder."""
    shutil.copy(pydicom.data.get_testdata_file(name), name)
    return name


def slices(folder: str, count: int = 5, orientation: Any = TURNED, **elements: Any) -> list[Any]:
    """Writes a series of 16 x 12 pixels, whose files are in no order; returns what they say by position."""
    Path(folder).mkdir(exist_ok=True)
    source = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    source.Rows, source.Columns, source.PixelSpacing = 16, 12, [1.5, 0.75]
    source.ImageOrientationPatient, source.SeriesInstanceUID = orientation, highdicom.UID()
    normal = np.cross(orientation[:3], orientation[3:])
    made = []
    for i in range(count):
        each = copy.deepcopy(source)
        each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = highdicom.UID()
        each.ImagePositionPatient = [float(f"{x:.6f}") for x in np.array([10, -20, 30]) + 2.5 * i * normal]
        each.PixelData = np.random.default_rng(i).integers(0, 2000, (16, 12), dtype=np.int16).tobytes()
        for name, value in elements.items():
            setattr(each, name, value)
        each.save_as(Path(folder) / f"{(3 * i + 1) % 7}.dcm")
        made.append(each)
    return made


def enhanced(path: str, order: tuple[int, ...]) -> Any:
    """A file of several frames, each with a place of its own, in the ``order`` of their places."""
    (first, *_), file = slices("parts", 1), pydicom.Dataset()
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(file, name, first[name].value)
    file.SOPClassUID, file.SOPInstanceUID = ENHANCED, highdicom.UID()
    for name in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation"):
        setattr(file, name, first[name].value)
    file.BitsAllocated, file.BitsStored, file.HighBit, file.NumberOfFrames = 16, 16, 15, len(order)
    file.PixelData = np.random.default_rng(0).integers(0, 2000, (len(order), 16, 12), dtype=np.int16).tobytes()
    shared, frames = pydicom.Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1.5, 0.75]
    shared.PixelMeasuresSequence[0].SliceThickness = 2
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for place in order:
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [5, 6, 2 * place]
        frames.append(frame)
    file.SharedFunctionalGroupsSequence, file.PerFrameFunctionalGroupsSequence = [shared], frames
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID, file.file_meta.MediaStorageSOPInstanceUID = ENHANCED, file.SOPInstanceUID
    file.save_as(path, enforce_file_format=True)
    return file


@pytest.fixture
def strictly() -> Iterator[None]:
    """pydicom refuses values that the standard does not have, when they are read."""
    settings = pydicom.config.settings
    before, settings.reading_validation_mode = settings.reading_validation_mode, pydicom.config.RAISE
    yield
    settings.reading_validation_mode = before


def opened(path: Any) -> Any:
    """What a file says; every value is looked at."""
    data = pydicom.dcmread(path)
    for element in data.iterall():
        assert element.value is not NotImplemented
    return data


def scores(data: Any) -> np.ndarray:
    """The values of a Parametric Map, [frames, rows, columns]."""
    return np.frombuffer(data.FloatPixelData, np.float32).reshape(-1, data.Rows, data.Columns)


def positions(data: Any) -> np.ndarray:
    frames = data.PerFrameFunctionalGroupsSequence
    return np.array([each.PlanePositionSequence[0].ImagePositionPatient for each in frames], float)


def covered(hm: HeatMap, k: int = 0) -> np.ndarray:
    """float64 [*source_size]: the mean score of the patches that cover each centre of a cell of the source."""
    boxes, values = hm.to_source().reshape(-1, 2 * len(hm.size)), hm.by_class()[0][k].astype(np.float64)
    axes = len(hm.size)
    centres = np.stack(np.indices(hm.source_size), axis=-1).reshape(-1, axes) + 0.5
    inside = (boxes[:, :axes] <= centres[:, None]) & (centres[:, None] < boxes[:, :axes] + boxes[:, axes:])
    weights = (inside.all(axis=-1) & ~np.isnan(values)).astype(float)
    count = weights.sum(axis=1)
    mean = np.divide(weights @ np.nan_to_num(values), count, out=np.full(len(count), np.nan), where=count > 0)
    return mean.reshape(hm.source_size)


# ---- both kinds


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize(("name", "sop_class"), [("map.dcm", CAPTURE), ("map.pm.dcm", MAP)])
def test_a_file_is_in_the_study_of_its_source_and_refers_to_it(db: kdb.Session, name: str, sop_class: str) -> None:
    source = opened(example())
    hm = db.execute(f"OCCLUDE 'CT_small.dcm' WITH patch(8, 8) STRIDE 4 USING flat FOR CLASS 'tiger' INTO '{name}'")
    assert filled_in("{stem}", name) == "map"
    made, again = opened(name), opened(hm.save(f"again-{name}"))
    assert made.SOPClassUID == made.file_meta.MediaStorageSOPClassUID == sop_class
    for kept in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"):
        assert made.get(kept) == source.get(kept)
    for kept in ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
        assert made[kept].value == source[kept].value
    assert len({made.SeriesInstanceUID, again.SeriesInstanceUID, source.SeriesInstanceUID}) == 3
    assert len({made.SOPInstanceUID, again.SOPInstanceUID, source.SOPInstanceUID}) == 3
    assert made.SeriesNumber > source.SeriesNumber and made.InstanceNumber == 1
    assert made.SeriesDescription == "kdb occlusion: tiger (2), model flat"
    assert made.Manufacturer == "kdb" and made.SoftwareVersions == kdb.__version__
    assert hm.query in made.DerivationDescription and hm.model_identity in made.DerivationDescription
    (reference,) = made.SourceImageSequence
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    for each in (reference, *series.ReferencedInstanceSequence):
        assert each.ReferencedSOPInstanceUID == source.SOPInstanceUID and each.ReferencedSOPClassUID == CT


@pytest.mark.parametrize("caption", [True, False])
def test_the_picture_has_the_pixels_of_a_png(db: kdb.Session, caption: bool) -> None:
    example()
    hm = db.execute("OCCLUDE 'CT_small.dcm' WITH patch(8, 8) STRIDE 8 USING flat FOR CLASSES (0, 2)")
    made = opened(hm.save("map.dcm", caption=caption, range=0.1))
    picture = np.asarray(Image.open(hm.save("map.png", caption=caption, range=0.1)).convert("RGB"))
    assert np.array_equal(made.pixel_array, picture) and made.PhotometricInterpretation == "RGB"
    assert made.BurnedInAnnotation == ("YES" if caption else "NO") and made.ConversionType == "WSD"


@pytest.mark.usefixtures("strictly")
def test_texts_in_any_characters(db: kdb.Session) -> None:
    """A label that the source's characters do not have; the patient's name stays what it is."""
    path = example("J2K_pixelrep_mismatch.dcm")
    source = pydicom.dcmread(path)
    source.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    source.save_as(path)
    labels = ["虎猫 \\ é", "x" * 100, "\u202e\n"]
    db.register_model("named", flat(), input_size=(24, 32), labels=labels, mean=0, std=1)
    query = f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 8 USING named FOR CLASSES (0, 1, 2)"
    hm = db.execute(query)
    for name in ("map.dcm", "map.pm.dcm"):
        made = opened(hm.save(name))
        assert made.SpecificCharacterSet == "ISO_IR 192" and made.PatientName == source.PatientName
        assert made.PatientName.ideographic == "山田^太郎"
        assert made.SeriesDescription.startswith("kdb occlusion: 虎猫 / é (0); xxx")
        assert len(made.SeriesDescription) == 63, "64 would have an odd number of bytes"
        assert "\u202e" not in made.DerivationDescription
    labels = [each.RealWorldValueMappingSequence[0].LUTLabel for each in made.PerFrameFunctionalGroupsSequence]
    assert labels == ["0 虎猫 / é", "1 " + 14 * "x", "2 /u202e"]
    plain = opened(replace(hm, label=("a", "b", "c")).save("plain.dcm"))
    assert list(plain.SpecificCharacterSet) == list(source.SpecificCharacterSet)
    assert plain.PatientName == source.PatientName


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy of dicom3tools is not there")
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "series", "SC_rgb_rle.dcm"])
@pytest.mark.parametrize("classes", ["CLASS 'tiger'", "CLASSES (0, 2)"])
def test_dciodvfy_finds_no_errors(db: kdb.Session, name: str, classes: str) -> None:
    model, patch = "flat", "patch(8, 8) STRIDE 8"
    if name == "series":
        slices(name)
        model, patch = "deep", "patch(2, 4, 4) STRIDE 2"
    else:
        example(name)
    hm = db.execute(f"OCCLUDE '{name}' WITH {patch} USING {model} FOR {classes}")
    for made in (hm.save("map.dcm"), hm.save("map.pm.dcm")):
        told = subprocess.run(["dciodvfy", str(made)], capture_output=True, text=True)
        errors = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]
        if name.startswith("SC_"):  # it wants a place also of what lies nowhere; the standard does not (PS3.3, A.75-2)
            errors = [line for line in errors if "Element=<Plane" not in line]
        assert errors == []


# ---- the scores of an image


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("region", ["", " WITHIN box(4, 6, 12, 14)", " AT $positions"])
@pytest.mark.parametrize("classes", ["CLASS 'tiger'", "CLASSES (0, 2)"])
def test_each_pixel_has_the_mean_score_of_the_patches_on_its_centre(db: kdb.Session, region: str, classes: str) -> None:
    source = opened(example("MR_small.dcm"))
    stride = "" if " AT" in region else " STRIDE (3, 5)"
    query = f"OCCLUDE 'MR_small.dcm' WITH patch(7, 9){stride} USING flat{region} FOR {classes} SCORE logit_drop"
    hm = db.execute(query, {"positions": np.array([[0, 0], [3, 5], [12, 20]])} if " AT" in region else None)
    made = opened(hm.save("map.pm.dcm"))
    found = scores(made)
    assert hm.source_size == (source.Rows, source.Columns) == found.shape[1:]
    assert np.array_equal(found, on_source(hm).reshape(found.shape), equal_nan=True)
    for k, frame in enumerate(found):
        expected = covered(hm, k)
        # A centre that is on the side of a patch may be on either side of it, by rounding.
        same = np.isclose(frame, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
        assert same.mean() > 0.97 and np.isnan(frame).any(), "the crop leaves columns without scores"
    assert np.isnan(made.FloatPixelPaddingValue) and np.isnan(made.FloatPixelPaddingRangeLimit)
    shared = made.SharedFunctionalGroupsSequence[0]
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert (positions(made) == np.array(source.ImagePositionPatient, float)).all()
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("score", list(QUANTITIES))
def test_what_the_numbers_mean(db: kdb.Session, score: Score, classes: int) -> None:
    """They are the scores, without a unit, and are shown from the least to the largest effect, none in the middle."""
    example()
    which = "CLASSES (2, 0)" if classes > 1 else "CLASS 2"
    hm = replace(db.execute(f"OCCLUDE 'CT_small.dcm' WITH patch(8, 8) STRIDE 8 USING flat FOR {which}"), score=score)
    made = highdicom.imread(hm.save("map.pm.dcm"))
    assert made.ContentQualification == "RESEARCH" and made.ContentLabel == "KDB_OCCLUSION"
    shared, frames = made.SharedFunctionalGroupsSequence[0], made.PerFrameFunctionalGroupsSequence
    raw, real = scores(made), made.get_frames(apply_real_world_transform=True)
    np.testing.assert_array_equal(raw, real)
    assert len(frames) == classes
    for k, (frame, index) in enumerate(zip(frames, (2, 0), strict=False)):
        (mapping,) = (frame if classes > 1 else shared).RealWorldValueMappingSequence
        assert mapping.LUTLabel == f"{index} {('cat', '', 'tiger')[index]}"
        assert mapping.LUTExplanation == f"{score.replace('_', ' ')} of {('cat', '', 'tiger')[index]} ({index})"
        unit = mapping.MeasurementUnitsCodeSequence[0]
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("1", "UCUM")
        quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
        assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == (score, "99KDB")
        assert quantity.CodeMeaning == QUANTITIES[score]
        assert mapping.DoubleFloatRealWorldValueFirstValueMapped == np.nanmin(raw[k])
        assert mapping.DoubleFloatRealWorldValueLastValueMapped == np.nanmax(raw[k])
    window = shared.FrameVOILUTSequence[0]
    assert window.VOILUTFunction == "LINEAR_EXACT"
    if classes == 1:
        neutral = 0 if score.endswith("drop") else hm.baseline
        assert float(window.WindowCenter) == pytest.approx(neutral)
        widest = np.nanmax(np.abs(hm.values - neutral))
        assert float(window.WindowWidth) == pytest.approx(2 * max(widest, 0.1 if "logit" in score else 0.01))


def test_an_image_that_lies_nowhere(db: kdb.Session) -> None:
    """As a radiograph, whose file does not say where in the patient it is: neither does its map."""
    source = opened(example("SC_rgb_rle.dcm"))
    hm = db.execute("OCCLUDE 'SC_rgb_rle.dcm' WITH patch(8, 8) STRIDE 4 USING flat FOR CLASSES (0, 2)")
    made = highdicom.imread(hm.save("map.pm.dcm"))
    assert np.array_equal(made.get_frames(), on_source(hm), equal_nan=True) and made.coordinate_system is None
    for frame, label in zip(made.PerFrameFunctionalGroupsSequence, ("0 cat", "2 tiger"), strict=True):
        assert "PlanePositionSequence" not in frame and frame.FrameContentSequence[0].FrameLabel == label
        (reference,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == source.SOPClassUID


def test_a_frame_of_several(db: kdb.Session) -> None:
    source = opened(example("examples_ybr_color.dcm"))
    hm = db.execute("OCCLUDE 'examples_ybr_color.dcm' (frame = 7) WITH patch(8, 8) STRIDE 8 USING flat")
    for name in ("map.dcm", "map.pm.dcm"):
        made = opened(hm.save(name))
        (reference,) = made.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID and reference.ReferencedFrameNumber == 7
    assert made.NumberOfFrames == 1 and scores(made).shape[1:] == (source.Rows, source.Columns)
    with pytest.raises(ExecutionError, match="has 30 frames, and the map's query does not say which"):
        replace(hm, query="OCCLUDE 'frame = 7' (frame = $n) USING flat").save("other.dcm")


# ---- the scores of a series


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("orientation", [TURNED, [1, 0, 0, 0, 1, 0]])
@pytest.mark.parametrize("options", ["", ", orientation = 'RAS'"])
@pytest.mark.parametrize("source", ["series", "series/[!1]*.dcm"])
def test_the_frames_of_a_series_lie_on_its_slices(
    db: kdb.Session, orientation: list[float], options: str, source: str
) -> None:
    """Each refers to the slice that it lies on; of a glob not all files of a folder need be taken."""
    of_folder = slices("series", orientation=orientation)
    made = {str(each.SOPInstanceUID): each for each in of_folder[source != "series" :]}  # the first is in 1.dcm
    query = f"OCCLUDE '{source}' WITH patch(2, 3, 4) STRIDE 2 USING $net (input = (4, 12, 10){options}) FOR CLASS 1"
    found = db.execute(query, {"net": deep()})
    hm = found if isinstance(found, HeatMap) else found[0]
    saved = highdicom.imread(hm.save("map.pm.dcm"))
    values, places = scores(saved), positions(saved)
    assert len(values) == len(made) and saved.DimensionOrganizationType == "3D"
    steps = np.diff(places @ np.cross(orientation[:3], orientation[3:]))
    assert (steps > 0).all() or (steps < 0).all(), "in the order of their places"
    assert {str(each.ReferencedSOPInstanceUID) for each in saved.SourceImageSequence} == {*made}
    expected = covered(hm)
    to_cell = np.linalg.inv(hm.space.affine)
    for frame, groups in zip(values, saved.PerFrameFunctionalGroupsSequence, strict=True):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        own = made[reference.ReferencedSOPInstanceUID]
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        assert [float(x) for x in place] == [float(x) for x in own.ImagePositionPatient]
        rows, columns = (np.array(own.ImageOrientationPatient, float)[part] for part in (slice(3), slice(3, 6)))
        for y, x in np.ndindex(16, 12):
            world = np.array(place, float) + rows * own.PixelSpacing[1] * x + columns * own.PixelSpacing[0] * y
            cell = to_cell @ [*world * (-1, -1, 1), 1]  # from the patient's left and back to right and front
            cell = tuple(np.rint(cell[:3]).astype(int))
            np.testing.assert_allclose(frame[y, x], expected[cell], rtol=1e-4, atol=1e-6)
    assert saved.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(2.5)


def test_classes_of_a_series_are_frames_each(db: kdb.Session) -> None:
    slices("series")
    hm = db.execute("OCCLUDE 'series' WITH patch(2, 4, 4) STRIDE 2 USING deep FOR CLASSES (0, 2)")
    saved = opened(hm.save("map.pm.dcm"))
    labels = [each.RealWorldValueMappingSequence[0].LUTLabel for each in saved.PerFrameFunctionalGroupsSequence]
    assert labels == 5 * ["0 cat"] + 5 * ["2 tiger"]
    places, values = positions(saved), scores(saved)
    assert np.array_equal(places[:5], places[5:])
    first = np.array(hm.space.affine[:3, 3] * (-1, -1, 1))
    backwards = not np.allclose(places[0], first, atol=1e-4)
    for k, frames in enumerate((values[:5], values[5:])):
        assert np.array_equal(frames[::-1] if backwards else frames, on_source(hm)[k], equal_nan=True)
    assert opened(hm.save("map.dcm")).SamplesPerPixel == 3


def test_a_file_of_frames_with_places(db: kdb.Session) -> None:
    """Frames that are in no order in the file: the map's lie where theirs do, and refer to them by number."""
    file = enhanced("frames.dcm", (2, 0, 3, 1))
    hm = db.execute("OCCLUDE 'frames.dcm' WITH patch(2, 4, 4) STRIDE 2 USING deep FOR CLASS 1")
    saved = opened(hm.save("map.pm.dcm"))
    values = on_source(hm)
    for frame, groups in zip(scores(saved), saved.PerFrameFunctionalGroupsSequence, strict=True):
        place = int(groups.PlanePositionSequence[0].ImagePositionPatient[2]) // 2
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedFrameNumber == (2, 0, 3, 1).index(place) + 1
        assert reference.ReferencedSOPInstanceUID == file.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == ENHANCED
        assert np.array_equal(frame, values[place], equal_nan=True)
    (whole,) = saved.SourceImageSequence
    assert whole.ReferencedSOPInstanceUID == file.SOPInstanceUID and "ReferencedFrameNumber" not in whole


def test_slices_without_places_have_no_parametric_map(db: kdb.Session) -> None:
    slices("series", ImagePositionPatient=None)
    hm = db.execute("OCCLUDE 'series' WITH patch(2, 4, 4) STRIDE 2 USING deep")
    with pytest.raises(ExecutionError, match=r"'series' do not say where they lie.* its picture as \.dcm"):
        hm.save("map.pm.dcm")
    assert len(opened(hm.save("map.dcm")).SourceImageSequence) == 5


# ---- differences


def test_a_difference_lies_on_the_source_of_its_first_map(db: kdb.Session) -> None:
    source = opened(example())
    maps = [
        db.execute(f"OCCLUDE 'CT_small.dcm' WITH patch(8, 8) FILL {fill} STRIDE 8 USING flat FOR CLASS 1")
        for fill in ("mean", "black")
    ]
    difference = maps[0] - maps[1]
    made = opened(difference.save("difference.pm.dcm"))
    expected = on_source(difference.as_map())
    assert np.array_equal(scores(made)[0], expected, equal_nan=True)
    assert made.SeriesDescription == "kdb difference: dog (1), model flat"
    assert "FILL mean" in made.DerivationDescription and " minus " in made.DerivationDescription
    (mapping,) = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.LUTExplanation == "difference of probability of dog (1)"
    assert float(made.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].WindowCenter) == 0
    made = opened(difference.save("difference.dcm"))
    assert np.array_equal(made.pixel_array, np.asarray(Image.open(difference.save("d.png")).convert("RGB")))
    assert made.StudyInstanceUID == source.StudyInstanceUID
    with pytest.raises(ExecutionError, match=r"would overwrite the image 'CT_small\.dcm'"):
        difference.save("CT_small.dcm")
    assert opened("CT_small.dcm").SOPInstanceUID == source.SOPInstanceUID


# ---- finding the source


@pytest.mark.parametrize("source", ["CT_small.dcm", "series"])
def test_a_map_from_a_file_finds_its_source_by_name(db: kdb.Session, folder: Path, source: str) -> None:
    if source == "series":
        slices("series")
        slices("series/other")  # passed over, as it is by kdb
    else:
        example()
    model, patch = ("deep", "patch(2, 4, 4)") if source == "series" else ("flat", "patch(8, 8)")
    hm = db.execute(f"OCCLUDE '{source}' WITH {patch} STRIDE 4 USING {model} INTO 'map.npz'")
    loaded = HeatMap.load("map.npz")
    assert loaded.source_files == () and all(Path(each).is_absolute() for each in hm.source_files)
    assert np.array_equal(scores(opened(loaded.save("a.pm.dcm"))), scores(opened(hm.save("b.pm.dcm"))), equal_nan=True)
    shutil.move(source, "moved")
    for each in (loaded, hm):
        with pytest.raises(ExecutionError, match=rf"'{source}' of this map is not there.*dataclasses\.replace"):
            each.save("c.dcm")
    names = [folder / "moved" / Path(each).name for each in hm.source_files] if source == "series" else ["moved"]
    moved = replace(loaded, source_files=tuple(map(str, names)))
    assert opened(moved.save("c.dcm")).SOPClassUID == CAPTURE
    assert opened(replace(loaded, source="moved").save("c.dcm")).SOPClassUID == CAPTURE


def test_a_series_among_several_in_a_folder(db: kdb.Session) -> None:
    """They are called by their UIDs; which files are of the map is told by their digest."""
    first = slices("series", 4)
    for path in sorted(Path("series").iterdir()):
        path.rename(path.with_name(f"first-{path.name}"))
    slices("series", 5)
    maps = db.execute("OCCLUDE 'series' WITH patch(2, 4, 4) STRIDE 4 USING deep INTO '{stem}.npz'")
    assert len(maps) == 2
    hm = HeatMap.load(f"{first[0].SeriesInstanceUID}.npz")
    made = opened(hm.save("map.pm.dcm"))
    assert made.NumberOfFrames == 4
    assert {each.ReferencedSOPInstanceUID for each in made.SourceImageSequence} == {e.SOPInstanceUID for e in first}


def test_a_source_that_has_changed_is_told(db: kdb.Session) -> None:
    path = example()
    hm = db.execute(f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 8 USING flat")
    data = pydicom.dcmread(path)
    data.PatientID = "another"
    data.save_as(path)
    for name in ("map.dcm", "map.pm.dcm"):
        with pytest.raises(
            ExecutionError, match="is not what this map was made of: its SHA-256 differs; run the query"
        ):
            hm.save(name)
    assert not list(Path.cwd().glob("map*"))


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_source_that_cannot_be_referred_to_is_told(db: kdb.Session, missing: str) -> None:
    path = example()
    data = pydicom.dcmread(path)
    delattr(data, missing)
    data.save_as(path)
    hm = db.execute(f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 8 USING flat")
    with pytest.raises(ExecutionError, match=f"has no {missing}.*; save it as .npz"):
        hm.save("map.dcm")


def test_sources_with_little_in_them(db: kdb.Session) -> None:
    """What is empty in the source, or not there, is empty in the map; values that no file may have are told."""
    path = example()
    data = pydicom.dcmread(path)
    for name in ("PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "SeriesNumber", "StudyID"):
        delattr(data, name)
    data.PatientSex = ""
    data.save_as(path)
    query = f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 8 USING flat"
    hm = db.execute(query)
    for name in ("map.dcm", "map.pm.dcm"):
        made = opened(hm.save(name))
        assert not made.PatientID and "StudyDate" in made and not made.StudyDate and made.SeriesNumber >= 1
    data.PatientSex = "CAT"
    data.save_as(path)
    for name in ("map.dcm", "map.pm.dcm"):
        with pytest.raises(ExecutionError, match=r"what the source says of itself: .*CAT.*; save it as \.npz"):
            db.execute(query).save(name)


def test_maps_of_other_sources_have_no_dicom_files(db: kdb.Session) -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    Image.fromarray(image).save("cat.png")
    for source in ("'cat.png'", "$image"):
        hm = db.execute(f"OCCLUDE {source} WITH patch(8, 8) STRIDE 8 USING flat", {"image": image})
        with pytest.raises(ExecutionError, match=r"of the DICOM file that is explained, .* save it as \.npz"):
            hm.save("map.dcm")
    with pytest.raises(ExecutionError, match="does not say which file it is of"):
        small().save("map.pm.dcm")


# ---- before anything is computed


def test_what_cannot_be_written_is_told_before_anything_is_computed(
    db: kdb.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdb.execution.executor.Executor.run", lambda *_, **__: pytest.fail("it is executed"))
    image = np.zeros((24, 32, 3), np.uint8)
    with pytest.raises(ExecutionError, match="this image is of none"):
        db.execute("OCCLUDE $i WITH patch(8, 8) USING flat INTO 'map.dcm'", {"i": image})
    monkeypatch.setattr("kdb.frontends.torch_export.trace", lambda *_, **__: pytest.fail("it is traced"))
    signal = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    for prefix in ("", "EXPLAIN "):
        query = f"{prefix}OCCLUDE $s WITH patch(4) USING $m (input = (16,), n_channels = 1) INTO 'map.pm.dcm'"
        with pytest.raises(
            ExecutionError, match=r"two or three axes, and the input of this map is 16; save it as \.npz"
        ):
            db.execute(query, {"s": np.zeros(16, np.float32), "m": signal})
    monkeypatch.setitem(sys.modules, "highdicom", None)
    example()
    for prefix in ("", "EXPLAIN "):
        with pytest.raises(ExecutionError, match="pip install highdicom"):
            db.execute(
                f"{prefix}OCCLUDE 'CT_small.dcm' WITH patch(8, 8) USING $m (input = (24, 32)) INTO 'a.dcm'",
                {"m": flat()},
            )
    assert not list(Path.cwd().glob("*map*"))


def test_other_maps_are_told_what_is_missing() -> None:
    signal = heat_map(np.zeros(3), np.arange(3)[:, None], grid=(8,), patch=(3,), stride=(1,))
    with pytest.raises(ExecutionError, match="two or three axes, and the input of this map is 8"):
        signal.save("map.dcm")


# ---- sources are not overwritten


def test_neither_a_source_nor_a_slice_is_overwritten(db: kdb.Session) -> None:
    slices("series")
    before = {path: path.read_bytes() for path in Path("series").iterdir()}
    query = "OCCLUDE 'series' WITH patch(2, 4, 4) STRIDE 4 USING deep"
    with pytest.raises(BindError, match=r"would overwrite the image 'series/1\.dcm'"):
        db.execute(f"{query} INTO 'series/1.dcm'")
    hm = db.execute(f"{query} INTO 'map.npz'")
    for each in (hm, HeatMap.load("map.npz"), replace(hm, source=None)):
        with pytest.raises(ExecutionError, match="would overwrite the image"):
            each.save("series/1.dcm")
        with pytest.raises(ExecutionError, match="would overwrite the image"):
            each.save(Path.cwd() / "series" / ".." / "series" / "4.dcm")
    assert {path: path.read_bytes() for path in Path("series").iterdir()} == before
    hm.save("series/map.png")
    hm.save("series/map.png")


# ---- sessions


def test_under_a_root_and_from_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "root").mkdir()
    monkeypatch.chdir(folder / "root")
    source = opened(example())
    monkeypatch.chdir(folder)
    db = kdb.connect(root="root")
    db.register_model("flat", flat(), input_size=(24, 32), mean=0, std=1)
    db.execute("OCCLUDE 'CT_small.dcm' WITH patch(8, 8) STRIDE 8 USING flat INTO 'map.dcm'")
    assert opened("root/map.dcm").StudyInstanceUID == source.StudyInstanceUID
    db.execute("OCCLUDE '*_small.dcm' WITH patch(8, 8) STRIDE 8 USING flat INTO '{stem}-map.pm.dcm'")
    assert opened("root/CT_small-map.pm.dcm").StudyInstanceUID == source.StudyInstanceUID


def test_a_registered_image_is_one_of_a_file(db: kdb.Session) -> None:
    source = opened(example())
    db.register_image("scan", "CT_small.dcm")
    db.execute("OCCLUDE scan WITH patch(8, 8) STRIDE 8 USING flat INTO 'map.dcm'")
    assert opened("map.dcm").SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
