"""Candidates that a run has no use for any more: somebody has stopped them, or has set a
limit that they are beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from azc.search.acts import LIMIT, Act, stopped

__all__ = ["Barred"]


class Barred(Container[int]):
    """The numbers of these candidates, after the acts that were taken up.

    `over`: why a candidate is beyond the limits, None where it is not. It is asked only
    where an act has set one, as else nothing is, and of those candidates alone that are
    looked for. `kept` is not barred whatever was done.
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
