"""Application of actions between two steps of a run.

Proposals, draws and limits wait for the start of the next round. All other actions are
applied at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from azc.search.acts import (
    BUDGET,
    DRAW,
    LIMIT,
    PROPOSE,
    STOP,
    Act,
    is_paused,
    stopped,
)
from azc.search.events import Acted, Event, Paused
from azc.search.journal import Journal
from azc.search.records import Evaluation

__all__ = ["Heeding"]

_GLANCE = 0.2  # seconds between two checks of a paused run


class Heeding:
    """Applies the actions in a journal for the loop.

    Args:
        journal: The journal.
        tell: Called with events.
        spend: Called with a new budget.
        is_fresh: Whether candidates have fresh weights, so that scored ones are never
            trained again.
    """

    def __init__(
        self,
        journal: Journal,
        tell: Callable[[Event], None],
        spend: Callable[[int], None],
        is_fresh: bool,
    ) -> None:
        self.journal = journal
        self.tell = tell
        self.spend = spend
        self.is_fresh = is_fresh

    def heed(self, number: int) -> bool:
        """Apply the actions that can't wait for the next round, and wait while the run
        is paused.

        Returns:
            Whether the models to train at the end may have changed.
        """
        is_announced = changed = False
        while True:
            for act in self.journal.acts(waiting=True):
                if act.kind not in (PROPOSE, DRAW, LIMIT):
                    self._do(act, number)
                    changed = changed or act.kind in (BUDGET, STOP)
            acts = self.journal.acts()
            self._stop(number, acts)
            if not is_paused(acts):
                return changed
            if not is_announced:
                self.journal.settle()
                self.tell(Paused())
            is_announced = True
            time.sleep(_GLANCE)

    def waiting(self) -> set[int]:
        """Return the numbers of the pending actions."""
        return {act.id for act in self.journal.acts(waiting=True)}

    def _do(self, act: Act, number: int) -> None:
        reason = None
        if act.kind == BUDGET:
            evaluations, spent = act.value["evaluations"], self.journal.spent()
            if evaluations < spent:
                reason = f"{spent:,} evaluations were already spent"
            else:
                self.spend(evaluations)
        self.journal.heed(act, number, reason)
        self.tell(Acted(act.words, reason))

    def _stop(self, number: int, acts: Sequence[Act]) -> None:
        """Fail the stopped candidates in the current round."""
        out = stopped(acts)
        for evaluation in self.journal.evaluations(number) if out else ():
            act = out.get(evaluation.candidate)
            if act is not None and evaluation.status != "failed":
                reason = f"stopped by {act.author}"
                self.journal.fail(evaluation, reason, self._seconds(evaluation))

    def _seconds(self, stopped: Evaluation) -> float | None:
        """Return the duration of a stopped evaluation in seconds.

        It is 0 if the evaluation was waiting, and None if it would not have been
        trained.
        """
        if stopped.status != "asked":
            return stopped.seconds
        known = self.is_fresh and self.journal.known([stopped.candidate])
        return None if known else 0.0
