"""The loop of a run: what it leaves behind, and what it does when things go wrong."""

from __future__ import annotations

import functools
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azc.search import loop as loop_module
from azc.search.events import (
    Closed,
    Comparing,
    Ended,
    Event,
    Fitted,
    Opened,
    Scored,
    Warming,
)
from azc.search.folder import RunFolder
from azc.search.journal import Journal
from azc.search.options import EvolveOptions
from azc.search.records import ranked
from azc.search.run import read_run, resume
from azc.search.view import RunView
from azc.supernet import supernet as supernet_module
from tests.runs import (
    NARROW,
    Killed,
    cut_at,
    log_lines,
    result,
    rows,
    run_here,
    scored,
    tiny,
)


@pytest.fixture(scope="module")
def whole(home: Path, options: EvolveOptions) -> tuple[RunView, list[Event]]:
    """A run that nothing interrupted, and what it told."""
    events: list[Event] = []
    view = run_here(options, home / "whole", home / "cache", on_event=events.append)
    return view, events


# What a run leaves behind


def test_a_run_is_a_folder(whole: tuple[RunView, list[Event]]) -> None:
    view, _ = whole
    run = RunFolder(view.folder)
    assert view.is_over
    assert view.spent == 8
    assert view.rounds == ((0, True), (1, True))
    assert {path.name for path in view.folder.iterdir()} >= {
        *("run.json", "journal.sqlite", "candidates", "supernet"),
        *("start.azg", "best.azg", "log.txt"),
    }
    for number, candidate in view.candidates.items():
        written = run.candidate_file(number).read_text(encoding="utf-8")
        assert written == candidate.program
    assert len(list(run.candidates_folder.iterdir())) == len(view.candidates)
    assert [path.name for path in run.supernet_folder.iterdir()] == ["0002.safetensors"]
    assert view.best is not None
    assert run.best_file.read_text(encoding="utf-8") == view.best.program
    assert view.start is not None
    assert run.start_file.read_text(encoding="utf-8") == view.start.program
    assert log_lines(view.folder)[-1] == "done"


def test_parents_are_the_best_of_the_round_before(
    whole: tuple[RunView, list[Event]],
) -> None:
    view, _ = whole
    for number, _ in view.rounds[1:]:
        members = [e.candidate for e in view.evaluations if e.round == number]
        again = [c for c in members if view.candidates[c].round < number]
        before = ranked(e for e in view.evaluations if e.round == number - 1)
        best = [e.candidate for e in before[: view.options.parents]]
        assert again == best[: len(again)]
        assert again
        new = [c for c in members if view.candidates[c].round == number]
        assert {n for c in new for n in view.candidates[c].parents} <= set(best)


def test_the_winner_is_the_best_of_the_last_round(
    whole: tuple[RunView, list[Event]],
) -> None:
    view, _ = whole
    last = ranked(e for e in view.evaluations if e.round == 1)
    assert view.ranking() == last
    assert view.winner == last[0].candidate
    assert len(last) == 4
    assert view.lineage(last[0].candidate)[0].id == 1


def test_events_tell_all_of_it(whole: tuple[RunView, list[Event]]) -> None:
    view, events = whole
    steps = [e.step for e in events if isinstance(e, Warming)]
    assert steps == [0, 10, 20]
    opened = [e for e in events if isinstance(e, Opened)]
    assert [(e.round, e.size, e.spent) for e in opened] == [(0, 4, 0), (1, 4, 4)]
    for event in opened:
        assert len(event.display) > 5
        shown = event.display.values()
        shares = [float(text.removesuffix("%")) for text in shown if "%" in text]
        assert sum(shares) == pytest.approx(100, abs=1)
        assert shares == sorted(shares, reverse=True)
    told = [(e.round, e.candidate, e.score) for e in events if isinstance(e, Scored)]
    assert told == [(e.round, e.candidate, e.score) for e in view.evaluations]
    assert [e.spent for e in events if isinstance(e, Scored)] == list(range(1, 9))
    assert [e.best for e in events if isinstance(e, Closed)][-1] == view.winner
    fitted = [e for e in events if isinstance(e, Fitted)]
    assert [e.done for e in fitted] == list(range(1, len(fitted) + 1))
    (comparing,) = (e for e in events if isinstance(e, Comparing))
    assert comparing.done == 0
    assert comparing.total >= len(fitted)
    assert {(e.name, e.seed, e.steps, e.split, e.loss) for e in fitted} == {
        (view.entrants[f.entrant].name, f.seed, f.steps, f.split, f.loss)
        for f in view.fits
    }


def test_what_mutations_have_brought_is_told_of_the_new_ones(
    whole: tuple[RunView, list[Event]],
) -> None:
    view, _ = whole
    born = Counter(kind for c in view.candidates.values() for kind in {*c.kinds})
    assert sum(born.values()) >= len(view.candidates) - 1  # all but the start
    scored_again = len(view.evaluations) - len(view.candidates)
    assert scored_again
    state: Any = view.states[max(view.states)]
    kinds = state["kinds"]["features"]
    assert {kind: seen for kind, (seen, _) in kinds.items()} == born


def test_the_same_seed_gives_the_same_run(
    whole: tuple[RunView, list[Event]],
    go: Callable[..., RunView],
    options: EvolveOptions,
) -> None:
    again = go(options)
    assert result(again.folder) == result(whole[0].folder)


