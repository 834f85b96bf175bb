"""Lowering of graphs to `torch.fx`."""
