"""The GPU backend: the verbs as launches of the kernels in ``kernels/cuda``, and torch's convolution as a competitor.

``source`` reads the kernels and what they take, ``programs`` encodes pointwise functions for them, ``device`` is
the one path by which anything is launched.  The verbs are a chain of classes, each a file: ``memory``, ``cells``,
``laid``, ``windows``, ``backend``.  CuPy is imported when a device is opened.
"""
