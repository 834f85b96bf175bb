"""Every new best on a branch of its own, in real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from azc.diagnostics import UsageError
from azc.search.branch import Branch, repository
from azc.search.events import Closed, Event
from azc.search.view import RunView
from tests.runs import PROGRAM, run_here, tiny

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository with a commit, a change that is staged, and one that is not."""
    place = tmp_path / "repo"
    place.mkdir()

    def run(*words: str) -> str:
        command = [
            "git",
            "-C",
            str(place),
            "-c",
            "user.name=ana",
            "-c",
            "user.email=a@b",
        ]
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    run("init", "-q", "-b", "main")
    (place / "start.azg").write_text(PROGRAM)
    (place / "notes").write_text("one\n")
    (place / ".gitignore").write_text("runs\n")
    run("add", "-A")
    run("commit", "-q", "-m", "first")
    (place / "notes").write_text("two\n")
    run("add", "notes")
    (place / "notes").write_text("three\n")
    return run


@pytest.fixture(scope="module")
def searched(home: Path, tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """A run of three rounds."""
    options = tiny(home / "corpus.txt", evaluations=12, final_seeds=())
    return run_here(options, home / "searched", home / "cache")


def closed(view: RunView) -> list[Event]:
    """The rounds as they were told, each with its best."""
    found: list[Event] = []
    for number, _ in view.rounds:
        done = [e for e in view.evaluations if e.round == number and e.scores]
        best = min(done, key=lambda e: (e.score, e.candidate))
        found.append(Closed(number, best.candidate, best.scores))
    return found


def state(git: Git, place: Path) -> tuple[str, ...]:
    """What must stay as it is."""
    refs = git("for-each-ref", "refs/heads/main", "refs/tags")
    index = (place / ".git" / "index").read_bytes().hex()
    return git("status", "--porcelain"), refs, git("symbolic-ref", "HEAD"), index


def test_every_new_best_is_a_commit(
    git: Git, searched: RunView, tmp_path: Path
) -> None:
    place = tmp_path / "repo"
    branch = Branch(place, searched.folder)
    branch.check()
    before = state(git, place)
    events = closed(searched)
    for event in events:
        branch(event)
        branch(event)  # as a run tells it that was killed in between
    assert state(git, place) == before
    assert branch.name == "azc/searched"
    numbers = [1]
    for event in events:
        assert isinstance(event, Closed)
        assert event.best is not None
        if event.best != numbers[-1]:
            numbers.append(event.best)
    commits = git("log", "--reverse", "--format=%H", branch.name).split()
    assert len(commits) == len(numbers)
    for commit, number in zip(commits, numbers, strict=True):
        program = searched.candidates[number].program
        assert git("show", f"{commit}:best.azg") == program
        assert git("ls-tree", "--name-only", commit) == "best.azg\n"
        words = git("show", "-s", "--format=%B", commit)
        assert words.startswith(f"{number:04}: ")
        assert f"Azc-Candidate: {number}" in words
        assert (
            git("show", "-s", "--format=%an <%ae>", commit) == "azc <azc@localhost>\n"
        )
    assert git("fsck", "--strict") == ""
    branch.check()  # it is the run's


def test_the_author_is_who_git_says(
    git: Git, searched: RunView, tmp_path: Path
) -> None:
    git("config", "user.name", "Ben")
    git("config", "user.email", "ben@example.org")
    git("config", "commit.gpgSign", "true")
    branch = Branch(tmp_path / "repo", searched.folder)
    branch.commit(searched, 2)
    assert git("show", "-s", "--format=%an", branch.name) == "Ben\n"


def test_what_is_not_the_runs_is_left(
    git: Git, searched: RunView, tmp_path: Path
) -> None:
    branch = Branch(tmp_path / "repo", searched.folder)
    git("branch", "azc/searched")
    with pytest.raises(UsageError, match="is not of this run") as caught:
        branch.check()
    assert caught.value.code == "U115"
    git("branch", "-D", "azc/searched")
    branch.commit(searched, 2)
    git("checkout", "-q", "-f", "azc/searched")
    tip = git("rev-parse", "HEAD")
    with pytest.raises(UsageError, match="checked out"):
        branch.commit(searched, 3)
    assert git("rev-parse", "HEAD") == tip


def test_where_the_repository_is(git: Git, tmp_path: Path) -> None:
    place = tmp_path / "repo"
    assert repository(place / "runs" / "new") == place
    assert repository(tmp_path / "out", place / "start.azg") == place
    with pytest.raises(UsageError, match="is in a git repository") as caught:
        repository(tmp_path / "out", tmp_path)
    assert caught.value.code == "U115"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("first", "azc/first"), ("a b~^:?*[..lock", "azc/a-b-lock"), ("…", "azc/run")],
)
def test_names_that_git_allows(
    git: Git, folder: str, name: str, tmp_path: Path
) -> None:
    branch = Branch(tmp_path / "repo", tmp_path / folder)
    assert branch.name == name
    git("check-ref-format", "--branch", name)
