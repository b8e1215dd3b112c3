"""From a torch module to a Network of operators; the only importers of torch.export."""
