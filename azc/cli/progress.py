"""Progress of a search: a live display on a terminal, lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

from azc.cli.output import count
from azc.numbers import amount
from azc.search.events import (
    Acted,
    Closed,
    Comparing,
    Ended,
    Event,
    Fitted,
    Noisy,
    Opened,
    Paused,
    Progress,
    Read,
    Retried,
    Scored,
    Skipped,
    Started,
    Warming,
)
from azc.search.objectives import (
    LOSS,
    OBJECTIVES,
    WRITTEN,
    headings,
    in_order,
    shown_scores,
)
from azc.search.ranking import leading
from azc.source import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineProgress", "LiveProgress", "progress_for"]

_RECENT = 8  # candidates shown
_DISPLAYED = 10  # rows shown of the strategy
_SHORT = {"parameters": "params", "FLOPs per token": "FLOPs"}  # in narrow columns
_OFTEN = 60.0  # seconds between two lines with the time left
_LOADING = 10.0  # seconds between two lines while data is loaded


def progress_for(console: Console, quiet: bool) -> LiveProgress | LineProgress:
    """Return the display for standard error: live on a terminal, lines otherwise."""
    return (
        LiveProgress(console)
        if sys.stderr.isatty() and not quiet
        else LineProgress(quiet)
    )


class Pace:
    """Speed of a stage: its rate since this process entered it, and the time left."""

    def __init__(self) -> None:
        self.stage = "loading"
        self.done, self.total = 0, 0
        self._first = 0
        self._began = time.monotonic()
        self.in_bytes = False

    def take(self, event: Event) -> None:
        """Update the pace with an event."""
        self.in_bytes = isinstance(event, Progress)
        if isinstance(event, Progress):
            self._at(event.stage, event.done, event.total or 0)
        elif isinstance(event, Warming):
            self._at("warming up the shared weights", event.step, event.steps)
        elif isinstance(event, Opened | Scored):
            self._at("searching", event.spent, event.budget)
        elif isinstance(event, Comparing | Fitted):
            self._at("final training", event.done, event.total)

    def _at(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.stage, self._began, self._first = stage, time.monotonic(), done
        self.done, self.total = done, total

    def place(self) -> str:
        """Describe how much is done and the total; empty before that is known."""
        if not self.in_bytes:
            return f"{self.done}/{self.total}" if self.total else ""
        of = f" of {amount(self.total)}B" if self.total else ""
        return f"{amount(self.done)}B{of}" if self.done else ""

    def words(self) -> str:
        """Describe the rate and the time left; empty before they are known."""
        new = self.done - self._first
        if new <= 0 or self.total < self.done:
            return ""
        rate = new / max(time.monotonic() - self._began, 1e-3)
        left = _clock((self.total - self.done) / rate)
        if self.in_bytes:
            return f"{left} left"
        pace = f"{rate * 60:.{0 if rate > 1 / 6 else 1}f} a minute"
        return f"{pace}, {left} left in this stage"


class LineProgress:
    """Progress as lines on standard error, one for each candidate and stage.

    The rate and the time left follow after each round, and at least once a minute.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.pace = Pace()
        self.said = self.begun = time.monotonic()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: there is nothing to release."""

    def __call__(self, event: Event) -> None:
        """Write the lines of one event."""
        stage = self.pace.stage
        self.pace.take(event)
        if self.quiet:
            return
        lines: list[str | None] = [_line(event)]
        if isinstance(event, Read):
            lines = [*event.text.sentences()]
        now = time.monotonic()
        since = now - self.said
        if isinstance(event, Progress):
            # A stage may have no progress to report: after a while, its name is shown.
            is_new = event.stage != stage and now - self.begun >= _LOADING
            due = is_new or since >= _LOADING
        else:
            due = isinstance(event, Closed) or since >= _OFTEN
        if due:
            self.said = now
            lines.append(self._pace())
        text = "".join(f"{visible(line)}\n" for line in lines if line)
        sys.stderr.write(text)
        sys.stderr.flush()

    def _pace(self) -> str | None:
        pace, words = self.pace, self.pace.words()
        if pace.in_bytes:
            known = ", ".join(filter(None, (pace.place(), words)))
            return f"{pace.stage}: {known}" if known else pace.stage
        return f"{pace.stage}: {pace.place()}, {words}" if words else None


def _line(event: Event) -> str | None:
    match event:
        case Progress() | Read():
            return None
        case Started(folder, data, is_new):
            does = "starting" if is_new else "continuing"
            return f"{does} the run in {folder}: loading PyTorch and the data ({data})"
        case Warming(step, steps, reason):
            if reason is not None:
                return f"warm-up {step}/{steps} steps: a path failed: {reason}"
            is_due = step % 100 == 0 or step == steps
            return f"warm-up {step}/{steps} steps" if is_due else None
        case Skipped(number, words):
            return f"round {number + 1}: {words}"
        case Opened():
            return f"round {event.round + 1}: {count(event.size, 'candidate')}"
        case Scored():
            found = f"{event.candidate:04}  {_found(event)}"
            return f"  {event.spent}/{event.budget}  {found}  {event.mutation}"
        case Retried():
            return f"  evaluating {event.name} again: {event.reason}"
        case Ended():
            spent = f"{event.spent} of {event.budget} evaluations"
            return f"the search ended after {spent}: {event.reason}"
        case Closed(number, best, scores):
            found = "every candidate failed"
            if scores is not None:
                found = f"best {best:04}, {shown_scores(scores)}"
            return f"round {number + 1} complete: {found}"
        case Acted(words, reason):
            return words if reason is None else f"{words}: not applied: {reason}"
        case Noisy(noise):
            return f"warning: {noise.sentence}"
        case Paused():
            return "paused, waiting to be continued"
        case Comparing():
            return f"final training: about {count(event.total, 'training run')}"
        case Fitted():
            return f"  {event.done}/{event.total}  {_fitted(event)}"


def _fitted(event: Fitted) -> str:
    found = f"{event.reason}" if event.loss is None else f"{event.loss:.3f} nats"
    return f"{event.name}, {event.steps} steps, seed {event.seed}: {found}"


def _found(event: Scored) -> str:
    if event.scores is None:
        return f"failed: {event.reason}"
    return shown_scores(event.scores)


class LiveProgress:
    """A live display: the best candidate, the strategy's state, the rate and the time
    left.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self.console = console
        self.pace = Pace()
        self.round = 0
        self.objectives: tuple[str, ...] = (LOSS,)
        self.best: Scored | None = None
        self.scored: list[Scored] = []  # candidates of the round that did not fail
        self.recent: tuple[Scored, ...] = ()  # drawn by another thread: never changed
        self.failed = 0
        self.fits: tuple[Fitted, ...] = ()
        self.display: Mapping[str, str] = {}
        self.note: str | None = None
        self.live: Any = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> LiveProgress:
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the display."""
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Update the display with an event."""
        self.pace.take(event)
        if isinstance(event, Opened):
            self.round, self.best, self.scored = event.round, None, []
            self.objectives, self.display = event.objectives, event.display
        elif isinstance(event, Scored):
            self.recent = (*self.recent, event)[-_RECENT:]
            self.failed += event.scores is None
            if event.scores is not None:
                self.scored.append(event)
                self.scored.sort(key=lambda each: each.score or 0.0)
                self.best = leading(self.scored, self.objectives)
        elif isinstance(event, Retried | Ended | Acted | Paused):
            self.note = _line(event)
        elif isinstance(event, Started | Noisy):
            # Printed above the display, where it stays.
            line = visible(_line(event) or "")
            self.live.console.print(line, markup=False, highlight=False)
        elif isinstance(event, Fitted):
            self.fits = (*self.fits, event)
        elif isinstance(event, Read):
            self._print(event)
        self.live.refresh()

    def _print(self, event: Read) -> None:
        """Print a summary of the data above the display, where it stays."""
        from rich.text import Text

        from azc.cli.visible import Visible

        for sentence in event.text.sentences():
            self.console.print(Visible(Text(sentence)))

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from azc.cli.visible import Visible

        head = Table.grid(padding=(0, 2))
        pace = self.pace
        row: list[Any] = [Text(pace.stage, style="bold")]
        if pace.total:
            row.append(ProgressBar(total=pace.total, completed=pace.done, width=30))
        row += [Text(pace.place()), Text(pace.words())]
        head.add_row(*row)
        parts: list[Any] = [head]
        best = self.best
        if best is not None and best.scores is not None:
            found = f"{shown_scores(best.scores)}, candidate {best.candidate:04}"
            parts.append(
                Text(f"best of round {self.round + 1}: {found}", style="green")
            )
        if self.failed:
            parts.append(Text(f"{count(self.failed, 'candidate')} failed", style="red"))
        if self.note:
            parts.append(Text(self.note.strip(), style="yellow"))
        parts += [Text(_fitted(fit)) for fit in self.fits[-_RECENT:]]
        if self.display or self.recent:
            parts.append(self._body())
        return Visible(Group(*parts))

    def _body(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        recent = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
        recent.add_column("round", justify="right", no_wrap=True)
        recent.add_column("candidate", justify="right", no_wrap=True)
        names = in_order(self.objectives)
        for heading in headings(names).values():
            short = _SHORT.get(heading, heading)
            recent.add_column(short, justify="right", no_wrap=True)
        recent.add_column("mutation", overflow="ellipsis", no_wrap=True, ratio=1)
        for event in self.recent:
            scores, said = [Text("failed", style="red")], str(event.reason)
            if event.scores is not None:
                values = event.scores
                scores = [Text(_shown(name, values[name])) for name in names]
                said = event.mutation
            scores += [Text("")] * (len(names) - len(scores))
            number = f"{event.round + 1}"
            recent.add_row(number, f"{event.candidate:04}", *scores, Text(said))
        display = Table(box=None, padding=(0, 1), show_header=False)
        display.add_column(no_wrap=True)
        display.add_column(justify="right", no_wrap=True)
        for name, text in islice(self.display.items(), _DISPLAYED):
            display.add_row(Text(name), Text(text))
        both = Table.grid(padding=(0, 3), expand=True)
        both.add_column(ratio=1)
        both.add_column()
        both.add_row(recent, display)
        return both


def _shown(name: str, score: float) -> str:
    """Format a score for a narrow column."""
    return amount(score) if name in WRITTEN else OBJECTIVES[name].shown(score)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
