"""Analyses of the values of a graph, for lowering and passes."""
