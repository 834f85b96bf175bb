"""The end of a run: selection of the winner, and its final comparison.

Scores rank many candidates in little time, but not well enough to select one. So the
best candidates are trained from scratch for all of the final steps and measured on
validation data, each with as many seeds as a score is the mean of. (Training them for
half of the steps first, and the better half again for all, takes the same time.) The
best one is the winner. It is then trained with new seeds and measured on test data, and
compared with the start model, its own neighbors (see `neighbours`), the best of random
sampling with the same initial programs and the same number of training steps, and the
models that a person would try first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from azc.check.program import SpaceSpec
from azc.search.acts import Act, stopped
from azc.search.barred import Barred
from azc.search.baselines import baselines
from azc.search.events import Comparing, Event, Fitted
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.neighbours import neighbours
from azc.search.objectives import LOSS
from azc.search.options import EvolveOptions, derived
from azc.search.population import DEEP, Member, Variation, evenly
from azc.search.ranking import contenders, leading, mean_loss, trained_alone
from azc.search.records import START, Entrant, Evaluation, Fit, NewEntrant
from azc.search.score import Job, Outcome
from azc.search.strategies.base import Child
from azc.search.trials import Trials

__all__ = ["Finals"]

_TRIED = 20  # random models to try per sample, at most, if limits exclude many


class _Changed(Exception):
    """An action was applied that may change which models to train."""


@dataclass(frozen=True)
class Finals:
    """The last stages of a run. Every fit is in the journal before the next one starts.

    `heed` applies actions between two fits, waits while the run is paused, and returns
    whether the remaining work may have changed.
    """

    folder: RunFolder
    journal: Journal
    options: EvolveOptions
    start: Genome
    space: SpaceSpec
    trials: Trials
    tell: Callable[[Event], None]
    over: Callable[[Genome], str | None]
    heed: Callable[[], bool]

    def run(self) -> bool:
        """Train everything that is left; without final seeds, nothing is.

        Returns:
            Whether it is complete. If not, an action has interrupted it, and it has to
            be planned again.
        """
        try:
            if self.options.final_seeds:
                self._compare(self._known_rows() or self._decide())
        except _Changed:
            return False
        return True

    def _known_rows(self) -> list[Entrant]:
        """Return the rows of the table if they are known.

        They stay, even if candidates are stopped.
        """
        entrants = self.journal.entrants()
        rows = [entrants[number] for _, number in self.journal.table()]
        if rows:
            total = len(rows) * len(self.options.final_seeds)
            self.tell(Comparing(*self._progress(total)))
        return rows

    def _compare(self, rows: Sequence[Entrant]) -> None:
        once = list({row.id: row for row in rows}.values())
        self._fit(once, self.options.final_seeds, self.options.final_steps, "test")

    def _decide(self) -> list[Entrant]:
        """Select the winner and the models to compare it with: the rows of the table.

        Returns:
            The rows; empty if there is no contender.
        """
        options, journal = self.options, self.journal
        rounds, evaluations = journal.rounds(), journal.evaluations()
        out = Barred(journal.acts(), self._over)
        chosen = contenders(rounds, evaluations, options, out)
        if not chosen:
            return []
        mine = self.journal.enter(self._candidate(number) for number in chosen)
        self.tell(Comparing(*self._progress(self._total(len(mine)))))
        winner = self._winner(mine, evaluations)
        rows = [("winner", winner)]
        rows += [("start", e) for e in journal.enter([self._candidate(START)])]
        rows += [("neighbour", e) for e in journal.enter(self._neighbours(winner))]
        if options.baselines:
            sampled = journal.enter(self._samples())
            best = self._rank(self._few(sampled), options.final_steps)[:1]
            rows += [("random", e) for e in best]
            rows += [("hand", e) for e in journal.enter(self._by_hand)]
        journal.set_table(rows)
        return [entrant for _, entrant in rows]

    # Entrants

    def _over(self, number: int) -> str | None:
        program = self.journal.candidate(number).program
        return self.over(Genome.from_text(program, self.start.model))

    def _candidate(self, number: int) -> NewEntrant:
        candidate = self.journal.candidate(number)
        name = "the start" if number == START else f"candidate {number:04}"
        return NewEntrant(name, candidate.program, number)

    def _neighbours(self, winner: Entrant) -> list[NewEntrant]:
        genome = Genome.from_text(winner.program, self.start.model)
        rng = random.Random(derived(self.options.seed, "neighbours"))
        found = neighbours(genome, self.space, self.options.neighbours, rng)
        return [
            NewEntrant(f"winner with {change}", each.text, None)
            for change, each in found
            if self._allowed(each)
        ]

    def _samples(self) -> list[NewEntrant]:
        """Create random models, as many as the training steps of the search can score.

        If the search started with baselines, the sample does, too.
        """
        options = self.options
        count = self._sample_size()
        first = self._by_hand[:count] if options.by_hand else []
        return [*first, *self._random_models(count - len(first))]

    def _random_models(self, count: int) -> list[NewEntrant]:
        rng = random.Random(derived(self.options.seed, "random"))
        start = Member(START, self.start)
        sampling = Variation(evenly(self.space, self.options), DEEP)
        known = {self.start.key: START}
        made: list[Child] = []
        while len(made) < count:
            found = sampling.children(count - len(made), lambda _: start, rng, known)
            made += [child for child in found if self._allowed(child.genome)]
            known |= {child.genome.key: START for child in found}
            if not found or len(known) > _TRIED * count:
                break
        return [
            NewEntrant(f"random sample {number}", child.genome.text, None)
            for number, child in enumerate(made, 1)
        ]

    @property
    def _sampling_steps(self) -> int:
        """Training steps to score a random model.

        They are those of a candidate with fresh weights, or half of the final steps.
        """
        options = self.options
        return options.steps if options.is_fresh else max(1, options.final_steps // 2)

    def _sample_size(self) -> int:
        options = self.options
        warm_up = 0 if options.is_fresh else options.warm_up
        taken = warm_up + self.journal.spent() * options.steps
        return max(1, taken // self._sampling_steps)

    def _few(self, sampled: Sequence[Entrant]) -> list[Entrant]:
        """Return the best random models, as many as the maximum number of
        contenders.
        """
        most = self.options.contenders
        if len(sampled) <= most:
            return list(sampled)
        return self._rank(sampled, self._sampling_steps)[:most]

    @cached_property
    def _by_hand(self) -> list[NewEntrant]:
        made = {
            name: genome
            for name, genome in baselines(self.start, self.space).items()
            if self._allowed(genome)
        }
        return [NewEntrant(name, genome.text, None) for name, genome in made.items()]

    def _allowed(self, genome: Genome) -> bool:
        """Return whether a program is within the limits, as all candidates are."""
        return self.over(genome) is None

    # Training

    def _winner(
        self, mine: Sequence[Entrant], evaluations: Sequence[Evaluation]
    ) -> Entrant:
        """Return the contender that leads after training from scratch."""
        found = self._validated(mine, self.options.final_steps)
        losses = {e.candidate: found[e.id] for e in mine if e.candidate is not None}
        alone = trained_alone(evaluations, losses)
        first = leading(alone, self.options.objectives)
        return next(
            (e for e in mine if first and e.candidate == first.candidate), mine[0]
        )

    def _rank(self, entrants: Sequence[Entrant], steps: int) -> list[Entrant]:
        """Return the entrants that did not fail, best first."""
        losses = self._validated(entrants, steps)
        done = [e for e in entrants if losses[e.id] is not None]
        return sorted(done, key=lambda e: (losses[e.id], e.id))

    def _validated(
        self, entrants: Sequence[Entrant], steps: int
    ) -> dict[int, float | None]:
        """Return validation losses by entrant, averaged over the seeds of a score; None
        for a failure.
        """
        # One stage was halving once: the name makes the seeds.
        seeds = self.options.seeds("halving")
        found = self._fit(entrants, seeds, steps, "validation")
        return {
            e.id: mean_loss([found[e.id, seed] for seed in seeds]) for e in entrants
        }

    def _fit(
        self, entrants: Sequence[Entrant], seeds: Sequence[int], steps: int, split: str
    ) -> dict[tuple[int, int], float | None]:
        """Train every entrant with every seed, and return the losses.

        The loss is None for a failure, or if the candidate was stopped. Entrants with
        the same program are trained once. Raises `_Changed`.
        """
        known = {
            (fit.entrant, fit.seed): fit
            for fit in self.journal.fits()
            if (fit.steps, fit.split) == (steps, split)
        }
        programs = {e.id: e.program for e in self.journal.entrants().values()}
        trained = {
            (programs[number], seed): fit
            for (number, seed), fit in known.items()
            if fit.loss is not None
        }
        left = [
            self._job(entrant, seed, steps, split)
            for seed in seeds
            for entrant in entrants
            if (entrant.id, seed) not in known
        ]

        def record(job: Job, outcome: Outcome) -> None:
            fit = self._record(job, outcome, self._stops(entrants))
            known[job.candidate, job.seed] = fit
            if fit.loss is not None:
                trained[job.program, job.seed] = fit

        while left:
            stops = self._stops(entrants)
            run: dict[tuple[str, int], Job] = {}
            for job in left:
                same = trained.get((job.program, job.seed))
                if job.candidate in stops:
                    record(job, Outcome(None, "stopped", 0.0))
                elif same is not None and same.loss is not None:
                    record(job, Outcome({LOSS: same.loss}, None, 0.0, right=same.right))
                else:
                    run.setdefault((job.program, job.seed), job)
            for job, outcome in self.trials.run(list(run.values())):
                record(job, outcome)
                if self.heed():
                    raise _Changed
            left = [job for job in left if (job.candidate, job.seed) not in known]
        return {
            (e.id, seed): known[e.id, seed].loss for seed in seeds for e in entrants
        }

    def _stops(self, entrants: Sequence[Entrant]) -> dict[int, Act]:
        """Return, by entrant, the action that stopped its candidate."""
        acts = stopped(self.journal.acts())
        return {
            e.id: acts[n] for e in entrants for n in [e.candidate or 0] if n in acts
        }

    def _record(self, job: Job, outcome: Outcome, stops: Mapping[int, Act]) -> Fit:
        """Write a finished fit to the journal."""
        reason = outcome.reason
        if reason is not None and job.candidate in stops:
            reason = f"stopped by {stops[job.candidate].author}"
        status = "failed" if outcome.loss is None else "done"
        of = job.candidate, job.seed, job.steps, job.split
        fit = Fit(*of, status, outcome.loss, reason, outcome.right)
        self.journal.record_fit(fit)
        at = job.seed, job.steps, job.split
        progress = self._progress(0)
        self.tell(Fitted(job.name, *at, outcome.loss, reason, *progress))
        return fit

    def _job(self, entrant: Entrant, seed: int, steps: int, split: str) -> Job:
        options, number = self.options, entrant.candidate
        return Job(
            kind="alone",
            candidate=entrant.id,
            program=entrant.program,
            model=self.start.model,
            seed=seed,
            limit=options.time_limit * max(1.0, steps / options.steps),
            steps=steps,
            split=split,
            name=entrant.name,
            stop=None if number is None else self.folder.stop_file(number),
        )

    # Progress

    @cached_property
    def _counter(self) -> list[int]:
        return [0, 0]

    def _progress(self, total: int) -> tuple[int, int]:
        """Return the numbers of completed fits and of all fits; `total` is set once, at
        the beginning.
        """
        counter = self._counter
        if total:
            counter[:] = [0, total]
        else:
            counter[0] += 1
        # Failures make stages smaller, and equal programs share their fits.
        return min(counter), counter[1]

    def _total(self, contenders: int) -> int:
        fits, rows = contenders, 2 + self.options.neighbours
        if self.options.baselines:
            size, most = self._sample_size(), self.options.contenders
            fits += size if size <= most else size + most
            rows += 1 + len(self._by_hand)
        fits *= self.options.score_seeds
        return fits + rows * len(self.options.final_seeds)
