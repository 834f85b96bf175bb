"""Runs that go on with another budget: as if they had had it from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from azc.diagnostics import RunError, UsageError
from azc.search.options import EvolveOptions
from azc.search.run import read_run, resume
from azc.search.view import RunView
from tests.runs import NARROW, Killed, cut_at, result, rows, run_here, scored, tiny

BUDGET = 10  # rounds of 4, 4 and 2


@pytest.fixture(scope="module")
def large(home: Path) -> RunView:
    """A run that had the large budget from the beginning."""
    options = tiny(home / "corpus.txt", evaluations=BUDGET)
    return run_here(options, home / "large", home / "cache")


def without_fits(run: Path) -> dict[str, object]:
    """What a run came to, but for the comparisons, and the journal's older winners."""
    found = result(run)
    del found["fit"], found["place"]
    return found


@pytest.mark.parametrize("budgets", [(8,), (4,), (1,), (5,), (3, 6, 7)], ids=str)
def test_more_evaluations_come_to_the_same(
    go: Callable[..., RunView],
    home: Path,
    large: RunView,
    budgets: tuple[int, ...],
) -> None:
    view = go(tiny(home / "corpus.txt", evaluations=budgets[0]))
    seen = [scored(view.folder)]
    fits = set(rows(view.folder, "fit"))
    for budget in (*budgets[1:], BUDGET):
        assert view.is_over
        view = resume(view.folder, cache=home / "cache", evaluations=budget)
        seen.append(scored(view.folder))
        assert view.options.evaluations == view.spent == budget
        assert fits <= set(rows(view.folder, "fit"))
        fits = set(rows(view.folder, "fit"))
    for before, after in pairwise(seen):
        assert after[: len(before)] == before
    assert without_fits(view.folder) == without_fits(large.folder)
    assert view.winner == large.winner
    assert view.verdicts == large.verdicts
    assert [row.losses for row in view.rows] == [row.losses for row in large.rows]
    assert set(rows(large.folder, "fit")) <= set(rows(view.folder, "fit"))
    assert resume(view.folder, cache=home / "none") == view


def test_a_run_that_was_cut_off_takes_another_budget(
    go: Callable[..., RunView], home: Path, large: RunView, tmp_path: Path
) -> None:
    options = tiny(home / "corpus.txt", evaluations=6)
    with pytest.raises(Killed):
        go(options, on_event=cut_at(7))
    with pytest.raises(Killed):
        resume(
            tmp_path / "run",
            cache=home / "cache",
            evaluations=BUDGET,
            on_event=cut_at(5),
        )
    view = resume(tmp_path / "run", cache=home / "cache")
    assert view.spent == BUDGET
    assert without_fits(view.folder) == without_fits(large.folder)


def test_less_than_was_spent_is_refused(
    go: Callable[..., RunView], home: Path, options: EvolveOptions, tmp_path: Path
) -> None:
    view = go(options)
    for few in (7, 0, -1):
        with pytest.raises(
            UsageError, match=r"8 evaluations of .* are spent"
        ) as caught:
            resume(view.folder, cache=home / "none", evaluations=few)
        assert caught.value.code == "U022"
    assert resume(view.folder, cache=home / "none", evaluations=8) == view


def test_more_than_can_be_counted_is_refused(
    go: Callable[..., RunView], home: Path, options: EvolveOptions
) -> None:
    view = go(options)
    with pytest.raises(UsageError, match="is too large") as caught:
        resume(view.folder, cache=home / "cache", evaluations=10**20)
    assert caught.value.code == "U022"
    assert read_run(view.folder) == view


def test_a_run_that_can_not_go_on_keeps_its_budget(
    go: Callable[..., RunView], home: Path, options: EvolveOptions
) -> None:
    view = go(options)
    for file in (view.folder / "supernet").iterdir():
        file.unlink()
    with pytest.raises(RunError) as caught:
        resume(view.folder, cache=home / "cache", evaluations=12)
    assert caught.value.code == "R030"
    assert resume(view.folder, cache=home / "cache") == view


def test_a_smaller_budget_ends_a_run_early(
    go: Callable[..., RunView], home: Path, options: EvolveOptions, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        go(options, on_event=cut_at(8))
    spent = len(scored(tmp_path / "run"))
    view = resume(tmp_path / "run", cache=home / "cache", evaluations=spent)
    assert view.is_over
    assert view.spent == view.options.evaluations == spent < 8


def test_a_space_that_is_used_up_stays_so(
    go: Callable[..., RunView], home: Path
) -> None:
    view = go(tiny(home / "corpus.txt", evaluations=2, final_seeds=()), NARROW)
    assert view.ending is None
    for budget in (5, 50):
        view = resume(view.folder, cache=home / "cache", evaluations=budget)
        assert view.is_over
        assert (view.spent, view.options.evaluations) == (2, budget)
        assert view.ending == "nothing new was found in the space"
