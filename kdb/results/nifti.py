"""Heat maps of volumes as NIfTI files, which lie on their source in any viewer; nibabel is imported when needed."""

from __future__ import annotations

import gzip
from functools import partial
from typing import IO, TYPE_CHECKING

import numpy as np

from kdb.errors import ExecutionError
from kdb.geometry import Size, Space, spelled
from kdb.results.format import Format, Saving, Write
from kdb.results.frames import import_optional
from kdb.results.on_source import as_in_the_file, on_source

if TYPE_CHECKING:
    from kdb.results.compare import Difference
    from kdb.results.maps import HeatMap


def write(heat_map: HeatMap, extension: str, upsample: bool, file: IO[bytes]) -> None:
    """Write the scores as a float32 volume, with the classes of a map that has several along a fourth axis.

    A voxel is a position of the patch, at the patch's centre; where ``upsample``, a voxel of the source, in the order
    of the source's file, with the mean score of the patches that cover its centre.  NaN where there is no score.  A map
    without a space is placed in the cells of its source.

    Raises what :func:`check` raises, but not for positions that are no lattice where ``upsample``.
    """
    check(heat_map.size, lattice=upsample or heat_map.stride is not None)
    if upsample:
        values, space = as_in_the_file(on_source(heat_map), _source(heat_map))
    else:
        values, space = heat_map.values, lattice(heat_map)
    if heat_map.has_class_axis:
        values = np.moveaxis(values, 0, -1)
    image = import_optional("nibabel").Nifti1Image(np.ascontiguousarray(values), space.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"kdb {heat_map.version}, {heat_map.score}".encode("ascii", "replace")[:79]
    content = image.to_bytes()
    file.write(gzip.compress(content, mtime=0) if extension == "nii.gz" else content)


def check(size: Size, lattice: bool) -> None:
    """Raise ``ExecutionError`` unless maps of an input of ``size`` can be written.

    That takes three axes, a ``lattice`` of positions, and nibabel.
    """
    if len(size) != 3:
        raise ExecutionError(
            f"NIfTI files are of three axes, and the input of this map is {spelled(size)}; save it as .npz, or as a "
            "picture"
        )
    if not lattice:
        raise ExecutionError("the positions of AT are no lattice of voxels; save(.., upsample=True) lies on the source")
    import_optional("nibabel")


def lattice(heat_map: HeatMap) -> Space:
    """Where the centres of the patches of a lattice of positions lie.

    Cell i of the model's grid is at ``start + (i + .5) extent / size - .5`` of the source's cells, and the patch of
    cell j of the map at ``first + stride j + (patch - 1) / 2`` of the grid's.
    """
    assert heat_map.stride is not None
    start, extent = np.reshape(heat_map.source_box, (2, 3))
    scale = extent / heat_map.size
    grid = _source(heat_map).after(scale.tolist(), (start + 0.5 * scale - 0.5).tolist())
    first = heat_map.positions[0, 0, 0] + (np.array(heat_map.patch) - 1) / 2
    return grid.after(heat_map.stride, first.tolist())


def _source(heat_map: HeatMap) -> Space:
    return Space(np.eye(4)) if heat_map.space is None else heat_map.space


def _of_map(heat_map: HeatMap, saving: Saving) -> Write:
    return partial(write, heat_map, saving.extension, saving.upsample)


def _of_difference(difference: Difference, saving: Saving) -> Write:
    return _of_map(difference.as_map(), saving)


VOLUMES = Format(("nii", "nii.gz"), _of_map, _of_difference, check)
