"""VERIFY of a file: the rows that say whether two maps are of the same image, by the same model, covered alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from kdb.geometry import cells, spelled
from kdb.queries.sources import Found
from kdb.results.maps import HeatMap
from kdb.results.provenance import PARTS, Provenance
from kdb.session.verifying import Row

SHOWN = 16
"""Hexadecimal digits shown of a digest."""
SAME_FILL = 1e-3
"""Levels of 255 by which fills may differ: another version of scipy may blur with other rounding."""
THE_COPY, NOT_THERE = "the copy in the file", "not in the file"


def rows(saved: HeatMap, made: HeatMap, found: Found | None, fill_given: bool) -> Iterator[Row]:
    """What the maps were made by and of; ``found`` is the image, if it was at hand.

    ``fill_given`` says that what covers the image was told anew, by the query or a parameter, and not by the file.
    """
    yield _harmless("kdb", saved.version, made.version)
    if saved.provenance is None or made.provenance is None:
        yield "provenance", NOT_THERE, None, None
    else:
        yield _versions(saved.provenance, made.provenance)
        yield _harmless("device", *(_device(each) for each in (saved.provenance, made.provenance)))
        yield "date", saved.provenance.date, made.provenance.date, None
    yield _harmless("model", saved.model, made.model)
    yield from _model(saved, made)
    if saved.provenance is not None and made.provenance is not None:
        yield _source(saved.provenance, made.provenance)
    yield _image(saved, made, found)
    yield _place(saved, made, found)
    if saved.fill is not None and made.fill is not None:
        same = _alike(saved.fill, made.fill) if fill_given else None
        yield "fill", _cover(saved.fill), _cover(made.fill) if fill_given else THE_COPY, same
    if saved.notes or made.notes:
        yield _harmless("notes", *("; ".join(each.notes) for each in (saved, made)))


def same_classes(saved: HeatMap, made: HeatMap) -> bool | None:
    """Whether the classes and their labels are the same; None where one model has no labels to compare with.

    A map of a model without labels calls its classes by their indices, and one that calls them otherwise was edited.
    """
    (_, before, labels), (_, now, others) = saved.by_class(), made.by_class()
    if before != now:
        return False
    unnamed = tuple(f"class {index}" for index in before)
    if saved.provenance is None:
        had, has = labels != unnamed, others != unnamed
        return labels == others or (None if had != has else False)
    had, has = (bool(each.provenance and each.provenance.parts["labels"]) for each in (saved, made))
    if had == has:
        return labels == others
    return None if had or labels == unnamed else False


def extent(size: Sequence[int] | None) -> str | None:
    """A size in words."""
    return None if size is None else spelled(tuple(size))


def _harmless(field: str, saved: str, now: str) -> Row:
    """A row of what may differ."""
    return field, saved, now, True if saved == now else None


def _versions(saved: Provenance, made: Provenance) -> Row:
    """The packages beside kdb: where some are of other versions, those, which may round otherwise."""
    before, now = saved.versions, made.versions
    names = sorted((before.keys() | now.keys()) - {"kdb"})
    names = [name for name in names if before.get(name) != now.get(name)] or names
    shown = (", ".join(f"{name} {each[name]}" for name in names if name in each) for each in (before, now))
    return _harmless("versions", *shown)


def _device(provenance: Provenance) -> str:
    """What computed the map, which may round otherwise."""
    threads = f"{provenance.threads} thread{'' if provenance.threads == 1 else 's'}"
    return f"{provenance.device}, {threads}, {provenance.precision}"


def _model(saved: HeatMap, made: HeatMap) -> Iterator[Row]:
    """The identity of the model, and what it is made of, where both maps say that.

    Another version of kdb or torch may write the same model as another graph, which is no difference by itself.
    """
    same: bool | None = saved.model_identity == made.model_identity
    digests = _digests(saved.model_identity, made.model_identity)
    before, now = saved.provenance, made.provenance
    if before is None or now is None:
        yield "identity", *digests, same
        return
    agree: dict[str, bool | None] = {part: before.parts[part] == now.parts[part] for part in PARTS}
    shown = {part: _digests(before.parts[part], now.parts[part]) for part in PARTS}
    if not agree["graph"] and any(before.versions.get(name) != now.versions.get(name) for name in ("kdb", "torch")):
        agree["graph"] = None
    if not before.parts["labels"]:
        agree["labels"] = agree["labels"] or None
    elif not now.parts["labels"]:
        shown["labels"][1] = "none now"
    settings = [name for name in now.preprocessing if before.preprocessing.get(name) != now.preprocessing[name]]
    if settings:
        agree["preprocessing"] = False
        shown["preprocessing"] = [_settings(each, settings) for each in (before, now)]
    if agree["graph"] is None and agree["weights"] and agree["preprocessing"]:
        same = same or None
    yield "identity", *digests, same
    yield from ((part, *shown[part], agree[part]) for part in PARTS)


def _settings(provenance: Provenance, names: Sequence[str]) -> str:
    return ", ".join(f"{name} = {provenance.preprocessing.get(name)}" for name in names)


def _digests(*given: str) -> list[str]:
    """The beginnings of two digests, or the whole where these do not tell them apart."""
    shown = [digest[:SHOWN] for digest in given]
    return list(given) if shown[0] == shown[1] and given[0] != given[1] else shown


def _source(saved: Provenance, made: Provenance) -> Row:
    """What the image was read from; other bytes may have the same pixels, which another row compares."""
    before, now = saved.source_sha256, made.source_sha256
    digests = _digests(before or "", now or "")
    if before is None:
        return "source", NOT_THERE, None if now is None else f"{made.source_of} {digests[1]}", None
    if now is None:
        return "source", f"{saved.source_of} {digests[0]}", THE_COPY, None
    return _harmless("source", f"{saved.source_of} {digests[0]}", f"{made.source_of} {digests[1]}")


def _image(saved: HeatMap, made: HeatMap, found: Found | None) -> Row:
    """The row of the two prepared images; where they differ it says in what."""
    if found is None:
        return "image", saved.source, THE_COPY, None
    origin = found[0] or "the image given"
    # Earlier versions rounded every image to 8 bits.
    now = made.picture if saved.provenance is None and saved.image.dtype == np.uint8 else made.image
    if np.array_equal(saved.image, now):
        return "image", saved.source, origin, True
    sizes = [extent(each.image.shape[:-1]) for each in (saved, made)]
    if sizes[0] == sizes[1]:
        return "image", saved.source, f"{origin}, with other pixels", False
    before, after = (
        f"{name}, prepared as {size}" for name, size in zip((saved.source or "", origin), sizes, strict=True)
    )
    return "image", before.removeprefix(", "), after, False


def _place(saved: HeatMap, made: HeatMap, found: Found | None) -> Row:
    """The row of where in the source the grid is; the copy in the file has no place of its own."""
    if found is None:
        return "place", _box(saved), THE_COPY, None
    same = saved.source_size == made.source_size and np.allclose(saved.source_box, made.source_box, rtol=0, atol=1e-3)
    return "place", _box(saved), _box(made), bool(same)


def _box(heat_map: HeatMap) -> str:
    """Where in its source the grid of a map is, in words."""
    numbers = [f"{number:.6g}" for number in heat_map.source_box]
    axes = len(numbers) // 2
    at, size = ", ".join(numbers[:axes]), " x ".join(numbers[axes:])
    return f"{size} at ({at}) of {extent(heat_map.source_size)} {cells(axes)}"


def _alike(saved: npt.NDArray[np.float32], made: npt.NDArray[np.float32]) -> bool:
    return saved.shape == made.shape and bool(np.allclose(saved, made, rtol=0, atol=SAME_FILL))


def _cover(fill: npt.NDArray[np.float32]) -> str:
    """A fill in words: its colour, or its size and mean."""
    *size, channels = fill.shape
    mean = ", ".join(f"{level:.4g}" for level in fill.reshape(-1, channels).mean(axis=0, dtype=np.float64)[:SHOWN])
    return f"({mean})" if max(size) == 1 else f"{extent(size)} {cells(len(size))}, ({mean}) in the mean"
