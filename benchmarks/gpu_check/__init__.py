"""Checks kdb on a GPU, correctness and speed, in one command: ``python -m benchmarks.gpu_check``, 6.5 minutes.

Sections run in the order of their importance, each in a process of its own: an illegal memory access, after which all
later CUDA calls of a process fail, ends only its own section.  A row is written to the report as soon as it is
measured, so that a run that is cut off loses nothing.
"""
