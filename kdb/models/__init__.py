"""Models: a module with its preprocessing and labels, and the names by which one is found.

Tracing a module into a network is the frontends' work, not done here.
"""
