"""A run's page as it is now: drawn again when something has changed, with what a person
may do to it.

Codes: U025 an act makes no sense for its run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from azc.check.resolve import check_source
from azc.diagnostics import AzcError, UsageError
from azc.report.page import Controls, Feature, page
from azc.search.acts import (
    BUDGET,
    DRAW,
    GO_ON,
    LIMIT,
    PAUSE,
    PROPOSE,
    STOP,
    Act,
    draws,
)
from azc.search.displays import displays
from azc.search.folder import RunFolder
from azc.search.genome import space_features
from azc.search.objectives import read_change
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from azc.source import Source

__all__ = ["Live", "perform"]

_PATIENCE = 2  # times as long as drawing took, until it is drawn again


@dataclass(frozen=True)
class Moment:
    """The page of one moment; `number` grows with every change. `fault`: why the run can't
    be read since then, None while it can.
    """

    number: int
    html: str
    fault: str | None = None


class Live:
    """One run, looked at again and again.

    Raises as `read_run`, when it is made and whenever it looks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunFolder(folder)
        self.run.read()
        self._changed = threading.Condition()
        self._seen: object = None
        self._moment = Moment(0, "")
        self._ready = 0.0
        self.look()

    @property
    def moment(self) -> Moment:
        """The page as it was drawn last."""
        with self._changed:
            return self._moment

    def wait(self, number: int, seconds: float) -> Moment:
        """The page once it is not that of this number, or as it is after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._moment.number != number, seconds)
            return self._moment

    def look(self) -> None:
        """Draws the page again where the run has changed."""
        if time.monotonic() < self._ready:
            return
        at_work = self.run.is_at_work()
        seen = (at_work, self._rows())
        if seen == self._seen:
            return
        began = time.monotonic()
        html = draw(read_run(self.folder), at_work)
        self._seen = seen
        self._ready = time.monotonic() + _PATIENCE * (time.monotonic() - began)
        with self._changed:
            self._moment = Moment(self._moment.number + 1, html)
            self._changed.notify_all()

    def miss(self, error: AzcError | OSError) -> None:
        """The run could not be looked at: its folder is gone, say."""
        words = error.message if isinstance(error, AzcError) else error.strerror
        fault = f"the run can't be read: {words or error}"
        self._seen = None  # once it can, the page is drawn again
        with self._changed:
            if self._moment.fault != fault:
                number = self._moment.number + 1
                self._moment = replace(self._moment, number=number, fault=fault)
                self._changed.notify_all()

    def _rows(self) -> str | None:
        """What differs wherever a row of the journal does."""
        journal = self.run.look()
        if journal is None:
            return None
        with closing(journal):
            return journal.seal()


def draw(view: RunView, at_work: bool) -> str:
    """The page with what may be done to the run."""
    run = RunFolder(view.folder)
    _, space = run.space(run.read())
    shown = displays(view)
    chances: Mapping[str, str] = shown[max(shown)] if shown else {}
    times = draws(view.acts)
    features = [
        Feature(name, times.get(name, 1.0), chances.get(name))
        for name in space_features(space)
    ]
    return page(view, shown, Controls(at_work, features))


def perform(desk: Desk, wanted: Mapping[str, Any]) -> Act:
    """Does what a request asks for: `kind` and the values of that kind, as an act has
    them; of a limit, `limit` as `azc steer --limit` takes it.

    Raises as `Desk`, and `UsageError` U025 for a request that makes no sense.
    """

    def value(name: str, *kinds: type) -> Any:
        found = wanted.get(name)
        if type(found) not in kinds:
            raise UsageError("U025", f"{name} is not as it must be")
        return found

    match wanted.get("kind"):
        case kind if kind == PAUSE:
            return desk.pause()
        case kind if kind == GO_ON:
            return desk.go_on()
        case kind if kind == DRAW:
            return desk.draw(value("feature", str), value("times", int, float))
        case kind if kind == LIMIT:
            return desk.limit(*read_change(value("limit", str)))
        case kind if kind == BUDGET:
            return desk.budget(value("evaluations", int))
        case kind if kind == STOP:
            return desk.stop(value("candidate", int))
        case kind if kind == PROPOSE:
            # A text from elsewhere: it has no folder that it could import from.
            program = check_source(Source("your program", value("program", str)))
            parents = value("parents", list) if "parents" in wanted else []
            if any(type(each) is not int for each in parents):
                raise UsageError("U025", "parents are not as they must be")
            note = value("note", str) if "note" in wanted else ""
            name = value("name", str) if "name" in wanted else None
            return desk.propose(program, name, note=note, parents=parents)
    raise UsageError("U025", "there is no such kind of act")
