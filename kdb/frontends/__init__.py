"""Frontends: a model as its users keep it -> a :class:`kdb.operators.network.Network`.  The only importers of torch.export."""
