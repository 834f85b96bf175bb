"""The live page of a run, redrawn when something changes.

An open page receives everything that has changed since the version it shows, and
requests details when they are opened. So the cost of an update is one pass over the
candidates, even for ten thousand of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from azc.report.entries import entry, inside, row, searched
from azc.report.facts import Facts, Standing, gather, stand
from azc.report.models import Models
from azc.report.page import shell
from azc.report.parts import Controls, Feature, parts
from azc.search.acts import draws
from azc.search.displays import displays
from azc.search.folder import RunFolder
from azc.search.genome import space_features
from azc.search.records import START
from azc.search.view import RunView, read_run

__all__ = ["Live", "Moment"]

_PATIENCE = 2  # minimum time between two drawings, as a multiple of the drawing time
_FIRST = 30  # candidates that are on the page before its script requests any
_SLICE = 0.25  # seconds of compiling programs between two checks of the run
_STEPS = 30  # last steps of the lineage that the page shows with their models


@dataclass(frozen=True)
class Moment:
    """A snapshot of a run.

    Attributes:
        version: A number that grows with every change.
        view: The run.
        at_work: Whether a process is working on the run.
        facts: Facts about each candidate.
        parts: Parts of the page (see `azc.report.parts`), each with the version in
            which it last changed.
        rows: Data of each candidate for the page's script, with its version likewise.
        order: Numbers of the candidates in the order in which they are listed.
        fault: The reason why the run can't be drawn any more; None if it can.
    """

    version: int
    view: RunView
    at_work: bool
    facts: Mapping[int, Facts]
    parts: Mapping[str, tuple[int, Markup]]
    rows: Mapping[int, tuple[int, list[Any]]] = field(repr=False)
    order: list[int] = field(repr=False)
    fault: str | None = None

    @cached_property
    def compiled(self) -> int:
        """The number of candidates whose layers and costs are known."""
        return sum(each.is_compiled for each in self.facts.values())

    @cached_property
    def page(self) -> bytes:
        """The page, without the data that its script requests."""
        sections = {name: html for name, (_, html) in self.parts.items()}
        empty = Markup("")
        first = [(n, row(self.facts[n]), empty) for n in self.order[:_FIRST]]
        return shell(self.view, sections, first, version=self.version).encode()

    @cached_property
    def all_rows(self) -> bytes:
        """All rows, as JSON: `rows`."""
        return _json({"rows": [values for _, values in self.rows.values()]})

    @cached_property
    def changes(self) -> Callable[[int], bytes]:
        """A function that returns everything newer than a version as JSON.

        The fields are `version`, `parts` by the ids of their elements, `rows`, and
        `least`, the smallest budget that is possible.
        """
        return lru_cache(maxsize=16)(self._changes)  # open pages send the same request

    def _changes(self, since: int) -> bytes:
        new = {name: html for name, (of, html) in self.parts.items() if of > since}
        rows = [values for of, values in self.rows.values() if of > since]
        least = max(1, self.view.spent)
        answer = {"version": self.version, "parts": new, "rows": rows, "least": least}
        return _json(answer)

    @cached_property
    def inside(self) -> Callable[[int], str | None]:
        """A function that returns the details of a candidate, or None if it does not
        exist.
        """
        return lru_cache(maxsize=64)(self._inside)

    def _inside(self, number: int) -> str | None:
        each = self.facts.get(number)
        if each is None:
            return None
        return inside(self.view, each, can_stop=not self.view.is_over)

    def find(self, words: str) -> bytes:
        """Return the numbers of candidates whose text has all of these words, as
        JSON.
        """
        wanted = words.lower().split()
        return _json(
            [
                number
                for number, text in self._texts
                if all(word in text for word in wanted)
            ]
        )

    @cached_property
    def _texts(self) -> list[tuple[int, str]]:
        return [(number, searched(each)) for number, each in self.facts.items()]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Live:
    """A run that is checked for changes by one thread, and read by any.

    Creating it, and checking for changes, raises the errors of `read_run`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunFolder(folder)
        self.run.read()
        self._seen: object = None
        self._ready = 0.0
        self._models: Models | None = None
        self._shown: dict[int, Mapping[str, str]] = {}
        self._moment: Moment | None = None
        self.look()

    @property
    def moment(self) -> Moment:
        """The latest snapshot."""
        assert self._moment is not None
        return self._moment

    def look(self) -> bool:
        """Draw the page again if the run has changed. Return whether it has."""
        if time.monotonic() < self._ready:
            return False
        at_work = self.run.is_at_work()
        seen = (at_work, self._rows())
        if seen == self._seen:
            return False
        began = time.monotonic()
        self._moment = self._draw(read_run(self.folder), at_work)
        self._seen = seen
        self._ready = time.monotonic() + _PATIENCE * (time.monotonic() - began)
        return True

    def miss(self, fault: str) -> bool:
        """Keep the last snapshot, with an error.

        Called if the run can't be read, for instance because its folder is gone. Return
        whether the snapshot is new.
        """
        self._seen = None  # draw the page again once that is possible
        if self.moment.fault == fault:
            return False
        version = self.moment.version + 1
        self._moment = replace(self.moment, version=version, fault=fault)
        return True

    @property
    def is_behind(self) -> bool:
        """True if some programs of candidates are not compiled yet."""
        moment = self.moment
        return moment.fault is None and moment.compiled < len(moment.facts)

    def catch_up(self) -> bool:
        """Compile programs for a moment.

        Return whether the page was drawn, which happens when the number of compiled
        programs has doubled.
        """
        assert self._models is not None
        moment = self.moment
        left = [n for n in moment.order if n not in self._models]
        end = time.monotonic() + _SLICE
        while left and time.monotonic() < end:
            self._models.compile([moment.view.candidates[left.pop(0)]])
        if left and len(moment.order) - len(left) < 2 * moment.compiled:
            return False
        self._moment = self._draw(moment.view, moment.at_work)
        return True

    def _draw(self, view: RunView, at_work: bool) -> Moment:
        before = self._moment
        version = 1 if before is None else before.version + 1
        standing = stand(view)
        order = standing.order(view.candidates)
        facts = self._facts(view, standing, order)
        shown = self._displays(view)
        controls = self._controls(view, shown, at_work)
        drawn = parts(view, standing, facts, shown, controls)
        rows = {}
        for number, each in facts.items():
            old = None if before is None else before.facts.get(number)
            if before is not None and old == each:
                rows[number] = before.rows[number]
            else:
                rows[number] = (version, entry(each))
        sections = {}
        for name, html in drawn.items():
            was = None if before is None else before.parts[name]
            sections[name] = was if was and was[1] == html else (version, html)
        return Moment(version, view, at_work, facts, sections, rows, order)

    def _facts(
        self, view: RunView, standing: Standing, order: list[int]
    ) -> dict[int, Facts]:
        """Gather the facts about every candidate; compile those that are shown
        first.
        """
        if self._models is None:
            self._models = Models(view.model, view.options.length)
        line = [candidate.id for candidate in standing.line]
        start = [START] if START in view.candidates else []
        shown = [*start, *order[:_FIRST], *line[:1], *line[-_STEPS:]]
        self._models.compile(view.candidates[number] for number in shown)
        return gather(view, standing, self._models)

    def _displays(self, view: RunView) -> Mapping[int, Mapping[str, str]]:
        """Return the values that the strategy showed after each round.

        They are computed once.
        """
        new = {n: state for n, state in view.states.items() if n not in self._shown}
        if new:
            self._shown |= displays(replace(view, states=new))
        return {n: self._shown[n] for n in view.states if n in self._shown}

    def _controls(
        self, view: RunView, shown: Mapping[int, Mapping[str, str]], at_work: bool
    ) -> Controls:
        _, space = self.run.space(self.run.read())
        chances: Mapping[str, str] = shown[max(shown)] if shown else {}
        times = draws(view.acts)
        features = [
            Feature(name, times.get(name, 1.0), chances.get(name))
            for name in space_features(space)
        ]
        return Controls(at_work, features)

    def _rows(self) -> str | None:
        """Return a fingerprint of the journal, which changes with any of its rows."""
        journal = self.run.look()
        if journal is None:
            return None
        with closing(journal):
            return journal.seal()
