"""What a person bans is put in no more, and what a person favours comes up more often."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from azc.check.program import SpaceSpec
from azc.search.genome import Genome
from azc.search.mutate import Rates, mutate
from azc.search.priorities import Priorities
from tests.runs import PROGRAM
from tests.search.rounds import ROW, space_of

ALIKE = Priorities.start((), 0.0)


def steered(text: str, draws: Mapping[str, float]) -> tuple[Genome, SpaceSpec]:
    start, space = space_of(text)
    return start, replace(space, draws=draws)


def walk(start: Genome, space: SpaceSpec, steps: int, seed: int) -> list[Genome]:
    """Mutants of mutants, a new walk every ten."""
    rng = random.Random(seed)
    found, here = [], start
    for step in range(steps):
        made = mutate(here if step % 10 else start, space, rng, ALIKE, Rates())
        here = made.genome if made else start
        found.append(here)
    return found


@pytest.mark.parametrize(
    "banned",
    [("tanh",), ("conv 5",), ("neg", "mul", "tanh", "conv 3"), ("transpose",)],
    ids=str,
)
def test_what_is_banned_is_put_in_no_more(banned: tuple[str, ...]) -> None:
    start, space = steered(PROGRAM, dict.fromkeys(banned, 0.0))
    free = {
        f for each in walk(start, space_of(PROGRAM)[1], 120, 0) for f in each.features
    }
    assert set(banned) <= free
    new = [each for each in walk(start, space, 120, 0) if each.key != start.key]
    assert len(new) > 80
    for each in new:
        assert not (each.features - start.features) & set(banned)


def test_what_is_banned_may_stay() -> None:
    start, space = steered(PROGRAM, {"softmax": 0.0})
    found = walk(start, space, 100, 1)
    assert any("softmax" in each.features for each in found if each.key != start.key)


def test_all_may_be_banned() -> None:
    start, space = steered(ROW, {"conv 3": 0.0, "conv 5": 0.0, "conv 7": 0.0})
    assert mutate(start, space, random.Random(0), ALIKE) is None


def test_what_is_favoured_comes_up_more_often() -> None:
    counts = []
    for draws in ({}, {"conv 7": 8.0}):
        start, space = steered(ROW, draws)
        rng = random.Random(0)
        made = [mutate(start, space, rng, ALIKE) for _ in range(400)]
        words = Counter(m.description.split()[-1] for m in made if m is not None)
        counts.append(words["7"] / words["5"])
    assert 0.7 < counts[0] < 1.4
    assert 5 < counts[1] < 13  # eight times as often


def test_without_steering_the_draws_are_what_they_were() -> None:
    start, space = space_of(PROGRAM)
    alike = replace(space, draws={"tanh": 1.0})
    one, other = walk(start, space, 60, 3), walk(start, alike, 60, 3)
    assert [each.text for each in one] == [each.text for each in other]
