"""Jobs tried so that a fault of the machine is not taken for one of a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from azc.search.events import Event, Retried
from azc.search.executors.base import Executor
from azc.search.records import START
from azc.search.score import Job, Outcome, machine_at_fault

__all__ = ["Trials"]


@dataclass(frozen=True)
class Trials:
    """An executor, the program of the start, and whoever is told what happens.

    A job with an outcome that is suspect is run again, when all others are done and
    alone. Where it comes to the same, the start is run as a control: if that comes to
    nothing in the same way, the machine is at fault.
    """

    executor: Executor
    start: str
    tell: Callable[[Event], None]

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Every job with its outcome, as they end; what is suspect at the end.

        Raises `RunError` R043 where the machine is at fault, and what the executor
        raises. A job without an outcome is then still to be done.
        """
        again: list[Job] = []
        for job, outcome in self.executor.run(jobs):
            if outcome.suspect:
                self.tell(Retried(job.label, outcome.reason or ""))
                again.append(job)
            else:
                yield job, outcome
        lost: list[tuple[Job, Outcome]] = []
        for job in again:
            outcome = self._alone(job)
            if outcome.suspect:
                lost.append((job, outcome))
            else:
                yield job, outcome
        if lost:
            self._control(*lost[-1])
            yield from lost

    def _alone(self, job: Job) -> Outcome:
        ((_, outcome),) = self.executor.run([job])
        return outcome

    def _control(self, job: Job, outcome: Outcome) -> None:
        control = replace(
            job, candidate=START, program=self.start, weights=None, name="the start"
        )
        if job.program != self.start and not self._alone(control).suspect:
            return
        found = f"{job.label} could not be trained"
        if job.program != self.start:
            found += ", and neither could the start, on trial"
        raise machine_at_fault(found, outcome.reason or "")
