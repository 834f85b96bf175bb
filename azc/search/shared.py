"""What candidates begin with: shared weights, warmed up and given back to after each
round, or fresh ones.

A snapshot counts once its fingerprint is in the journal.

Codes: R030 weights of a run cannot be read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from azc.check.program import SpaceSpec
from azc.diagnostics import RunError
from azc.search.events import Event, Warming
from azc.search.folder import RunFolder, fingerprint
from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.mutate import Rates, mutate
from azc.search.options import EvolveOptions, derived
from azc.search.priorities import Priorities
from azc.search.records import START, Candidate
from azc.search.score import Job, blamed, build_candidate, machine_at_fault
from azc.search.trials import Trials
from azc.supernet.supernet import Supernet

__all__ = ["FreshWeights", "SharedWeights", "Weights"]

_PATH_STEPS = 10  # of one random path while the supernet warms up


class Weights(Protocol):
    """What candidates of a run begin with, and what becomes of what they learn."""

    def warm_up(self) -> None:
        """All that is to be done before the first round."""

    def check(self, number: int) -> None:
        """Raises `RunError` where what a round needs is not as the run left it."""

    def job(self, number: int, candidate: Candidate) -> Job:
        """The job that scores a candidate in a round."""

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """Ends a round: the files made, by name with their fingerprints."""


def _scoring(
    candidate: Candidate,
    model: str,
    options: EvolveOptions,
    seed: int,
    more: tuple[int, ...] = (),
) -> Job:
    """The job that scores a candidate, from fresh weights."""
    return Job(
        kind="score",
        candidate=candidate.id,
        program=candidate.program,
        model=model,
        seed=seed,
        limit=options.time_limit * (1 + len(more)),
        steps=options.steps,
        more=more,
    )


@dataclass(frozen=True)
class FreshWeights:
    """Nothing is shared: a candidate has the same score in every round."""

    options: EvolveOptions
    model: str

    def warm_up(self) -> None:
        """Nothing."""

    def check(self, number: int) -> None:
        """Nothing."""

    def job(self, number: int, candidate: Candidate) -> Job:
        """From fresh weights, the same for all candidates of the run."""
        seed, *more = self.options.seeds("score")
        return _scoring(candidate, self.model, self.options, seed, tuple(more))

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class SharedWeights:
    """The supernet of one run."""

    folder: RunFolder
    journal: Journal
    options: EvolveOptions
    start: Genome
    space: SpaceSpec
    trials: Trials
    tell: Callable[[Event], None]
    heed: Callable[[], object]  # takes up acts, and waits while the run is to

    def name(self, number: int) -> str:
        """What the journal calls the snapshot that a round starts from."""
        return (
            self.folder.snapshot_file(number).relative_to(self.folder.path).as_posix()
        )

    def check(self, number: int) -> None:
        """Raises `RunError` R030 or R031 where the snapshot of a round, or the weights
        of a candidate scored in it, are not as the run left them. Before the first
        snapshot there are none.
        """
        files = self.journal.files()
        if self.name(0) not in files:
            return
        kept = files.get(self.name(number))
        self.folder.check_weights(self.folder.snapshot_file(number), kept)
        for evaluation in self.journal.evaluations(number):
            if evaluation.status == "done":
                path = self.folder.weights_file(number, evaluation.candidate)
                self.folder.check_weights(path, evaluation.weights)

    # The first snapshot

    def warm_up(self) -> None:
        """Makes the first snapshot, where there is none: random paths through the space,
        trained in turn.

        Every path is a job like any other: one that hangs or takes too much memory leaves
        nothing in the weights. Raises `RunError` and `OSError` for what is not the fault
        of a path.
        """
        if self.name(0) in self.journal.files():
            return
        options = self.options
        rng = random.Random(derived(options.seed, "warm-up"))
        supernet = Supernet()
        self.tell(Warming(0, options.warm_up, self._admit_start(supernet)))
        for done in range(0, options.warm_up, _PATH_STEPS):
            steps = min(_PATH_STEPS, options.warm_up - done)
            path = self._random_path(rng) if done else self.start
            reason = self._train_path(supernet, path, done, steps)
            self.tell(Warming(done + steps, options.warm_up, reason))
            self.heed()
        snapshot = self.folder.snapshot_file(0)
        supernet.save(snapshot)
        self.journal.keep_file(self.name(0), fingerprint(snapshot))
        for path_file in (self.folder.path_file, self.folder.trained_path_file):
            path_file.unlink(missing_ok=True)

    def _admit_start(self, supernet: Supernet) -> str | None:
        """Makes room for the start; why it can't be built, None if it can."""
        import torch

        seed = derived(self.options.seed, "supernet")
        try:
            with torch.random.fork_rng():
                model, spec = build_candidate(self.start.text, self.start.model, seed)
        except Exception as error:
            found = blamed(error)
            if found.suspect:
                raise machine_at_fault(
                    "the start could not be trained", found.reason
                ) from error
            return found.reason
        supernet.admit(model, spec)
        return None

    def _train_path(
        self, supernet: Supernet, path: Genome, done: int, steps: int
    ) -> str | None:
        """Trains one path in the shared weights, which stay as they are where it fails;
        the reason of that.
        """
        before, after = self.folder.path_file, self.folder.trained_path_file
        supernet.save(before)
        job = Job(
            kind="path",
            candidate=START,
            program=path.text,
            model=path.model,
            seed=derived(self.options.seed, "warm-up", done),
            snapshot=before,
            weights=after,
            # As in a round, where a candidate takes these steps.
            limit=self.options.time_limit * max(1.0, steps / self.options.steps),
            steps=steps,
            name=f"a path after {done} steps of warm-up" if done else "the start",
        )
        ((_, outcome),) = self.trials.run([job])
        if outcome.scores is not None:
            self._take(supernet, path.text, after)
        return outcome.reason

    def _random_path(self, rng: random.Random) -> Genome:
        """The start after as many mutations between layers as it has layers."""
        genome = self.start
        alike = Priorities.start((), 0.0)
        rates = Rates(inter=1.0, intra=0.25)
        for _ in self.start.spec.layers:
            mutation = mutate(genome, self.space, rng, alike, rates)
            genome = mutation.genome if mutation else genome
        return genome

    # The next ones

    def job(self, number: int, candidate: Candidate) -> Job:
        """From the snapshot of the round; what is trained is written down."""
        # One seed a round: all its candidates see the same batches and masks.
        seed = derived(self.options.seed, "score", number)
        return replace(
            _scoring(candidate, self.start.model, self.options, seed),
            snapshot=self.folder.snapshot_file(number),
            weights=self.folder.weights_file(number, candidate.id),
        )

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """Makes the snapshot after a round, which the weights of its best candidates go
        into in this order; its name and fingerprint, for the journal.
        """
        supernet = Supernet.read(self.folder.snapshot_file(number))
        for candidate in best:
            trained = self.folder.weights_file(number, candidate.id)
            self._take(supernet, candidate.program, trained)
        after = self.folder.snapshot_file(number + 1)
        supernet.save(after)
        return {self.name(number + 1): fingerprint(after)}

    def _take(self, supernet: Supernet, program: str, path: Path) -> None:
        """Takes in a program's trained weights. Raises `RunError` R030."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            trained = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError("R030", f"can't read {path}: {error}") from error
        with torch.random.fork_rng():
            model, spec = build_candidate(program, self.start.model, 0)
        # The head's matrix is the embedding's: it is there once.
        model.load_state_dict(trained, strict=False)
        supernet.take(model, spec)
