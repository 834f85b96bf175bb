"""What holds for every strategy of azc, asked and told without any training."""

from __future__ import annotations

import json
import random

import pytest

from azc.search.options import EvolveOptions
from azc.search.strategies.base import Child, Strategy
from azc.search.strategies.choose import STRATEGIES
from tests.runs import NARROW, PROGRAM
from tests.search.rounds import ROW, Rounds, again, children, space_of

pytestmark = pytest.mark.parametrize("name", STRATEGIES)


def made(name: str, text: str = PROGRAM, **more: int) -> Strategy:
    values = {"population": 7, "tournament": 3, **more}
    return STRATEGIES[name](*space_of(text), EvolveOptions(**values))


def rounds_of(name: str, text: str = PROGRAM, **more: int) -> Rounds:
    return Rounds(made(name, text, **more), space_of(text)[0])


def scores(members: list[int], seed: int) -> dict[int, float | None]:
    """Some fail; every round is on a level of its own."""
    rng = random.Random(seed)
    level = 9.0 - seed
    return {n: None if rng.random() < 0.2 else level + rng.random() for n in members}


def answer(searcher: Strategy, known: dict[str, int], seed: int = 9) -> list[object]:
    asked = searcher.ask(6, random.Random(seed), known)
    return [
        (e.parents, e.description, e.genome.text) if isinstance(e, Child) else e
        for e in asked
    ]


def test_what_it_knows_goes_through_json_after_every_round(name: str) -> None:
    rounds = rounds_of(name)
    for seed in range(5):
        _, members = rounds.ask(6, seed)
        rounds.tell(scores(members, seed))
        state = rounds.searcher.state()
        text = json.dumps(state, allow_nan=False)
        other = made(name)
        other.restore(json.loads(text), rounds.genomes.__getitem__)
        assert json.dumps(other.state()) == text
        assert other.display() == rounds.searcher.display()
        assert answer(other, rounds.known) == answer(rounds.searcher, rounds.known)


def test_asking_changes_nothing(name: str) -> None:
    rounds = rounds_of(name)
    for seed in range(4):
        before = json.dumps(rounds.searcher.state())
        first = answer(rounds.searcher, rounds.known)
        assert answer(rounds.searcher, rounds.known) == first
        assert answer(rounds.searcher, rounds.known, seed=10) != first
        assert json.dumps(rounds.searcher.state()) == before
        rounds.tell(scores(rounds.ask(6, seed)[1], seed))


@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize("parents", [1, 3, 9])
def test_a_round_is_as_large_as_asked_for(name: str, count: int, parents: int) -> None:
    rounds = rounds_of(name, parents=parents)
    for seed in range(3):
        ask, members = rounds.ask(count, seed)
        assert len(ask) == count
        assert len(set(members)) == count
        assert ask[0] == again(ask)[0]
        share = 2 if name == "nsga2" else 3
        assert len(again(ask)) <= max(1, count // share, 2 if name == "local" else 1)
        assert all(
            n in rounds.genomes for child in children(ask) for n in child.parents
        )
        rounds.tell({number: float(-number) for number in members})


def test_the_best_of_a_round_stands_in_the_next(name: str) -> None:
    """So that the best of the last round has stood against the best of every one."""
    rounds = rounds_of(name)
    for seed in range(5):
        _, members = rounds.ask(6, seed)
        told = scores(members, seed)
        rounds.tell(told)
        done = {number: score for number, score in told.items() if score is not None}
        if done:
            assert min(done, key=done.__getitem__) in again(rounds.ask(6, 99)[0])


def test_where_all_fail_it_goes_on(name: str) -> None:
    rounds = rounds_of(name)
    for seed in range(4):
        ask, members = rounds.ask(5, seed)
        assert again(ask) == [1]
        assert len(children(ask)) == 4
        rounds.tell(dict.fromkeys(members, None))


def test_a_space_with_nothing_new_asks_for_nothing(name: str) -> None:
    rounds = rounds_of(name, NARROW)
    ask, members = rounds.ask(6)
    assert (len(again(ask)), len(children(ask))) == (1, 1)
    rounds.tell({number: float(number) for number in members})
    assert rounds.ask(6, seed=1) == ([], [])


def test_a_space_is_used_up(name: str) -> None:
    """Also where all around the parents is known: the last are some steps away."""
    rounds = rounds_of(name, ROW, parents=1)
    for seed in range(60):
        ask, members = rounds.ask(4, seed)
        if not ask:
            break
        # The start stays the best.
        rounds.tell({number: float(number) for number in members})
        assert all(
            n in rounds.genomes for child in children(ask) for n in child.parents
        )
    assert not ask
    assert len(rounds.known) >= 25  # of 27: a random walk may miss the very last
