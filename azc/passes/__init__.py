"""Passes, which rewrite graphs; one file each."""
