"""What is said of a run: which round decides, and what counts as better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from azc.report.comparison import last_table
from azc.search.options import EvolveOptions
from azc.search.ranking import last_ranking
from azc.search.records import Entrant, Evaluation, Fit
from azc.search.view import RunView
from azc.training.verdict import verdict
from tests.search.rounds import by_loss


def done(round: int, candidate: int, score: float | None = 1.0) -> Evaluation:
    status = "asked" if score is None else "done"
    return Evaluation(round, candidate, status, by_loss(score), None, 0.1)


def view(*losses: tuple[float | None, ...]) -> RunView:
    """A run whose last comparison has these rows, the winner first."""
    seeds = tuple(range(len(losses[0])))
    entrants = {
        number: Entrant(f"program {number}", "text", 2 if number == 1 else None, number)
        for number in range(1, len(losses) + 1)
    }
    fits = [
        Fit(number, seed, 400, "test", "done" if loss else "failed", loss, None)
        for number, row in enumerate(losses, 1)
        for seed, loss in enumerate(row)
    ]
    older = Fit(1, 0, 100, "validation", "done", 1.0, None)
    roles = ["winner", "start", *["hand"] * len(losses)]
    return RunView(
        Path("run"),
        "space",
        "model",
        EvolveOptions(evaluations=2, final_seeds=seeds),
        None,
        {},
        (done(0, 1, 3.0), done(0, 2, 2.0)),
        ((0, True),),
        (older, *fits),
        entrants,
        tuple(zip(roles, entrants, strict=False)),
    )


def test_rows_and_verdicts() -> None:
    found = view((4.0, 4.1, 4.2), (5.0, 5.1, 5.21), (4.0, 4.2, 4.15), (3.0, 3.1, 3.19))
    assert found.rows[0].losses == (4.0, 4.1, 4.2)
    assert found.winner == 2
    assert found.is_over
    words = {place: verdict.word for place, verdict in found.verdicts.items()}
    assert words == {1: "better", 2: "no significant difference", 3: "worse"}
    # Each is corrected for the size of the table.
    alone = verdict((4.0, 4.1, 4.2), (5.0, 5.1, 5.21), 3)
    assert found.verdicts[1] == alone
    said = last_table(found).sentence
    assert said.startswith(
        "the winner is better than the start; not significantly different from"
        " `program 3`; worse than `program 4` (paired t-test over 3 seeds, at 5 % for 3"
    )
    other = (5.0, 5.1, 5.21)
    better = last_table(view((4.0, 4.1, 4.2), other)).sentence
    assert better.startswith("the winner is better than the start (paired")
    better = last_table(view((4.0, 4.1, 4.2), other, other)).sentence
    assert better.startswith("the winner is better than any of the 2 others (paired")


def test_the_same_model_is_not_compared_with_itself() -> None:
    found = view((4.0, 4.1, 4.2), (5.0, 5.1, 5.21), (4.0, 4.1, 4.2))
    assert set(found.verdicts) == {1}
    assert found.verdicts[1] == verdict((4.0, 4.1, 4.2), (5.0, 5.1, 5.21))
    sentence = last_table(found).sentence
    assert (
        sentence
        == "the winner is better than the start (paired t-test over 3 seeds, at 5 %)"
    )


def test_failed_rows_have_no_verdict() -> None:
    found = view((4.0, 4.1), (None, 5.0), (5.0, 5.1))
    assert set(found.verdicts) == {2}
    assert found.is_over
    assert view((None, 4.1), (5.0, 5.0)).verdicts == {}
    one = view((4.0,), (5.0,))
    assert last_table(one).sentence.endswith("(a single seed proves nothing)")


def test_stages_agree_as_kendall_says() -> None:
    entrants = {n: Entrant(f"candidate {n}", "text", n, n) for n in (1, 2, 3, 4)}
    fits = [
        Fit(n, 9, 100, "validation", "done", loss, None)
        for n, loss in ((1, 1.0), (2, 3.0), (3, 2.0), (4, 4.0))
    ]
    found = replace(
        view((4.0,), (5.0,)),
        evaluations=tuple(done(0, n, float(n)) for n in (1, 2, 3, 4)),
        fits=tuple(fits),
        entrants=entrants,
        table=(),
    )
    # One of six pairs is turned round: (5 − 1) / 6.
    (stage,) = found.agreement
    assert (stage.stage, stage.steps, stage.count) == ("shared weights", 100, 4)
    assert stage.tau == pytest.approx(4 / 6)


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
