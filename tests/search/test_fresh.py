"""Candidates that are scored from fresh weights: a score is the same in every round."""

from __future__ import annotations

from pathlib import Path

import pytest

from azc.search.events import Event, Warming
from azc.search.options import EvolveOptions
from azc.search.run import resume
from azc.search.score import build_candidate
from azc.search.view import RunView
from azc.training.fit import FitOptions, fit, measure
from tests.runs import Killed, cut_at, result, run_here, tiny


@pytest.fixture(scope="module")
def fresh(home: Path) -> EvolveOptions:
    return tiny(home / "corpus.txt", weights="fresh", contenders=3, baselines=True)


@pytest.fixture(scope="module")
def whole(home: Path, fresh: EvolveOptions) -> RunView:
    events: list[Event] = []
    view = run_here(fresh, home / "fresh", home / "cache", on_event=events.append)
    assert not any(isinstance(event, Warming) for event in events)
    return view


def test_nothing_is_shared(whole: RunView) -> None:
    assert whole.is_over
    assert not list((whole.folder / "supernet").iterdir())


def test_what_is_scored_again_is_not_trained_again(whole: RunView) -> None:
    first: dict[int, float | None] = {}
    again = 0
    for evaluation in whole.evaluations:
        if evaluation.status == "asked":  # there was no budget left for it
            continue
        if evaluation.candidate in first:
            again += 1
            assert evaluation.score == first[evaluation.candidate]
            assert evaluation.seconds == 0
        else:
            first[evaluation.candidate] = evaluation.score
            assert evaluation.seconds
    assert again
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


def test_a_score_is_what_training_alone_comes_to(
    whole: RunView, home: Path, fresh: EvolveOptions
) -> None:
    """By hand, through nothing of the search but the seed of its options."""
    from azc.data.load import load_data
    from azc.search.options import derived

    evaluation = whole.evaluations[1]
    program = whole.candidates[evaluation.candidate].program
    seed = derived(fresh.seed, "score")
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
        seed=seed,
    )
    fit(model, data, how)
    assert measure(model, data, "validation").loss == pytest.approx(evaluation.score)


def test_it_comes_to_the_same_however_often_it_is_killed(
    whole: RunView, home: Path, fresh: EvolveOptions, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(fresh, run, home / "cache", on_event=cut_at(3))
    for moment in (2, 5, 11, 3):
        with pytest.raises(Killed):
            resume(run, cache=home / "cache", on_event=cut_at(moment))
    resume(run, cache=home / "cache")
    assert result(run) == result(whole.folder)


def test_other_weights_are_refused() -> None:
    from azc.diagnostics import UsageError

    with pytest.raises(UsageError, match="weights"):
        tiny("none", weights="warm")
