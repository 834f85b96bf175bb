"""The seam between a strategy and the loop: ask and tell.

The loop owns the budget, the numbers of candidates and the journal; a strategy owns what
it knows, and hands it to the loop as a JSON value that the loop keeps and does not read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.options import EvolveOptions

__all__ = ["Child", "MakeStrategy", "Scored", "Strategy"]


@dataclass(frozen=True)
class Scored:
    """A candidate in a closed round; `score` (lower is better) is None if it failed."""

    candidate: int
    genome: Genome
    score: float | None


@dataclass(frozen=True)
class Child:
    """A new program, the candidate it came from, and how, in one line."""

    genome: Genome
    parent: int
    description: str


class Strategy(Protocol):
    """A way to search."""

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> Sequence[int | Child]:
        """What to score next: candidates again, by number, and new ones.

        The loop scores them in this order, at most `count`, until the budget is spent.
        It passes over what comes twice and children whose key is `known` (that of every
        candidate, with its number). Nothing asked for ends the search.
        """

    def tell(self, round: Sequence[Scored]) -> None:
        """How a whole round did, scored from one snapshot."""

    def state(self) -> object:
        """All that it knows, as a JSON value."""

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave; `genome` has the program of a candidate."""

    def display(self) -> Mapping[str, str]:
        """What to show of it while it searches: names with short texts, in order."""


MakeStrategy = Callable[[Genome, SpaceSpec, EvolveOptions], Strategy]
