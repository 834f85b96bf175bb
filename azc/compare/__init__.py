"""Summaries and differences of programs and models."""
