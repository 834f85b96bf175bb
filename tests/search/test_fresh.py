"""Candidates that are scored from fresh weights: a score is the same in every round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from azc.search.events import Event, Warming
from azc.search.options import EvolveOptions, derived
from azc.search.records import Fit
from azc.search.run import resume
from azc.search.score import build_candidate
from azc.search.view import RunView
from azc.training.fit import FitOptions, fit, measure
from tests.runs import Killed, cut_at, result, run_here, tiny


@pytest.fixture(scope="module")
def fresh(home: Path) -> EvolveOptions:
    return tiny(
        home / "corpus.txt",
        weights="fresh",
        warmup_ratio=0.5,
        contenders=3,
        baselines=True,
    )


@pytest.fixture(scope="module")
def whole(home: Path, fresh: EvolveOptions) -> RunView:
    events: list[Event] = []
    view = run_here(fresh, home / "fresh", home / "cache", on_event=events.append)
    assert not any(isinstance(event, Warming) for event in events)
    return view


def test_nothing_is_shared(whole: RunView) -> None:
    assert whole.is_over
    assert not list((whole.folder / "supernet").iterdir())


def test_what_is_scored_again_is_not_trained_again_nor_counted(whole: RunView) -> None:
    first: dict[int, float | None] = {}
    again = 0
    for evaluation in whole.evaluations:
        if evaluation.status == "asked":  # there was no budget left for it
            continue
        if evaluation.candidate in first:
            again += 1
            assert evaluation.score == first[evaluation.candidate]
            assert evaluation.seconds is None
        else:
            first[evaluation.candidate] = evaluation.score
            assert evaluation.seconds
    assert again
    assert whole.spent == len(first) == whole.options.evaluations
    # Random sampling trains as many.
    stages = {fit.entrant for fit in whole.fits if fit.split == "validation"}
    sampled = [e for e in whole.entrants.values() if e.name.startswith("random sample")]
    assert len(sampled) == len(first)
    assert all(entrant.id in stages for entrant in sampled)


def test_the_best_of_all_rounds_are_trained_alone(whole: RunView) -> None:
    scores = {e.candidate: e.score for e in whole.evaluations if e.score is not None}
    best = sorted(scores, key=lambda c: (scores[c], c))[:3]
    entered = [e.candidate for e in whole.entrants.values() if e.candidate is not None]
    assert entered[:3] == best


def alone(program: str, seed: int, home: Path, fresh: EvolveOptions) -> float:
    """What training from a seed comes to, by hand, through nothing of the search."""
    from azc.data.load import load_data

    model, _ = build_candidate(program, "start", seed)
    data = load_data(
        fresh.data,
        vocab=model.config.vocab_size,
        length=fresh.length,
        seed=fresh.seed,
        cache=home / "cache",
        mask_rate=fresh.mask_rate,
    )
    how = FitOptions(
        steps=fresh.steps,
        batch_size=fresh.batch_size,
        learning_rate=fresh.learning_rate,
        warmup=fresh.warmup_ratio,
        seed=seed,
    )
    fit(model, data, how)
    return measure(model, data, "validation").loss


def test_a_score_is_what_training_alone_comes_to(
    whole: RunView, home: Path, fresh: EvolveOptions
) -> None:
    evaluation = whole.evaluations[1]
    program = whole.candidates[evaluation.candidate].program
    loss = alone(program, derived(fresh.seed, "score"), home, fresh)
    assert loss == pytest.approx(evaluation.score)


@pytest.fixture(scope="module")
def several(home: Path, fresh: EvolveOptions) -> RunView:
    """A run whose scores are means over three seeds."""
    options = replace(fresh, score_seeds=3, evaluations=5)
    return run_here(options, home / "several", home / "cache")


def test_a_score_may_be_the_mean_of_several_trainings(
    several: RunView, home: Path, fresh: EvolveOptions
) -> None:
    evaluation = several.evaluations[1]
    program = several.candidates[evaluation.candidate].program
    seeds = [derived(fresh.seed, "score", *more) for more in ((), (1,), (2,))]
    losses = [alone(program, seed, home, fresh) for seed in seeds]
    assert len(set(losses)) == 3
    assert fmean(losses) == pytest.approx(evaluation.score)


def test_contenders_and_samples_are_chosen_by_as_many(several: RunView) -> None:
    by_steps: dict[tuple[int, int], list[Fit]] = {}
    for found in several.fits:
        if found.split == "validation":
            by_steps.setdefault((found.steps, found.entrant), []).append(found)
    assert {len({each.seed for each in fits}) for fits in by_steps.values()} == {3}
    means = {
        several.entrants[entrant].candidate: fmean(each.loss or 0.0 for each in fits)
        for (steps, entrant), fits in by_steps.items()
        if steps == several.options.final_steps
    }
    mine = {number: loss for number, loss in means.items() if number is not None}
    assert len(mine) > 1
    assert several.winner == min(mine, key=mine.__getitem__)


def test_shared_weights_are_scored_once() -> None:
    from azc.diagnostics import UsageError

    with pytest.raises(UsageError, match="score_seeds is 2, it must be 1 with shared"):
        tiny("none", score_seeds=2)


@pytest.mark.parametrize("name", ["whole", "several"])
def test_it_comes_to_the_same_however_often_it_is_killed(
    name: str, home: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unbroken: RunView = request.getfixturevalue(name)
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(unbroken.options, run, home / "cache", on_event=cut_at(3))
    for moment in (2, 5, 11, 3):
        with pytest.raises(Killed):
            resume(run, cache=home / "cache", on_event=cut_at(moment))
    resume(run, cache=home / "cache")
    assert result(run) == result(unbroken.folder)


def test_other_weights_are_refused() -> None:
    from azc.diagnostics import UsageError

    with pytest.raises(UsageError, match="weights"):
        tiny("none", weights="warm")


SAME = """
class Mine:
    def __init__(self, start, space, options):
        self.round = 0

    def ask(self, count, rng, known):
        return [1]

    def tell(self, round):
        self.round += 1

    def state(self):
        return self.round

    def restore(self, state, genome):
        self.round = state

    def display(self):
        return {}
"""


@pytest.mark.parametrize(("weights", "spent"), [("fresh", 1), ("shared", 4)])
def test_a_search_that_trains_nothing_more_ends(
    tmp_path: Path, home: Path, weights: str, spent: int
) -> None:
    (tmp_path / "my.py").write_text(SAME, encoding="utf-8")
    options = tiny(
        home / "corpus.txt",
        weights=weights,
        evaluations=4,
        final_seeds=(),
        strategy=f"{tmp_path / 'my.py'}:Mine",
    )
    view = run_here(options, tmp_path / "run", home / "cache")
    assert (view.spent, len(view.evaluations)) == (spent, spent)
    assert view.is_over
    ended = "nothing new was found in the space"
    assert view.ending == (ended if weights == "fresh" else None)
