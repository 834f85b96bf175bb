"""A limit of time or memory that is too low for the start: said, raised, gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from azc import api
from azc.cli.app import app
from azc.diagnostics import RunError, UsageError
from azc.search import score as score_module
from azc.search.acts import allowed_after
from azc.search.events import Event, Retried
from azc.search.run import resume
from azc.search.view import RunView, read_run
from tests.runs import (
    PROGRAM,
    Killed,
    cut_at,
    log_lines,
    result,
    run_here,
    scored,
    tiny,
)


class Clock:
    """A clock of the search, on which every look takes so many seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def perf_counter(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "time", Clock(1.0))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("options", "said", "raised"),
    [
        # Ten steps of the start, a look after each and one at the end.
        (
            {"steps": 20},
            "the start took 11 s to train, longer than --time-limit 2s",
            "60s",
        ),
        # A path has as many times more time as it has more steps than a candidate.
        (
            {"steps": 2, "time_limit": 1.5},
            "the start took 11 s to train, longer than the 7.5 s that --time-limit 1.5s"
            " gives it here",
            "10s",
        ),
        (
            {"weights": "fresh", "steps": 200},
            "the start was not trained after 64 s, longer than --time-limit 2s",
            "5min",
        ),
        # Measured with so many seconds beside the limit, and two looks a step.
        (
            {
                "weights": "fresh",
                "objectives": ("timed-loss",),
                "seconds_alone": 0.2,
                "time_limit": 0.1,
            },
            "the start took 4 s to train, longer than the 0.3 s that --time-limit 0.1s"
            " gives it here",
            "20s",
        ),
    ],
    ids=["a path", "in proportion", "never", "measured"],
)
def test_a_limit_below_what_the_start_takes_is_named(
    go: Callable[..., RunView],
    home: Path,
    tmp_path: Path,
    options: dict[str, Any],
    said: str,
    raised: str,
) -> None:
    with pytest.raises(RunError) as caught:
        go(tiny(home / "corpus.txt", **{"time_limit": 2.0, **options}))
    run = tmp_path / "run"
    assert (caught.value.code, caught.value.message) == ("R053", said)
    assert caught.value.help == (
        f"raise the limit: azc resume {run} --time-limit {raised}"
    )
    assert scored(run) == []
    assert "evaluating the start again: to see how long it takes" in log_lines(run)


def test_a_start_that_was_slow_by_chance_is_said_to_be_so(
    go: Callable[..., RunView], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(1.0)
    monkeypatch.setattr(score_module, "time", clock)

    def told(event: Event) -> None:
        if event == Retried("the start", "to see how long it takes"):
            clock.step = 0.1

    with pytest.raises(RunError) as caught:
        go(tiny(home / "corpus.txt", steps=20, time_limit=2.0), on_event=told)
    assert caught.value.message == (
        "the start took 1.1 s to train at the third try, but twice longer than"
        " --time-limit 2s"
    )
    assert (caught.value.help or "").endswith("--time-limit 10s")


def test_a_limit_that_is_raised_stays_so(
    go: Callable[..., RunView],
    home: Path,
    options: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through a kill, and the run comes to what it would have come to."""
    run = tmp_path / "run"
    limited = tiny(home / "corpus.txt", evaluations=8, time_limit=1e-9)
    with pytest.raises(RunError, match="longer than") as caught:
        go(limited)
    assert caught.value.code == "R053"
    answer = CliRunner().invoke(app, ["resume", str(run), "--time-limit", "soon"])
    assert answer.exit_code == 2
    assert "'soon' is not a time" in answer.stderr
    with pytest.raises(UsageError, match="time_limit is 0"):
        api.resume(run, time_limit=0)
    assert read_run(run).acts == ()
    with pytest.raises(Killed):
        resume(
            run,
            cache=home / "cache",
            allow={"time_limit": 600.0},
            on_event=cut_at(6),
        )
    monkeypatch.setenv("AZC_CACHE", str(home / "cache"))
    answer = CliRunner().invoke(app, ["resume", str(run)])
    assert answer.exit_code == 0, answer.output
    view = read_run(run)
    assert view.options.time_limit == 600.0
    (act,) = view.acts
    assert act.words == "azc resume allows each candidate 600 seconds"
    assert "azc resume allows each candidate 600 seconds" in log_lines(run)
    run_here(options, tmp_path / "whole", home / "cache")
    assert result(run) == result(tmp_path / "whole")


def test_too_little_memory_for_the_start_is_named(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    large = PROGRAM.replace("hidden = 8", "hidden = 2048").replace("= 16", "= 8192", 1)
    corpus = home / "corpus.txt"
    options = tiny(corpus, memory_limit=50_000_000, weights="fresh", evaluations=1)
    with pytest.raises(RunError) as caught:
        go(options, large)
    run = tmp_path / "run"
    assert (caught.value.code, caught.value.message) == (
        "R053",
        "the start takes more memory than --memory-limit 50MB",
    )
    assert caught.value.help == (
        f"raise the limit: azc resume {run} --memory-limit 200MB (none: no limit)"
    )
    assert scored(run) == []
    for given, found in (("200MB", 200_000_000), ("none", None)):
        with pytest.raises(Killed):
            api.resume(
                run, memory_limit=given, cache=home / "cache", on_event=cut_at(1)
            )
        view = read_run(run)
        assert view.options.memory_limit == found
        assert allowed_after(view.acts) == {"memory_limit": found}
    assert [act.words for act in view.acts] == [
        "azc resume allows each candidate 200,000,000 bytes of memory",
        "azc resume allows each candidate all memory",
    ]
