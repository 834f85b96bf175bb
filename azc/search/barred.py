"""Candidates that a run no longer uses.

They were stopped, or exceed a limit that was set during the run.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from azc.search.acts import LIMIT, Act, stopped

__all__ = ["Barred"]


class Barred(Container[int]):
    """The numbers of candidates that are excluded by the actions applied so far.

    Args:
        acts: The actions of the run.
        over: Returns the reason why a candidate exceeds the limits, or None. It is only
            called if an action has set a limit, and only for candidates that are looked
            up.
        kept: A candidate that is never excluded.
    """

    def __init__(
        self,
        acts: Sequence[Act],
        over: Callable[[int], str | None],
        kept: int | None = None,
    ) -> None:
        taken = [act for act in acts if act.round is not None]
        self._stopped = stopped(taken).keys()
        self._limited = any(act.kind == LIMIT for act in taken)
        self._over = over
        self._known: dict[object, bool] = {kept: False}

    def __contains__(self, number: object) -> bool:
        if number not in self._known and isinstance(number, int):
            over = self._limited and self._over(number) is not None
            self._known[number] = number in self._stopped or over
        return self._known.get(number, False)