def test_another_seed_gives_another_run(
    whole: tuple[RunView, list[Event]], go: Callable[..., RunView], home: Path
) -> None:
    other = go(tiny(home / "corpus.txt", evaluations=4, seed=1))
    for table in ("candidate", "evaluation"):
        assert rows(other.folder, table) != rows(whole[0].folder, table)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluations": 1},
        {"evaluations": 2},
        {"evaluations": 3, "round_size": 2},
        {"evaluations": 4},
        {"evaluations": 5, "round_size": 3, "parents": 7},
    ],
    ids=str,
)
def test_the_budget_is_spent_exactly(
    go: Callable[..., RunView], home: Path, changes: dict[str, int]
) -> None:
    view = go(tiny(home / "corpus.txt", warm_up=0, **changes))
    assert view.is_over
    assert view.spent == len(scored(view.folder)) == changes["evaluations"]
    assert view.evaluations[0].candidate == 1
    assert view.winner is not None
    if changes["evaluations"] == 1:
        assert view.winner == 1
        assert view.verdicts == {}
    assert [row.role for row in view.rows] == ["winner", "start"]
    assert all(row.is_sound for row in view.rows)


def test_a_space_that_is_used_up_ends_the_search(
    go: Callable[..., RunView], home: Path
) -> None:
    events: list[Event] = []
    options = tiny(home / "corpus.txt", evaluations=7, final_seeds=())
    view = go(options, NARROW, on_event=events.append)
    assert view.is_over
    assert view.spent == len(view.evaluations) == 2
    assert set(view.candidates) == {1, 2}
    assert view.ending == "nothing new was found in the space"
    assert [e for e in events if isinstance(e, Ended)] == [Ended(view.ending, 2, 7)]
    assert log_lines(view.folder)[-2] == (
        "the search ended after 2 of 7 evaluations: nothing new was found in the space"
    )
    assert resume(view.folder, cache=home / "none").evaluations == view.evaluations


def test_no_seeds_no_comparison(go: Callable[..., RunView], home: Path) -> None:
    view = go(tiny(home / "corpus.txt", evaluations=2, warm_up=0, final_seeds=()))
    assert view.is_over
    assert view.fits == ()
    assert (view.rows, view.verdicts) == ((), {})


# Cut off and gone on with


def test_a_run_cut_off_anywhere_ends_as_if_it_were_not(
    whole: tuple[RunView, list[Event]],
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
) -> None:
    """At five random moments of one run, each time further on."""
    view, events = whole
    run = tmp_path / "run"
    moments = sorted(random.Random(7).sample(range(len(events)), 5))
    with pytest.raises(Killed):
        go(options, on_event=cut_at(moments[0]))
    for moment in moments[1:]:
        before = scored(run)
        passed = len(log_lines(run))
        with pytest.raises(Killed):
            # A resumed run tells some things again, such as the round that is open.
            resume(
                run, cache=home / "cache", on_event=cut_at((moment - moments[0]) // 3)
            )
        assert scored(run)[: len(before)] == before or set(before) <= set(scored(run))
        assert len(log_lines(run)) > passed
    resume(run, cache=home / "cache")
    assert result(run) == result(view.folder)


@pytest.mark.parametrize(
    ("when", "module", "name", "call"),
    [
        ("after", Journal, "open_round", 2),
        ("before", supernet_module.Supernet, "save", 1),  # the warm-up's
        ("after", supernet_module.Supernet, "save", 2),  # that of a round
        ("after", supernet_module, "save_atomically", 4),  # a candidate's
        ("after", Journal, "record", 8),  # the budget is spent, the round is open
        ("before", loop_module, "write_text", 2),  # best.azg
        ("after", Journal, "close_round", 2),
        ("after", Journal, "record_fit", 1),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_run_cut_off_at_a_write_ends_as_if_it_were_not(
    whole: tuple[RunView, list[Event]],
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    module: Any,
    name: str,
    call: int,
) -> None:
    original = getattr(module, name)
    calls = iter(range(1, 1000))

    @functools.wraps(original)
    def cut(*args: Any, **more: Any) -> Any:
        if next(calls) != call:
            return original(*args, **more)
        if when == "after":
            original(*args, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, cut)
        with pytest.raises(Killed):
            go(options)
    before = scored(tmp_path / "run")
    resume(tmp_path / "run", cache=home / "cache")
    assert set(before) <= set(scored(tmp_path / "run"))
    assert result(tmp_path / "run") == result(whole[0].folder)


def test_a_run_that_is_over_is_only_read(
    whole: tuple[RunView, list[Event]], home: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole[0].folder, tmp_path / "run")
    told: list[Event] = []
    view = resume(tmp_path / "run", cache=tmp_path / "none", on_event=told.append)
    assert told == []
    assert view.evaluations == whole[0].evaluations
    assert not (tmp_path / "none").exists()


@pytest.fixture
def half(
    go: Callable[..., RunView], options: EvolveOptions, tmp_path: Path
) -> RunFolder:
    """A run that was cut off in its second round."""
    with pytest.raises(Killed):
        go(options, on_event=cut_at(11))
    run = RunFolder(tmp_path / "run")
    assert 4 < len(scored(run.path)) < 8
    return run


def test_a_round_under_way_has_no_winner_yet(half: RunFolder) -> None:
    view = read_run(half.path)
    assert not view.is_over
    assert {e.round for e in view.ranking()} == {0}
    assert view.best is not None
    assert half.best_file.read_text(encoding="utf-8") == view.best.program


def test_paths_mean_the_same_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    options = tiny("corpus.txt", evaluations=2, final_seeds=())
    with pytest.raises(Killed):
        run_here(options, tmp_path / "run", home / "cache", on_event=cut_at(0))
    monkeypatch.chdir(tmp_path)
    assert resume(Path("run"), cache=home / "cache").spent == 2
