"""Regularised evolution against a plain simulation, written from the paper's algorithm."""

from __future__ import annotations

import itertools
import random
from collections import deque

import pytest

from azc.search.genome import Genome
from azc.search.mutate import Mutation
from azc.search.options import EvolveOptions
from azc.search.strategies.base import Child
from azc.search.strategies.regularized import Regularized, regularized
from tests.runs import PROGRAM
from tests.search.rounds import Rounds, again, children, space_of

LAYERS, WIDTHS = 9, (3, 5, 7, 9, 11, 13)
Widths = tuple[int, ...]


def genome_of(widths: Widths) -> Genome:
    layers = "\n".join(f"        conv(kernel = {width})" for width in widths)
    text = (
        "model start {\n    vocab = 96\n    hidden = 8\n    heads = 2\n\n"
        f"    layers {{\n{layers}\n    }}\n}}\n"
    )
    return Genome.from_text(text, "start")


def widths_of(genome: Genome) -> Widths:
    return tuple(layer.mixing.kernel for layer in genome.spec.layers)  # type: ignore[union-attr]


def changed(widths: Widths, rng: random.Random) -> Widths:
    place = rng.randrange(LAYERS)
    width = rng.choice([w for w in WIDTHS if w != widths[place]])
    return (*widths[:place], width, *widths[place + 1 :])


def change(genome: Genome, rng: random.Random) -> Mutation | None:
    return Mutation(genome_of(changed(widths_of(genome), rng)), "a width", ("width",))


def landscape(widths: Widths, round_: int) -> float | None:
    """Neighbouring layers act together; each round is on a lower level than the one
    before; some fail.
    """
    if sum(widths) % 13 == 0:
        return None
    pairs = itertools.pairwise(widths)
    return sum((3 * a + 5 * b) % 17 for a, b in pairs) / 10 - 4.0 * round_


def plain(
    rounds: int, count: int, size: int, drawn: int, kept: int
) -> tuple[list[list[tuple[int, Widths]]], list[list[int]]]:
    """What each round scores, and who lives after it."""
    start = (3,) * LAYERS
    everyone: list[Widths] = [start]  # candidate n is the one at n - 1
    alive: deque[int] = deque(maxlen=size)
    elite: list[int] = [1]
    scored_in: dict[int, tuple[int, float]] = {}
    asked, living = [], []
    for round_ in range(rounds):
        rng = random.Random(round_)
        old = elite[: max(1, count // 3)]
        made: list[Widths] = []
        lately = [n for n in alive if n in scored_in]
        last = max((scored_in[n][0] for n in lately), default=0)
        contestants = [n for n in lately if scored_in[n][0] == last] or [1]
        while len(made) < count - len(old):
            if len(everyone) + len(made) < size:
                depth, parent = rng.randint(1, 8), start
            else:
                sample = rng.sample(contestants, min(drawn, len(contestants)))
                winner = min(sample, key=lambda n: (scored_in.get(n, (0, 0.0))[1], n))
                depth, parent = 1, everyone[winner - 1]
            for _ in range(12):
                child = parent
                for _ in range(depth):
                    child = changed(child, rng)
                if child not in everyone and child not in made:
                    break
            else:
                raise AssertionError("the landscape is too small")
            made.append(child)
        numbers = [*old, *range(len(everyone) + 1, len(everyone) + len(made) + 1)]
        everyone += made
        results = {n: landscape(everyone[n - 1], round_) for n in numbers}
        for number, score in sorted(results.items()):
            is_new = number not in old or round_ == 0
            if score is None and number in alive:
                alive.remove(number)
            elif score is not None:
                scored_in[number] = (round_, score)
                if is_new:
                    alive.append(number)  # the left end falls off
        done = {n: score for n, score in results.items() if score is not None}
        elite = sorted(done, key=lambda n: (done[n], n))[:kept] or elite
        asked.append([(n, everyone[n - 1]) for n in numbers])
        living.append(list(alive))
    return asked, living


@pytest.mark.parametrize(
    ("count", "size", "drawn", "kept"),
    [(9, 20, 5, 3), (9, 12, 2, 1), (6, 4, 3, 2), (12, 30, 40, 5)],
)
def test_it_does_as_a_plain_simulation(
    count: int, size: int, drawn: int, kept: int
) -> None:
    start = genome_of((3,) * LAYERS)
    searcher = Regularized(start, change, size=size, tournament=drawn, kept=kept)
    rounds = Rounds(searcher, start)
    asked, living = plain(10, count, size, drawn, kept)
    for number, (wanted, alive) in enumerate(zip(asked, living, strict=True)):
        _, members = rounds.ask(count, number)
        found = [(n, widths_of(rounds.genomes[n])) for n in sorted(members)]
        assert found == sorted(wanted)
        rounds.tell({n: landscape(widths, number) for n, widths in found})
        assert [member.candidate for member in searcher.population] == alive


def test_the_oldest_has_no_children_however_good() -> None:
    start = genome_of((3,) * LAYERS)
    searcher = Regularized(start, change, size=10, tournament=99, kept=1)
    rounds = Rounds(searcher, start)
    parents: list[set[int]] = []
    for number in range(6):
        asked, members = rounds.ask(6, number)
        parents.append({n for child in children(asked) for n in child.parents})
        # The start is by far the best, and of the others the youngest is.
        rounds.tell({n: 0.0 if n == 1 else 1e3 - n for n in members})
        assert again(asked) == [1]
    # Nine others are born in the first two rounds. From then on the start wins every
    # tournament, until it is the oldest of more than ten.
    assert parents[:2] == [{1}, {1}]
    assert all(1 not in each for each in parents[2:])


def test_a_child_is_one_mutation_of_a_winner_by_default() -> None:
    start, space = space_of(PROGRAM)
    searcher = regularized(
        start, space, EvolveOptions(population=4, tournament=9, by_hand=False)
    )
    rounds = Rounds(searcher, start)
    for number in range(3):
        _, members = rounds.ask(6, number)
        rounds.tell({n: float(n) for n in members})
    asked, _ = rounds.ask(6, 3)
    youngest = [m.candidate for m in searcher.population if m.round == 2]
    assert {e.parents for e in asked if isinstance(e, Child)} == {(min(youngest),)}
