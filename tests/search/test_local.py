"""Local search: it climbs, and begins anew where nothing is better."""

from __future__ import annotations

from azc.search.options import EvolveOptions
from azc.search.strategies.local import LocalSearch, local
from tests.runs import PROGRAM
from tests.search.rounds import Rounds, again, children, space_of


def climb() -> tuple[LocalSearch, Rounds]:
    start, space = space_of(PROGRAM)
    searcher = local(start, space, EvolveOptions(by_hand=False))
    return searcher, Rounds(searcher, start)


def parents(asked: list[object]) -> set[int]:
    return {n for child in children(asked) for n in child.parents}  # type: ignore[arg-type]


def test_it_climbs_from_the_best_of_a_round() -> None:
    _, rounds = climb()
    for seed in range(3):
        _, members = rounds.ask(5, seed)
        rounds.tell({number: -float(number) for number in members})
        asked, _ = rounds.ask(5, 99)
        assert again(asked) == [max(members)]
        assert parents(list(asked)) == {max(members)}


def test_it_begins_anew_and_keeps_the_best() -> None:
    searcher, rounds = climb()
    for seed in range(2):  # nothing is better than the start
        asked, members = rounds.ask(5, seed)
        assert again(asked) == [1]
        rounds.tell({number: float(number) for number in members})
    assert searcher.display()["top"] == "restarting"
    asked, members = rounds.ask(5, 2)
    assert again(asked) == [1]
    assert parents(list(asked)) == {1}
    # The best of the mutants is where it climbs from, though the start is better still.
    rounds.tell({number: float(number) for number in members})
    top = members[1]
    asked, members = rounds.ask(5, 3)
    assert again(asked) == [1, top]
    assert parents(list(asked)) == {top}
    # A step up the hill, and beyond the best of the other.
    rounds.tell({**dict.fromkeys(members, 5.0), 1: 1.0, top: 4.0, members[-1]: 3.0})
    top = members[-1]
    asked, members = rounds.ask(5, 4)
    assert again(asked) == [1, top]
    rounds.tell({**dict.fromkeys(members, 5.0), members[-1]: 0.5})
    assert again(rounds.ask(5, 5)[0]) == [members[-1]]


def test_a_top_that_fails_is_left() -> None:
    _, rounds = climb()
    _, members = rounds.ask(5, 0)
    rounds.tell({**dict.fromkeys(members, 2.0), 1: None, members[2]: 1.0})
    assert again(rounds.ask(5, 1)[0]) == [members[2]]


def test_in_a_round_of_two_a_child_has_to_beat_the_best() -> None:
    searcher, rounds = climb()
    for seed in range(3):
        _, members = rounds.ask(2, seed)
        rounds.tell({number: float(number) for number in members})
    top = members[1]
    assert searcher.display()["top"] == f"{top:04}"
    asked, members = rounds.ask(2, 3)
    assert again(asked) == [1]
    assert parents(list(asked)) == {top}
    rounds.tell({1: 1.0, members[1]: 2.0})
    assert searcher.display()["top"] == f"{top:04}"
    _, members = rounds.ask(2, 4)
    rounds.tell({1: 1.0, members[1]: 0.5})
    assert searcher.display() == {
        "best": f"{members[1]:04}",
        "top": f"{members[1]:04}",
        "idle rounds": "0",
    }
