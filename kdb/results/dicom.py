"""Heat maps as DICOM files in the study of their source, by highdicom, which is imported when needed.

Two kinds: the picture of a map as a Secondary Capture, and its scores as a Parametric Map on the source's pixels.  What
goes into their elements is in docs/dicom-out.md.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdb.errors import Error, ExecutionError, printable
from kdb.geometry import Size, spelled
from kdb.results import dicom_source
from kdb.results.dicom_source import INSTEAD, Plane, quiet
from kdb.results.format import Format, Saving, Write
from kdb.results.frames import import_optional
from kdb.results.on_source import as_in_the_file, on_source
from kdb.results.pictures import captions, figure
from kdb.results.pictures.captions import Facts
from kdb.results.pictures.colours import FLOORS, spread, unit
from kdb.results.pictures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap

SHORT, LONG, TEXT = 16, 64, 1024
"""Most characters of values of the representations SH, LO and ST (DICOM PS3.5, 6.2)."""
SCHEME = "99KDB"
"""Of kdb's own codes: names that begin with 99 are private."""
QUANTITIES: Mapping[str, str] = {
    "probability": "Probability of a class with a patch on the image",
    "drop": "Drop of a class's probability by a patch on the image",
    "logit": "Logit of a class with a patch on the image",
    "logit_drop": "Drop of a class's logit by a patch on the image",
    "cosine": "Cosine with another image's output, with a patch on it",
    "cosine_drop": "Drop of the cosine with another image's output by a patch",
}
"""What each score measures, in words."""
_AFTER = 1000
"""Added to the source's series number, so that a new series stands behind those of the scanner."""
_CT = "1.2.840.10008.5.1.4.1.1.2"
"""CT Image Storage: images of one frame that lie in the patient."""
_PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Elements that every image has, though perhaps without a value."""
_OF_THE_SERIES = ("Laterality", "BodyPartExamined", "PatientPosition")
"""Elements of the source's series that hold of its maps, too."""


@dataclass(frozen=True)
class _Told:
    """A result in words, for the elements of its file."""

    facts: Facts
    difference: bool = False

    @property
    def series(self) -> str:
        """The series' description."""
        what = "kdb difference" if self.difference else "kdb occlusion"
        return _text(f"{what}: {self.facts['Title']}, model {self.facts['Model']}", LONG)

    @property
    def derivation(self) -> str:
        """How the file was made: the query, and what it leaves open."""
        said = ("Score", "Unmodified", "Model", "Model identity", "Exact", "Complete")
        rest = "; ".join(f"{name.lower()} {self.facts[name]}" for name in said)
        return _text(f"{self.facts['Software']}; {rest}; {self.facts['Description']}", TEXT, text=True)

    @property
    def equipment(self) -> dict[str, Any]:
        """Who made it.  A model is what a device is elsewhere, and its identity is its number."""
        return {
            "manufacturer": "kdb",
            "manufacturer_model_name": "kdb",
            "software_versions": _text(self.facts["Software"].removeprefix("kdb "), LONG),
            "device_serial_number": _text(self.facts["Model identity"], LONG),
        }


def check(size: Size, lattice: bool) -> None:
    """Raise ``ExecutionError`` unless maps of an input of ``size`` can be written.

    That takes two or three axes, and highdicom.
    """
    if len(size) not in (2, 3):
        raise ExecutionError(
            f"DICOM files of maps are of two or three axes, and the input of this map is {spelled(size)}; {INSTEAD}"
        )
    import_optional("highdicom")
    import_optional(dicom_source.PACKAGE)


# ---- the picture


def _picture_of_map(heat_map: HeatMap, saving: Saving) -> Write:
    check(heat_map.size, True)
    planes = dicom_source.planes(heat_map)
    return _picture(figure.of_map(heat_map, saving.style), planes, _Told(captions.facts(heat_map)), saving.style)


def _picture_of_difference(difference: Difference, saving: Saving) -> Write:
    check(difference.first.size, True)
    planes, told = dicom_source.planes(difference.first), _Told(difference.facts(), True)
    return _picture(figure.of_difference(difference, saving.style), planes, told, saving.style)


