"""Values that a strategy shows, round by round, restored from its stored states."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.records import START
from azc.search.strategies.choose import STRATEGIES
from azc.search.view import RunView

__all__ = ["displays", "last_display"]


def displays(view: RunView) -> dict[int, Mapping[str, str]]:
    """Return names with short texts after each closed round, by its number.

    There are none for a user's own strategy, which is not run only to view a run.
    Raises as `read_run`.
    """
    return _displays(view, view.states)


def last_display(view: RunView) -> Mapping[str, str]:
    """Return the values of `displays` after the last closed round; empty before the
    first.
    """
    last = max(view.states, default=None)
    found = {} if last is None else _displays(view, {last: view.states[last]})
    return next(iter(found.values()), {})


def _displays(
    view: RunView, states: Mapping[int, object]
) -> dict[int, Mapping[str, str]]:
    make = STRATEGIES.get(view.options.strategy)
    if make is None or START not in view.candidates:
        return {}
    run = RunFolder(view.folder)
    _, space = run.space(run.read())

    @cache
    def genome(candidate: int) -> Genome:
        return Genome.from_text(view.candidates[candidate].program, view.model)

    found = {}
    for number, state in states.items():
        strategy = make(genome(START), space, view.options)
        try:
            strategy.restore(state, genome)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
        found[number] = strategy.display()
    return found
