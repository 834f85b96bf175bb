"""A search whose scores differ by no more than seeds do says so while it runs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from rich.console import Console

from azc.cli.progress import LineProgress, LiveProgress
from azc.report.page import page
from azc.search.displays import displays
from azc.search.events import Closed, Event, Noisy, Opened
from azc.search.executors.serial import SerialExecutor
from azc.search.noise import noise
from azc.search.options import EvolveOptions, derived
from azc.search.run import resume
from azc.search.score import Bench, Job, Outcome, Scorer
from azc.search.view import RunView, read_run
from tests.report.dom import parse
from tests.runs import Killed, log_lines, result, run_here, tiny
from tests.search.test_view import done

SENTENCE = "no more than those of one program with other seeds"


@pytest.fixture(scope="module")
def noisy(home: Path) -> EvolveOptions:
    """A search that learns nothing: its scores are those of fresh weights."""
    return tiny(
        home / "corpus.txt",
        weights="fresh",
        steps=1,
        learning_rate=1e-6,
        evaluations=9,
        round_size=6,
        final_seeds=(),
    )


@pytest.fixture(scope="module")
def told() -> list[Event]:
    """The events of the run."""
    return []


@pytest.fixture(scope="module")
def whole(noisy: EvolveOptions, home: Path, told: list[Event]) -> RunView:
    return run_here(noisy, home / "whole", home / "cache", on_event=told.append)


def test_the_losses_are_those_of_the_best_of_the_first_round(
    whole: RunView, noisy: EvolveOptions, home: Path
) -> None:
    first = [e for e in whole.evaluations if e.round == 0]
    best = min(first, key=lambda e: e.score or math.inf).candidate
    program = whole.candidates[best]
    ((key, found),) = whole.costs.items()
    assert key == program.key
    seeds = [derived(noisy.seed, "noise", n) for n in (0, 1)]
    jobs = [
        Job("score", best, program.program, whole.model, seed, steps=1)
        for seed in seeds
    ]
    scorer = Scorer(Bench(noisy, 96, home / "cache", None))
    losses = {job.seed: o.loss for job, o in SerialExecutor(scorer).run(jobs)}
    assert list(found.values()) == [losses[seed] for seed in seeds]
    assert whole.noise is not None
    scored = next(e.score for e in first if e.candidate == best)
    assert whole.noise.seeds == stdev([scored or 0.0, *found.values()])
    assert whole.noise.is_all


def test_it_is_said_once_after_the_first_round(
    whole: RunView, told: list[Event]
) -> None:
    (place,) = [i for i, event in enumerate(told) if isinstance(event, Noisy)]
    closed = [i for i, event in enumerate(told) if isinstance(event, Closed)]
    opened = [i for i, event in enumerate(told) if isinstance(event, Opened)]
    assert closed[0] < place < opened[1]
    assert sum(SENTENCE in line for line in log_lines(whole.folder)) == 1
    dom = parse(page(whole, displays(whole)))
    notices = [each.text for each in dom.all("p") if SENTENCE in each.text]
    assert len(notices) == 1


def test_it_stands_in_the_terminal(
    told: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    event = next(event for event in told if isinstance(event, Noisy))
    LineProgress(quiet=False)(event)
    assert SENTENCE in capsys.readouterr().err
    console = Console(file=io.StringIO(), force_terminal=True, width=300)
    with LiveProgress(console) as live:
        live(event)
    assert isinstance(console.file, io.StringIO)
    assert SENTENCE in console.file.getvalue()


@pytest.mark.parametrize("when", [Closed, Noisy])
def test_a_run_that_goes_on_trains_nothing_again(
    when: type[Event],
    whole: RunView,
    noisy: EvolveOptions,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before the seeds were trained, and after."""

    def cut(event: Event) -> None:
        if isinstance(event, when):
            raise Killed

    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(noisy, run, home / "cache", on_event=cut)
    known = read_run(run).costs
    assert bool(known) == (when is Noisy)
    trained: list[Job] = []
    original = SerialExecutor.run

    def watched(
        self: SerialExecutor, jobs: Sequence[Job]
    ) -> Iterator[tuple[Job, Outcome]]:
        trained.extend(jobs)
        return original(self, jobs)

    monkeypatch.setattr(SerialExecutor, "run", watched)
    view = resume(run, cache=home / "cache")
    again = [job for job in trained if "another seed" in job.name]
    assert len(again) == (0 if when is Noisy else 2)
    assert view.costs == whole.costs
    assert result(run) == result(whole.folder)


def test_shared_weights_have_no_such_measure(home: Path, tmp_path: Path) -> None:
    options = tiny(home / "corpus.txt", evaluations=4, final_seeds=())
    view = run_here(options, tmp_path / "run", home / "cache")
    assert view.noise is None
    assert not view.costs


def scores(*losses: float) -> list[Any]:
    return [done(0, n, loss) for n, loss in enumerate(losses, 1)]


def again(one: float, other: float) -> dict[int, dict[str, float]]:
    return {1: {"loss, second seed": one, "loss, third seed": other}}


def test_a_program_that_learns_nothing_is_no_difference() -> None:
    found = noise(scores(4.0, 4.1, 4.2, 4.3, 9.0), again(4.1, 4.2))
    assert found is not None
    # The middle is 4.2; what lies 0.1 or less from it are three of five.
    assert found.scores == pytest.approx(0.148, abs=1e-3)
    assert found.seeds == pytest.approx(0.1)
    assert not found.is_all
    wide = noise(scores(4.0, 4.1, 4.2, 4.3, 9.0), again(4.2, 4.4))
    assert wide is not None
    assert wide.is_all


def test_it_is_not_known_too_early() -> None:
    assert noise(scores(4.0, 4.1, 4.2), again(4.1, 4.2)) is None
    assert noise(scores(4.0, 4.1, 4.2, 4.3), {1: {"latency": 2.0}}) is None
    assert noise(scores(4.0, 4.1, 4.2, 4.3), again(4.1, math.inf)) is None
    failed = [*scores(4.0, 4.1, 4.2, 4.3), done(0, 5, None)]
    assert noise(failed, again(4.1, 4.2)) == noise(failed[:-1], again(4.1, 4.2))
