"""The noise of scores: how much they differ between seeds of one program.

If the scores of a search differ by no more than that, their order is mostly chance.
After the first round, its best candidate is trained with two more seeds. With shared
weights, there is no such measure, because the score of a program belongs to its
snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, stdev
from typing import TYPE_CHECKING

from azc.search.objectives import LOSS, Scores
from azc.search.options import EvolveOptions, derived
from azc.search.records import Candidate, Evaluation

if TYPE_CHECKING:
    from azc.search.journal import Journal
    from azc.search.score import Job
    from azc.search.trials import Trials

__all__ = ["Noise", "Repeats", "noise"]

# Names of the losses with other seeds among the measurements in the journal.
_NAMES = ("loss, second seed", "loss, third seed")
_FEWEST = 4  # minimum number of scores for a meaningful spread
# The standard deviation of normally distributed values, by their median absolute deviation.
_NORMAL = 1.4826


@dataclass(frozen=True)
class Noise:
    """Spread of losses in nats: the `scores` of all candidates, and those of one
    program with several `seeds`.

    Both estimate a standard deviation. That of the scores uses their median absolute
    deviation, which is robust to a few programs that learn nothing.
    """

    scores: float
    seeds: float

    @property
    def is_all(self) -> bool:
        """True if the scores differ by no more than seeds do."""
        return self.scores <= self.seeds

    @property
    def sentence(self) -> str:
        """The warning for a run in which `is_all` is true."""
        return (
            f"The scores differ by {self.scores:.2g} nats, no more than those of one"
            f" program with other seeds ({self.seeds:.2g}): their order is mostly chance."
            " More --steps or --score-seeds would tell programs apart."
        )


def noise(
    evaluations: Iterable[Evaluation],
    measured: Mapping[int, Scores],
) -> Noise | None:
    """Return the noise of a run with fresh weights, or None if it is unknown.

    Args:
        evaluations: The evaluations of the run.
        measured: Measurements of candidates, by their numbers.
    """
    losses = {
        e.candidate: e.scores[LOSS]
        for e in evaluations
        if e.scores is not None and LOSS in e.scores
    }
    if len(losses) < _FEWEST:
        return None
    for number, found in measured.items():
        again = [found[name] for name in _NAMES if name in found]
        if again and number in losses:
            seeds = [losses[number], *again]
            if all(map(math.isfinite, seeds)):
                return Noise(_spread([*losses.values()]), stdev(seeds))
    return None


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return _NORMAL * median(abs(value - middle) for value in values)


@dataclass
class Repeats:
    """Measures the noise of a running search, and warns once if it explains all
    differences.
    """

    journal: Journal
    options: EvolveOptions
    trials: Trials
    has_warned: bool = field(default=False, init=False)

    def warning(self, best: Candidate, job: Job) -> Noise | None:
        """Return the noise if the scores differ by no more than seeds do. It is
        returned once.

        Args:
            best: The best candidate of the first round.
            job: The job that scores it.
        """
        if self.has_warned or LOSS not in self.options.objectives:
            return None
        if _NAMES[0] not in self.journal.costs(best.key):
            self._measure(best, job)
        measured = {best.id: self.journal.costs(best.key)}
        found = noise(self.journal.evaluations(), measured)
        self.has_warned = found is not None and found.is_all
        return found if self.has_warned else None

    def _measure(self, best: Candidate, job: Job) -> None:
        """Score a program with other seeds. A failure is stored as an infinite loss."""
        jobs = {
            replace(
                job,
                seed=derived(self.options.seed, "noise", n),
                more=tuple(
                    derived(self.options.seed, "noise", n, i)
                    for i, _ in enumerate(job.more, 1)
                ),
                name=f"candidate {best.id:04} with another seed",
            ): name
            for n, name in enumerate(_NAMES)
        }
        losses = {
            jobs[done]: math.inf if outcome.loss is None else outcome.loss
            for done, outcome in self.trials.run(list(jobs))
        }
        self.journal.record_costs(best.key, {name: losses[name] for name in _NAMES})
