"""The vocabulary of networks: one file a family, each operator with its geometry, delta rule and cost.

Operators are frozen and hold no arrays; they name their weights in the network's parameters and compute through the
verbs of a backend.
"""
