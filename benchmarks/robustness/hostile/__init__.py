"""Damaged queries and files: whatever is typed or opened, kdb answers or raises an error of its own, and does no harm.

A target is something that can be damaged: :mod:`.targets` lists them, a target is a function and a line there.
:mod:`.guard` makes attempts on one in a process of its own, which is watched from outside.
"""
