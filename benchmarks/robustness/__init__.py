"""Looks for maps that are wrong without a word: kdb examined from outside, against each model in float64.

It also looks for memory that is not given back, and for lines of kdb that no test would miss.

``python -m benchmarks.robustness`` runs the parts that :mod:`benchmarks.robustness.parts` lists and writes a report.
"""
