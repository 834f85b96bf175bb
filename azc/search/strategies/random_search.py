"""Random search around the start: what any other strategy has to beat."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.baselines import initial_children
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.population import (
    DEEP,
    Member,
    Mutate,
    Population,
    Variation,
    answer,
    best,
    evenly,
    known_with,
    names,
    room,
    untried,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["RandomSearch", "random_search"]


class RandomSearch:
    """Mutants of the start, 1 to `mutations` deep, each depth as likely.

    The best of a round are scored again in the next, so that the best of the last round
    has stood against the best of all, each time on one snapshot. The first rounds begin
    with the programs in `first`.
    """

    def __init__(
        self,
        start: Genome,
        mutate: Mutate,
        *,
        kept: int,
        mutations: int = DEEP,
        first: Callable[[], Sequence[Child]] = tuple,
    ) -> None:
        self.first = first
        self.start = Member(START, start)
        self.variation = Variation(mutate, mutations)
        self.kept = kept
        self.best: Population = (self.start,)
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """The best again, and mutants; nothing once no mutant is new."""
        again = room(self.best, count)
        wanted = count - len(again)
        children = untried(self.first(), wanted, known)
        children += self.variation.children(
            wanted - len(children),
            lambda _: self.start,
            rng,
            known_with(known, children),
        )
        return answer(again, children, wanted, self.begun)

    def tell(self, round: Sequence[Scored]) -> None:
        """Keeps the best of the round."""
        self.best = best(round, self.kept) or self.best
        self.begun = True

    def state(self) -> object:
        """The numbers of the best, and whether a round is over."""
        return {"best": [m.candidate for m in self.best], "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave. Raises `KeyError` or `TypeError` for another's."""
        known = cast(dict[str, Any], state)
        self.best = tuple(Member(n, genome(n)) for n in known["best"])
        self.begun = known["begun"]

    def display(self) -> dict[str, str]:
        """The best of the last round."""
        return {"best": names(self.best)}


def random_search(
    start: Genome, space: SpaceSpec, options: EvolveOptions
) -> RandomSearch:
    """Random search as the options of a run have it."""
    return RandomSearch(
        start,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or DEEP,
        first=initial_children(start, space, options),
    )
