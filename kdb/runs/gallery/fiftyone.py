"""A run as a data set on disk that FiftyOne opens, written without FiftyOne and without its database.

The format is ``fiftyone.types.FiftyOneDataset``: ``metadata.json`` describes the fields, ``samples.json`` has a sample
an image, and ``fields/`` has the heat maps.  Images stay where they are and are named by their path; of what a browser
does not show, such as a volume, ``data/`` has the picture that kdb draws of it.

A heat map in FiftyOne is an image of 8 bits that is stretched over the whole sample, in which 0 is no effect.  So there
are two: what speaks for the class (hiding it lowers the score) and what speaks against it.  The levels of each reach to
its own largest effect, its ``full``.  Their ``range`` is in levels too, as FiftyOne takes it, and says at which level
the colour is full: at the same effect in both, be it the image's largest or the whole run's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError, reason
from kdb.results.files import FilePath, write_result
from kdb.results.pictures import colours
from kdb.results.pictures.colours import FLOORS, unit
from kdb.runs.gallery import thumbnails
from kdb.runs.gallery.columns import FAILED, Columns, alone, columns
from kdb.version import __version__

if TYPE_CHECKING:
    from pyarrow import Table

    from kdb.results.maps import HeatMap

VERSION = "1.0.0"
"""Of FiftyOne, whose format this is; later ones bring it to their own when they load it."""
POSITIVE, NEGATIVE = "occlusion_positive", "occlusion_negative"
"""The fields of the heat maps."""
ACTIVE = ("predictions", POSITIVE, NEGATIVE)
"""The fields that are seen at first."""
LEVELS = 255
"""The highest level of an image of 8 bits."""
LONGEST = 1024
"""The longest side of a heat map's image, in pixels."""
SHOWN = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
"""What browsers show, by the extension of the file."""

_OWN = {"data", "fields", "metadata.json", "samples.json"}
_MODULE = "fiftyone.core"

_PLAIN: Mapping[str, str] = {
    "kdb_id": "String",
    "status": "String",
    "error_kind": "String",
    "error": "String",
    "class_index": "Int",
    "baseline": "Float",
    "min": "Float",
    "max": "Float",
    "change": "Float",
    "seconds": "Float",
    "checked_error": "Float",
    "ssim_estimate": "Float",
    "attempts": "Int",
    "node": "String",
    "device": "String",
    "source": "String",
    "map_file": "String",
}
"""The fields of numbers and texts, by the name of their type."""


