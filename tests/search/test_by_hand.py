"""A search that begins with what a person would try first."""

from __future__ import annotations

import pytest

from azc.search.baselines import baselines
from azc.search.options import PRESETS, EvolveOptions
from azc.search.strategies.choose import STRATEGIES
from tests.runs import PROGRAM, tiny
from tests.search.rounds import Rounds, again, children, space_of
from tests.search.spaces import space_of as space_named
from tests.search.spaces import start_of

BEGINNING = ("op-nas", "regularized", "local", "random")


def rounds_of(name: str, **changes: object) -> tuple[Rounds, list[str]]:
    start, space = space_of(PROGRAM)
    searcher = STRATEGIES[name](start, space, tiny("none", **changes))
    typed = [genome.key for genome in baselines(start, space).values()]
    return Rounds(searcher, start), typed


@pytest.mark.parametrize("name", BEGINNING)
def test_the_first_rounds_have_them_all(name: str) -> None:
    rounds, typed = rounds_of(name, by_hand=True)
    assert len(typed) > 3
    ask, members = rounds.ask(4)
    assert again(ask) == [1]
    first = children(ask)
    assert [child.genome.key for child in first] == typed[:3]
    assert all(child.parents == () for child in first)
    rounds.tell({number: float(number) for number in members})
    asked = [child.genome.key for child in first]
    for seed in range(1, 5):  # what had no room comes next, before anything else
        ask, members = rounds.ask(4, seed=seed)
        asked += [child.genome.key for child in children(ask)]
        rounds.tell({number: float(number) for number in members})
    assert asked[: len(typed)] == typed
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("name", BEGINNING)
def test_only_where_it_is_asked_for(name: str) -> None:
    rounds, _ = rounds_of(name, by_hand=False)
    ask, _ = rounds.ask(6)
    assert all(child.parents == (1,) for child in children(ask))


def test_a_decoder_has_the_same_families() -> None:
    typed = {}
    for name in ("text", "causal"):
        start, space = start_of(name), space_named(name)
        typed[name] = baselines(start, space)
    assert typed["causal"].keys() == typed["text"].keys()
    assert len(typed["causal"]) >= 8
    assert all(genome.spec.causal for genome in typed["causal"].values())
    assert all(not genome.faults for genome in typed["causal"].values())


def test_the_paper_begins_with_its_start_alone() -> None:
    assert EvolveOptions().by_hand
    assert PRESETS["paper"]["by_hand"] is False
