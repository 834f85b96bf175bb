"""Strategies in a table: the real classes, driven as a run drives them."""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmarks.flexibert import Architecture, Layer, fields
from benchmarks.strategies import (
    BUDGETS,
    CHOICES,
    Space,
    difference,
    evenly,
    paired,
    search,
    strategies,
    uniform,
)


def drawn(rng: random.Random) -> Architecture:
    def layer() -> Layer:
        what, heads, width, networks = (
            rng.choice(CHOICES[kind]) for kind in ("what", "heads", "width", "networks")
        )
        return Layer(what, int(heads), int(width), int(networks))

    layers = tuple(layer() for _ in range(rng.choice((2, 4))))
    # What is worth something: depth, width, and one operation.
    glue = 2.0 * len(layers) + sum(each.what == "WMA" for each in layers)
    return Architecture(rng.choice((128, 256)), layers, glue + rng.random())


@cache
def space(size: int = 300) -> Space:
    rng = random.Random(0)
    return Space([drawn(rng) for _ in range(size)])


def test_one_that_is_there_twice_has_the_mean_of_its_scores() -> None:
    one, other = drawn(random.Random(1)), drawn(random.Random(2))
    twice = Architecture(one.hidden, one.layers, one.glue + 1.0)
    found = Space([one, other, twice])
    assert [each.glue for each in found.entries] == pytest.approx(
        [one.glue + 0.5, other.glue]
    )


def test_a_mutation_is_the_nearest_to_one_change() -> None:
    """Of all single changes of the parent, one is as near to the child as any entry."""
    table, rng = space(), random.Random(3)

    def apart(told: dict[str, str], entry: dict[str, str]) -> int:
        return sum(told.get(name) != entry.get(name) for name in {**told, **entry})

    for _ in range(60):
        parent = rng.choice(table.entries)
        made = table.mutate(parent, rng, evenly)
        child: dict[str, str] = dict(made.genome.fields)  # type: ignore[attr-defined]
        assert child != parent.fields
        kind = made.description
        if kind == "layers":
            continue  # the new layers are drawn
        near = []
        for value in CHOICES[kind.split(" ")[-1]]:
            told = {**parent.fields, kind: value}
            if told != parent.fields:
                others = (e for e in table.entries if e is not parent)
                least = min(apart(told, dict(e.fields)) for e in others)
                near.append(apart(told, child) == least)
        assert any(near)


@pytest.mark.parametrize("name", ["op-nas", "regularized", "local", "random"])
def test_a_strategy_searches_the_table(name: str) -> None:
    table = space()
    make = strategies(table)[name]
    every = [search(make, table, seed) for seed in range(8)]
    assert every[:2] == [search(make, table, seed) for seed in range(2)]
    for by_evaluation, by_new in every:
        for best in (by_evaluation, by_new):
            assert len(best) >= max(BUDGETS)
            assert best == sorted(best)
            assert best[-1] <= table.best
        # What is scored again counts as an evaluation alone.
        assert by_evaluation[0] == by_new[0]
        assert len(by_new) < len(by_evaluation)
    regret = np.mean([table.best - by_new[99] for _, by_new in every])
    assert regret < uniform(table, 20)


def test_strategies_are_compared_in_pairs() -> None:
    rng = np.random.default_rng(0)
    mine = rng.normal(size=50)
    others = mine + 0.2 + rng.normal(size=50)
    found = paired(mine, others)
    assert found["mean"] == pytest.approx(np.mean(others - mine))
    assert found["p"] == pytest.approx(stats.ttest_rel(others, mine).pvalue)
    assert found["interval"][0] < found["mean"] < found["interval"][1]
    assert (
        difference({"mean": -0.1, "interval": [-0.2, -0.1], "p": 0.0}).word == "worse"
    )


def test_op_nas_draws_what_does_well() -> None:
    """Its priorities are told of the fields' values, and WMA is the best of them."""
    table = space()
    seen = []

    def make(start: object) -> object:
        seen.append(strategies(table)["op-nas"](start))
        return seen[-1]

    search(make, table, 0)  # type: ignore[arg-type]
    priorities = seen[0].priorities
    means = {what: priorities.mean(f"what {what}") for what in CHOICES["what"]}
    assert max(means, key=means.__getitem__) == "WMA"
    assert priorities.mean("layers 4") > priorities.mean("layers 2")


def test_regret_of_even_drawing_is_exact() -> None:
    few = space(7)
    scores = [each.glue for each in few.entries]
    for count in (1, 3, 7):
        best = [max(drawn) for drawn in combinations(scores, count)]
        assert uniform(few, count) == pytest.approx(max(scores) - np.mean(best))


def test_fields_of_the_table_are_known() -> None:
    for entry in space().entries:
        assert set(entry.features) <= {
            f"{k} {x}" for k, xs in CHOICES.items() for x in xs
        }
    assert "what" not in fields(drawn(random.Random(0)))
