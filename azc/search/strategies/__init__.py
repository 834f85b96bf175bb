"""Strategies: ask for programs, tell how they did."""
