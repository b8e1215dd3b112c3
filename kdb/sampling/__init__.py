"""Sampling strategies: which cells of a heat map to evaluate next, and what the remaining cells are likely to be.

A *cell* here is one location of a heat map, that is, one position of the patch; cells are numbered row by row.  The
package works on arrays of scores alone and imports nothing about networks, plans or images.  A strategy
(:mod:`kdb.sampling.strategy`) proposes cells, receives their scores, and estimates the whole heat map.
"""
