"""A run whose files have changed is refused, with the name of what differs."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from azc.diagnostics import RunError
from azc.search.folder import RunFolder
from azc.search.options import EvolveOptions
from azc.search.run import read_run, resume
from azc.search.view import RunView
from tests.runs import Killed, cut_at, result, rows, run_here, scored, write_corpus


@pytest.fixture(scope="module")
def stopped(home: Path, options: EvolveOptions) -> Path:
    """A run that was cut off in its second round."""
    with pytest.raises(Killed):
        run_here(options, home / "stopped", home / "cache", on_event=cut_at(11))
    assert 4 < len(scored(home / "stopped")) < 8
    return home / "stopped"


@pytest.fixture(scope="module")
def whole(home: Path, options: EvolveOptions) -> Path:
    """The same one, uninterrupted."""
    run_here(options, home / "whole", home / "cache")
    return home / "whole"


@pytest.fixture
def half(stopped: Path, tmp_path: Path) -> RunFolder:
    """A copy of it."""
    shutil.copytree(stopped, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def flip(path: Path, place: float = 0.5) -> None:
    """Turns one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    """Replaces a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def trained(run: RunFolder) -> Path:
    """The weights of a candidate that the open round has scored."""
    return sorted(run.supernet_folder.glob("round-0001-*"))[0]


CHANGES: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "the program in run.json": (
        lambda run: edit(run.config_file, "hidden = 8", "hidden = 16"),
        "run.json",
    ),
    "an option in run.json": (
        lambda run: edit(run.config_file, '"steps": 2', '"steps": 3'),
        "run.json",
    ),
    "the budget in run.json": (
        lambda run: edit(run.config_file, '"evaluations": 8', '"evaluations": 9'),
        "run.json",
    ),
    "the program in run.json, which no longer checks": (
        lambda run: edit(run.config_file, "hidden = 8", "hidden = "),
        "run.json",
    ),
    "the start": (lambda run: edit(run.start_file, "ffn = 16", "ffn = 8"), "start.azg"),
    "a bit of a program": (lambda run: flip(run.candidate_file(2)), "0002.azg"),
    "a program, emptied": (
        lambda run: run.candidate_file(3).write_bytes(b""),
        "0003.azg",
    ),
    "a bit of a snapshot": (
        lambda run: flip(run.snapshot_file(1)),
        "0001.safetensors",
    ),
    "a bit in the head of a snapshot": (
        lambda run: flip(run.snapshot_file(1), 0.01),
        "0001.safetensors",
    ),
    "a snapshot, emptied": (
        lambda run: run.snapshot_file(1).write_bytes(b""),
        "0001.safetensors",
    ),
    "a bit of a candidate's weights": (
        lambda run: flip(trained(run), 0.9),
        "round-0001",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused(half: RunFolder, home: Path, name: str) -> None:
    change, said = CHANGES[name]
    change(half)
    before = rows(half.path, "evaluation")
    with pytest.raises(RunError) as caught:
        resume(half.path, cache=home / "cache")
    assert caught.value.code == "R031"
    assert re.search(
        f"{said}.* has changed since the run wrote it", caught.value.message
    )
    assert caught.value.help is not None
    assert rows(half.path, "evaluation") == before


@pytest.mark.parametrize("which", ["snapshot", "weights"])
def test_lost_weights_are_refused(half: RunFolder, home: Path, which: str) -> None:
    path = half.snapshot_file(1) if which == "snapshot" else trained(half)
    path.unlink()
    with pytest.raises(RunError, match=f"{path.name} is missing") as caught:
        resume(half.path, cache=home / "cache")
    assert caught.value.code == "R030"


def test_lost_programs_are_written_again(
    half: RunFolder, whole: Path, home: Path
) -> None:
    half.candidate_file(2).unlink()
    half.start_file.unlink()
    half.best_file.unlink()
    resume(half.path, cache=home / "cache")
    assert result(half.path) == result(whole)


def test_links_in_the_place_of_files_are_replaced(
    half: RunFolder, whole: Path, home: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    places = [half.best_file, half.snapshot_file(2), half.path / "log.txt"]
    for path in places:
        path.unlink(missing_ok=True)
        path.symlink_to(precious)
    for path in (half.candidate_file(2), half.start_file):
        path.unlink()
        path.symlink_to(tmp_path / "nowhere")
    resume(half.path, cache=home / "cache")
    assert result(half.path) == result(whole)
    assert not any(path.is_symlink() for path in half.path.rglob("*"))
    assert precious.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert "done" in (half.path / "log.txt").read_text()


def test_so_are_all_of_them(half: RunFolder, whole: Path, home: Path) -> None:
    shutil.rmtree(half.candidates_folder)
    resume(half.path, cache=home / "cache")
    assert result(half.path) == result(whole)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE evaluation SET scores = '{\"loss\": 0}' WHERE round = 0 AND candidate = 2",
        "UPDATE candidate SET program = replace(program, 'scale', 'neg') WHERE id = 2",
        "UPDATE candidate SET parents = '[2]' WHERE id = 3",
        "UPDATE round SET state = '{\"parents\": [' WHERE id = 1",
        "UPDATE round SET state = '[]' WHERE id = 1",
        "UPDATE budget SET evaluations = 80",
        "UPDATE file SET fingerprint = '0'",
        "DELETE FROM evaluation WHERE candidate = 2",
        "DELETE FROM file",
        "INSERT INTO entrant VALUES (99, 'the start', 'model m {}', 1)",
    ],
)
def test_changed_rows_are_refused(half: RunFolder, home: Path, change: str) -> None:
    with closing(sqlite3.connect(half.journal_file)) as db:
        assert db.execute(change).rowcount >= 1
        db.commit()
    for read in (lambda: resume(half.path, cache=home / "cache"), half_read(half)):
        with pytest.raises(
            RunError, match="has changed since the run wrote it"
        ) as caught:
            read()
        assert caught.value.code == "R031"
        assert str(half.journal_file) in caught.value.message


def half_read(run: RunFolder) -> Callable[[], RunView]:
    return lambda: read_run(run.path)


def test_a_journal_of_another_version_is_refused(half: RunFolder, home: Path) -> None:
    with closing(sqlite3.connect(half.journal_file)) as db:
        db.execute("PRAGMA user_version = 1")
        db.commit()
    with pytest.raises(
        RunError, match=r"has format 1, but this version of azc reads"
    ) as caught:
        resume(half.path, cache=home / "cache")
    assert caught.value.code == "R036"


def test_another_text_is_refused(
    options: EvolveOptions, home: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.txt")
    run = tmp_path / "run"
    here = EvolveOptions.from_json({**options.as_json(), "data": str(corpus)})
    with pytest.raises(Killed):
        run_here(here, run, tmp_path / "cache", on_event=cut_at(8))
    write_corpus(corpus, seed=1)
    with pytest.raises(RunError, match="has changed since the run started") as caught:
        resume(run, cache=tmp_path / "cache")
    assert caught.value.code == "R033"


def test_a_run_that_is_over_is_not_mixed_either(
    whole: Path, tmp_path: Path, home: Path
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert resume(run.path, cache=home / "none").is_over
    flip(run.candidate_file(2))
    with pytest.raises(RunError, match=r"0002\.azg has changed since the run wrote it"):
        resume(run.path, cache=home / "none")
