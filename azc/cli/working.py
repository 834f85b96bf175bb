"""Common parts of the commands that run a search: progress display, then report.

Codes: R039 every evaluation failed; R052 the comparison has no loss for the winner.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from azc.cli.output import Output, os_words
from azc.diagnostics import AzcError, RunError
from azc.resources import home_cache

if TYPE_CHECKING:
    from azc.search.branch import Branch
    from azc.search.events import Event
    from azc.search.run import RunView

__all__ = ["branch_of", "cache_folder", "show_run"]


def cache_folder() -> Path:
    """Return the cache folder: AZC_CACHE, or azc in the user's cache folder."""
    given = os.environ.get("AZC_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home_cache()) / "azc"


def branch_of(run: Path, *places: Path) -> Branch:
    """Return the git branch of a run. Raise `UsageError` U115 if it can't be used."""
    from azc.search.branch import Branch, repository

    branch = Branch(repository(run, *places), run)
    branch.check()
    return branch


class _Commits:
    """Commits every new best program to a branch. If git fails, that is reported once,
    and the search continues.
    """

    def __init__(self, branch: Branch | None, output: Output) -> None:
        self.branch = branch
        self.output = output

    def __call__(self, news: Event | RunView) -> None:
        """Process an event, or the completed run."""
        from azc.search.view import RunView

        if self.branch is None:
            return
        try:
            if not isinstance(news, RunView):
                self.branch(news)
            elif news.winner is not None:
                self.branch.commit(news, news.winner)
        except AzcError as error:
            self.branch = None
            self.output.note(f"{error.message}; committing stopped")


class _Log:
    """A sink of a run, made once the search goes on: until then the folder of a new run may
    be removed again, and a run that is resumed has its old budget. One that can't be
    written is told, once, and ends no search.
    """

    def __init__(self, name: str | None, run: Path, output: Output) -> None:
        """Find the sink. Raise `UsageError` U027 if there is none of this name."""
        from azc.search.sinks import Sink, find_sink

        self.make = find_sink(name) if name else None
        self.sink: Sink | None = None
        self.run = run
        self.output = output

    def __call__(self, event: Event) -> None:
        """Pass an event to the sink."""
        from azc.search.events import Read, Started
        from azc.search.folder import RunFolder

        begun = RunFolder(self.run).journal_file.exists()
        # Before the work begins, a run that goes on has its old budget.
        if self.make is None or not begun or isinstance(event, Started | Read):
            return
        with self._told():
            self.sink = self.sink or self.make(self.run)
            self.sink(event)

    def close(self) -> None:
        """Close the sink."""
        if self.make is not None and self.sink is not None:
            with self._told():
                self.sink.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.make = None
            self.output.note(f"{os_words(error)}; logging stopped")


def show_run(
    output: Output,
    work: Callable[[Callable[[Event], None]], RunView],
    folder: Path,
    branch: Branch | None,
    log: str | None = None,
) -> None:
    """Does the work with a display of it, then reports. Raises `RunError` where every
    candidate failed, or the winner in the last comparison.
    """
    # Set before torch is imported. Its threads otherwise spin while they wait for each
    # other: if anything else runs on the machine, a step then takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from azc.cli.progress import progress_for
    from azc.cli.result import result_json, show_result
    from azc.cli.visible import console
    from azc.data.progress import Progress

    sink = _Log(log, folder, output)
    try:
        # Messages of libraries (of Ray, for example) are not part of the result.
        with (
            progress_for(console(stderr=True), output.as_json) as tell,
            redirect_stdout(sys.stderr),
        ):
            commits = _Commits(branch, output)

            def on_event(event: Event) -> None:
                tell(event)
                if not isinstance(event, Progress):  # that is for whoever waits
                    commits(event)
                    sink(event)

            view = work(on_event)
            commits(view)
    except KeyboardInterrupt:
        if (folder / "run.json").is_file():
            output.note(f"to continue: azc resume {folder}")
        raise
    finally:
        sink.close()
    if view.winner is None:
        reasons = Counter(e.reason for e in view.evaluations if e.reason)
        found = "; ".join(f"{reason} ({n}x)" for reason, n in reasons.most_common(3))
        raise RunError(
            "R039",
            f"every evaluation of {view.spent} failed: {found}",
            f"azc log --all {folder} shows the candidates",
        )
    show_result(view, output)
    _check_comparison(view)
    output.result(**result_json(view))


def _check_comparison(view: RunView) -> None:
    """Raise `RunError` R052 if the final comparison has no loss of the winner, and so
    says nothing.
    """
    if not view.rows or view.rows[0].losses:
        return
    fits = (fit for row in view.rows for fit in row.fits if fit is not None)
    reasons = Counter(fit.reason for fit in fits if fit.reason)
    found = "; ".join(f"{reason} ({n}x)" for reason, n in reasons.most_common(3))
    raise RunError(
        "R052",
        f"the comparison has no loss of the winner: {found}",
        f"azc best {view.folder} has the best program of the search all the same",
    )
