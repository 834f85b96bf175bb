"""The end of a run: who is the winner, and what it is worth beside what else there is.

Shared weights rank many candidates in little time, but not well enough to choose one.
So the best of them are trained alone, the better half of these twice as long (successive
halving, Jamieson and Talwalkar 2016), measured on validation text. The best one is the
winner, and is then trained from seeds not used before, beside the start, the
best of random sampling that has trained for as many steps, and what a person would try
first; measured on text never used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from azc.check.program import SpaceSpec
from azc.search.acts import STOP
from azc.search.events import Comparing, Event, Fitted
from azc.search.genome import Genome
from azc.search.journal import (
    START,
    Candidate,
    Entrant,
    Fit,
    Journal,
    NewEntrant,
)
from azc.search.neighbours import neighbours
from azc.search.objectives import over_limit
from azc.search.options import EvolveOptions, derived
from azc.search.population import DEEP, Member, Variation, evenly
from azc.search.ranking import contenders, deciding
from azc.search.score import Job
from azc.search.strategies.base import Child
from azc.search.trials import Trials

__all__ = ["Finals", "rungs"]

_TRIED = 20  # random models a sample, at most, where limits leave few


def rungs(size: int, options: EvolveOptions) -> list[tuple[int, int]]:
    """How many are trained alone for how many steps, stage by stage; `final_steps` in
    the last.

    Two stages at most, and one where candidates were scored alone for as many steps: a
    quarter of the steps ranks next to nothing.
    """
    half = max(1, options.final_steps // 2)
    if size <= 2 or (options.is_fresh and options.steps >= half):
        return [(size, options.final_steps)]
    return [(size, half), (-(-size // 2), options.final_steps)]


@dataclass(frozen=True)
class Finals:
    """The last stages of one run; every fit is in the journal before the next begins."""

    journal: Journal
    options: EvolveOptions
    start: Genome
    space: SpaceSpec
    trials: Trials
    tell: Callable[[Event], None]

    def run(self) -> None:
        """All that is still to be trained. Without final seeds, nothing is."""
        options = self.options
        if not options.final_seeds:
            return
        journal = self.journal
        stopped = {a.value["candidate"] for a in journal.acts() if a.kind == STOP}
        chosen = contenders(journal.rounds(), journal.evaluations(), options, stopped)
        if not chosen:
            return
        mine = self.journal.enter(self._candidate(number) for number in chosen)
        stages = rungs(len(mine), options)
        self.tell(Comparing(*self._progress(self._total(stages))))
        winner = self._halve(mine, stages) or mine[0]
        rows = [self.journal.enter([self._candidate(START)])[0]]
        roles = ["start"]
        if options.baselines:
            sampled = self.journal.enter(self._samples(stages))
            best = self._halve(sampled, self._sampling(len(sampled), stages))
            if best is not None:
                rows.append(best)
                roles.append("random")
            hand = self.journal.enter(self._by_hand)
            rows += hand
            roles += ["hand"] * len(hand)
        rows.insert(0, winner)
        roles.insert(0, "winner")
        self.journal.set_table(zip(roles, rows, strict=True))
        once = list({row.id: row for row in rows}.values())
        self._fit(once, options.final_seeds, options.final_steps, "test")

    def winner(self) -> Candidate | None:
        """The winner; before it is known, what ranks first."""
        table = self.journal.table()
        number = self.journal.entrants()[table[0][1]].candidate if table else None
        if number is None:
            journal = self.journal
            ranking = deciding(journal.rounds(), journal.evaluations(), self.options)
            number = ranking[0].candidate if ranking else None
        return None if number is None else self.journal.candidate(number)

    # Who enters

    def _candidate(self, number: int) -> NewEntrant:
        candidate = self.journal.candidate(number)
        name = "the start" if number == START else f"candidate {number:04}"
        return NewEntrant(name, candidate.program, number)

    def _samples(self, stages: Sequence[tuple[int, int]]) -> list[NewEntrant]:
        """Random models, as many as can be trained in the first stage for the steps that
        the search has taken until then.
        """
        rng = random.Random(derived(self.options.seed, "random"))
        start = Member(START, self.start)
        sampling = Variation(evenly(self.space, self.options), DEEP)
        known = {self.start.key: START}
        count = self._sample_size(stages)
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

    def _sampling(
        self, count: int, stages: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """The stages of so many random models: those of the search, after the one that
        scored its candidates.
        """
        if self.options.is_fresh:
            return [(count, self.options.steps), *stages]
        return [(count, stages[0][1]), *stages[1:]]

    def _sample_size(self, stages: Sequence[tuple[int, int]]) -> int:
        options, spent = self.options, self.journal.spent()
        size, steps = stages[0]
        if options.is_fresh:
            return self.journal.trained()
        return size + (options.warm_up + spent * options.steps) // steps

    @cached_property
    def _by_hand(self) -> list[NewEntrant]:
        made = {
            name: genome
            for name, genome in neighbours(self.start, self.space).items()
            if self._allowed(genome)
        }
        return [NewEntrant(name, genome.text, None) for name, genome in made.items()]

    def _allowed(self, genome: Genome) -> bool:
        """Whether it is within the limits, as all that the search has found is."""
        options = self.options
        return over_limit(genome.spec, options.length, options.limits) is None

    # Training

    def _halve(
        self, entrants: Sequence[Entrant], stages: Iterable[tuple[int, int]]
    ) -> Entrant | None:
        """The last one standing; None if every one failed."""
        seed = derived(self.options.seed, "halving")
        alive = list(entrants)
        for size, steps in stages:
            losses = self._fit(alive[:size], (seed,), steps, "validation")
            alive = sorted(
                (e for e in alive[:size] if losses[e.id, seed] is not None),
                key=lambda e: (losses[e.id, seed], e.id),
            )
        return alive[0] if alive else None

    def _fit(
        self, entrants: Sequence[Entrant], seeds: Sequence[int], steps: int, split: str
    ) -> dict[tuple[int, int], float | None]:
        """The loss of every entrant from every seed; None where it failed."""
        known = {
            (fit.entrant, fit.seed): fit.loss
            for fit in self.journal.fits()
            if (fit.steps, fit.split) == (steps, split)
        }
        jobs = {
            (entrant.id, seed): self._job(entrant, seed, steps, split)
            for seed in seeds
            for entrant in entrants
            if (entrant.id, seed) not in known
        }
        for job, outcome in self.trials.run(list(jobs.values())):
            status = "failed" if outcome.loss is None else "done"
            fit = Fit(
                job.candidate,
                job.seed,
                steps,
                split,
                status,
                outcome.loss,
                outcome.reason,
                outcome.right,
            )
            self.journal.record_fit(fit)
            known[job.candidate, job.seed] = outcome.loss
            self.tell(
                Fitted(
                    job.name,
                    job.seed,
                    steps,
                    split,
                    outcome.loss,
                    outcome.reason,
                    *self._progress(0),
                )
            )
        return {(e.id, seed): known[e.id, seed] for seed in seeds for e in entrants}

    def _job(self, entrant: Entrant, seed: int, steps: int, split: str) -> Job:
        options = self.options
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
        )

    # How far it is

    @cached_property
    def _counter(self) -> list[int]:
        return [0, 0]

    def _progress(self, total: int) -> tuple[int, int]:
        """Fits done and to be done in all; `total` is told once, at the beginning."""
        counter = self._counter
        if total:
            counter[:] = [0, total]
        else:
            counter[0] += 1
        # What fails leaves stages smaller, and equal programs share their fits.
        return min(counter), counter[1]

    def _total(self, stages: Sequence[tuple[int, int]]) -> int:
        fits = sum(size for size, _ in stages)
        rows = 2
        if self.options.baselines:
            sampling = self._sampling(self._sample_size(stages), stages)
            fits += sum(size for size, _ in sampling)
            rows += 1 + len(self._by_hand)
        return fits + rows * len(self.options.final_seeds)
