"""Runs: one query on the images of a data set, by one process or many, in a folder that survives all of them."""
