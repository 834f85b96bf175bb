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
_MUTATED = 0.5  # probability that a child of two parents is also mutated


class Sepx:
    """Shortest edit path crossover between members of the last round.

    Each parent is the better of two random members, and the child lies halfway between
    them. Half of the children are mutated, too. If no pair has anything new between its
    members, the child is a mutant of the first parent. The first round consists of
    mutants of the start model, up to `DEEP` mutations away.
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
        """Return the best candidates and children; nothing once no child is new."""
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
        """Keep the members of the round that did not fail as parents."""
        self.members = best(round, len(round)) or self.members
        self.begun = True

    def state(self) -> object:
        """Return the last round, best first, with scores."""
        members = [[m.candidate, m.score] for m in self.members]
        return {"members": members, "begun": self.begun}

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        """Restore a state.

        Raise `KeyError` or `TypeError` for one of another strategy.
        """
        known = cast(dict[str, Any], state)
        self.members = tuple(
            Member(number, genome(number), score=score)
            for number, score in known["members"]
        )
        self.begun = known["begun"]

    def display(self) -> dict[str, str]:
        """Return the best of the last round."""
        return {"best": names(self.members[: self.kept])}


def sepx(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Sepx:
    """Create shortest edit path crossover from the options of a run."""
    return Sepx(
        start,
        space,
        evenly(space, options),
        kept=options.parents,
        mutations=options.mutations or 1,
    )
