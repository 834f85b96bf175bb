"""The seam between a strategy and the loop: ask and tell."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from azc.search.genome import Genome
from azc.search.mutate import Mutation

__all__ = ["Ask", "Child", "Scored", "Strategy"]


@dataclass(frozen=True)
class Scored:
    """A candidate in a closed round; `score` (lower is better) is None if it failed."""

    candidate: int
    genome: Genome
    score: float | None


@dataclass(frozen=True)
class Child:
    """A new program and the candidate it came from."""

    parent: int
    mutation: Mutation


@dataclass(frozen=True)
class Ask:
    """What to score next: candidates again, then new ones; `priorities` is a JSON value
    for the journal.
    """

    parents: tuple[int, ...]
    children: tuple[Child, ...]
    priorities: object


class Strategy(Protocol):
    """A way to search. Its state is what it was told, in order: a resumed run tells it
    all again.
    """

    def ask(self, count: int, rng: random.Random) -> Ask:
        """At most `count` candidates for the next round."""

    def tell(self, round: Sequence[Scored]) -> None:
        """How a whole round did, scored from one snapshot."""
