"""Crossover along the shortest edit path (Qiu and Miikkulainen 2023)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.mutate.crossover import crossover
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
    names,
    room,
    tournament,
)
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = ["Sepx", "sepx"]

_TRIES = 6  # pairs tried for a child that is not known
_MUTATED = 0.5  # of the children of two, how many are mutated too


class Sepx:
    """A child is between two of the last round, the best of two drawn each, half of the
    way from one to the other, and every second one mutated besides. Where no pair has
    anything new between them, it is a mutant of the first.

    The first round is of mutants of the start, up to `DEEP` mutations away.
    """

    def __init__(
        self,
        start: Genome,
        space: SpaceSpec,
        mutate: Mutate,
        *,
        kept: int,
        mutations: int = 1,
    ) -> None:
        self.space, self.mutate = space, mutate
        self.first = Variation(mutate, DEEP)
        self.variation = Variation(mutate, mutations)
        self.kept = kept
        self.members: Population = (Member(START, start),)  # the best first
        self.begun = False

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        """The best again, and children; nothing once no child is new."""
        again = room(self.members[: self.kept], count)
        wanted = count - len(again)
        if not self.begun:
            start = self.members[0]
            made = self.first.children(wanted, lambda _: start, rng, known)
            return answer(again, made, wanted, begun=False)
        children: list[Child] = []
        seen = dict(known)
        while len(children) < wanted:
            found = self._child(rng, seen)
            if found is None:
                break
            children.append(found)
            seen[found.genome.key] = found.parents[0]
        return answer(again, children, wanted, begun=True)

    def _child(self, rng: random.Random, seen: Mapping[str, int]) -> Child | None:
        one = self.members[0]
        for _ in range(_TRIES):
            one, other = (tournament(self.members, 2, rng) for _ in range(2))
            if one.candidate == other.candidate:
                continue
            made = crossover(one.genome, other.genome, self.space, rng)
            if made is None:
                continue
            more = self.mutate(made.genome, rng) if rng.random() < _MUTATED else None
            words = "; ".join(each.description for each in (made, more) if each)
            genome = (more or made).genome
            if genome.key not in seen:
                return Child(genome, (one.candidate, other.candidate), words)
        found = self.variation.children(1, lambda _: one, rng, seen)
        return found[0] if found else None

    def tell(self, round: Sequence[Scored]) -> None:
        """Whoever did not fail may have children."""
        self.members = best(round, len(round)) or self.members
        self.begun = True

    def state(self) -> object:
        """The last round, the best first, with scores."""
        members = [[m.candidate, m.score] for m in self.members]
        return {"members": members, "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Takes in what `state` gave. Raises `KeyError` or `TypeError` for another's."""
        known = cast(dict[str, Any], state)
        self.members = tuple(
            Member(number, genome(number), score=score)
            for number, score in known["members"]
        )
        self.begun = known["begun"]

    def display(self) -> dict[str, str]:
        """The best of the last round."""
        return {"best": names(self.members[: self.kept])}


def sepx(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Sepx:
    """Shortest edit path crossover as the options of a run have it."""
    return Sepx(
        start,
        space,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or 1,
    )
