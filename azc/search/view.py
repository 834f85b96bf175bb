"""What a run holds: read from its folder, also while another process works in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from azc.check.choose import choose_space
from azc.check.program import Program, SpaceSpec
from azc.search.folder import RunFolder
from azc.search.journal import Candidate, Evaluation, Fit, ranked
from azc.search.options import EvolveOptions

__all__ = ["RunView", "local_name", "read_run"]


@dataclass(frozen=True)
class RunView:
    """What a run holds: read without its lock, also while it is at work.

    `candidates` by id, the first is the start; `rounds` with whether each is over.
    """

    folder: Path
    space: str
    model: str
    options: EvolveOptions
    candidates: Mapping[int, Candidate]
    evaluations: tuple[Evaluation, ...]
    rounds: tuple[tuple[int, bool], ...]
    fits: tuple[Fit, ...]

    @property
    def spent(self) -> int:
        """Evaluations that count."""
        return sum(e.status != "asked" for e in self.evaluations)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        if self.spent < self.options.evaluations or not all(o for _, o in self.rounds):
            return False
        wanted = {
            (role, seed) for role in self.roles for seed in self.options.final_seeds
        }
        return wanted <= {(fit.role, fit.seed) for fit in self.fits}

    @property
    def start(self) -> Candidate | None:
        """The program that evolution began with."""
        return self.candidates.get(1)

    @property
    def winner(self) -> int | None:
        """The best candidate of the last round; None before any was scored."""
        ranking = self.ranking()
        return ranking[0].candidate if ranking else None

    @property
    def best(self) -> Candidate | None:
        """The winner's program."""
        return None if self.winner is None else self.candidates[self.winner]

    @property
    def roles(self) -> tuple[str, ...]:
        """What is trained alone at the end: the start, and the winner if it is another."""
        if self.winner is None:
            return ()
        return ("start",) if self.winner == 1 else ("start", "winner")

    def lineage(self, candidate: int) -> list[Candidate]:
        """From the start to a candidate, parent by parent."""
        found = []
        number: int | None = candidate
        while number is not None:
            found.append(self.candidates[number])
            number = self.candidates[number].parent
        return found[::-1]

    def ranking(self) -> list[Evaluation]:
        """The last round that is over and has a score, best first (the one under way
        before there is any): scores compare within a round only.
        """
        over = [number for number, closed in self.rounds if closed]
        under_way = [number for number, closed in self.rounds if not closed]
        for number in (*reversed(over), *under_way):
            found = ranked(e for e in self.evaluations if e.round == number)
            if found:
                return found
        return []

    def losses(self, role: str) -> tuple[float, ...]:
        """Test losses (nats) of the winner or the start trained alone, by seed."""
        return tuple(f.loss for f in self.fits if f.role == role and f.loss is not None)

    @property
    def gain(self) -> float | None:
        """How much lower the winner's mean test loss is than the start's, in nats; None
        unless both were trained from every seed.
        """
        winner, start = self.losses("winner"), self.losses("start")
        count = len(self.options.final_seeds)
        if not count or len(winner) != count or len(start) != count:
            return None
        return sum(start) / count - sum(winner) / count

    @property
    def spread(self) -> float | None:
        """How far the seeds of winner or start differ at most; None for a single seed."""
        losses = [self.losses("winner"), self.losses("start")]
        if any(len(each) < 2 for each in losses):
            return None
        return max(max(each) - min(each) for each in losses)

    @property
    def is_better(self) -> bool:
        """Whether the gain is larger than the seeds of either differ by."""
        gain, spread = self.gain, self.spread
        return gain is not None and spread is not None and gain > spread


def read_run(folder: Path) -> RunView:
    """What a run holds. Raises `RunError` for a folder that is no run."""
    run = RunFolder(folder)
    config = run.read()
    program = run.program(config)
    name, space = choose_space(program, config["space"])
    head = (folder, name, local_name(program, space), run.options(config))
    journal = run.look()
    if journal is None:
        return RunView(*head, {}, (), (), ())
    try:
        with journal.snapshot():
            return RunView(
                *head,
                candidates=journal.candidates(),
                evaluations=tuple(journal.evaluations()),
                rounds=tuple(journal.rounds()),
                fits=tuple(journal.fits()),
            )
    finally:
        journal.close()


def local_name(program: Program, space: SpaceSpec) -> str:
    """What the file calls the model that a space starts from."""
    for name, model in program.models.items():
        if model is space.start:
            return name
    return space.start.name
