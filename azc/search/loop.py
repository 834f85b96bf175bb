"""The loop of a run: ask, evaluate, tell; then the last comparison.

Every step can be cut off and taken again: what is done is in the journal or in a file
whose fingerprint is there, and what a step does depends on these and on the seed alone.
The loop holds the budget, and knows nothing of how a strategy searches.

Codes: R031 a state of another strategy, R038 what can't be scored asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from azc.check.program import SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import RunError
from azc.files import write_text
from azc.search.events import (
    Closed,
    Comparing,
    Ended,
    Event,
    Fitted,
    Opened,
    Scored,
)
from azc.search.executors.base import Executor
from azc.search.folder import RunFolder, fingerprint
from azc.search.genome import Genome
from azc.search.journal import (
    START,
    Candidate,
    Evaluation,
    Fit,
    Journal,
    NewCandidate,
    last_ranking,
    ranked,
)
from azc.search.options import EvolveOptions, derived
from azc.search.score import Job, Outcome, Scorer
from azc.search.shared import SharedWeights
from azc.search.strategies.base import Child, Strategy
from azc.search.strategies.base import Scored as Told
from azc.search.trials import Trials

__all__ = ["Loop"]

_ASKS = 8  # answers with nothing new in them until the space counts as used up


@dataclass
class Loop:
    """One run at work in its folder, whose lock is held."""

    folder: RunFolder
    journal: Journal
    options: EvolveOptions
    start: Genome
    space: SpaceSpec
    strategy: Strategy
    scorer: Scorer
    executor: Executor
    tell: Callable[[Event], None]

    def run(self) -> None:
        """Everything that is still to be done."""
        self._begin()
        candidates = self.journal.candidates()
        self.folder.check_programs(candidates)
        self.folder.write_candidates(candidates)
        self._restore(self.journal.state())
        number, is_open = self._place()
        self.folder.sweep(number)
        self.shared.warm_up()
        self.shared.check(number)
        while is_open or self._left() > 0:
            if not is_open and not self._open(number):
                break
            self._score(number)
            if not self._close(number):
                break
            number, is_open = self._place()
        self._compare()

    @cached_property
    def shared(self) -> SharedWeights:
        """The shared weights."""
        return SharedWeights(
            self.folder,
            self.journal,
            self.options,
            self.start,
            self.space,
            self.scorer,
            self.tell,
        )

    @cached_property
    def trials(self) -> Trials:
        """The executor, which does not take the machine's faults for the programs'."""
        return Trials(self.executor, self.start.text, self.tell)

    def _begin(self) -> None:
        """The start is the first candidate of every run."""
        if self.journal.budget():
            return
        start = NewCandidate(self.start.text, None, "the start", self.start.key)
        config = self.folder.config_file
        files = {config.name: fingerprint(config)}
        self.journal.begin(start, self.options.evaluations, files)

    def _restore(self, state: object) -> None:
        """Gives the strategy back what it knew."""
        if state is None:
            return
        try:
            self.strategy.restore(state, self._genome)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            message = f"{self.journal.path} has the state of another strategy"
            raise RunError("R031", message) from error

    def _genome(self, candidate: int) -> Genome:
        program = self.journal.candidate(candidate).program
        return Genome.from_text(program, self.start.model)

    def _place(self) -> tuple[int, bool]:
        """The round to work on, and whether it is open already."""
        rounds = self.journal.rounds()
        if not rounds:
            return 0, False
        number, closed = rounds[-1]
        return (number + 1, False) if closed else (number, True)

    def _left(self) -> int:
        return self.options.evaluations - self.journal.spent()

    # Ask

    def _open(self, number: int) -> bool:
        """Opens a round; whether there was anything to ask for.

        A round is asked for as a whole, however much of the budget is left: a run with a
        larger one then asks for the same.
        """
        known = self.journal.keys()
        rng = random.Random(derived(self.options.seed, "round", number))
        members: list[int | NewCandidate] = []
        for _ in range(_ASKS):
            asked = self.strategy.ask(self.options.round_size, rng, known)
            members = self._admitted(asked, known)
            if members or not asked:
                break
        if members:
            self.journal.open_round(number, members, self.strategy.state())
            self.folder.write_candidates(self.journal.candidates(number))
            return True
        self._end("nothing new was found in the space")
        return False

    def _admitted(
        self, asked: Sequence[int | Child], known: dict[str, int]
    ) -> list[int | NewCandidate]:
        """What a round scores: no more than it holds, nothing twice, nothing known as
        new. Raises `RunError` R038 for what can't be scored.
        """
        members: dict[object, int | NewCandidate] = {}
        numbers = set(known.values())
        for each in asked:
            if len(members) == self.options.round_size:
                break
            if isinstance(each, int):
                _require(each in numbers, f"candidate {each}, which is not there")
                members.setdefault(each, each)
                continue
            genome = each.genome
            _require(each.parent in numbers, f"a child of no candidate, {each.parent}")
            if genome.key in known or genome.key in members:
                continue
            inside = genome.model == self.start.model
            inside = inside and not membership(genome.spec, self.space)
            _require(inside, f"a program outside the space: {each.description}")
            members[genome.key] = NewCandidate(
                genome.text, each.parent, each.description, genome.key
            )
        return list(members.values())

    def _end(self, reason: str) -> None:
        self.journal.end(reason)
        spent, budget = self.journal.spent(), self.options.evaluations
        self.tell(Ended(reason, spent, budget))

    # Evaluate

    def _score(self, number: int) -> None:
        """Scores what a round still waits for, as far as the budget goes."""
        evaluations = self.journal.evaluations(number)
        candidates = self.journal.candidates(number)
        waiting = [e.candidate for e in evaluations if e.status == "asked"]
        budget, left = self.options.evaluations, self._left()
        jobs = [self._job(number, candidates[c]) for c in waiting[:left]]
        if jobs:
            size = len(evaluations) - len(waiting[left:])
            display = self.strategy.display()
            self.tell(Opened(number, size, budget - left, budget, display))
        for job, outcome in self.trials.run(jobs):
            self._record(number, candidates[job.candidate], outcome)

    def _job(self, number: int, candidate: Candidate) -> Job:
        return Job(
            kind="score",
            candidate=candidate.id,
            program=candidate.program,
            model=self.start.model,
            # One seed a round: all its candidates see the same batches and masks.
            seed=derived(self.options.seed, "score", number),
            limit=self.options.time_limit,
            snapshot=self.folder.snapshot_file(number),
            weights=self.folder.weights_file(number, candidate.id),
        )

    def _record(self, number: int, candidate: Candidate, outcome: Outcome) -> None:
        self.journal.record(
            Evaluation(
                number,
                candidate.id,
                "failed" if outcome.value is None else "done",
                outcome.value,
                outcome.reason,
                outcome.seconds,
                outcome.weights,
            )
        )
        self.tell(
            Scored(
                round=number,
                candidate=candidate.id,
                parent=candidate.parent,
                mutation=candidate.mutation,
                score=outcome.value,
                reason=outcome.reason,
                seconds=outcome.seconds,
                spent=self.journal.spent(),
                budget=self.options.evaluations,
            )
        )

    # Tell

    def _close(self, number: int) -> bool:
        """Ends the round and tells the strategy; whether it could be ended.

        One that the budget has cut off stays open, for a run that goes on with more.
        """
        evaluations = self.journal.evaluations(number)
        if any(e.status == "asked" for e in evaluations):
            return False
        candidates = self.journal.candidates(number)
        done = ranked(evaluations)
        # The best last: where two trained the same weights, the better ones stay.
        best = [candidates[e.candidate] for e in done[: self.options.parents]]
        snapshot = self.shared.give_back(number, reversed(best))
        if best:
            write_text(self.folder.best_file, best[0].program)
        self.strategy.tell(
            [Told(e.candidate, self._genome(e.candidate), e.score) for e in evaluations]
        )
        self.journal.close_round(number, self.strategy.state(), snapshot)
        self.folder.sweep(number + 1)
        found = (done[0].candidate, done[0].score) if done else (None, None)
        self.tell(Closed(number, *found))
        return True

    # The last comparison

    def _compare(self) -> None:
        """Trains the winner and the start alone, from the same fresh seeds."""
        rounds, evaluations = self.journal.rounds(), self.journal.evaluations()
        ranking = last_ranking(rounds, evaluations, self.options.evaluations)
        if not ranking:
            return
        winner = self.journal.candidate(ranking[0].candidate)
        write_text(self.folder.best_file, winner.program)
        roles = {winner.id: "winner", START: "start"}
        have = {(f.candidate, f.seed) for f in self.journal.fits()}
        jobs = [
            self._fit(self.journal.candidate(number), seed)
            for seed in self.options.final_seeds
            for number in roles
            if (number, seed) not in have
        ]
        total = len(roles) * len(self.options.final_seeds)
        done = total - len(jobs)
        if jobs:
            self.tell(Comparing(done, total))
        for job, outcome in self.trials.run(jobs):
            done += 1
            value, reason = outcome.value, outcome.reason
            status = "failed" if value is None else "done"
            self.journal.record_fit(Fit(job.candidate, job.seed, status, value, reason))
            role = roles[job.candidate]
            self.tell(Fitted(role, job.seed, value, reason, done, total))

    def _fit(self, candidate: Candidate, seed: int) -> Job:
        options = self.options
        longer = max(1.0, options.final_steps / options.steps)
        return Job(
            kind="alone",
            candidate=candidate.id,
            program=candidate.program,
            model=self.start.model,
            seed=seed,
            limit=options.time_limit * longer,
        )


def _require(met: bool, what: str) -> None:
    if not met:
        raise RunError("R038", f"the strategy asked for what can't be scored: {what}")
