"""What a candidate is scored by: a number for every objective, the lower the better."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LOSS", "Scores", "first_score"]

LOSS = "loss"  # of validation text, in nats: every candidate that is scored has it

# By the name of the objective. The first is what a search by one number goes by.
Scores = Mapping[str, float]


def first_score(scores: Scores | None) -> float | None:
    """What a search by one number goes by; None of what has failed."""
    return None if scores is None else next(iter(scores.values()))
