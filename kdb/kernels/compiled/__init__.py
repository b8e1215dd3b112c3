"""Kernels of the CPU in C, compiled for several kinds of processor; kdb does without them where there are none."""
