"""NSGA-II: several objectives at once (Deb et al. 2002)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.pareto import by_front, fronts, points
from azc.search.population import (
    DEEP,
    Member,
    Mutate,
    Population,
    Variation,
    answer,
    evenly,
    names,
    tournament,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["Nsga2", "nsga2"]


class Nsga2:
    """Of a round the better half lives on: front by front, and in the last of them what
    is far from its neighbours. It is scored again beside as many children, so that all
    that is ever compared is of one snapshot. A parent is the better of two drawn.

    The first round is of mutants of the start, up to `DEEP` mutations away.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        objectives: Sequence[str],
        mutations: int = 1,
    ) -> None:
        self.objectives = tuple(objectives)
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        # The better first: a member's score is its place.
        self.population: Population = (Member(START, start),)
        self.front = 0
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """The population again, and children; nothing once no child is new."""
        again = self.population[: max(1, count // 2)]
        wanted = count - len(again)
        variation = self.variation if self.begun else self.first
        children = variation.children(
            wanted, lambda _: tournament(again, 2, rng), rng, known
        )
        return answer(again, children, wanted, self.begun)

    def tell(self, round: Sequence[Scored]) -> None:
        """Keeps the better half."""
        order = by_front(sorted(round, key=_by_number), self.objectives)
        if order:
            kept = order[: max(1, len(round) // 2)]
            self.population = tuple(
                Member(s.candidate, s.genome, score=float(place))
                for place, s in enumerate(kept)
            )
            self.front = len(fronts(points(order, self.objectives))[0])
        self.begun = True

    def state(self) -> object:
        """The population, the better first, and how many the front of its round had."""
        numbers = [member.candidate for member in self.population]
        return {"population": numbers, "front": self.front, "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave. Raises `KeyError` or `TypeError` for another's."""
        known = cast(dict[str, Any], state)
        self.population = tuple(
            Member(number, genome(number), score=float(place))
            for place, number in enumerate(known["population"])
        )
        self.front, self.begun = known["front"], known["begun"]

    def display(self) -> dict[str, str]:
        """How many of the last round were on its front, and who lives on."""
        return {"on the front": str(self.front), "living": names(self.population)}


def _by_number(scored: Scored) -> tuple[float, int]:
    score = scored.score
    return (float("inf") if score is None else score, scored.candidate)


def nsga2(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Nsga2:
    """NSGA-II as the options of a run have it."""
    return Nsga2(
        start,
        evenly(space, options),
        objectives=options.objectives,
        mutations=options.mutations or 1,
    )
