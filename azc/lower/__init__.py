"""Graphs to `torch.fx`."""
