"""A module as an ONNX file, for the runtimes that read such."""

from __future__ import annotations

import logging
import warnings
from functools import lru_cache

import torch
from torch import nn

BATCH_AXIS = "n"
"""The name of the batch's axis in the file."""


@lru_cache(maxsize=1)
def exported(module: nn.Module, size: tuple[int, ...]) -> bytes:
    """The file of a module for images of ``size`` (C, H, W), any number at a time; that of the last module is kept."""
    axis = torch.export.Dim(BATCH_AXIS, min=1, max=1024)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(2, *size)
        program = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=({0: axis},), verbose=False)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())
