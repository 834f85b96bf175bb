"""Initial weights of candidates.

They are shared weights, which are warmed up and then updated after each round, or fresh
ones. A snapshot is valid once its fingerprint is in the journal.

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

_PATH_STEPS = 10  # training steps of one random path while the supernet warms up


class Weights(Protocol):
    """Initial weights of the candidates of a run, and the use of their trained
    weights.
    """

    def warm_up(self) -> None:
        """Do everything that is needed before the first round."""

    def check(self, number: int) -> None:
        """Raise `RunError` if files that a round needs were changed or are missing."""

    def job(self, number: int, candidate: Candidate) -> Job:
        """Return the job that scores a candidate in a round."""

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """End a round; return the names of new files with their fingerprints."""


def _scoring(
    candidate: Candidate,
    model: str,
    options: EvolveOptions,
    seed: int,
    more: tuple[int, ...] = (),
) -> Job:
    """Create the job that scores a candidate with fresh weights."""
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
    """No shared weights: a candidate has the same score in every round."""

    options: EvolveOptions
    model: str

    def warm_up(self) -> None:
        """Do nothing."""

    def check(self, number: int) -> None:
        """Do nothing."""

    def job(self, number: int, candidate: Candidate) -> Job:
        """Return a job with fresh weights, from the same seeds for all candidates of
        the run.
        """
        seed, *more = self.options.seeds("score")
        return _scoring(candidate, self.model, self.options, seed, tuple(more))

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """Do nothing; there are no new files."""
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
    heed: Callable[[], object]  # applies actions, and waits while the run is paused

    def name(self, number: int) -> str:
        """Return the name of the snapshot that a round starts from, as in the
        journal.
        """
        return (
            self.folder.snapshot_file(number).relative_to(self.folder.path).as_posix()
        )

    def check(self, number: int) -> None:
        """Check the snapshot of a round and the weights of the candidates scored in it.

        Before the first snapshot, there is nothing to check.

        Raises:
            RunError: R030 or R031, if they were changed or can't be read.
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
        """Create the first snapshot, if it is missing.

        Random paths through the space are trained in turn. Every path is a job like any
        other: if it hangs or takes too much memory, the weights stay unchanged.

        Raises:
            RunError: For an error that is not the fault of a path; likewise OSError.
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
        """Add the weights of the start model; return the reason if it can't be built,
        or None.
        """
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
        """Train one path in the shared weights.

        If it fails, the weights stay unchanged, and the reason is returned.
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
            # The time limit in proportion to the steps, as in a round.
            limit=self.options.time_limit * max(1.0, steps / self.options.steps),
            steps=steps,
            name=f"a path after {done} steps of warm-up" if done else "the start",
        )
        ((_, outcome),) = self.trials.run([job])
        if outcome.scores is not None:
            self._take(supernet, path.text, after)
        return outcome.reason

    def _random_path(self, rng: random.Random) -> Genome:
        """Return the start model after as many inter-layer mutations as it has
        layers.
        """
        genome = self.start
        alike = Priorities.start((), 0.0)
        rates = Rates(inter=1.0, intra=0.25)
        for _ in self.start.spec.layers:
            mutation = mutate(genome, self.space, rng, alike, rates)
            genome = mutation.genome if mutation else genome
        return genome

    # The next ones

    def job(self, number: int, candidate: Candidate) -> Job:
        """Return a job that starts from the snapshot of the round and saves the trained
        weights.
        """
        # One seed per round: all of its candidates see the same batches and masks.
        seed = derived(self.options.seed, "score", number)
        return replace(
            _scoring(candidate, self.start.model, self.options, seed),
            snapshot=self.folder.snapshot_file(number),
            weights=self.folder.weights_file(number, candidate.id),
        )

    def give_back(self, number: int, best: Iterable[Candidate]) -> dict[str, str]:
        """Create the snapshot after a round.

        The weights of its best candidates are copied into it, in this order.

        Returns:
            Its name and fingerprint, for the journal.
        """
        supernet = Supernet.read(self.folder.snapshot_file(number))
        for candidate in best:
            trained = self.folder.weights_file(number, candidate.id)
            self._take(supernet, candidate.program, trained)
        after = self.folder.snapshot_file(number + 1)
        supernet.save(after)
        return {self.name(number + 1): fingerprint(after)}

    def _take(self, supernet: Supernet, program: str, path: Path) -> None:
        """Copy the trained weights of a program into the supernet.

        Raises:
            RunError: R030, if they can't be read.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            trained = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunError("R030", f"can't read {path}: {error}") from error
        with torch.random.fork_rng():
            model, spec = build_candidate(program, self.start.model, 0)
        # The head shares its matrix with the embedding, so it is stored once.
        model.load_state_dict(trained, strict=False)
        supernet.take(model, spec)
