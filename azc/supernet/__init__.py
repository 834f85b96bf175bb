"""Bi-branch weight sharing: one set of weights for all candidates of a search."""
