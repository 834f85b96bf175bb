"""What a strategy is put together from: selectors, and the variation of programs.

A selector takes programs and gives some of them. A variation makes a child of one. None
of them compares two scores that are not of one round.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from azc.check.program import SpaceSpec
from azc.search.genome import Genome, space_features
from azc.search.mutate import Mutation, Rates, mutate
from azc.search.options import EvolveOptions
from azc.search.priorities import Priorities
from azc.search.records import START
from azc.search.strategies.base import Child, Scored

__all__ = [
    "DEEP",
    "Member",
    "Mutate",
    "Population",
    "Variation",
    "answer",
    "best",
    "evenly",
    "known_with",
    "latest",
    "layout",
    "names",
    "oldest_die",
    "room",
    "tournament",
    "untried",
]

DEEP = 8  # mutations of what is drawn at random around the start, at most
_TRIES = 12  # mutations of a parent tried for a child that is not known yet
_WALK = 64  # mutations after that, each of the known program before
_IN_VAIN = 3  # walks from parents, one after the other, until no more is looked for


@dataclass(frozen=True)
class Member:
    """A candidate that may have children; `score` (lower is better) is of `round`."""

    candidate: int
    genome: Genome
    round: int = 0
    score: float = 0.0


Population = tuple[Member, ...]  # from the oldest to the youngest
Mutate = Callable[[Genome, random.Random], Mutation | None]


# Selectors


def best(round: Iterable[Scored], count: int, number: int = 0) -> Population:
    """The so many best of a round, the best first, of equals the older; none failed."""
    done = [
        Member(s.candidate, s.genome, number, s.score)
        for s in round
        if s.score is not None
    ]
    return tuple(sorted(done, key=lambda m: (m.score, m.candidate))[:count])


def latest(members: Population) -> Population:
    """Those scored in the last round that any of them was scored in."""
    last = max((m.round for m in members), default=0)
    return tuple(m for m in members if m.round == last)


def tournament(members: Population, size: int, rng: random.Random) -> Member:
    """The best of so many, drawn without replacement from at least one: their scores
    are of one round.
    """
    drawn = rng.sample(members, min(size, len(members)))
    return min(drawn, key=lambda m: (m.score, m.candidate))


def oldest_die(members: Population, count: int) -> Population:
    """The so many youngest."""
    return members[-count:]


# Variation


def evenly(space: SpaceSpec, options: EvolveOptions) -> Mutate:
    """One mutation, which draws operations and widths all alike."""
    alike = Priorities.start(space_features(space), alpha=0.0)
    rates = Rates(options.inter_rate, options.intra_rate)
    return lambda genome, rng: mutate(genome, space, rng, alike, rates)


@dataclass(frozen=True)
class Variation:
    """Children that are 1 to `most` mutations away, each depth as likely. Where all
    around seems to be known, steps of `wander` (None: of `mutate`) lead away from it.
    """

    mutate: Mutate
    most: int = 1
    wander: Mutate | None = None

    def children(
        self,
        count: int,
        parent: Callable[[int], Member],
        rng: random.Random,
        known: Mapping[str, int],
    ) -> list[Child]:
        """New programs, each of the parent that its place is given; fewer where no more
        is found.
        """
        found: list[Child] = []
        seen = set(known)
        in_vain = 0
        for place in range(count):
            depth = rng.randint(1, self.most) if self.most > 1 else 1
            child = self._child(parent(place), depth, seen, rng, known)
            if child is not None:
                found.append(child)
                seen.add(child.genome.key)
                in_vain = 0
            elif (in_vain := in_vain + 1) == _IN_VAIN:
                break
        return found

    def _child(
        self,
        parent: Member,
        depth: int,
        seen: set[str],
        rng: random.Random,
        known: Mapping[str, int],
    ) -> Child | None:
        """A new program: so many mutations from the parent, or one from a known program
        some steps away where all around the parent seems to be known.
        """
        number, genome = parent.candidate, parent.genome
        for step in range(_TRIES + _WALK):
            if step < _TRIES:
                made = self._walk(genome, depth, rng)
            else:
                made = (self.wander or self.mutate)(genome, rng)
            if made is None:
                continue
            key = made.genome.key
            if key not in seen:
                return Child(made.genome, (number,), made.description, made.kinds)
            if step >= _TRIES and key in known:
                number, genome = known[key], made.genome
        return None

    def _walk(self, genome: Genome, depth: int, rng: random.Random) -> Mutation | None:
        """So many mutations, one after the other."""
        steps: list[Mutation] = []
        for _ in range(depth):
            made = self.mutate(genome, rng)
            if made is None:
                return None
            steps.append(made)
            genome = made.genome
        return Mutation(
            genome=genome,
            description="; ".join(step.description for step in steps),
            kinds=tuple(kind for step in steps for kind in step.kinds),
        )


# A round


def answer(
    again: Population, children: Sequence[Child], wanted: int, begun: bool
) -> list[int | Child]:
    """A round of both, laid out; nothing once none of the children wanted is new, which
    in the round that a search begins with is no end.
    """
    return [] if begun and wanted and not children else layout(again, children)


def untried(
    first: Iterable[Child], count: int, known: Mapping[str, int]
) -> list[Child]:
    """Of programs to begin with, those that are no candidates yet, at most so many."""
    return [child for child in first if child.genome.key not in known][:count]


def known_with(
    known: Mapping[str, int], children: Iterable[Child]
) -> Mapping[str, int]:
    """What is known with these children too, by the number of a candidate near."""
    near = {c.genome.key: c.parents[0] if c.parents else START for c in children}
    return {**known, **near}


def names(members: Population) -> str:
    """Their numbers, as the files of their programs are called."""
    return ", ".join(f"{member.candidate:04}" for member in members)


def room(again: Population, count: int) -> Population:
    """Those of a round of `count` that are scored again: at most a third of it, and at
    least one.
    """
    return again[: max(1, count // 3)]


def layout(again: Population, children: Sequence[Child]) -> list[int | Child]:
    """A round of both: wherever the budget cuts it off, about as large a share of it are
    candidates scored again (at least one), the first of them first.
    """
    stride = -(-len(children) // len(again))
    asked: list[int | Child] = []
    for place, member in enumerate(again):
        asked += [member.candidate, *children[place * stride : (place + 1) * stride]]
    return asked
