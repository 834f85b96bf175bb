"""Retries of jobs, so that a fault of the machine is not blamed on a program.

Codes: R053 the start needs more than the limits of the search allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from azc.diagnostics import RunError
from azc.numbers import as_size, as_time
from azc.search.events import Event, Retried
from azc.search.executors.base import Executor
from azc.search.options import EvolveOptions
from azc.search.records import START
from azc.search.score import (
    MEMORY_LIMIT,
    TIME_LIMIT,
    Job,
    Outcome,
    machine_at_fault,
)

__all__ = ["Trials"]

# Additional seconds for the start model, to see how long it takes: a multiple of the limit,
# within these bounds.
_TIMES, _LEAST, _MOST = 20.0, 60.0, 600.0
_SPARE = (
    3.0  # a suggested limit is this multiple of the time that the start model takes
)
_USUAL = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)  # seconds


@dataclass(frozen=True)
class Trials:
    """Runs jobs with an executor, and repeats those with a suspect outcome.

    A suspect job is repeated alone after all others. If it fails again, the start model
    is run as a control. If that fails in the same way, the machine is at fault, or the
    limits that it exceeds.

    Attributes:
        executor: The executor.
        start: Program of the start model.
        folder: Folder of the run.
        options: Options of the run.
        tell: Called with events.
    """

    executor: Executor
    start: str
    folder: Path
    options: EvolveOptions
    tell: Callable[[Event], None]

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job with its outcome in the order of completion, suspect ones
        last.

        A job without an outcome still has to be done.

        Raises:
            RunError: R043 if the machine is at fault, R053 if the start model exceeds a
                limit. Errors of the executor are raised, too.
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
        found = f"{job.label} could not be trained"
        if job.program != self.start:
            found += ", and neither could the start, on trial"
            reason, outcome = outcome.reason, self._alone(control)
            if not outcome.suspect:
                return
        else:
            reason = outcome.reason
        if outcome.exceeded == TIME_LIMIT:
            raise self._too_slow(control)
        if outcome.exceeded == MEMORY_LIMIT:
            raise self._too_large()
        raise machine_at_fault(found, reason or "")

    def _too_slow(self, job: Job) -> RunError:
        """Run the start model once more, with more time, to see how long it takes."""
        limit = self.options.time_limit
        self.tell(Retried(job.label, "to see how long it takes"))
        room = min(max(_TIMES * job.limit, _LEAST), _MOST)
        outcome = self._alone(replace(job, limit=job.limit + room))
        took = outcome.seconds or 0.0
        words = f"the start took {_shown(took)} to train, longer than"
        if outcome.suspect:
            words = f"the start was not trained after {_shown(took)}, longer than"
        elif took <= job.limit:
            words = (
                f"the start took {_shown(took)} to train at the third try, but twice"
            )
            words += " longer than"
        allowed = f"--time-limit {as_time(limit)}"
        if job.limit != limit:
            allowed = f"the {_shown(job.limit)} that {allowed} gives it here"
        # Measurements have extra time beyond the limit, other jobs a multiple of it.
        beside = job.limit - limit if job.kind == "measure" else 0.0
        needed = limit * max(1.0, (took - beside) / (job.limit - beside))
        return self._too_little(
            f"{words} {allowed}", f"--time-limit {as_time(_rounded(_SPARE * needed))}"
        )

    def _too_large(self) -> RunError:
        limit = self.options.memory_limit
        assert limit is not None
        return self._too_little(
            f"the start takes more memory than --memory-limit {as_size(limit)}",
            f"--memory-limit {as_size(4 * limit)} (none: no limit)",
        )

    def _too_little(self, message: str, option: str) -> RunError:
        help_ = f"raise the limit: azc resume {self.folder} {option}"
        return RunError("R053", message, help_)


def _shown(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _rounded(seconds: float) -> float:
    """Round seconds up to a number that people would choose."""
    hours = 3600.0 * math.ceil(seconds / 3600)
    return next((usual for usual in _USUAL if usual >= seconds), hours)
