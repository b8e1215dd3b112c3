"""Figures that correspond to those of the KRYPTON paper.

Each part is a module that measures, describes and draws; ``python -m benchmarks.figures`` runs them.
"""
