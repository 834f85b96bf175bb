"""A run is there before anything is loaded, and goes on from whatever moment it is killed
at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azc.diagnostics import RunError, UsageError
from azc.search import score as score_module
from azc.search.events import Event, Started
from azc.search.folder import RunFolder
from azc.search.options import EvolveOptions
from azc.search.run import resume
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from tests.runs import Killed, cut_at, log_lines, result, run_here, tiny, write_corpus


@pytest.fixture(scope="module")
def whole(home: Path, options: EvolveOptions) -> dict[str, Any]:
    """What a run comes to that nothing interrupted."""
    return result(run_here(options, home / "whole", home / "cache").folder)


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_the_first_event_has_a_folder(
    go: Callable[..., RunView], options: EvolveOptions, tmp_path: Path
) -> None:
    seen: list[tuple[Event, dict[str, Any]]] = []

    def look(event: Event) -> None:
        seen.append((event, RunFolder(tmp_path / "run").read()))

    go(options, on_event=look)
    first, config = seen[0]
    assert first == Started(tmp_path / "run", options.data, is_new=True)
    assert "fingerprint" not in config
    assert RunFolder(tmp_path / "run").options(config) == options
    _, complete = seen[1]
    assert complete["fingerprint"]
    assert complete == {**config, **RunFolder(tmp_path / "run").read()}
    assert not any(isinstance(event, Started) for event, _ in seen[1:])
    assert f"starting: loading {options.data}" in log_lines(tmp_path / "run")


@pytest.mark.parametrize("moment", ["told", "loading", "loaded", "opened"])
def test_a_run_killed_before_its_first_round_goes_on(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        if moment == "loading":
            patch.setattr(score_module, "Scorer", killed)
        if moment == "loaded":
            patch.setattr(RunFolder, "open", killed)
        told = {"told": cut_at(0), "opened": cut_at(1)}.get(moment)
        with pytest.raises(Killed):
            go(options, on_event=told)
    view = read_run(run)  # whoever looks at it finds a run that is yet to begin
    assert (view.spent, view.is_over, view.options) == (0, False, options)
    if moment != "opened":
        with pytest.raises(RunError, match="has not started yet"):
            Desk(run, "ana").pause()
    events: list[Event] = []
    assert resume(run, cache=home / "cache", on_event=events.append).is_over
    assert events[0] == Started(run, options.data, is_new=False)
    assert result(run) == whole


def test_what_is_asked_of_a_run_that_goes_on_before_it_began_counts(
    go: Callable[..., RunView], home: Path, options: EvolveOptions, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        go(options, on_event=cut_at(0))
    view = resume(tmp_path / "run", cache=home / "cache", evaluations=3)
    assert (view.spent, view.options.evaluations, view.is_over) == (3, 3, True)


def test_a_run_that_can_not_be_gone_on_with_stays(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.txt")
    options = tiny(corpus, evaluations=2, final_seeds=())
    with pytest.raises(Killed):
        go(options, on_event=cut_at(0))
    corpus.unlink()
    with pytest.raises(RunError, match=r"corpus\.txt"):
        resume(tmp_path / "run", cache=home / "cache")
    write_corpus(corpus)
    assert resume(tmp_path / "run", cache=home / "cache").spent == 2


def test_a_run_that_can_not_begin_leaves_what_was_there(
    home: Path, tmp_path: Path
) -> None:
    """And nothing else, be it the folder around it."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "kept").mkdir()
    for run in (
        tmp_path / "empty",
        tmp_path / "new" / "run",
        tmp_path / "kept" / "run",
    ):
        with pytest.raises(RunError, match="nowhere"):
            run_here(tiny(tmp_path / "nowhere"), run, home / "cache")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["empty", "kept"]


def test_what_a_kill_left_of_a_configuration_is_no_run(
    go: Callable[..., RunView], options: EvolveOptions, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".run.json.1a2b.part").write_text('{"format"')
    assert go(options).is_over
    assert not list((tmp_path / "run").glob(".*.part"))


def test_a_folder_that_another_run_has_taken_meanwhile_stays_its(
    go: Callable[..., RunView],
    options: EvolveOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken(run: RunFolder) -> Any:
        run.path.mkdir()
        run.config_file.write_text("another's")
        return lock(run)

    lock = RunFolder.lock
    monkeypatch.setattr(RunFolder, "lock", taken)
    with pytest.raises(UsageError, match="is not empty"):
        go(options)
    assert (tmp_path / "run" / "run.json").read_text() == "another's"
