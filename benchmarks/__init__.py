"""Benchmarks of kdb: photographs, calibrated networks, a float64 oracle, competitors, timing, and the commands.

kdb never imports this package.
"""
