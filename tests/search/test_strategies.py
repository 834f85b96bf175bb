"""Any strategy: the loop holds the budget, and keeps what the strategy knows."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from azc.check.program import SpaceSpec
from azc.diagnostics import RunError
from azc.search.events import Event, Opened
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.mutate import mutate
from azc.search.options import EvolveOptions
from azc.search.priorities import Priorities
from azc.search.run import resume
from azc.search.strategies.base import Child, Scored
from azc.search.strategies.choose import STRATEGIES
from azc.search.view import RunView
from tests.runs import NARROW, Killed, cut_at, result, rows, run_here, scored, tiny

Answer = Callable[["Wanderer", list[Child], int], Sequence[int | Child]]


@dataclass
class Wanderer:
    """Children of whatever was scored last, and how to answer with them.

    What it knows is unlike anything that OP-NAS does: it counts its own asks too.
    """

    start: Genome
    space: SpaceSpec
    answer: Answer
    last: tuple[int, Genome] = field(init=False)
    asks: int = 0
    losses: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = (1, self.start)

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> Sequence[int | Child]:
        self.asks += 1
        number, genome = self.last
        rng = random.Random(f"{rng.random()} {self.asks} {self.losses}")
        found: list[Child] = []
        while len(found) < 3 * count:
            made = mutate(genome, self.space, rng, Priorities.start((), 0.0))
            assert made is not None
            found.append(Child(made.genome, (number,), made.description))
        return self.answer(self, found, count)

    def tell(self, round: Sequence[Scored]) -> None:
        self.last = (round[-1].candidate, round[-1].genome)
        self.losses += [each.score for each in round]

    def state(self) -> object:
        return [self.last[0], self.asks, self.losses, "ünlike", None, {"": []}]

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        assert isinstance(state, list)
        number, self.asks, self.losses = state[:3]
        self.last = (number, genome(number))

    def display(self) -> dict[str, str]:
        return {"asked": str(self.asks)}


def wandering(answer: Answer) -> Callable[..., Wanderer]:
    def make(start: Genome, space: SpaceSpec, _: EvolveOptions) -> Wanderer:
        return Wanderer(start, space, answer)

    return make


ANSWERS: dict[str, Answer] = {
    "as many as asked for, all new": lambda _, found, count: found[:count],
    "too many": lambda _, found, count: found,
    "one": lambda _, found, count: found[:1],
    "a parent and too many": lambda w, found, count: [w.last[0], *found],
    "everything twice": lambda w, found, count: [
        *(2 * [w.last[0]]),
        *(each for each in found for _ in range(2)),
    ],
    "nothing new but one": lambda w, found, count: [
        *(Child(w.start, (1,), "the start again") for _ in range(9)),
        found[0],
    ],
    "parents alone, after the first": lambda w, found, count: (
        [w.last[0]] if w.losses else found
    ),
}


@pytest.mark.parametrize("evaluations", [1, 7, 8])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_budget_is_held_whatever_is_asked_for(
    go: Callable[..., RunView], home: Path, name: str, evaluations: int
) -> None:
    options = tiny(
        home / "corpus.txt", evaluations=evaluations, warm_up=0, final_seeds=()
    )
    view = go(options, strategy=wandering(ANSWERS[name]))
    assert view.is_over
    assert view.spent == len(scored(view.folder)) == evaluations
    for number, _ in view.rounds:
        members = [e.candidate for e in view.evaluations if e.round == number]
        assert len(set(members)) == len(members) <= options.round_size
    keys = [candidate.key for candidate in view.candidates.values()]
    assert len(set(keys)) == len(keys)
    assert view.winner is not None


@pytest.mark.parametrize("name", ANSWERS)
def test_it_resumes_after_kills(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    name: str,
) -> None:
    make = wandering(ANSWERS[name])
    whole = run_here(options, tmp_path / "whole", home / "cache", strategy=make)
    with pytest.raises(Killed):
        go(options, strategy=make, on_event=cut_at(4))
    shown: list[str] = []

    def told(event: Event) -> None:
        if isinstance(event, Opened):
            shown.append(event.display["asked"])

    for moment in (3, 5):
        cut = cut_at(moment)
        with pytest.raises(Killed):
            resume(tmp_path / "run", cache=home / "cache", strategy=make, on_event=cut)
    resume(tmp_path / "run", cache=home / "cache", strategy=make, on_event=told)
    assert result(tmp_path / "run") == result(whole.folder)
    assert all(int(each) >= 1 for each in shown)


@pytest.mark.parametrize("evaluations", [1, 12])
@pytest.mark.parametrize("name", STRATEGIES)
def test_it_comes_to_the_same_however_often_it_is_killed(
    home: Path, tmp_path: Path, name: str, evaluations: int
) -> None:
    """With any strategy of azc, in every round and between them."""
    options = tiny(
        home / "corpus.txt",
        evaluations=evaluations,
        strategy=name,
        by_hand=evaluations > 1,
        learn_kinds=evaluations > 1,
        population=4,
        tournament=2,
        final_seeds=(),
    )
    whole = run_here(options, tmp_path / "whole", home / "cache")
    assert whole.is_over
    assert whole.spent == evaluations
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(options, run, home / "cache", on_event=cut_at(4))
    for _ in range(20):
        try:
            resume(run, cache=home / "cache", on_event=cut_at(3))
        except Killed:
            continue
        break
    assert result(run) == result(whole.folder)
    if evaluations > 1:
        options = replace(options, seed=1)
        other = run_here(options, tmp_path / "other", home / "cache")
        assert rows(other.folder, "candidate") != rows(run, "candidate")


@pytest.mark.parametrize(
    ("answer", "text", "spent"),
    [
        (lambda w, found, count: [], NARROW, 0),
        (lambda w, found, count: found if not w.losses else [], NARROW, 1),
        # The only other program of the space, over and over.
        (lambda w, found, count: found, NARROW, 1),
    ],
    ids=["nothing", "nothing more", "nothing new"],
)
def test_nothing_new_ends_the_search(
    go: Callable[..., RunView], home: Path, answer: Answer, text: str, spent: int
) -> None:
    options = tiny(home / "corpus.txt", evaluations=9, warm_up=0, final_seeds=())
    view = go(options, text, strategy=wandering(answer))
    assert view.is_over
    assert view.spent == spent
    assert view.ending == "nothing new was found in the space"


def outside(w: Wanderer, found: list[Child], count: int) -> list[Child]:
    text = w.start.text.replace("hidden = 8", "hidden = 16")
    return [*found[:2], Child(Genome.from_text(text, "start"), (1,), "wider")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda w, found, count: [*found[:2], 99],
            "candidate 99, which does not exist",
        ),
        (
            lambda w, found, count: [found[0], Child(found[1].genome, (99,), "odd")],
            "a child of candidate 99, which does not exist",
        ),
        (outside, "a program outside the space: wider"),
    ],
    ids=["no candidate", "no parent", "outside the space"],
)
def test_what_can_not_be_scored_stops_the_run(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    answer: Answer,
    said: str,
) -> None:
    with pytest.raises(RunError, match=said) as caught:
        go(options, strategy=wandering(answer))
    assert caught.value.code == "R038"
    assert scored(tmp_path / "run") == []
    view = resume(
        tmp_path / "run",
        cache=home / "cache",
        strategy=wandering(lambda w, found, count: found),
    )
    assert view.spent == options.evaluations


def test_an_exception_of_a_strategy_costs_nothing(
    go: Callable[..., RunView], home: Path, options: EvolveOptions, tmp_path: Path
) -> None:
    def broken(w: Wanderer, found: list[Child], count: int) -> list[Child]:
        if w.losses:
            raise ZeroDivisionError
        return found

    with pytest.raises(ZeroDivisionError):
        go(options, strategy=wandering(broken))
    assert len(scored(tmp_path / "run")) == 4
    make = wandering(lambda w, found, count: found)
    view = resume(tmp_path / "run", cache=home / "cache", strategy=make)
    assert view.spent == options.evaluations


def test_a_state_of_another_strategy_is_told(
    go: Callable[..., RunView], home: Path, options: EvolveOptions, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        go(options, on_event=cut_at(7), strategy=wandering(lambda w, f, c: f))
    with pytest.raises(RunError, match="the state of another strategy") as caught:
        resume(tmp_path / "run", cache=home / "cache")
    assert caught.value.code == "R031"


def test_the_journal_knows_nothing_of_the_state(
    go: Callable[..., RunView], options: EvolveOptions
) -> None:
    make = wandering(lambda w, found, count: found)
    view = go(options, strategy=make)
    journal = RunFolder(view.folder).look()
    assert journal is not None
    state: Any = journal.state()
    journal.close()
    assert state[3:] == ["ünlike", None, {"": []}]
    assert len(state[2]) == 8
    assert json.loads(json.dumps(state)) == state
