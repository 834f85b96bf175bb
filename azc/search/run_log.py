"""The log of a run: `log.txt`, with a line for each event."""

from __future__ import annotations

import time
from pathlib import Path

from azc.files import open_to_append
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
from azc.search.objectives import shown_scores

__all__ = ["RunLog"]


class RunLog:
    """An open `log.txt`, whose lines begin with the time."""

    def __init__(self, path: Path) -> None:
        # Unbuffered, so that a line that fails on a full disk is not written again.
        self._path = path
        self._file = open_to_append(path)

    def line(self, text: str) -> None:
        """Writes one line. Raises `OSError`."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            self._file.write(f"{now} {' '.join(text.split())}\n".encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def event(self, event: Event) -> None:
        """Write the line of an event. Raises `OSError`."""
        self.line(_words(event))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _words(event: Event) -> str:
    match event:
        case Started(_, data, is_new):
            return f"{'starting' if is_new else 'continuing'}: loading {data}"
        case Progress(stage):
            return stage
        case Read(text):
            return "; ".join(text.sentences())
        case Warming(step, steps, reason):
            failed = f": a path failed: {reason}" if reason else ""
            return f"warm-up {step}/{steps}{failed}"
        case Skipped(number, words):
            return f"round {number + 1}: {words}"
        case Opened():
            return f"round {event.round + 1}: {event.size} candidates"
        case Scored():
            scores, reason = event.scores, event.reason
            found = reason if scores is None else shown_scores(scores, digits=4)
            return f"round {event.round + 1} candidate {event.candidate:04}: {found}"
        case Retried(name, reason):
            return f"evaluating {name} again: {reason}"
        case Closed(number, best, scores):
            found = "every one failed"
            if best is not None and scores is not None:
                found = f"best {best:04} at {shown_scores(scores, digits=4)}"
            return f"round {number + 1} complete: {found}"
        case Ended(reason, spent, budget):
            return f"the search ended after {spent} of {budget} evaluations: {reason}"
        case Comparing():
            return f"final training: {event.done}/{event.total}"
        case Acted(words, reason):
            return words if reason is None else f"{words}: not applied: {reason}"
        case Paused():
            return "paused"
        case Noisy(noise):
            return noise.sentence
        case Fitted():
            found = event.reason if event.loss is None else f"{event.loss:.4f}"
            return f"{event.name}, {event.steps} steps, seed {event.seed}: {found}"
