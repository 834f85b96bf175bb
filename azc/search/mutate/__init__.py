"""Mutation of programs: from a parent's syntax tree to a child that lies in the
space.
"""

from azc.search.mutate.op_nas import Mutation, Rates, mutate

__all__ = ["Mutation", "Rates", "mutate"]
