"""Selectors and variations, one by one."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest

from azc.search.genome import Genome
from azc.search.mutate import Mutation
from azc.search.options import EvolveOptions
from azc.search.population import (
    DEEP,
    Member,
    Variation,
    best,
    evenly,
    latest,
    layout,
    oldest_die,
    room,
    tournament,
)
from azc.search.strategies.base import Child, Scored
from azc.search.strategies.random_search import random_search
from tests.runs import PROGRAM
from tests.search.rounds import Rounds, by_loss, children, space_of

START, SPACE = space_of(PROGRAM)


def members(*scores: float, round: int = 0) -> tuple[Member, ...]:
    return tuple(Member(i, START, round, s) for i, s in enumerate(scores, 1))


def numbers(population: tuple[Member, ...]) -> list[int]:
    return [member.candidate for member in population]


def test_the_best_of_a_round() -> None:
    scores = [(4, 2.0), (2, None), (3, 1.0), (1, 2.0)]
    round_ = [Scored(number, START, by_loss(score)) for number, score in scores]
    assert numbers(best(round_, 9, 5)) == [3, 1, 4]
    assert numbers(best(round_, 2)) == [3, 1]
    assert {(m.round, m.score) for m in best(round_, 9, 5)} == {(5, 1.0), (5, 2.0)}
    assert best([Scored(1, START, None)], 3) == ()


def test_the_latest_are_of_one_round() -> None:
    old = members(1.0, 2.0)
    new = (Member(7, START, 3, 9.0), Member(8, START, 3, 8.0))
    assert numbers(latest((*old, *new))) == [7, 8]
    assert latest(()) == ()


def test_the_oldest_die() -> None:
    assert numbers(oldest_die(members(1.0, 2.0, 3.0), 2)) == [2, 3]
    assert numbers(oldest_die(members(1.0), 2)) == [1]


@pytest.mark.parametrize("size", [1, 2, 4, 6, 9])
def test_a_tournament_is_won_as_often_as_counted(size: int) -> None:
    """Against all the ways to draw, written out."""
    scores = [3.0, 1.0, 2.0, 2.0, 5.0, 4.0]
    ways = list(combinations(range(6), min(size, 6)))
    wins = Counter(min(way, key=lambda i: (scores[i], i)) + 1 for way in ways)
    rng = random.Random(3)
    population = members(*scores)
    found = Counter(tournament(population, size, rng).candidate for _ in range(4000))
    for number in range(1, 7):
        share = wins[number] / len(ways)
        assert found[number] / 4000 == pytest.approx(share, abs=0.03)
        assert (found[number] == 0) == (share == 0)


def test_random_mutants_are_of_every_depth_alike() -> None:
    plain = evenly(SPACE, EvolveOptions())
    depths: Counter[int] = Counter()
    steps: dict[str, int] = {START.key: 0}

    def counted(genome: Genome, rng: random.Random) -> Mutation | None:
        made = plain(genome, rng)
        if made is not None:
            steps[made.genome.key] = steps[genome.key] + 1
        return made

    rng = random.Random(1)
    for _ in range(40):
        steps.clear()
        steps[START.key] = 0
        # One at a time: with nothing but the start known, hardly any is tried again.
        [child] = Variation(counted, DEEP).children(
            1, lambda _: Member(1, START), rng, {START.key: 1}
        )
        depths[steps[child.genome.key]] += 1
    assert set(depths) <= set(range(1, DEEP + 1))
    assert max(depths) == DEEP
    assert min(depths) == 1
    # Of eight classes with five each: the 99.9th percentile with seven degrees is 24.3.
    assert sum((depths[d] - 5) ** 2 / 5 for d in range(1, DEEP + 1)) < 24.3


def test_random_mutants_are_all_of_the_start() -> None:
    rounds = Rounds(random_search(START, SPACE, EvolveOptions()), START)
    for seed in range(3):
        ask, asked = rounds.ask(6, seed)
        assert {n for child in children(ask) for n in child.parents} == {1}
        rounds.tell({number: -float(number) for number in asked})


def test_a_walk_gives_up_where_a_step_does() -> None:
    variation = Variation(lambda genome, rng: None, 3)
    assert variation.children(3, lambda _: Member(1, START), random.Random(0), {}) == []


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize("parents", [1, 2, 5])
def test_a_round_cut_off_has_its_share_of_both(count: int, parents: int) -> None:
    again = room(members(*range(parents)), count)
    assert len(again) == max(1, min(parents, count // 3))
    new = [Child(START, (1,), str(i)) for i in range(count - len(again))]
    asked = layout(again, new)
    assert [each for each in asked if isinstance(each, Child)] == new
    assert [each for each in asked if isinstance(each, int)] == numbers(again)
    for size in range(1, count + 1):
        known = sum(isinstance(each, int) for each in asked[:size])
        assert 1 <= known <= max(1, -(-size // 3))
