"""How much a file may ask for.  Files come from strangers, and a small one can declare, or unpack to, any size.

What a file declares is compared with these numbers before anything is allocated for it.  They are far above what real
files need, and low enough for the memory of a small machine.  The pixels of an image are limited by Pillow's
``PIL.Image.MAX_IMAGE_PIXELS``, which a program may set.
"""

from __future__ import annotations

MAP_BYTES = 1 << 31
"""All arrays of a heat map's file together: a map of 180,000 positions and 1,000 classes, with its errors, fits."""
MAP_NUMBERS = 1 << 20
"""Numbers or texts in a field of a heat map that is no array, such as its labels: these become objects of Python."""
PROVENANCE_CHARACTERS = 1 << 20
"""Of the text that says what a heat map was made of: that of a model of three channels has some 1,500."""

ONNX_NODES = 100_000
"""Nodes of a graph, local functions expanded: the largest vision models have some 10,000."""
ONNX_NUMBERS = 1 << 27
"""Elements of a layer's output for one image, or of a tensor that a file makes of a shape: 512 MiB of float32."""
ONNX_FOLDED_BYTES = 1 << 28
"""All tensors together that are computed from a file's constants, beyond eight times what these have themselves."""
ONNX_SHAPE_NUMBERS = 1 << 16
"""Elements of an array that is part of the arithmetic of shapes, which Python does one by one."""

IMAGE_NUMBERS = 1 << 29
"""Values of a signal, volume or video: 2 GiB of float32.  A CT of 512 x 512 x 1,000 has half as many."""
