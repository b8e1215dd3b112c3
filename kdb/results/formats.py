"""The formats of the files of results: one a file, and one line each here."""

from __future__ import annotations

from kdb.results import dicom, nifti, npz
from kdb.results.format import Format
from kdb.results.pictures import figure

FORMATS: tuple[Format, ...] = (
    npz.DATA,
    figure.PICTURES,
    nifti.VOLUMES,
    dicom.PICTURES,
    dicom.VALUES,
)
EXTENSIONS: dict[str, Format] = {extension: each for each in FORMATS for extension in each.extensions}
"""The format of each extension."""