def _picture(drawn: Figure, planes: Sequence[Plane], told: _Told, style: Style) -> Write:
    """A Secondary Capture of a figure, with the pixels that a png of it has."""
    pixels = np.asarray(Image.open(io.BytesIO(figure.encoded(drawn))).convert("RGB"))
    hd = import_optional("highdicom")
    with _made("Secondary Capture"):
        references = _References(planes, told)
        made = hd.sc.SCImage.from_ref_dataset(
            references.views[0],
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            transfer_syntax_uid="1.2.840.10008.1.2.1",  # explicit VR, little endian
            **references.series(1),
            **told.equipment,
        )
        made.copy_patient_and_study_information(references.views[0])  # what is said of the patient at that time, too
        made.PatientOrientation = None  # rows and columns of a figure have no direction in the patient
        made.ConversionType = "WSD"  # made on a workstation
        # The line under a figure names the source's file, and names of files may name patients.
        made.BurnedInAnnotation = "YES" if style.caption else references.views[0].get("BurnedInAnnotation", "NO")
        references.complete(made)
    return partial(_write, made)


# ---- the scores


def _values_of_map(heat_map: HeatMap, saving: Saving) -> Write:
    return _values(heat_map, _Told(captions.facts(heat_map)))


def _values_of_difference(difference: Difference, saving: Saving) -> Write:
    return _values(difference.as_map(), _Told(difference.facts(), True))


def _values(heat_map: HeatMap, told: _Told) -> Write:
    """A Parametric Map of the scores: a frame for each plane of the source, and for each of these each class."""
    check(heat_map.size, True)
    planes = dicom_source.planes(heat_map)
    values = _on_planes(heat_map, planes)
    low, high = _window(heat_map, told.difference)
    hd = import_optional("highdicom")
    with _made("Parametric Map"):
        references = _References(planes, told)
        exact = hd.VOILUTFunctionValues.LINEAR_EXACT  # windows of the others are of whole numbers
        made = hd.pm.ParametricMap(
            references.views,
            values,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[[_mapping(heat_map, k, values[..., k], told)] for k in range(values.shape[-1])],
            voi_lut_transformations=[hd.VOILUTTransformation((low + high) / 2, high - low, voi_lut_function=exact)],
            content_label="KDB_OCCLUSION",
            content_description=told.series,
            derivation=hd.sr.CodedConcept("occlusion", SCHEME, "Occlusion of an image by a patch"),
            coding_schemes=[_scheme(told)],
            **references.series(2),
            **told.equipment,
        )
        if np.isnan(values).any():
            made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = float("nan")
        references.complete(made)
        if not references.placed:
            _without_place(made, planes[0].spacing is not None)
    return partial(_write, made)


def _without_place(made: Any, measured: bool) -> None:
    """Take from a Parametric Map of one plane where it lies, and the size of its pixels unless that was ``measured``.

    Radiographs and the like lie nowhere in the patient.  highdicom makes no such maps (0.28 fails to index their
    frames), hence they are made in a place.  Frames are of classes then, and are called by these.
    """
    shared = made.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence
    if not measured:
        del shared.PixelMeasuresSequence[0].PixelSpacing
    if "DimensionOrganizationType" in made:
        del made.DimensionOrganizationType
    (index,) = made.DimensionIndexSequence
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209453, 0x00209111
    index.DimensionDescriptionLabel = "Frame Label"
    for k, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        del frame.PlanePositionSequence
        mapping = (frame if "RealWorldValueMappingSequence" in frame else shared).RealWorldValueMappingSequence[0]
        frame.FrameContentSequence[0].FrameLabel = mapping.LUTLabel
        frame.FrameContentSequence[0].DimensionIndexValues = k + 1


def _on_planes(heat_map: HeatMap, planes: Sequence[Plane]) -> NDArray[np.float32]:
    """The scores on the source's pixels, float32 [planes, rows, columns, classes].

    Raises ExecutionError where several planes do not say where they lie.
    """
    values = on_source(heat_map)
    values = values if heat_map.has_class_axis else values[None]
    if len(heat_map.size) == 2:
        return np.moveaxis(values[:, None], 0, -1)
    if len(planes) > 1 and (heat_map.space is None or not all(plane.placed for plane in planes)):
        raise ExecutionError(
            f"the slices of {heat_map.source!r} do not say where they lie, and a Parametric Map is of slices that do; "
            f"save it as .npz, or its picture as .dcm"
        )
    if heat_map.space is not None:
        values, _ = as_in_the_file(values, heat_map.space)
    if (had := values.shape[1]) != len(planes):
        raise ExecutionError(f"{heat_map.source!r} has {len(planes)} slices, and the map's source had {had}")
    return np.moveaxis(values, 0, -1)


