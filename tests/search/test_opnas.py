"""OP-NAS: parents come from the last round, and are scored again in the next."""

from __future__ import annotations

import json
import random

import pytest

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.mutate import Rates
from azc.search.strategies.base import Child, Scored
from azc.search.strategies.opnas import OpNas
from tests.runs import NARROW, PROGRAM


def space_of(text: str) -> tuple[Genome, SpaceSpec]:
    start = Genome.from_text(text, "start")
    return start, start.program.spaces["tiny"]


def strategy(text: str = PROGRAM, parents: int = 2) -> OpNas:
    start, space = space_of(text)
    return OpNas(start, space, parents=parents, alpha=0.5, rates=Rates(0.7, 0.7))


class Rounds:
    """Rounds as a loop has them: candidates get numbers, the first is the start."""

    def __init__(self, searcher: OpNas) -> None:
        self.searcher = searcher
        self.genomes = {1: searcher.parents[0][1]}

    @property
    def known(self) -> dict[str, int]:
        return {genome.key: number for number, genome in self.genomes.items()}

    def ask(self, count: int, seed: int = 0) -> tuple[list[int | Child], list[int]]:
        """What is asked for, and its numbers."""
        asked = self.searcher.ask(count, random.Random(seed), self.known)
        members = []
        for each in asked:
            if isinstance(each, Child):
                members.append(max(self.genomes) + 1)
                self.genomes[members[-1]] = each.genome
            else:
                members.append(each)
        return asked, members

    def tell(self, scores: dict[int, float | None]) -> None:
        self.searcher.tell([Scored(c, self.genomes[c], s) for c, s in scores.items()])


def again(asked: list[int | Child]) -> list[int]:
    """The candidates that are to be scored again."""
    return [each for each in asked if isinstance(each, int)]


def children(asked: list[int | Child]) -> list[Child]:
    """The new ones."""
    return [each for each in asked if isinstance(each, Child)]


def test_the_first_round_is_the_start_and_its_children() -> None:
    searcher = strategy()
    start = searcher.parents[0][1]
    ask, _ = Rounds(searcher).ask(6)
    assert again(ask) == [1]
    assert [child.parent for child in children(ask)] == [1] * 5
    assert len({child.genome.key for child in children(ask)} | {start.key}) == 6


def test_parents_are_the_best_of_the_last_round_alone() -> None:
    rounds = Rounds(strategy())
    _, first = rounds.ask(6)
    # Scores that no later round comes near: those of another snapshot count for nothing.
    rounds.tell({number: float(place) for place, number in enumerate(first)})
    ask, second = rounds.ask(6, seed=1)
    assert again(ask) == [first[0], first[1]]
    assert {child.parent for child in children(ask)} == {first[0], first[1]}
    scores = {number: 100.0 - place for place, number in enumerate(second)}
    rounds.tell(dict(scores))
    ask, _ = rounds.ask(6, seed=2)
    assert again(ask) == [second[-1], second[-2]]
    assert {child.parent for child in children(ask)} == {second[-1], second[-2]}


def test_equal_scores_are_ordered_by_number() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(5)
    rounds.tell(dict.fromkeys(reversed(members), 1.0))
    assert again(rounds.ask(6)[0]) == [1, 2]


def test_what_failed_has_no_children() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(5)
    rounds.tell({**dict.fromkeys(members, None), members[3]: 9.0})
    ask, _ = rounds.ask(5, seed=1)
    assert again(ask) == [members[3]]
    assert {child.parent for child in children(ask)} == {members[3]}


def test_where_all_failed_the_parents_stay() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(4)
    rounds.tell(dict.fromkeys(members, None))
    ask, _ = rounds.ask(4, seed=1)
    assert again(ask) == [1]
    told = {rounds.genomes[number].key for number in members}
    assert told.isdisjoint(child.genome.key for child in children(ask))


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("parents", [1, 3, 9])
def test_a_round_is_as_large_as_asked_for(count: int, parents: int) -> None:
    rounds = Rounds(strategy(parents=parents))
    _, members = rounds.ask(6)
    rounds.tell({number: float(number) for number in members})
    ask, _ = rounds.ask(count, seed=1)
    parents = again(ask)
    assert len(ask) == count
    assert 1 <= len(parents) <= max(1, count // 3)
    assert parents == members[: len(parents)]
    # However little of it the budget is enough for.
    for size in range(1, count + 1):
        assert 1 <= len(again(ask[:size])) <= max(1, -(-size // 3))


def test_the_same_seed_asks_for_the_same() -> None:
    def texts(seed: int) -> list[str]:
        ask, _ = Rounds(strategy()).ask(6, seed)
        return [child.genome.text for child in children(ask)]

    assert texts(3) == texts(3)
    assert texts(3) != texts(4)


def test_priorities_follow_the_ranks() -> None:
    rounds = Rounds(strategy())
    before = rounds.searcher.priorities
    _, members = rounds.ask(6)
    rounds.tell({number: float(number) for number in members})
    after = rounds.searcher.priorities
    assert (before.candidates, after.candidates) == (0, 6)
    best = min(members)
    for feature in rounds.genomes[best].features:
        assert after.seen[feature] >= 1
        assert after.mean(feature) > 0
    shown = rounds.searcher.display()
    assert set(shown) == set(after.seen)
    assert next(iter(shown)) == after.table()[0].feature


def test_what_it_knows_goes_through_json() -> None:
    rounds = Rounds(strategy())
    for seed in range(3):
        _, members = rounds.ask(6, seed)
        rounds.tell({number: 1 / (3 + number) for number in members})
    other = strategy()
    other.restore(
        json.loads(json.dumps(rounds.searcher.state())), rounds.genomes.__getitem__
    )
    assert other.state() == rounds.searcher.state()
    assert other.display() == rounds.searcher.display()

    def texts(searcher: OpNas) -> list[str]:
        asked = searcher.ask(6, random.Random(9), rounds.known)
        return [e.genome.text if isinstance(e, Child) else str(e) for e in asked]

    assert texts(other) == texts(rounds.searcher)


def test_a_space_with_nothing_new_asks_for_nothing() -> None:
    rounds = Rounds(strategy(NARROW, parents=3))
    ask, members = rounds.ask(6)
    assert (len(again(ask)), len(children(ask))) == (1, 1)
    rounds.tell({number: float(number) for number in members})
    assert rounds.ask(6, seed=1) == ([], [])


ROW = """\
model start {
    vocab = 96
    hidden = 8
    heads = 2

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


def test_a_space_is_found_to_its_last_program() -> None:
    """Also where all around the parents is known: the last are some steps away."""
    rounds = Rounds(strategy(ROW, parents=1))
    for seed in range(40):
        ask, members = rounds.ask(4, seed)
        if not ask:
            break
        # The start stays the only parent.
        rounds.tell({number: float(number) for number in sorted({1, *members})})
    assert len(rounds.known) == 27
    for child in children(ask):
        assert child.parent in rounds.genomes
