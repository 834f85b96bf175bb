"""Actions that the live page can request.

Codes: U025 the action is invalid for this run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.search.acts import BUDGET, DRAW, GO_ON, LIMIT, PAUSE, PROPOSE, STOP, Act
from azc.search.objectives import read_change
from azc.search.steer import Desk
from azc.source import Source

__all__ = ["perform"]


def perform(desk: Desk, wanted: Mapping[str, Any]) -> Act:
    """Perform the action that a request describes.

    Args:
        desk: Applies actions to the run.
        wanted: `kind` and the values of that kind, as in the journal; for a limit,
            `limit` in the form of `azc steer --limit`.

    Returns:
        The action.

    Raises:
        UsageError: U025 for an invalid request; otherwise as `Desk`.
    """

    def value(name: str, *kinds: type) -> Any:
        found = wanted.get(name)
        if type(found) not in kinds:
            raise UsageError("U025", f"{name} is missing or has the wrong type")
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
            # The text is not in a file, so it can't import other files.
            program = check_source(Source("your program", value("program", str)))
            parents = value("parents", list) if "parents" in wanted else []
            if any(type(each) is not int for each in parents):
                raise UsageError("U025", "parents must be numbers of candidates")
            note = value("note", str) if "note" in wanted else ""
            name = value("name", str) if "name" in wanted else None
            return desk.propose(program, name, note=note, parents=parents)
    raise UsageError("U025", "there is no such kind of action")
