"""Figures beside those of the KRYPTON paper: a part a file, which measures, and draws what was measured."""
