"""What candidates cost beside their loss: read off their programs, or measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.objectives import (
    MEASURED,
    TIMED_LOSS,
    WRITTEN,
    Scores,
    costs,
    in_order,
)
from azc.search.options import EvolveOptions, derived
from azc.search.score import Job, Outcome
from azc.search.trials import Trials

__all__ = ["Costing"]


@dataclass(frozen=True)
class Costing:
    """The costs that a run's objectives ask for."""

    journal: Journal
    options: EvolveOptions
    trials: Trials
    genome: Callable[[int], Genome]

    def batches(self, jobs: Sequence[Job]) -> list[Sequence[Job]]:
        """All jobs at once; where each is measured before, as many as run at once."""
        if not self._named(MEASURED):
            return [jobs]
        size = self.options.workers
        return [jobs[i : i + size] for i in range(0, len(jobs), size)]

    def of(self, job: Job) -> Outcome:
        """What the candidate of a job costs, or why it could not be measured.

        What is measured is so while nothing else runs, and once: it does not change from
        round to round.
        """
        written: dict[str, float] = {}
        if self._named(WRITTEN):
            spec = self.genome(job.candidate).spec
            written = costs(spec, self.options.length)
        measured = self._named(MEASURED)
        if not measured:
            return Outcome(written, None, 0.0)
        for before in self.journal.known([job.candidate]).values():
            known = {name: before[name] for name in measured}
            return Outcome(written | known, None, 0.0)
        seconds = self.options.seconds_alone if TIMED_LOSS in measured else 0.0
        asked = replace(
            job,
            kind="measure",
            # The same for all: what is measured compares over all rounds.
            seed=derived(self.options.seed, "measure"),
            limit=job.limit + seconds,
            snapshot=None,
            weights=None,
            objectives=measured,
            seconds=seconds,
        )
        ((_, outcome),) = self.trials.run([asked])
        if outcome.scores is None:
            return outcome
        return replace(outcome, scores={**written, **outcome.scores})

    def scored(self, outcome: Outcome, found: Scores) -> Outcome:
        """An outcome with the costs, in the order of the run's objectives."""
        if outcome.scores is None:
            return outcome
        every = {**found, **outcome.scores}
        names = in_order(self.options.objectives)
        return replace(outcome, scores={name: every[name] for name in names})

    def _named(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.options.objectives)
