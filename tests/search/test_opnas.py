"""OP-NAS: parents come from the last round, and are scored again in the next."""

from __future__ import annotations

import random

import pytest

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.mutate import Rates
from azc.search.strategies.base import Ask, Scored
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
        self.known = {1: searcher.start}

    def ask(self, count: int, seed: int = 0) -> tuple[Ask, list[int]]:
        """What is asked for, and its numbers."""
        ask = self.searcher.ask(count, random.Random(seed))
        members = list(ask.parents)
        for child in ask.children:
            members.append(max(self.known) + 1)
            self.known[members[-1]] = child.mutation.genome
        return ask, members

    def tell(self, scores: dict[int, float | None]) -> None:
        self.searcher.tell([Scored(c, self.known[c], s) for c, s in scores.items()])


def test_the_first_round_is_the_start_and_its_children() -> None:
    ask, _ = Rounds(strategy()).ask(6)
    assert ask.parents == (1,)
    assert [child.parent for child in ask.children] == [1] * 5
    keys = {child.mutation.genome.key for child in ask.children}
    assert len(keys | {strategy().start.key}) == 6


def test_parents_are_the_best_of_the_last_round_alone() -> None:
    rounds = Rounds(strategy())
    _, first = rounds.ask(6)
    # Scores that no later round comes near: those of another snapshot count for nothing.
    rounds.tell({number: float(place) for place, number in enumerate(first)})
    ask, second = rounds.ask(6, seed=1)
    assert ask.parents == (first[0], first[1])
    assert {child.parent for child in ask.children} == {first[0], first[1]}
    scores = {number: 100.0 - place for place, number in enumerate(second)}
    rounds.tell(dict(scores))
    ask, _ = rounds.ask(6, seed=2)
    assert ask.parents == (second[-1], second[-2])
    assert {child.parent for child in ask.children} == {second[-1], second[-2]}


def test_equal_scores_are_ordered_by_number() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(5)
    rounds.tell(dict.fromkeys(reversed(members), 1.0))
    assert rounds.ask(6)[0].parents == (1, 2)


def test_what_failed_has_no_children() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(5)
    rounds.tell({**dict.fromkeys(members, None), members[3]: 9.0})
    ask, _ = rounds.ask(5, seed=1)
    assert ask.parents == (members[3],)
    assert {child.parent for child in ask.children} == {members[3]}


def test_where_all_failed_the_parents_stay() -> None:
    rounds = Rounds(strategy())
    _, members = rounds.ask(4)
    rounds.tell(dict.fromkeys(members, None))
    ask, _ = rounds.ask(4, seed=1)
    assert ask.parents == (1,)
    told = {rounds.known[number].key for number in members}
    assert told.isdisjoint(child.mutation.genome.key for child in ask.children)


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("parents", [1, 3, 9])
def test_a_round_is_as_large_as_asked_for(count: int, parents: int) -> None:
    rounds = Rounds(strategy(parents=parents))
    _, members = rounds.ask(6)
    rounds.tell({number: float(number) for number in members})
    ask, _ = rounds.ask(count, seed=1)
    assert len(ask.parents) + len(ask.children) == count
    assert 1 <= len(ask.parents) <= max(1, count // 3)
    assert list(ask.parents) == members[: len(ask.parents)]


def test_the_same_seed_asks_for_the_same() -> None:
    def texts(seed: int) -> list[str]:
        ask, _ = Rounds(strategy()).ask(6, seed)
        return [child.mutation.genome.text for child in ask.children]

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
    for feature in rounds.known[best].features:
        assert after.seen[feature] >= 1
        assert after.mean(feature) > 0
    assert rounds.ask(2)[0].priorities == after.as_json()


def test_a_space_with_nothing_new_asks_for_what_is_known() -> None:
    rounds = Rounds(strategy(NARROW, parents=3))
    ask, members = rounds.ask(6)
    assert (len(ask.parents), len(ask.children)) == (1, 1)
    rounds.tell({number: float(number) for number in members})
    ask, _ = rounds.ask(6, seed=1)
    assert (ask.parents, ask.children) == ((1, 2), ())
