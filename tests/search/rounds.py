"""Rounds as a loop has them, without anything that is trained."""

from __future__ import annotations

import random

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.objectives import LOSS
from azc.search.strategies.base import Child, Scored, Strategy

# Three convolutions, each of three widths: 27 programs.
ROW = """\
model start {
    vocab = 96
    hidden = 8
    heads = 2
    ffn = 16
    residual = pre
    positions = none
    token_types = 0

    layers {
        conv(kernel = 3)
        conv(kernel = 3)
        conv(kernel = 3)
    }
}

space tiny {
    start = start
    depth = 3

    conv {
        kernel = [3, 5, 7]
    }
}
"""


def space_of(text: str) -> tuple[Genome, SpaceSpec]:
    """The start of a text, and the space around it."""
    start = Genome.from_text(text, "start")
    return start, start.program.spaces["tiny"]


class Rounds:
    """Rounds as a loop has them: candidates get numbers, the first is the start."""

    def __init__(self, searcher: Strategy, start: Genome) -> None:
        self.searcher = searcher
        self.genomes = {1: start}
        self.kinds: dict[int, tuple[str, ...]] = {}  # of those new in a round

    @property
    def known(self) -> dict[str, int]:
        """The key of every candidate, with its number."""
        return {genome.key: number for number, genome in self.genomes.items()}

    def ask(self, count: int, seed: int = 0) -> tuple[list[int | Child], list[int]]:
        """What is asked for, and its numbers."""
        asked = list(self.searcher.ask(count, random.Random(seed), self.known))
        members = []
        self.kinds = {}
        for each in asked:
            if isinstance(each, Child):
                members.append(max(self.genomes) + 1)
                self.genomes[members[-1]] = each.genome
                self.kinds[members[-1]] = each.kinds
            else:
                members.append(each)
        return asked, members

    def tell(self, scores: dict[int, float | None]) -> None:
        """Ends the round with these scores."""
        self.searcher.tell([self.scored(c, s) for c, s in scores.items()])

    def scored(self, candidate: int, score: float | None) -> Scored:
        """What is told of one of them."""
        kinds = self.kinds.get(candidate, ())
        return Scored(candidate, self.genomes[candidate], by_loss(score), kinds)


def by_loss(score: float | None) -> dict[str, float] | None:
    """What a candidate of this loss is scored, None if it failed."""
    return None if score is None else {LOSS: score}


def again(asked: list[int | Child]) -> list[int]:
    """The candidates that are to be scored again."""
    return [each for each in asked if isinstance(each, int)]


def children(asked: list[int | Child]) -> list[Child]:
    """The new ones."""
    return [each for each in asked if isinstance(each, Child)]
