"""What people and agents do to a run, taken up between two of its steps.

Proposals, draws and limits wait for the next round, which begins with them; the rest is
heeded at once.
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

_GLANCE = 0.2  # seconds between two looks at a run that is paused


class Heeding:
    """The acts in a journal, as the loop heeds them; `spend` is given another budget.
    With fresh weights what was scored once is never trained again.
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
        """Takes up what can't wait for the next round, and waits while the run is to.
        Whether what is to be trained alone may be another since then.
        """
        told = changed = False
        while True:
            for act in self.journal.acts(waiting=True):
                if act.kind not in (PROPOSE, DRAW, LIMIT):
                    self._do(act, number)
                    changed = changed or act.kind in (BUDGET, STOP)
            acts = self.journal.acts()
            self._stop(number, acts)
            if not is_paused(acts):
                return changed
            if not told:
                self.journal.settle()
                self.tell(Paused())
            told = True
            time.sleep(_GLANCE)

    def waiting(self) -> set[int]:
        """The numbers of those that nothing has come of yet."""
        return {act.id for act in self.journal.acts(waiting=True)}

    def _do(self, act: Act, number: int) -> None:
        reason = None
        if act.kind == BUDGET:
            evaluations, spent = act.value["evaluations"], self.journal.spent()
            if evaluations < spent:
                reason = f"{spent:,} evaluations were spent by then"
            else:
                self.spend(evaluations)
        self.journal.heed(act, number, reason)
        self.tell(Acted(act.words, reason))

    def _stop(self, number: int, acts: Sequence[Act]) -> None:
        """What is stopped fails, in the round under way and wherever it is asked for."""
        out = stopped(acts)
        for evaluation in self.journal.evaluations(number) if out else ():
            act = out.get(evaluation.candidate)
            if act is not None and evaluation.status != "failed":
                reason = f"stopped by {act.author}"
                self.journal.fail(evaluation, reason, self._seconds(evaluation))

    def _seconds(self, stopped: Evaluation) -> float | None:
        """How long it took, 0 where it waited; None where it would not be trained."""
        if stopped.status != "asked":
            return stopped.seconds
        known = self.is_fresh and self.journal.known([stopped.candidate])
        return None if known else 0.0
