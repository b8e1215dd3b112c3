"""Runs over data sets: what is made of their tables and maps."""
