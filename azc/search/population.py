"""Building blocks of strategies: selection of members, and variation of programs.

None of them compares scores of different rounds.
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

DEEP = 8  # maximum number of mutations of a random program near the start model
_TRIES = 12  # mutations of a parent tried for a child that is not known yet
_WALK = 64  # mutations tried after that, each from the last known program
_IN_VAIN = 3  # consecutive failures after which no more children are tried


@dataclass(frozen=True)
class Member:
    """A candidate that may have children; `score` (lower is better) is of `round`."""

    candidate: int
    genome: Genome
    round: int = 0
    score: float = 0.0


Population = tuple[Member, ...]  # from the oldest to the youngest, unless ranked
Mutate = Callable[[Genome, random.Random], Mutation | None]


# Selectors


def best(round: Iterable[Scored], count: int, number: int = 0) -> Population:
    """Return the `count` best of a round that did not fail, best first; ties go to the
    older.
    """
    done = [
        Member(s.candidate, s.genome, number, s.score)
        for s in round
        if s.score is not None
    ]
    return tuple(sorted(done, key=lambda m: (m.score, m.candidate))[:count])


def latest(members: Population) -> Population:
    """Return the members that were scored in the last round of any of them."""
    last = max((m.round for m in members), default=0)
    return tuple(m for m in members if m.round == last)


def tournament(members: Population, size: int, rng: random.Random) -> Member:
    """Draw `size` members without replacement, and return the best.

    Their scores must be of one round.
    """
    drawn = rng.sample(members, min(size, len(members)))
    return min(drawn, key=lambda m: (m.score, m.candidate))


def oldest_die(members: Population, count: int) -> Population:
    """Return the `count` youngest members."""
    return members[-count:]


# Variation


def evenly(space: SpaceSpec, options: EvolveOptions) -> Mutate:
    """Create a mutation that draws all operations and widths with equal probability."""
    alike = Priorities.start(space_features(space), alpha=0.0)
    rates = Rates(options.inter_rate, options.intra_rate)
    return lambda genome, rng: mutate(genome, space, rng, alike, rates)


@dataclass(frozen=True)
class Variation:
    """Creates children that are 1 to `most` mutations away, with each number equally
    likely.

    If everything near the parent seems to be known, mutations by `wander` (by default
    `mutate`) lead away from it.
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
        """Create up to `count` new programs.

        Args:
            count: Number of children.
            parent: Returns the parent of the child at a place.
            rng: Source of randomness.
            known: Keys of known programs, with the numbers of candidates.

        Returns:
            The children; fewer than `count` if no more are found.
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
        """Create a new program, `depth` mutations from the parent.

        If everything near it seems to be known, the program is one mutation away from a
        known one that is some steps away.
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
        """Apply `depth` mutations, one after the other."""
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
    """Lay out a round; return nothing if children were wanted but none is new.

    That ends the search, except in its first round (not `begun`).
    """
    return [] if begun and wanted and not children else layout(again, children)


def untried(
    first: Iterable[Child], count: int, known: Mapping[str, int]
) -> list[Child]:
    """Return up to `count` of these programs that are not candidates yet."""
    return [child for child in first if child.genome.key not in known][:count]


def known_with(
    known: Mapping[str, int], children: Iterable[Child]
) -> Mapping[str, int]:
    """Return `known` with these children added, each with the number of a related
    candidate.
    """
    near = {c.genome.key: c.parents[0] if c.parents else START for c in children}
    return {**known, **near}


def names(members: Population) -> str:
    """Format the numbers of members like the names of their program files."""
    return ", ".join(f"{member.candidate:04}" for member in members)


def room(again: Population, count: int) -> Population:
    """Return the members that are scored again in a round of `count`: up to a third, at
    least one.
    """
    return again[: max(1, count // 3)]


def layout(again: Population, children: Sequence[Child]) -> list[int | Child]:
    """Interleave members and children.

    Wherever the budget cuts the round off, about the same share is candidates scored
    again (at least one), the first of them first.
    """
    stride = -(-len(children) // len(again))
    asked: list[int | Child] = []
    for place, member in enumerate(again):
        asked += [member.candidate, *children[place * stride : (place + 1) * stride]]
    return asked
