"""Backends: the verbs that operators compute with, and their kernels; on numpy, with torch's as competitors (cpu)."""
