"""Copies of runs that are at work, without the file that SQLite keeps beside the journal,
or with a part of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from azc.diagnostics import RunError
from azc.search.acts import NewAct
from azc.search.events import Closed, Event, Fitted, Opened, Paused, Scored
from azc.search.folder import RunFolder
from azc.search.journal import Journal
from azc.search.options import EvolveOptions
from azc.search.records import NewCandidate
from azc.search.run import resume
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from tests.runs import result, run_here, tiny

LOG = "journal.sqlite-wal"


def gone(log: Path) -> None:
    log.unlink()


def cut(log: Path) -> None:
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)


def damaged(log: Path) -> None:
    """From a third of it on, nothing counts."""
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 0xFF
    log.write_bytes(content)


def contents(run: Path) -> dict[str, bytes]:
    """All but the index that SQLite makes for whoever reads, and an empty log."""
    files = [path for path in run.rglob("*") if path.is_file()]
    found = {str(path.relative_to(run)): path.read_bytes() for path in files}
    return {n: c for n, c in found.items() if n != f"{LOG[:-4]}-shm" and c}


def refusal(run: Path, cache: Path) -> RunError | None:
    """Why a run can't be gone on with; None where it was."""
    try:
        resume(run, cache=cache)
    except RunError as error:
        return error
    return None


@pytest.fixture(scope="module", params=["shared", "fresh"])
def copied(
    request: pytest.FixtureRequest, home: Path
) -> tuple[dict[str, Any], list[Path]]:
    """What a run comes to, and its folder as it was at five moments."""
    options = tiny(home / "corpus.txt", weights=request.param)
    run, copies = home / request.param, []
    moments = iter([Opened, Scored, Closed, Opened, Fitted])
    wanted = next(moments)

    def copy(event: Event) -> None:
        nonlocal wanted
        if isinstance(event, wanted):
            copies.append(home / f"{request.param}-{len(copies)}")
            shutil.copytree(run, copies[-1])
            wanted = next(moments, Paused)

    whole = result(run_here(options, run, home / "cache", on_event=copy).folder)
    assert len(copies) == 5
    return whole, copies


@pytest.mark.parametrize("harm", [gone, cut, damaged], ids=lambda each: each.__name__)
def test_a_copy_is_refused_or_comes_to_the_same(
    copied: tuple[dict[str, Any], list[Path]],
    home: Path,
    tmp_path: Path,
    harm: Callable[[Path], None],
) -> None:
    """It never begins anew in silence."""
    whole, copies = copied
    refused = []
    for place, copy in enumerate(copies):
        run = tmp_path / copy.name
        shutil.copytree(copy, run)
        harm(run / LOG)
        before = contents(run)
        found = refusal(run, home / "cache")
        if found is None:
            assert result(run) == whole
            continue
        refused.append(place)
        assert found.code == "R031"
        assert found.message.startswith(
            f"{run / 'journal.sqlite'} lacks the latest part of the run: it is older"
        )
        assert found.help is not None
        assert found.help.startswith(f"{LOG}, beside it, is missing or damaged")
        assert contents(run) == before
        with pytest.raises(RunError, match="lacks the latest part"):
            read_run(run)
    if harm is gone:
        assert refused == [0, 1, 2, 3, 4]
    assert len(refused) >= 2


def test_a_whole_copy_goes_on(
    copied: tuple[dict[str, Any], list[Path]], home: Path, tmp_path: Path
) -> None:
    whole, copies = copied
    shutil.copytree(copies[2], tmp_path / "run")
    resume(tmp_path / "run", cache=home / "cache")
    assert result(tmp_path / "run") == whole


def test_a_run_that_is_paused_or_over_has_one_file(
    go: Callable[..., RunView], options: EvolveOptions, home: Path, tmp_path: Path
) -> None:
    """Also where somebody reads it all the while."""
    run = tmp_path / "run"
    readers: list[Any] = []
    found: list[bytes] = []

    def look(event: Event) -> None:
        if isinstance(event, Opened) and not readers:
            readers.append(RunFolder(run).look())
            Desk(run, "ana").pause()
        if isinstance(event, Paused):
            found.append((run / LOG).read_bytes())
            shutil.copytree(run, tmp_path / "copy")
            (tmp_path / "copy" / LOG).unlink()
            Desk(run, "ana").go_on()

    view = go(options, on_event=look)
    assert found == [b""]
    assert (run / LOG).read_bytes() == b""  # held by the reader
    readers[0].close()
    shutil.copytree(run, tmp_path / "over")
    (tmp_path / "over" / LOG).unlink()
    over = read_run(tmp_path / "over")
    assert (over.is_over, over.evaluations) == (True, view.evaluations)
    assert resume(tmp_path / "copy", cache=home / "cache").is_over
    assert result(tmp_path / "copy") == result(run)


def test_a_run_that_is_over_leaves_no_log(
    go: Callable[..., RunView], options: EvolveOptions, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(options, on_event=lambda e: isinstance(e, Scored) and stop(e))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "journal.sqlite" in names
    assert LOG not in names


def test_a_reader_that_stands_still_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log then stays, with all rows."""
    monkeypatch.setattr("azc.search.database._SETTLING", 1)
    path = tmp_path / "journal.sqlite"
    with closing(Journal.create(path)) as journal, closing(Journal(path)) as reader:
        journal.begin(NewCandidate("text", (), "", "key", "function"), 10, {})
        with reader.snapshot():
            assert reader.budget() == 10
            journal.act(NewAct("pause", {}, "ana"))
            journal.settle()
            assert (tmp_path / LOG).stat().st_size > 0
        assert [act.author for act in reader.acts()] == ["ana"]
        journal.settle()
    assert not (tmp_path / LOG).exists()


def test_without_any_folder_beside_it_a_journal_is_still_there(
    copied: tuple[dict[str, Any], list[Path]], home: Path, tmp_path: Path
) -> None:
    whole, copies = copied
    run = RunFolder(tmp_path / "run")
    shutil.copytree(copies[3], run.path)
    shutil.rmtree(run.candidates_folder)
    weights = list(run.supernet_folder.iterdir())
    if not weights:
        run.supernet_folder.rmdir()
    assert read_run(run.path).evaluations == read_run(copies[3]).evaluations
    resume(run.path, cache=home / "cache")
    assert result(run.path) == whole
