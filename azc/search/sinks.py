"""Where the figures of a search go besides its run: to what people watch training with.

A sink is called with every event.

Codes: U027 there is no such log, or what it takes is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from azc.diagnostics import UsageError, nearest
from azc.search.events import Closed, Event, Fitted, Scored, Warming

__all__ = ["SINKS", "Sink", "TensorBoard", "find_sink"]


class Sink(Protocol):
    """Takes in what a search tells."""

    def __call__(self, event: Event) -> None:
        """Something has happened. Raises `OSError` where it can't be written."""

    def close(self) -> None:
        """Writes what is left."""


class TensorBoard:
    """Scalars for TensorBoard, in the folder `tensorboard` of a run.

    `score/loss` (and the other objectives): of each candidate, by how many evaluations
    are spent; `round/loss`: the best of each round; `validation/NAME` and `test/NAME`: a
    program trained alone, by its seed; `seconds`: how long a candidate took. A run that
    goes on adds to them.
    """

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Flushed after every event: what a kill leaves is whole.
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def __call__(self, event: Event) -> None:
        """Writes the scalars of an event."""
        for name, value, step in _scalars(event):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def _scalars(event: Event) -> list[tuple[str, float, int]]:
    match event:
        case Scored(scores=scores, spent=spent, seconds=seconds) if scores is not None:
            found = [(f"score/{name}", value, spent) for name, value in scores.items()]
            return [*found, ("seconds", seconds, spent)]
        case Closed(round=number, scores=scores) if scores is not None:
            return [(f"round/{name}", v, number + 1) for name, v in scores.items()]
        case Fitted(loss=loss) if loss is not None:
            return [(f"{event.split}/{event.name}", loss, event.seed)]
        case Warming(step, steps):
            return [("warm-up", step / steps if steps else 1.0, step)]
        case _:
            return []


SINKS: Mapping[str, Callable[[Path], Sink]] = MappingProxyType(
    {"tensorboard": TensorBoard}
)


def find_sink(name: str) -> Callable[[Path], Sink]:
    """What makes the sink of a run, once its folder is there. Raises `UsageError` U027
    for a name that is none, and for what is not installed.
    """
    if name not in SINKS:
        near = nearest(name, SINKS)
        hint = f"did you mean {near}? " if near else ""
        known = ", ".join(SINKS)
        raise UsageError("U027", f"there is no log {name!r}", f"{hint}it is {known}")
    if importlib.util.find_spec(name) is None:
        message = f"{name} is not installed"
        raise UsageError("U027", message, f"pip install 'azc-lang[{name}]'")
    return SINKS[name]
