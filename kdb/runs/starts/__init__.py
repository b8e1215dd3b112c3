"""The ways to start workers that are elsewhere, one a file: each is a crew for :mod:`kdb.runs.driving`."""
