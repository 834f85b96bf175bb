"""OP-NAS: parents come from the last round, and are scored again in the next."""

from __future__ import annotations

import itertools
import json
import math
import random
from statistics import fmean
from typing import Any

import pytest

from azc.search.genome import space_features
from azc.search.mutate import Rates, mutate
from azc.search.priorities import Priorities
from azc.search.strategies.base import Child
from azc.search.strategies.opnas import OpNas
from tests.runs import PROGRAM
from tests.search.rounds import Rounds, again, children, space_of


def op_nas(**more: Any) -> tuple[OpNas, Rounds]:
    start, space = space_of(PROGRAM)
    values: dict[str, Any] = {"parents": 2, "alpha": 0.5, "rates": Rates(0.7, 0.7)}
    searcher = OpNas(start, space, **{**values, **more})
    return searcher, Rounds(searcher, start)


def test_the_first_round_is_the_start_and_its_children() -> None:
    _, rounds = op_nas()
    start = rounds.genomes[1]
    ask, _ = rounds.ask(6)
    assert again(ask) == [1]
    assert [child.parents for child in children(ask)] == [(1,)] * 5
    assert len({child.genome.key for child in children(ask)} | {start.key}) == 6


def test_parents_are_the_best_of_the_last_round_alone() -> None:
    _, rounds = op_nas()
    _, first = rounds.ask(6)
    # Scores that no later round comes near: those of another snapshot count for nothing.
    rounds.tell({number: float(place) for place, number in enumerate(first)})
    ask, second = rounds.ask(6, seed=1)
    assert again(ask) == [first[0], first[1]]
    assert {n for child in children(ask) for n in child.parents} == {first[0], first[1]}
    scores = {number: 100.0 - place for place, number in enumerate(second)}
    rounds.tell(dict(scores))
    ask, _ = rounds.ask(6, seed=2)
    assert again(ask) == [second[-1], second[-2]]
    assert {n for child in children(ask) for n in child.parents} == {
        second[-1],
        second[-2],
    }


def test_equal_scores_are_ordered_by_number() -> None:
    _, rounds = op_nas()
    _, members = rounds.ask(5)
    rounds.tell(dict.fromkeys(reversed(members), 1.0))
    assert again(rounds.ask(6)[0]) == [1, 2]


def test_what_failed_has_no_children() -> None:
    _, rounds = op_nas()
    _, members = rounds.ask(5)
    rounds.tell({**dict.fromkeys(members, None), members[3]: 9.0})
    ask, _ = rounds.ask(5, seed=1)
    assert again(ask) == [members[3]]
    assert {n for child in children(ask) for n in child.parents} == {members[3]}


def test_where_all_failed_the_parents_stay() -> None:
    _, rounds = op_nas()
    _, members = rounds.ask(4)
    rounds.tell(dict.fromkeys(members, None))
    ask, _ = rounds.ask(4, seed=1)
    assert again(ask) == [1]
    told = {rounds.genomes[number].key for number in members}
    assert told.isdisjoint(child.genome.key for child in children(ask))


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("parents", [1, 3, 9])
def test_a_round_is_as_large_as_asked_for(count: int, parents: int) -> None:
    _, rounds = op_nas(parents=parents)
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


def test_priorities_follow_the_ranks() -> None:
    searcher, rounds = op_nas()
    before = searcher.priorities
    _, members = rounds.ask(6)
    rounds.tell({number: float(number) for number in members})
    after = searcher.priorities
    assert (before.candidates, after.candidates) == (0, 6)
    best = min(members)
    for feature in rounds.genomes[best].features:
        assert after.seen[feature] >= 1
        assert after.mean(feature) > 0
    shown = searcher.display()
    assert set(shown) == set(after.seen)
    assert next(iter(shown)) == after.table()[0].feature


def test_the_temperature_is_of_the_priorities() -> None:
    cold, rounds = op_nas(temperature=0.25)
    warm, _ = op_nas()
    _, members = rounds.ask(6)
    scores = {number: float(number) for number in members}
    rounds.tell(dict(scores))
    told = cold.priorities.as_json()
    warm.restore(
        {"parents": [1], "priorities": {**told, "temperature": 1.0}},
        rounds.genomes.__getitem__,
    )
    features = list(told["features"])
    for one, other in itertools.pairwise(features):
        ratio = warm.priorities.weights([one, other])
        colder = cold.priorities.weights([one, other])
        assert math.log(colder[0] / colder[1]) == pytest.approx(
            4 * math.log(ratio[0] / ratio[1])
        )


