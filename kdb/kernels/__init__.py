"""Backends: the dozen verbs that operators compute with, on numpy (cpu), or counted without arithmetic (null)."""
