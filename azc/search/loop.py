"""The loop of a run: warm the supernet, rounds of ask and tell, the last comparison.

Every step can be cut off and taken again: what is done is in the journal or in a file
written whole, and what a step does depends on these and on the seed alone.

Codes: R030 weights that are missing or broken, R038 nothing left to ask for.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from azc.check.program import SpaceSpec
from azc.diagnostics import RunError
from azc.search.events import (
    Closed,
    Comparing,
    Event,
    Fitted,
    Opened,
    Scored,
    Warming,
)
from azc.search.executors.base import Executor
from azc.search.folder import RunFolder, write_text
from azc.search.genome import Genome
from azc.search.journal import (
    Candidate,
    Evaluation,
    Fit,
    Journal,
    NewCandidate,
    ranked,
)
from azc.search.mutate import Rates, mutate
from azc.search.options import EvolveOptions
from azc.search.priorities import Priorities
from azc.search.score import Job, Outcome, Scorer, build_candidate, reason_of
from azc.search.strategies.base import Scored as Told
from azc.search.strategies.base import Strategy

if TYPE_CHECKING:
    from azc.supernet.supernet import Supernet

__all__ = ["Loop"]

_PATH_STEPS = 10  # of one random path while the supernet warms up


def derived(seed: int, *purpose: object) -> int:
    """A seed of 32 bits for one purpose of a run."""
    text = " ".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


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
        number = self._next_round()
        self.folder.sweep(number)
        self.folder.write_candidates(self.journal.candidates())
        self._replay()
        if number == 0 and not self.folder.snapshot_file(0).exists():
            self._warm_up()
        # A round may be open although its last evaluation has spent the budget.
        while self._is_open(number) or self.journal.spent() < self.options.evaluations:
            self._round(number)
            number += 1
        self._compare()

    def _replay(self) -> None:
        """Tells the strategy what it was told before."""
        candidates = self.journal.candidates()
        for number, closed in self.journal.rounds():
            if closed:
                self._tell_strategy(number, candidates)

    def _tell_strategy(self, number: int, candidates: dict[int, Candidate]) -> None:
        told = []
        for evaluation in self.journal.evaluations(number):
            program = candidates[evaluation.candidate].program
            genome = Genome.from_text(program, self.start.model)
            told.append(Told(evaluation.candidate, genome, evaluation.score))
        self.strategy.tell(told)

    def _next_round(self) -> int:
        """The round to work on: the one under way, or a new one."""
        rounds = self.journal.rounds()
        if not rounds:
            return 0
        number, closed = rounds[-1]
        return number + 1 if closed else number

    # The supernet

    def _warm_up(self) -> None:
        """Makes the first snapshot: random paths through the space, trained in turn."""
        import torch

        from azc.supernet.supernet import Supernet

        options = self.options
        rng = random.Random(derived(options.seed, "warm-up"))
        supernet = Supernet()
        with torch.random.fork_rng():
            reason = _failure(lambda: self._admit_start(supernet))
            self.tell(Warming(0, options.warm_up, reason))
            for done in range(0, options.warm_up, _PATH_STEPS):
                steps = min(_PATH_STEPS, options.warm_up - done)
                seed = derived(options.seed, "warm-up", done)
                path = self._random_path(rng) if done else self.start
                train = partial(self._train_path, supernet, path, steps, seed)
                reason = _failure(train)
                self.tell(Warming(done + steps, options.warm_up, reason))
        supernet.save(self.folder.snapshot_file(0))

    def _train_path(
        self, supernet: Supernet, path: Genome, steps: int, seed: int
    ) -> None:
        """Trains one path in the shared weights, which stay as they are where it fails:
        raises what goes wrong in it.
        """
        from azc.training.fit import FitOptions, fit

        model, spec = build_candidate(path.text, path.model, seed)
        supernet.give(model, spec)
        options = FitOptions(
            steps=steps,
            batch_size=self.options.batch_size,
            learning_rate=self.options.learning_rate,
            schedule="constant",
            warmup=0.0,
            seed=seed,
        )
        fit(model, self.scorer.data, options, device=self.options.device)
        # The last step's loss was a number; what it made of the weights may be none.
        if not all(p.isfinite().all() for p in model.parameters()):
            raise RunError("R029", "the weights are no numbers after the last step")
        supernet.take(model.cpu(), spec)

    def _admit_start(self, supernet: Supernet) -> None:
        seed = derived(self.options.seed, "supernet")
        model, spec = build_candidate(self.start.text, self.start.model, seed)
        supernet.admit(model, spec)

    def _random_path(self, rng: random.Random) -> Genome:
        """The start after as many mutations between layers as it has layers."""
        genome = self.start
        priorities = Priorities.start((), self.options.alpha)
        rates = Rates(inter=1.0, intra=0.25)
        for _ in self.start.spec.layers:
            mutation = mutate(genome, self.space, rng, priorities, rates)
            genome = mutation.genome if mutation else genome
        return genome

    # Rounds

    def _is_open(self, number: int) -> bool:
        return (number, False) in self.journal.rounds()

    def _round(self, number: int) -> None:
        """One round, from wherever it stands."""
        snapshot = self.folder.snapshot_file(number)
        if not snapshot.exists():
            raise RunError("R030", f"{snapshot} is missing: no candidate can be scored")
        if not self._is_open(number):
            self._open(number)
        candidates = self.journal.candidates()
        self.folder.write_candidates(candidates)
        evaluations = self.journal.evaluations(number)
        waiting = [e.candidate for e in evaluations if e.status == "asked"]
        budget, spent = self.options.evaluations, self.journal.spent()
        chances = _chances(self.journal.priorities(number))
        self.tell(Opened(number, len(evaluations), spent, budget, chances))
        jobs = [self._job(number, candidates[c]) for c in waiting]
        for job, outcome in self.executor.run(jobs):
            self._record(number, candidates[job.candidate], outcome)
        self._close(number, candidates)

    def _open(self, number: int) -> None:
        left = self.options.evaluations - self.journal.spent()
        count = min(self.options.round_size, left)
        rng = random.Random(derived(self.options.seed, "round", number))
        ask = self.strategy.ask(count, rng)
        children = [
            NewCandidate(
                program=child.mutation.genome.text,
                parent=child.parent,
                mutation=child.mutation.description,
                features=child.mutation.genome.features,
                key=child.mutation.genome.key,
            )
            for child in ask.children
        ]
        parents = list(ask.parents)
        if number == 0:
            children.insert(0, self._first())
            parents = []
        if not parents and not children:
            raise RunError("R038", "the strategy has nothing left to ask for")
        self.journal.open_round(number, parents, children, ask.priorities)

    def _first(self) -> NewCandidate:
        start = self.start
        return NewCandidate(start.text, None, "the start", start.features, start.key)

    def _job(self, number: int, candidate: Candidate) -> Job:
        return Job(
            kind="score",
            candidate=candidate.id,
            program=candidate.program,
            model=self.start.model,
            # One seed a round: all its candidates see the same batches and masks.
            seed=derived(self.options.seed, "score", number),
            snapshot=self.folder.snapshot_file(number),
            weights=self.folder.weights_file(number, candidate.id),
        )

    def _record(self, number: int, candidate: Candidate, outcome: Outcome) -> None:
        status = "failed" if outcome.value is None else "done"
        self.journal.record(
            Evaluation(
                number,
                candidate.id,
                status,
                outcome.value,
                outcome.reason,
                outcome.seconds,
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

    def _close(self, number: int, candidates: dict[int, Candidate]) -> None:
        """Gives the best weights back to the supernet and ends the round."""
        from azc.supernet.supernet import Supernet

        done = ranked(self.journal.evaluations(number))
        after = self.folder.snapshot_file(number + 1)
        if not after.exists():
            supernet = Supernet.read(self.folder.snapshot_file(number))
            # The best last: where two trained the same weights, the better ones stay.
            for evaluation in reversed(done[: self.options.parents]):
                self._take(supernet, number, candidates[evaluation.candidate])
            supernet.save(after)
        if done:
            best = candidates[done[0].candidate]
            write_text(self.folder.best_file, best.program)
        self.journal.close_round(number)
        self.folder.sweep(number + 1)
        self._tell_strategy(number, candidates)
        found = (done[0].candidate, done[0].score) if done else (None, None)
        self.tell(Closed(number, *found))

    def _take(self, supernet: Supernet, number: int, candidate: Candidate) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder.weights_file(number, candidate.id)
        try:
            trained = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError("R030", f"can't read {path}: {error}") from error
        model, spec = build_candidate(candidate.program, self.start.model, 0)
        # The head's matrix is the embedding's: it is there once.
        model.load_state_dict(trained, strict=False)
        supernet.take(model, spec)

    # The last comparison

    def _compare(self) -> None:
        """Trains the winner and the start alone, from the same fresh seeds."""
        candidates = self.journal.candidates()
        winner = self._winner()
        if winner is None:
            return
        roles = {winner: "winner", 1: "start"}
        have = {(f.candidate, f.seed) for f in self.journal.fits()}
        jobs = [
            Job("alone", number, candidates[number].program, self.start.model, seed)
            for seed in self.options.final_seeds
            for number in roles
            if (number, seed) not in have
        ]
        total = len(roles) * len(self.options.final_seeds)
        done = total - len(jobs)
        if jobs:
            self.tell(Comparing(done, total))
        for job, outcome in self.executor.run(jobs):
            done += 1
            role = roles[job.candidate]
            status = "failed" if outcome.value is None else "done"
            fit = Fit(
                role,
                job.candidate,
                job.seed,
                status,
                outcome.value,
                outcome.reason,
                outcome.tokens_per_second,
                outcome.seconds,
            )
            self.journal.record_fit(fit)
            value, reason = outcome.value, outcome.reason
            self.tell(Fitted(role, job.seed, value, reason, done, total))

    def _winner(self) -> int | None:
        """The best candidate of the last round in which any did not fail."""
        for number, _ in reversed(self.journal.rounds()):
            done = ranked(self.journal.evaluations(number))
            if done:
                return done[0].candidate
        return None


def _failure(attempt: Callable[[], None]) -> str | None:
    """Why a program failed, None if it did not. Raises what is not its fault."""
    try:
        attempt()
    except OSError:
        raise
    except Exception as error:
        return reason_of(error)
    return None


def _chances(priorities: object) -> dict[str, float]:
    """The sampling probability of every feature, from the journal's JSON."""
    if not isinstance(priorities, dict):
        return {}
    known = Priorities.from_json(priorities)
    features = [row.feature for row in known.table()]
    return dict(zip(features, known.weights(features), strict=True))
