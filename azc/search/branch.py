"""Git commits of every new best program of a run, on a branch of its own.

Git's plumbing commands write the objects and move the branch: no working tree, index or
checked-out branch is touched, and no commit hook runs.

Codes: R050 git failed; U115 git cannot hold the branch of the run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from azc.diagnostics import RunError, UsageError
from azc.search.events import Closed, Event
from azc.search.folder import RunFolder, fingerprint
from azc.search.objectives import shown_scores
from azc.search.records import START
from azc.search.view import RunView, read_run

__all__ = ["Branch", "repository"]

_NONE = "0" * 40  # the object id that stands for a branch that does not exist
_SUBJECT = 72  # characters
_NOBODY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "azc"), ("EMAIL", "azc@localhost"))
}


def repository(*places: Path) -> Path:
    """Return the first of these places that is in a git repository.

    A place that does not exist stands for its nearest existing folder.

    Raises:
        UsageError: U115, if none is.
    """
    for place in places:
        folder = next(
            p for p in (place.resolve(), *place.resolve().parents) if p.is_dir()
        )
        try:
            _git(folder, "rev-parse", "--git-dir")
        except RunError:
            continue
        return folder
    shown = " nor ".join(str(place) for place in places)
    raise UsageError(
        "U115", f"neither {shown} is in a git repository, or git is missing"
    )


def _git(
    folder: Path, *words: str, text: str | None = None, more: Mapping[str, str] = {}
) -> str:
    """Run a git command and return its output.

    Raise `RunError` R050 with its error message.
    """
    environment = {**os.environ, **more, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            env=environment,
            check=False,
        )
    except OSError as error:
        raise RunError("R050", f"git can't be run: {error.strerror}") from error
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise RunError("R050", f"git {words[0]}: {said or 'it failed'}")
    return done.stdout.decode(errors="replace").strip()


@dataclass(frozen=True)
class Branch:
    """The branch `azc/RUN` of a repository, for the run in `run`.

    It can be called with events.
    """

    repository: Path
    run: Path

    @property
    def name(self) -> str:
        """The name: `azc/` and the name of the run's folder, without characters that
        git forbids.
        """
        words = re.sub(r"[^A-Za-z0-9_-]+", "-", self.run.resolve().name).strip("-")
        return f"azc/{words or 'run'}"

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.name}"

    def check(self) -> None:
        """Check that the branch can be used.

        Raises:
            UsageError: U115, if the branch exists and belongs to something else, or is
                checked out.
        """
        tip = self._tip()
        if tip is None:
            return
        config = RunFolder(self.run).config_file
        if not config.is_file() or self._mark not in self._message(tip):
            raise UsageError(
                "U115",
                f"a branch {self.name} exists already and is not of this run",
                "rename it, or choose another folder for the run",
            )
        self._check_free()

    def __call__(self, event: Event) -> None:
        """Commit the best program of a completed round.

        Raise `RunError` R050 if git fails.
        """
        if isinstance(event, Closed) and event.best is not None:
            self.commit(read_run(self.run), event.best)

    def commit(self, view: RunView, candidate: int) -> None:
        """Commit a candidate, unless the last commit has the same program.

        The first commit is the start model.
        """
        self._check_free()
        tip = self._tip()
        if tip is None:
            tip = self._put(view, START, None)
        self._put(view, candidate, tip)

    def _put(self, view: RunView, number: int, tip: str | None) -> str:
        """Return a commit with the program of a candidate, on top of `tip`."""
        program = view.candidates[number].program
        blob = self._say("hash-object", "-w", "--stdin", text=program)
        tree = self._say("mktree", text=f"100644 blob {blob}\tbest.azg\n")
        if tip is not None and self._say("rev-parse", f"{tip}^{{tree}}") == tree:
            return tip
        parents = [] if tip is None else ["-p", tip]
        words = self._words(view, number)
        new = self._say("commit-tree", tree, *parents, text=words)
        why = f"azc: candidate {number:04}"
        self._say("update-ref", "-m", why, self._ref, new, tip or _NONE)
        return new

    def _words(self, view: RunView, number: int) -> str:
        candidate = view.candidates[number]
        subject = f"{number:04}: {' '.join(candidate.mutation.split())}"
        lines = [subject]
        if len(subject) > _SUBJECT:
            lines = [f"{subject[: _SUBJECT - 1]}…", "", subject]
        done = [e for e in view.evaluations if e.candidate == number and e.scores]
        if done:
            last = done[-1]
            assert last.scores is not None
            found = shown_scores(last.scores, digits=4)
            lines += ["", f"Round {last.round + 1}: {found}."]
        lines += ["", f"Azc-Candidate: {number}", self._mark]
        return "\n".join(lines) + "\n"

    @cached_property
    def _mark(self) -> str:
        return f"Azc-Run: {fingerprint(RunFolder(self.run).config_file)[:16]}"

    @cached_property
    def _who(self) -> Mapping[str, str]:
        """The author of commits: the user, or azc if git does not know the user's
        name.
        """
        try:
            _git(self.repository, "var", "GIT_AUTHOR_IDENT")
            _git(self.repository, "var", "GIT_COMMITTER_IDENT")
        except RunError:
            return _NOBODY
        return {}

    def _say(self, *words: str, text: str | None = None) -> str:
        return _git(self.repository, *words, text=text, more=self._who)

    def _tip(self) -> str | None:
        found = _git(
            self.repository, "for-each-ref", "--format=%(objectname)", self._ref
        )
        return found or None

    def _message(self, commit: str) -> str:
        return _git(self.repository, "show", "-s", "--format=%B", commit)

    def _check_free(self) -> None:
        listed = _git(self.repository, "worktree", "list", "--porcelain")
        if f"branch {self._ref}" in listed.splitlines():
            raise UsageError(
                "U115",
                f"the branch {self.name} is checked out; azc does not move such branches",
            )