def test_kinds_of_mutation_follow_what_they_bring() -> None:
    """Those that made the better children are drawn more often, the others less."""
    _, before = op_nas()
    learned, rounds = op_nas(learn_kinds=True)
    good = "replace"

    def share(kinds: Priorities | None) -> float:
        start, space = space_of(PROGRAM)
        alike = Priorities.start(space_features(space), alpha=0.0)
        rng = random.Random(9)
        made = [mutate(start, space, rng, alike, kinds=kinds) for _ in range(150)]
        return fmean(good in each.kinds for each in made if each)

    # Where nothing was told yet, each is as likely as ever: the same children.
    asked, others = (each.ask(30, seed=1)[0] for each in (rounds, before))
    assert [child.genome.key for child in children(asked)] == [
        child.genome.key for child in children(others)
    ]
    for seed in range(2, 6):
        asked, members = rounds.ask(20, seed=seed)
        scores: dict[int, float | None] = {
            number: 1.0 if isinstance(one, Child) and good in one.kinds else 2.0
            for one, number in zip(asked, members, strict=True)
        }
        rounds.tell(scores)
    assert learned.kinds is not None
    assert learned.kinds.table()[0].feature == good
    shown = learned.display()
    assert {name for name in shown if name.startswith("mutation: ")} == {
        f"mutation: {kind}" for kind in learned.kinds.seen
    }
    best = learned.kinds.table()[0]
    assert shown[f"mutation: {good}"] == f"{best.mean:.2f} of {best.seen}"
    assert share(learned.kinds) > 1.3 * share(None)


def test_kinds_are_kept_while_children_are_scored() -> None:
    """A search that goes on from what was kept in the middle of a round learns as much."""
    one, rounds = op_nas(learn_kinds=True)
    other, _ = op_nas(learn_kinds=True)
    _, members = rounds.ask(6)
    other.restore(json.loads(json.dumps(one.state())), rounds.genomes.__getitem__)
    scores = {number: float(number) for number in members}
    rounds.tell(dict(scores))
    other.tell([rounds.scored(n, scores[n]) for n in members])
    assert one.kinds is not None
    assert one.kinds == other.kinds
    assert one.state() == other.state()
    assert sum(one.kinds.seen.values()) >= len(members) - 1


def test_children_of_several_steps() -> None:
    _, near = op_nas(rates=Rates(0.0, 1.0))
    _, far = op_nas(rates=Rates(0.0, 1.0), mutations=5)

    def depths(rounds: Rounds) -> set[int]:
        asked = [rounds.ask(6, seed)[0] for seed in range(6)]
        found = [child for each in asked for child in children(each)]
        assert {child.parents for child in found} == {(1,)}
        return {child.description.count(";") + 1 for child in found}

    assert depths(near) == {1}
    assert depths(far) == {1, 2, 3, 4, 5}


# Beginning anew


def worse(members: list[int], parents: dict[int, float]) -> dict[int, float | None]:
    """Children that are worse than all parents, the younger the worse."""
    return {n: parents.get(n, 10.0 + n) for n in members}


def test_where_nothing_is_better_it_begins_anew() -> None:
    searcher, rounds = op_nas(patience=2, rates=Rates(0.0, 1.0))
    _, first = rounds.ask(9)
    good = {first[3]: 1.0, first[5]: 2.0}
    rounds.tell(worse(first, good))  # better than nothing: the climb goes on
    for seed in (1, 2):
        ask, members = rounds.ask(9, seed)
        assert again(ask) == [first[3], first[5]]
        rounds.tell(worse(members, good))
    # From the start, as far as random search goes; the best is scored beside.
    ask, members = rounds.ask(9, seed=3)
    assert again(ask) == [first[3]]
    assert {child.parents for child in children(ask)} == {(1,)}
    assert max(child.description.count(";") for child in children(ask)) > 0
    new = {members[1]: 5.0, members[2]: 6.0}
    rounds.tell(worse(members, {**good, **new}))
    # What is not as good as the best of all has children nevertheless, and alone.
    for seed in (4, 5):
        ask, members = rounds.ask(9, seed)
        assert again(ask) == [first[3], *new]
        assert {child.parents for child in children(ask)} == {(n,) for n in new}
        copy, _ = op_nas(patience=2, rates=Rates(0.0, 1.0))
        copy.restore(searcher.state(), rounds.genomes.__getitem__)
        found, wanted = (
            [
                (each.genome.text, each.parents) if isinstance(each, Child) else each
                for each in one.ask(9, random.Random(seed), {})
            ]
            for one in (copy, searcher)
        )
        assert found == wanted
        rounds.tell(worse(members, {**good, **new}))
    ask, _ = rounds.ask(9, seed=6)
    assert again(ask) == [first[3]]
    assert {child.parents for child in children(ask)} == {(1,)}


def test_the_best_is_of_all_climbs() -> None:
    _, rounds = op_nas(patience=1)
    _, first = rounds.ask(9)
    rounds.tell(worse(first, {first[0]: 1.0}))
    ask, members = rounds.ask(9, seed=1)
    assert again(ask) == [first[0]]
    good = {first[0]: 1.0, members[-1]: 0.5}
    rounds.tell(worse(members, good))
    ask, members = rounds.ask(9, seed=2)
    assert again(ask)[:2] == [*good]
    rounds.tell(dict.fromkeys(members))  # all failed, which says nothing
    ask, members = rounds.ask(9, seed=3)
    assert again(ask)[:2] == [*good]
    rounds.tell(worse(members, good))
    ask, _ = rounds.ask(9, seed=4)
    assert again(ask) == [max(good)]


def test_without_patience_it_goes_on() -> None:
    _, rounds = op_nas(patience=0)
    _, first = rounds.ask(6)
    good = {first[0]: 1.0, first[1]: 2.0}
    rounds.tell(worse(first, good))
    for seed in range(1, 9):
        ask, members = rounds.ask(6, seed)
        assert {n for child in children(ask) for n in child.parents} == set(good)
        rounds.tell(worse(members, good))