def _window(heat_map: HeatMap, difference: bool) -> tuple[float, float]:
    """From where to where scores are shown, with no effect in the middle: as wide as the colour scale of a picture."""
    values = heat_map.by_class()[0]
    neutral = np.ravel(heat_map.baseline).astype(np.float64)
    if difference or heat_map.score.endswith("drop"):
        neutral = np.zeros(len(values))
    neutral[~np.isfinite(neutral)] = 0
    half = max(FLOORS[unit(heat_map.score)], *map(spread, values, neutral.tolist()))
    return float(neutral.min()) - half, float(neutral.max()) + half


def _mapping(heat_map: HeatMap, k: int, values: NDArray[np.float32], told: _Told) -> Any:
    """What the numbers of a class mean: they are the scores, from the least to the largest."""
    hd = import_optional("highdicom")
    _, indices, labels = heat_map.by_class()
    known = values[np.isfinite(values)]
    code, quantity = str(heat_map.score), QUANTITIES[heat_map.score]
    score = code.replace("_", " ")
    if told.difference:
        score, code, quantity = f"difference of {score}", f"{code}-diff", f"Difference: {quantity}"[:LONG]
    return hd.pm.RealWorldValueMapping(
        lut_label=_text(f"{indices[k]} {labels[k]}", SHORT),
        lut_explanation=_text(f"{score} of {labels[k]} ({indices[k]})", LONG),
        unit=hd.sr.CodedConcept("1", "UCUM", "no units"),
        value_range=(float(known.min()), float(known.max())) if known.size else (0.0, 0.0),
        quantity_definition=hd.sr.CodedConcept(code, SCHEME, quantity),
    )


def _scheme(told: _Told) -> Any:
    module = import_optional("highdicom.coding_schemes")
    return module.CodingSchemeIdentificationItem(
        SCHEME, name="Codes of kdb", version=_text(told.facts["Software"], SHORT), responsible_organization="kdb"
    )


# ---- what both have in common


