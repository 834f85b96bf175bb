"""Limits that are set while a search runs: from the next round on nothing beyond them is
trained, and a run that is killed comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from azc.check.resolve import check_source
from azc.diagnostics import RunError, UsageError
from azc.search.archive import archive
from azc.search.events import Event, Opened, Scored
from azc.search.genome import Genome
from azc.search.objectives import costs
from azc.search.options import EvolveOptions
from azc.search.run import resume
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from azc.source import Source
from tests.runs import PROGRAM, Killed, cut_at, result, run_here, tiny
from tests.search.test_acts import MINE

Go = Callable[..., RunView]
OnEvent = Callable[[Event], None]
LENGTH = 16


def flops(text: str) -> float:
    return costs(Genome.from_text(text, "start").spec, LENGTH)["flops"]


MOST = flops(PROGRAM)


def limited(run: Path, then: OnEvent = lambda event: None) -> OnEvent:
    """Limits a run to the FLOPs of its start as soon as a round is opened, once."""

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 0:
            view = read_run(run)
            if not any("limits" in act.words for act in view.acts):
                Desk(run, "ana").limit("flops", MOST)
        then(event)

    return on_event


@pytest.fixture(scope="module", params=["shared", "fresh"])
def steered(
    request: pytest.FixtureRequest, home: Path
) -> tuple[RunView, int, EvolveOptions]:
    options = tiny(
        home / "corpus.txt",
        evaluations=16,
        contenders=3,
        final_seeds=(1,),
        weights=request.param,
        seed=0,  # one of the best of its first round is beyond the limit
    )
    told: list[Event] = []
    run = home / f"limited-{request.param}"
    view = run_here(options, run, home / "cache", on_event=limited(run, told.append))
    return view, len(told), options


def test_nothing_beyond_a_limit_is_trained_from_the_next_round_on(
    steered: tuple[RunView, int, EvolveOptions],
) -> None:
    view, _, _ = steered
    (act,) = view.acts
    assert act.words == f"ana limits flops to {MOST:,.10g} FLOPs per token"
    assert (act.round, act.reason) == (1, None)
    assert view.options.limits == (("flops", MOST),)
    over = {c.id for c in view.candidates.values() if flops(c.program) > MOST}
    assert over
    assert all(view.candidates[number].round == 0 for number in over)
    again = [e for e in view.evaluations if e.round and e.candidate in over]
    assert again  # one of the best of the first round
    for each in again:
        assert each.status == "failed"
        assert each.reason == f"it has more than {MOST:,.10g} FLOPs per token"
        assert each.counts != view.options.is_fresh  # there it would not be trained
    # Nor is it anybody's parent from then on, or trained alone.
    for candidate in view.candidates.values():
        assert candidate.round < 2 or not over & {*candidate.parents}
    assert not over & {entrant.candidate for entrant in view.entrants.values()}
    assert view.winner not in over
    assert not over & {e.candidate for e in view.ranking()}
    assert view.is_over


def test_a_run_that_is_killed_has_the_same_limits_in_the_same_rounds(
    steered: tuple[RunView, int, EvolveOptions], home: Path, tmp_path: Path
) -> None:
    view, events, options = steered
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(options, run, home / "cache", on_event=limited(run, cut_at(3)))
    for _ in range(events):
        try:
            resume(run, cache=home / "cache", on_event=limited(run, cut_at(4)))
            break
        except Killed:
            continue
    assert result(run) == result(view.folder)
    assert [a.round for a in read_run(run).acts] == [1]
    assert read_run(run).final_front == view.final_front


@pytest.mark.parametrize("more", [1, 2])
def test_a_known_one_beyond_a_limit_takes_nothing_of_the_budget(
    go: Go, home: Path, tmp_path: Path, more: int
) -> None:
    """Nor is the budget exceeded by it."""
    budget = 4 + more
    options = tiny(
        home / "corpus.txt", evaluations=budget, final_seeds=(), weights="fresh"
    )
    view = go(options, on_event=limited(tmp_path / "run"))
    again = [e for e in view.evaluations if e.round and e.candidate <= 4]
    assert "failed" in {e.status for e in again}
    trained = {e.candidate for e in view.evaluations if e.status != "asked"}
    assert view.spent == len(trained) == budget


def test_a_limit_is_lifted(go: Go, home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    desk = Desk(run, "ana")

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 1:
            assert read_run(run).options.limits == (("flops", MOST),)
            desk.limit("flops", None)

    options = tiny(
        home / "corpus.txt", evaluations=12, final_seeds=(), limits=(("flops", MOST),)
    )
    view = go(options, on_event=on_event)
    (act,) = view.acts
    assert (act.words, act.round) == ("ana removes the limit on flops", 2)
    assert view.options.limits == ()
    for candidate in view.candidates.values():
        assert candidate.round == 2 or flops(candidate.program) <= MOST


def test_what_waits_counts_for_whoever_proposes(go: Go, home: Path) -> None:
    run = go(tiny(home / "corpus.txt", evaluations=4, final_seeds=())).folder
    desk = Desk(run, "ana")
    program = check_source(Source("mine.azg", MINE))
    desk.limit("flops", MOST)
    view = read_run(run)
    assert view.options.limits == ()  # no round has begun with it
    assert archive(view, {})["limits"] == {"flops": MOST}
    with pytest.raises(RunError, match="more than") as caught:
        desk.propose(program)
    assert caught.value.code == "R048"
    desk.limit("flops", None)
    assert desk.propose(program).kind == "propose"
    assert resume(run, cache=home / "none") == read_run(run)  # nothing is left to spend


def test_a_limit_that_the_start_is_beyond_is_none(
    go: Go, options: EvolveOptions, tmp_path: Path
) -> None:
    """What is written is told at once, what is measured when the run takes it up."""
    run = tmp_path / "run"

    def on_event(event: Event) -> None:
        if isinstance(event, Scored) and event.spent == 1:
            desk = Desk(run, "ana")
            with pytest.raises(UsageError) as caught:
                desk.limit("flops", MOST - 1)
            assert caught.value.code == "U026"
            desk.limit("memory", 1e-9)

    view = go(replace(options, final_seeds=()), on_event=on_event)
    (act,) = view.acts
    assert act.round == 1
    assert act.reason is not None
    assert act.reason.startswith(
        "the start model exceeds it: it takes more than 1e-09 MiB"
    )
    assert view.options.limits == ()
    assert view.is_over


def test_a_contender_beyond_a_measured_limit_is_not_trained_alone(
    go: Go, home: Path, tmp_path: Path
) -> None:
    """It was never measured before: there was no such limit."""
    run = tmp_path / "run"
    options = tiny(home / "corpus.txt", evaluations=9, contenders=3, final_seeds=(1,))
    measured = tiny(home / "corpus.txt", evaluations=1, objectives=("loss", "memory"))
    first = run_here(measured, tmp_path / "first", home / "cache")
    scores = first.evaluations[0].scores
    assert scores is not None
    most = scores["memory"]  # of the start

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 0:
            Desk(run, "ana").limit("memory", most)

    view = go(options, on_event=on_event)
    assert view.options.limits == (("memory", most),)
    found = [view.costs.get(c.key, {}) for c in view.candidates.values()]
    over = {
        c.id
        for c, cost in zip(view.candidates.values(), found, strict=True)
        if cost.get("memory", 0.0) > most
    }
    assert over
    assert not over & {entrant.candidate for entrant in view.entrants.values()}
    for entrant in view.entrants.values():
        if entrant.candidate is not None:
            cost = view.costs[view.candidates[entrant.candidate].key]
            assert cost["memory"] <= most


@pytest.mark.parametrize(
    ("name", "most", "code"),
    [
        ("flops", 0.0, "U020"),
        ("flops", -1.0, "U020"),
        ("flops", float("nan"), "U020"),
        ("flops", float("inf"), "U020"),
        ("flops", 10**400, "U020"),
        ("flops", True, "U020"),
        ("flops", "1", "U020"),
        ("loss", 1.0, "U020"),
        ("flop", 1.0, "U020"),
        ("flops", None, "U025"),
    ],
    ids=str,
)
def test_what_is_no_limit_is_told(
    limits: RunView, name: str, most: float | None, code: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Desk(limits.folder, "ana").limit(name, most)
    assert caught.value.code == code
    assert read_run(limits.folder).acts == ()


@pytest.fixture(scope="module")
def limits(home: Path) -> RunView:
    """A run that is over."""
    options = tiny(home / "corpus.txt", evaluations=2, round_size=2, final_seeds=())
    return run_here(options, home / "over", home / "cache")