def export(
    folder: FilePath,
    rows: Table,
    read: Callable[[str], HeatMap],
    facts: Mapping[str, str],
    *,
    shared: bool = False,
) -> Path:
    """Write the data set of a run into ``folder``, which is made where it is not there, and return its path.

    rows    the run's table, a row an image; :data:`kdb.runs.gallery.columns.NEEDED` are the columns that are needed
    read    gives the heat map of what is in a row's ``map``; where it raises ``ExecutionError``, the sample has the tag
            ``unreadable`` and no heat map
    facts   ``query``, ``model`` and ``score``; all are in the data set's ``info``
    shared  whether the colours of all images are on one scale, to the largest change of the run.  By default each image
            has its own, no narrower than that of any picture of kdb's

    Each sample has

        predictions         the class explained, the first of several; its confidence is the unmodified image's
                            probability, where the score is one
        explained           all classes explained, where there are several
        ground_truth        the true class, where there is one
        occlusion_positive  where hiding lowers the score of the first class, and by how much: level / 255 * full
        occlusion_negative  where hiding raises it, in the same way
        change              the largest change of that score; baseline, min and max are as in the run's table
        tags                ``failed`` for an image that failed, ``wrong`` where not the true class is predicted

    A heat map lies where the model sees the image and is 0 elsewhere; it has about a pixel for each cell of the model's
    grid.  A field of which a sample says nothing is left out.

    ``metadata.json`` is written last: without it there is no data set.  Raises ``ExecutionError`` for a table that
    lacks a column, for a score that there is not, for a folder with other things in it, and if writing fails.
    """
    folder = Path(folder)
    run = columns(rows, facts)
    several = any(isinstance(each, list) for each in rows.column("label").to_pylist())
    _prepare(folder)
    seed = f"{facts.get('query', '')}\n{facts.get('started', '')}"
    samples = (
        _sample(folder, rows.slice(i, 1).to_pylist()[0], i, run, read, f"{seed}\n{i}\n{run.ids[i]}", shared)
        for i in range(len(run))
    )
    write_result(folder / "samples.json", lambda file: _write_samples(file, samples))
    metadata = json.dumps(_metadata(run, facts, several, seed)).encode()
    return write_result(folder / "metadata.json", lambda file: file.write(metadata)).parent


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if others := {each.name for each in folder.iterdir()} - _OWN:
            raise ExecutionError(
                f"the folder '{folder}' has other things in it, such as '{min(others)}'; give a new one"
            )
        (folder / "metadata.json").unlink(missing_ok=True)
        for name in ("data", f"fields/{POSITIVE}", f"fields/{NEGATIVE}"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExecutionError(f"cannot write to the folder '{folder}': {reason(error)}") from error


# ---- heat maps


def drop_of(heat_map: HeatMap) -> NDArray[np.float64]:
    """float64 [*size]: by how much hiding a cell lowers the score of the first class; 0 where there is no value."""
    heat_map = thumbnails.of_class(heat_map)
    values = heat_map.upsample().astype(np.float64)
    values = values[0] if heat_map.has_class_axis else values
    if not heat_map.score.endswith("drop"):
        values = float(np.ravel(heat_map.baseline)[0]) - values
    return np.nan_to_num(values, posinf=0, neginf=0)


def on_source(drop: NDArray[np.float64], heat_map: HeatMap) -> NDArray[np.float64]:
    """float64 [rows, columns]: ``drop`` [*size] where it lies in the source image, of two axes, and 0 around it.

    The array covers the whole source, with about a pixel for each cell of the grid, but no more than the source has,
    and ``LONGEST`` along a side.  A pixel has the value of the cell that its centre lies in.
    """
    start, extent = np.reshape(heat_map.source_box, (2, 2))
    source, size = np.array(heat_map.source_size), np.array(heat_map.size)
    wanted = np.minimum(source * size / extent, source)
    shape = np.maximum(np.rint(wanted * min(1.0, LONGEST / float(wanted.max()))), 1).astype(np.int64)
    placed = drop
    for axis in range(2):
        centres = (np.arange(shape[axis]) + 0.5) * source[axis] / shape[axis]
        cells = np.floor((centres - start[axis]) * size[axis] / extent[axis]).astype(np.int64)
        inside = (cells >= 0) & (cells < size[axis])
        placed = placed.take(np.where(inside, cells, 0), axis=axis)
        placed[(slice(None),) * axis + (~inside,)] = 0.0
    return placed


@dataclass(frozen=True)
class _Files:
    """The pictures of a sample: where they are in the folder, by its ``name``."""

    folder: Path
    name: str

    def media(self, heat_map: HeatMap) -> str:
        """Write what the model sees, or for other than two axes kdb's figure; its path in the folder."""
        path = f"data/{self.name}.png"
        self._write(path, heat_map.picture if len(heat_map.axes) == 2 else np.asarray(thumbnails.drawn(heat_map)))
        return path

    def heat_map(self, field: str, effect: NDArray[np.float64], widest: float, key: str) -> dict[str, Any] | None:
        """The label of an effect [rows, columns], which is not below 0; None where there is none."""
        full = float(effect.max(initial=0.0))
        if full <= 0:
            return None
        path = f"fields/{field}/{self.name}.png"
        self._write(path, np.rint(effect * (LEVELS / full)).astype(np.uint8))
        reach = LEVELS * max(widest / full, 1.0)
        return {**_label("Heatmap", key), "map_path": path, "range": [0.0, reach], "full": full}

    def _write(self, path: str, pixels: NDArray[np.uint8]) -> None:
        from PIL import Image

        picture = Image.fromarray(pixels)
        write_result(self.folder / path, lambda file: picture.save(file, "png", optimize=True))


# ---- samples


def _write_samples(file: IO[bytes], samples: Iterable[Mapping[str, Any]]) -> None:
    """Write the samples as they come, so that no more than one map is held."""
    file.write(b'{"samples": [')
    for i, sample in enumerate(samples):
        file.write((",\n" if i else "\n").encode() + json.dumps(sample, allow_nan=False).encode())
    file.write(b"\n]}\n")


def _sample(
    folder: Path,
    row: Mapping[str, Any],
    i: int,
    run: Columns,
    read: Callable[[str], HeatMap],
    key: str,
    shared: bool,
) -> dict[str, Any]:
    """The sample of image ``i``; what identifies it is made of ``key``."""
    path, tags = str(row["path"]), []
    sample: dict[str, Any] = {"_id": _identity(key), "filepath": _text(path), "_media_type": "image"}
    if run.failed[i]:
        tags.append(FAILED)
    if run.wrong[i]:
        tags.append("wrong")
    heat_map = None
    if run.done[i]:
        try:
            heat_map = read(row["map"])
        except ExecutionError as error:
            tags.append("unreadable")
            row = {**row, "error_kind": type(error).__name__, "error": str(error)}
    if heat_map is not None:
        sample |= _pictures(folder, heat_map, path, i, run, key, shared)
    sample |= {"tags": tags, "_rand": int(_digest(key)[:13], 16) / 16**13, **_classes(row, i, run, key)}
    return sample | _plain(row, i, run)


def _pictures(
    folder: Path, heat_map: HeatMap, path: str, i: int, run: Columns, key: str, shared: bool
) -> dict[str, Any]:
    """The heat maps of a sample, and its medium where the image itself is none."""
    files = _Files(folder, f"{i:06d}-{re.sub('[^A-Za-z0-9_-]', '_', run.ids[i])[:60]}")
    itself = len(heat_map.axes) == 2 and path.lower().endswith(SHOWN) and path.isprintable() and os.path.isabs(path)
    found: dict[str, Any] = {} if itself else {"filepath": files.media(heat_map)}
    if len(heat_map.axes) != 2:
        return found
    drop = drop_of(heat_map)
    if itself:
        drop = on_source(drop, heat_map)
    height, width = heat_map.source_size if itself else heat_map.size
    found["metadata"] = {"_cls": "ImageMetadata", "width": width, "height": height}
    widest = run.half if shared else max(float(np.abs(drop).max()), FLOORS[unit(run.score)])
    for field, effect in ((POSITIVE, drop), (NEGATIVE, -drop)):
        if (label := files.heat_map(field, effect.clip(0.0), widest, f"{key}\n{field}")) is not None:
            found[field] = label
    return found


def _classes(row: Mapping[str, Any], i: int, run: Columns, key: str) -> dict[str, Any]:
    """The labels of classes: predicted, explained and true."""
    found: dict[str, Any] = {}
    is_probability = unit(run.score) == "probability"

    def classified(label: str | None, index: int | None, baseline: Any, key: str) -> dict[str, Any]:
        label = f"class {index}" if label is None else label
        found: dict[str, Any] = {**_label("Classification", key), "label": _text(label)}
        return found | ({"confidence": float(baseline)} if is_probability and _is_number(baseline) else {})

    labels, indices, baselines = row["label"], row["class_index"], row["baseline"]
    if run.labels[i] is not None or alone(indices) is not None:
        found["predictions"] = classified(run.labels[i], alone(indices), run.baseline[i], f"{key}\npredictions")
    if isinstance(labels, list):
        each = [
            classified(*of, f"{key}\nexplained\n{k}")
            for k, of in enumerate(zip(labels, indices, baselines, strict=False))
        ]
        found["explained"] = {"_cls": "Classifications", "classifications": each}
    truth = run.truths[i]
    if truth is not None:
        # FiftyOne compares labels: a truth that was given as a number is called as the prediction is.
        agrees = run.judged[i] and not run.wrong[i] and run.labels[i] is not None
        named = run.labels[i] if agrees else run.named(truth)
        found["ground_truth"] = {**_label("Classification", f"{key}\ntruth"), "label": _text(str(named))}
    return found


def _plain(row: Mapping[str, Any], i: int, run: Columns) -> dict[str, Any]:
    """Numbers and texts, those that there are."""
    given = {
        **{name: alone(row.get(name)) for name in _PLAIN},
        "kdb_id": run.ids[i],
        "baseline": run.baseline[i],
        "change": run.change[i],
        "source": str(row["path"]),
        "map_file": row["map"],
    }
    found: dict[str, Any] = {}
    for name, kind in _PLAIN.items():
        value = given[name]
        if value is None or (kind == "Float" and not _is_number(value)):
            continue
        found[name] = _text(str(value)) if kind == "String" else int(value) if kind == "Int" else float(value)
    return found


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _text(text: str) -> str:
    """A text as BSON has it, which has no lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _label(kind: str, key: str) -> dict[str, Any]:
    return {"_id": _identity(key), "_cls": kind, "tags": []}


def _identity(key: str) -> dict[str, str]:
    """An identity of MongoDB's: the same for the same part of the same run."""
    return {"$oid": _digest(key)[:24]}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()


# ---- the description of the data set


def _metadata(run: Columns, facts: Mapping[str, str], several: bool, seed: str) -> dict[str, Any]:
    info = {re.sub(r"[.$\0]", "_", key): _text(str(value)) for key, value in facts.items()}
    return {
        "_id": _identity(seed),
        "name": _text(f"kdb {facts.get('model', 'run')}"),
        "version": VERSION,
        "persistent": False,
        "media_type": "image",
        "group_media_types": {},
        "tags": ["kdb"],
        "info": {**info, "kdb": __version__, "score": run.score, "largest_change": run.half},
        "app_config": {"active_fields": {"exclude": False, "paths": [*ACTIVE]}, "color_scheme": _colours(seed)},
        "classes": {},
        "default_classes": [],
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": _fields(several),
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _colours(seed: str) -> dict[str, Any]:
    """kdb's colours for the heat maps, by field, and by value where the user asks for that."""
    of = {POSITIVE: colours.RED, NEGATIVE: colours.BLUE}

    def rgb(colour: colours.RGB) -> str:
        return "rgb({}, {}, {})".format(*(round(255 * each) for each in colour))

    return {
        "_id": _identity(f"{seed}\ncolours"),
        "color_by": "field",
        "fields": [
            {"path": path, "fieldColor": "#" + "".join(f"{round(255 * each):02x}" for each in colour)}
            for path, colour in of.items()
        ],
        "colorscales": [
            {
                "path": path,
                "list": [{"value": 0.0, "color": rgb(colours.NEUTRAL)}, {"value": 1.0, "color": rgb(colour)}],
            }
            for path, colour in of.items()
        ],
    }


def _fields(several: bool) -> list[dict[str, Any]]:
    """The descriptions of all fields of a sample."""
    common = [_field("id", "ObjectId", db="_id"), _field("tags", "List", of="String")]
    classification = [
        *common,
        _field("label", "String"),
        _field("confidence", "Float"),
        _field("logits", "Vector"),
    ]
    heat_map = [
        *common,
        _field("map", "Array"),
        _field("map_path", "String"),
        _field("range", "HeatmapRange", of="Float"),
        _field("full", "Float", said="the drop that level 255 of the map stands for, in the score's unit"),
    ]
    sizes = [_field("size_bytes", "Int"), _field("mime_type", "String")]
    sizes += [_field(name, "Int") for name in ("width", "height", "num_channels")]
    explained = [
        _field(
            "classifications", "List", of="EmbeddedDocument", document="labels.Classification", inner=classification
        ),
        _field("logits", "Vector"),
    ]
    fields = [
        _field("id", "ObjectId", db="_id"),
        _field("filepath", "String"),
        _field("tags", "List", of="String"),
        _field("metadata", "EmbeddedDocument", document="metadata.ImageMetadata", inner=sizes),
        _field("_media_type", "String"),
        _field("_rand", "Float"),
        _field("_dataset_id", "ObjectId"),
        _field("created_at", "DateTime", read_only=True),
        _field("last_modified_at", "DateTime", read_only=True),
    ]
    for name in ("predictions", "ground_truth"):
        fields.append(_field(name, "EmbeddedDocument", document="labels.Classification", inner=classification))
    if several:
        fields.append(_field("explained", "EmbeddedDocument", document="labels.Classifications", inner=explained))
    said = {
        POSITIVE: "what speaks for the class: hiding it lowers the score",
        NEGATIVE: "what speaks against the class: hiding it raises the score",
    }
    for name, text in said.items():
        fields.append(_field(name, "EmbeddedDocument", document="labels.Heatmap", inner=heat_map, said=text))
    return fields + [_field(name, kind) for name, kind in _PLAIN.items()]


def _field(
    name: str,
    kind: str,
    *,
    of: str | None = None,
    document: str | None = None,
    inner: list[dict[str, Any]] | None = None,
    db: str | None = None,
    said: str | None = None,
    read_only: bool = False,
) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": f"{_MODULE}.fields.{kind}Field",
        "embedded_doc_type": None if document is None else f"{_MODULE}.{document}",
        "subfield": None if of is None else f"{_MODULE}.fields.{of}Field",
        "fields": inner or [],
        "db_field": db or name,
        "description": said,
        "info": None,
        "read_only": read_only,
    }
