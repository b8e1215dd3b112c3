"""Models: modules with their preprocessing and labels, by name or out of files.

They are traced into networks by :mod:`kdb.frontends`.
"""
