"""Executors: they run the jobs of a search in this process, in others, or on a
cluster.
"""
