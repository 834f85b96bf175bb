"""Costs of candidates in addition to their loss, computed from programs or measured.

Measurements are made while nothing else runs, and only once. They are stored in the
journal, so that a resumed run has the same values, whatever the machine would measure
then.
"""

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
    over_limits,
)
from azc.search.options import EvolveOptions, derived
from azc.search.score import Job, Outcome
from azc.search.trials import Trials

__all__ = ["Costing"]


@dataclass(frozen=True)
class Costing:
    """The costs that the objectives and limits of a run need."""

    journal: Journal
    options: EvolveOptions
    trials: Trials
    genome: Callable[[int], Genome]

    def batches(self, jobs: Sequence[Job]) -> list[Sequence[Job]]:
        """Group jobs: all at once, or, if costs are measured, as many as run at the
        same time.
        """
        if not self._named(MEASURED):
            return [jobs]
        size = self.options.workers
        return [jobs[i : i + size] for i in range(0, len(jobs), size)]

    def of(self, job: Job) -> Outcome:
        """Return the costs of a job's candidate, or the reason why they could not be
        measured.
        """
        genome = self.genome(job.candidate)
        written: dict[str, float] = {}
        if self._named(WRITTEN):
            written = costs(genome.spec, self.options.length)
        outcome = self._measured(genome, self._named(MEASURED), job)
        if outcome.scores is None:
            return outcome
        return replace(outcome, scores={**written, **outcome.scores})

    def over(self, genome: Genome) -> str | None:
        """Return the reason why a program exceeds a limit, or None.

        The program is only measured if its computed costs do not decide.
        """
        limits = self.options.limits
        over = self.known_over(genome)
        names = tuple(name for name, _ in limits if name in MEASURED)
        if over is not None or not names:
            return over
        job = Job(
            kind="measure",
            candidate=0,
            program=genome.text,
            model=genome.model,
            seed=0,
            limit=self.options.time_limit,
            name="a program measured for its limits",
        )
        outcome = self._measured(genome, names, job)
        if outcome.scores is None:
            return f"it could not be measured: {outcome.reason}"
        return over_limits(outcome.scores, limits)

    def known_over(self, genome: Genome) -> str | None:
        """Return the reason why a program exceeds a limit, or None, without measuring
        it.
        """
        limits = self.options.limits
        if not limits:
            return None
        found = costs(genome.spec, self.options.length)
        return over_limits({**found, **self.journal.costs(genome.key)}, limits)

    def _measured(self, genome: Genome, names: Sequence[str], job: Job) -> Outcome:
        """Return the measured costs of a job's program, measuring those that are not in
        the journal.
        """
        known = self.journal.costs(genome.key)
        asked = tuple(name for name in names if name not in known)
        known = {name: known[name] for name in names if name in known}
        if not asked:
            return Outcome(known, None, 0.0)
        seconds = self.options.seconds_alone if TIMED_LOSS in asked else 0.0
        job = replace(
            job,
            kind="measure",
            # The same seed for all, so that measurements of all rounds are comparable.
            seed=derived(self.options.seed, "measure"),
            limit=job.limit + seconds,
            snapshot=None,
            weights=None,
            objectives=asked,
            seconds=seconds,
        )
        ((_, outcome),) = self.trials.run([job])
        if outcome.scores is None:
            return outcome
        self.journal.record_costs(genome.key, outcome.scores)
        return replace(outcome, scores={**known, **outcome.scores})

    def scored(self, outcome: Outcome, found: Scores) -> Outcome:
        """Add costs to an outcome, in the order of the run's objectives."""
        if outcome.scores is None:
            return outcome
        every = {**found, **outcome.scores}
        names = in_order(self.options.objectives)
        return replace(outcome, scores={name: every[name] for name in names})

    def _named(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.options.objectives)
