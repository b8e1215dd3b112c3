"""The GPU backend: the verbs as launches of the kernels in ``kernels/cuda``, and torch's convolution as a competitor.

``source`` reads the kernels and what they take, ``programs`` encodes location-wise functions for them, ``device`` is
the one path by which anything is launched, and ``backend`` the verbs.  CuPy is imported when a device is opened.
"""
