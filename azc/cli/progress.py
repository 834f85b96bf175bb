"""How a search shows itself at work: a live display, or lines where there is no
terminal.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from azc.search.events import Closed, Event, Fitted, Opened, Scored, Warming

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineProgress", "LiveProgress", "progress_for"]

_RECENT = 8  # candidates shown
_PRIORITIES = 10  # operations shown


def progress_for(console: Console, quiet: bool) -> LiveProgress | LineProgress:
    """The display for standard error: live on a terminal, lines elsewhere."""
    return (
        LiveProgress(console)
        if sys.stderr.isatty() and not quiet
        else LineProgress(quiet)
    )


class LineProgress:
    """A line for each candidate and stage, on standard error."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def __call__(self, event: Event) -> None:
        """Tells one event."""
        text = None if self.quiet else _line(event)
        if text is not None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def _line(event: Event) -> str | None:
    if isinstance(event, Warming):
        whole = event.step % 100 == 0 or event.step == event.steps
        return f"warm-up {event.step}/{event.steps} steps" if whole else None
    if isinstance(event, Opened):
        return f"round {event.round + 1}: {event.size} candidates"
    if isinstance(event, Scored):
        return f"  {event.spent}/{event.budget}  {_found(event)}  {event.mutation}"
    if isinstance(event, Closed):
        if event.score is None:
            return f"round {event.round + 1} is over: every candidate failed"
        return f"round {event.round + 1} is over: best {event.best}, {event.score:.3f} nats"
    found = f"{event.loss:.3f} nats" if event.loss is not None else f"{event.reason}"
    return f"alone {event.done}/{event.total}: {event.role}, seed {event.seed}: {found}"


def _found(event: Scored) -> str:
    if event.score is None:
        return f"{event.candidate:4}  failed: {event.reason}"
    return f"{event.candidate:4}  {event.score:.3f}"


class LiveProgress:
    """Best so far, priorities, rate and time left, drawn over and over."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self.console = console
        self.stage = "loading the data"
        self.done, self.total = 0, 1
        self.round = 0
        self.best: Scored | None = None
        self.recent: deque[Scored] = deque(maxlen=_RECENT)
        self.failed = 0
        self.priorities: dict[str, float] = {}
        self.began = time.monotonic()
        self.first = 0
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
        """Takes the display away."""
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Takes one event in."""
        if isinstance(event, Warming):
            self._stage("warming the shared weights", event.step, event.steps)
        elif isinstance(event, Opened):
            self._stage("searching", event.spent, event.budget)
            self.round, self.best = event.round, None
            self.priorities = event.priorities
        elif isinstance(event, Scored):
            self._stage("searching", event.spent, event.budget)
            self.recent.append(event)
            self.failed += event.score is None
            score = self.best.score if self.best else None
            if event.score is not None and (score is None or event.score < score):
                self.best = event
        elif isinstance(event, Fitted):
            self._stage("training winner and start alone", event.done, event.total)
        self.live.refresh()

    def _stage(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.stage, self.began, self.first = (
                stage,
                time.monotonic(),
                max(0, done - 1),
            )
        self.done, self.total = done, max(total, 1)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 2))
        rate = (self.done - self.first) / max(time.monotonic() - self.began, 1e-3)
        left = (self.total - self.done) / rate if rate > 0 else None
        head.add_row(
            Text(self.stage, style="bold"),
            ProgressBar(total=self.total, completed=self.done, width=30),
            Text(f"{self.done}/{self.total}"),
            Text(f"{rate * 60:.0f} a minute" if rate else ""),
            Text(f"{_clock(left)} left" if left is not None else ""),
        )
        parts: list[Any] = [head]
        if self.best is not None:
            best = f"best of round {self.round + 1}: {self.best.score:.3f} nats, "
            parts.append(Text(best + f"candidate {self.best.candidate}", style="green"))
        if self.recent:
            parts.append(self._body())
        return Group(*parts)

    def _body(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        recent = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
        recent.add_column("candidate", justify="right", no_wrap=True)
        recent.add_column("nats", justify="right", no_wrap=True)
        recent.add_column("mutation", overflow="ellipsis", no_wrap=True, ratio=1)
        for event in self.recent:
            score = Text("failed", style="red")
            if event.score is not None:
                score = Text(f"{event.score:.3f}")
            said = event.mutation if event.score is not None else str(event.reason)
            recent.add_row(str(event.candidate), score, Text(said))
        chances = Table(box=None, padding=(0, 1), header_style="dim")
        chances.add_column("operation", no_wrap=True)
        chances.add_column("chance", justify="right", no_wrap=True)
        top = sorted(self.priorities.items(), key=lambda item: -item[1])[:_PRIORITIES]
        for name, chance in top:
            chances.add_row(name, f"{100 * chance:.1f}%")
        both = Table.grid(padding=(0, 3), expand=True)
        both.add_column(ratio=1)
        both.add_column()
        both.add_row(recent, chances)
        return both


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
