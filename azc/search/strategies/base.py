"""The seam between a strategy and the loop: ask and tell.

The loop owns the budget, the numbers of candidates and the journal; a strategy owns what
it knows, and hands it to the loop as a JSON value that the loop keeps and does not read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.objectives import Scores, first_score
from azc.search.options import EvolveOptions

__all__ = ["Child", "MakeStrategy", "Scored", "Strategy"]


@dataclass(frozen=True)
class Scored:
    """A candidate in a closed round; `scores`, by objective, is None if it failed.

    `kinds`: those of the mutations that made it, where it is new in the round.
    """

    candidate: int
    genome: Genome
    scores: Scores | None
    kinds: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """What a search by one number goes by: lower is better, None if it failed."""
        return first_score(self.scores)


@dataclass(frozen=True)
class Child:
    """A new program, the candidates it came from, and how, in one line.

    `parents`: any number of them, the one whose text it goes on with first; none for a
    program that came from nowhere, such as one that a person wrote. `kinds`: those of
    its mutations, which come back with its scores.
    """

    genome: Genome
    parents: tuple[int, ...]
    description: str
    kinds: tuple[str, ...] = field(default=(), repr=False)


class Strategy(Protocol):
    """A way to search."""

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> Sequence[int | Child]:
        """What to score next: candidates again, by number, and new ones.

        The loop scores them in this order, at most `count`, until the budget is spent.
        It refuses children that are known, by their key or their function (`known` has
        both of every candidate, with its number), and those that can't be trained; in
        their place it asks again, and `known` then has them too, with the number of a
        candidate near. Nothing asked for, or a hundred refused and none new, ends the
        search.
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
