"""Measuring instruments: real photographs, calibrated networks, an oracle, competitors and a stopwatch.

Nothing here is part of what is measured, and kdb never imports it.
"""
