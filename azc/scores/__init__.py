"""Scores of a model that has not been trained, from one batch."""