class _References:
    """What a file takes from its source, and how it refers to it.

    highdicom takes geometry from source images, in another way for each class of these.  It is given ``views``: each
    plane as an image of one frame, with an identity of its own; what refers to a view is made to refer to the file and
    the frame that it stands for.
    """

    def __init__(self, planes: Sequence[Plane], told: _Told) -> None:
        self._uid = uid = import_optional("highdicom").UID
        self._planes = {str(uid()): plane for plane in planes}
        self._told = told
        # Whether it is known where the source lies.
        self.placed = all(plane.placed for plane in planes)
        self.views = self._views()

    def _views(self) -> list[Any]:
        dataset = import_optional(dicom_source.PACKAGE).Dataset
        first = next(iter(self._planes.values()))
        views = []
        for identity, plane in self._planes.items():
            view = dataset()
            if plane is first:  # of the others the geometry alone is read
                plain = [element for element in plane.file if _is_plain(element.tag)]
                view.update({element.tag: copy.deepcopy(element) for element in plain})
                self._tidy(view)
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
                setattr(view, name, plane.file.get(name))
            view.SOPClassUID, view.SOPInstanceUID = _CT, identity
            # An image that lies nowhere is given some place until the file is made: see _without_place.
            view.FrameOfReferenceUID = first.file.FrameOfReferenceUID if self.placed else self._uid()
            view.ImagePositionPatient = plane.position if self.placed else [0, 0, 0]
            # Those of the slices of a series may differ by the rounding of their last digit.
            view.ImageOrientationPatient = first.orientation if self.placed else [1, 0, 0, 0, 1, 0]
            view.PixelSpacing, view.SliceThickness = first.spacing or [1, 1], first.thickness
            views.append(view)
        return views

    def _tidy(self, view: Any) -> None:
        """Make what every image has, and what is of the file or its frames alone, as it is to be taken over."""
        for name in _PATIENT_AND_STUDY:
            if name not in view:
                setattr(view, name, None)
        for name in ("NumberOfFrames", "FrameOfReferenceUID", "SpacingBetweenSlices", "ImagePositionPatient"):
            if name in view:
                delattr(view, name)
        said = (self._told.series, self._told.derivation)
        if not all(text.isascii() for text in said):  # the source's characters may not be enough
            view.decode()
            view.SpecificCharacterSet = "ISO_IR 192"

    def series(self, number: int) -> dict[str, Any]:
        """What identifies a file, in a series of its own; files of one source have different numbers."""
        view = self.views[0]
        return {
            "series_instance_uid": self._uid(),
            "series_number": _AFTER * number + max(int(view.get("SeriesNumber") or 0), 0),
            "sop_instance_uid": self._uid(),
            "instance_number": 1,
            "series_description": self._told.series,
        }

    def complete(self, made: Any) -> None:
        """Say how a file was made, take over what holds of it, and refer to files in place of views."""
        made.DerivationDescription = self._told.derivation
        for name in _OF_THE_SERIES:
            if name in self.views[0]:
                made[name] = self.views[0][name]
        if "Laterality" not in made and "BodyPartExamined" not in made:  # of a part that may be one of a pair
            made.Laterality = None
        made.SourceImageSequence = self._items(self._planes.values(), purpose=True)
        series = import_optional(dicom_source.PACKAGE).Dataset()
        series.SeriesInstanceUID = self.views[0].SeriesInstanceUID
        series.ReferencedInstanceSequence = self._items(self._planes.values())
        made.ReferencedSeriesSequence = [series]
        for groups in made.get("PerFrameFunctionalGroupsSequence") or ():
            for derivation in groups.get("DerivationImageSequence") or ():
                for item in derivation.SourceImageSequence:
                    plane = self._planes.get(str(item.ReferencedSOPInstanceUID))
                    if plane is not None:  # frames of several classes share an item
                        _put(item, plane)

    def _items(self, planes: Iterable[Plane], purpose: bool = False) -> list[Any]:
        """References to the files of planes, each once, with the numbers of frames where they are not all there are."""
        pydicom, hd = import_optional(dicom_source.PACKAGE), import_optional("highdicom")
        frames: dict[str, list[Plane]] = {}
        for plane in planes:
            frames.setdefault(str(plane.file.SOPInstanceUID), []).append(plane)
        items = []
        for of_file in frames.values():
            item = pydicom.Dataset()
            _put(item, of_file[0])
            if len(of_file) > 1:
                del item.ReferencedFrameNumber
            if purpose:
                item.PurposeOfReferenceCodeSequence = [
                    hd.sr.CodedConcept("121322", "DCM", "Source image for image processing operation")
                ]
            items.append(item)
        return items


def _is_plain(tag: int) -> bool:
    """Whether an element is none of the functional groups of frames, which may be large, nor of pixels."""
    return tag >> 16 not in (0x5200, 0x7FE0)


def _put(item: Any, plane: Plane) -> None:
    """Let an item of a sequence of references refer to a plane."""
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = plane.file.SOPClassUID, plane.file.SOPInstanceUID
    if plane.frame is not None:
        item.ReferencedFrameNumber = plane.frame


def _text(given: str, most: int, text: bool = False) -> str:
    """A text as the value of an element of at most so many characters; one of ``text`` may have backslashes."""
    shown = printable(given)
    shown = (shown if text else shown.replace("\\", "/")).strip()[:most]
    if len(shown) == most and len(shown.encode()) % 2:  # values are padded to even bytes, which some count as well
        shown = shown[:-1]
    return shown.strip()


@contextmanager
def _made(what: str) -> Iterator[None]:
    """Turn what highdicom and pydicom raise into ExecutionError, and suppress their warnings."""
    try:
        with quiet():
            yield
    except Error:
        raise
    except Exception as error:  # whatever a file from anywhere says that they do not take
        raise ExecutionError(
            f"no {what} can be made of what the source says of itself: {error or type(error).__name__}; {INSTEAD}"
        ) from error


def _write(made: Any, file: IO[bytes]) -> None:
    with quiet():
        made.save_as(file, enforce_file_format=True)


PICTURES = Format(("dcm",), _picture_of_map, _picture_of_difference, check, dicom_source.check)
VALUES = Format(("pm.dcm",), _values_of_map, _values_of_difference, check, dicom_source.check)
