"""The GPU backend: the verbs as launches of the kernels in ``kernels/cuda``, and torch's convolution as a competitor.

``source`` reads the kernels and what they take, ``programs`` encodes pointwise functions for them, ``device`` is
the one path by which anything is launched, ``launcher`` has what all verbs launch with.  Each family of verbs is a
file (``memory``, ``deltas``, ``windows``, ``maps``), and so is each kernel (``direct``, ``gemm``, ``recompute``,
``dense``); ``backend`` composes them.  CuPy is imported when a device is opened.
"""
