"""OP-NAS, operation-priority evolution (Gao et al. 2022)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from azc.check.program import SpaceSpec
from azc.search.genome import Genome, space_features
from azc.search.mutate import Rates, mutate
from azc.search.priorities import Priorities
from azc.search.strategies.base import Ask, Child, Scored

__all__ = ["OpNas"]

_TRIES = 12  # mutations tried for a child that is not known yet


class OpNas:
    """The best of a round are the parents of the next and are scored again in it.

    A round's scores are from one snapshot of the shared weights, so that only candidates
    of one round are ever compared.
    """

    def __init__(
        self,
        start: Genome,
        space: SpaceSpec,
        *,
        parents: int,
        alpha: float,
        rates: Rates,
    ) -> None:
        self.space = space
        self.count = parents
        self.rates = rates
        self.start = start
        # The start is the first candidate of every run.
        self.parents: list[tuple[int, Genome]] = [(1, start)]
        self.known = {start.key}
        self.priorities = Priorities.start(space_features(space), alpha)

    def tell(self, round: Sequence[Scored]) -> None:
        """Takes the parents from a round, and what its programs say of operations."""
        order = sorted(
            (s for s in round if s.score is not None),
            key=lambda s: (s.score, s.candidate),
        )
        self.known.update(s.genome.key for s in round)
        if order:
            self.parents = [(s.candidate, s.genome) for s in order[: self.count]]
        # Higher is better there, and a NaN has failed.
        self.priorities = self.priorities.tell(
            (s.genome.features, math.nan if s.score is None else -s.score)
            for s in round
        )

    def ask(self, count: int, rng: random.Random) -> Ask:
        """The parents again, as far as there is room for children too, and children."""
        again = self.parents[: max(1, min(len(self.parents), count // 3))]
        children: list[Child] = []
        seen = set(self.known)
        wanted = count - len(again)
        for i in range(wanted):
            child = self._child(self.parents[i % len(self.parents)], seen, rng)
            if child is not None:
                children.append(child)
                seen.add(child.mutation.genome.key)
        # A space too small for as many new programs: more of the known ones again.
        rest = [p for p in self.parents if p not in again][: wanted - len(children)]
        parents = tuple(number for number, _ in [*again, *rest])
        return Ask(parents, tuple(children), self.priorities.as_json())

    def _child(
        self, parent: tuple[int, Genome], seen: set[str], rng: random.Random
    ) -> Child | None:
        number, genome = parent
        for _ in range(_TRIES):
            made = mutate(genome, self.space, rng, self.priorities, self.rates)
            if made is not None and made.genome.key not in seen:
                return Child(number, made)
        return None
