"""What is said of a run: which round decides, and what counts as better."""

from __future__ import annotations

from pathlib import Path

import pytest

from azc.search.journal import Evaluation, Fit, last_ranking
from azc.search.options import EvolveOptions
from azc.search.view import RunView


def done(round: int, candidate: int, score: float | None = 1.0) -> Evaluation:
    status = "asked" if score is None else "done"
    return Evaluation(round, candidate, status, score, None, 0.1)


def view(winner: tuple[float, ...], *older: Fit) -> RunView:
    """A run of two candidates, the second of which has won."""
    start = (5.0, 5.1)
    fits = [Fit(1, seed, "done", loss, None) for seed, loss in enumerate(start)]
    fits += [Fit(2, seed, "done", loss, None) for seed, loss in enumerate(winner)]
    return RunView(
        Path("run"),
        "space",
        "model",
        EvolveOptions(evaluations=2, final_seeds=(0, 1)),
        None,
        {},
        (done(0, 1, 3.0), done(0, 2, 2.0)),
        ((0, True),),
        (*older, *fits),
    )


@pytest.mark.parametrize(
    ("losses", "better"),
    [((4.9, 4.92), True), ((4.98, 5.0), False), ((4.5, 4.99), False)],
)
def test_better_is_by_more_than_the_seeds_differ(
    losses: tuple[float, float], better: bool
) -> None:
    found = view(losses)
    assert found.is_better is better
    assert found.gain == pytest.approx(5.05 - sum(losses) / 2)
    assert found.spread == pytest.approx(max(0.1, losses[1] - losses[0]))


def test_earlier_winners_count_for_nothing() -> None:
    older = [Fit(7, seed, "done", 1.0, None) for seed in (0, 1)]
    assert view((4.9, 4.92), *older).gain == view((4.9, 4.92)).gain
    assert view((), *older).gain is None


def test_the_last_round_with_a_score_decides() -> None:
    rounds = [(0, True), (1, True), (2, False)]
    first, second = done(0, 1, 1.0), done(1, 2, 9.0)
    third, waiting = done(2, 3, 5.0), done(2, 4, None)
    evaluations = [first, second, third, waiting]
    assert last_ranking(rounds, evaluations, 10) == [second]
    # The budget has ended in the midst of the third round.
    assert last_ranking(rounds, evaluations, 3) == [third]
    failed = Evaluation(1, 2, "failed", None, "x", 0.1)
    assert last_ranking(rounds, [first, failed, waiting], 10) == [first]
    under_way = done(0, 3, 5.0)
    assert last_ranking([(0, False)], [under_way, done(0, 4, None)], 10) == [under_way]
    assert last_ranking([], [], 10) == []
