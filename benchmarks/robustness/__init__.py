"""Looks for maps that are wrong without a word: kdb examined from outside, against each model in float64.

``python -m benchmarks.robustness`` runs the parts that :mod:`benchmarks.robustness.parts` lists and writes a report.
"""
