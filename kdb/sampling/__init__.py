"""Which positions of a map are worth evaluating, and what the others are likely to be.

Arrays only: nothing here knows of networks, plans or images.  A strategy (:mod:`kdb.sampling.strategy`) proposes cells,
is told their scores, and at the end gives the whole map.
"""
