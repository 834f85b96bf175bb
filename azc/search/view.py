"""What a run holds: read from its folder, also while another process works in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from azc.check.choose import choose_space
from azc.check.program import Program, SpaceSpec
from azc.search.folder import RunFolder
from azc.search.journal import START, Candidate, Evaluation, Fit, last_ranking
from azc.search.options import EvolveOptions

__all__ = ["RunView", "local_name", "read_run"]


@dataclass(frozen=True)
class RunView:
    """What a run holds: read without its lock, also while it is at work.

    `options` have the budget that the run has now; `ending` is why the search ended
    before it was spent. `candidates` by id; `rounds` with whether each is closed. `fits`
    may have earlier winners among them.
    """

    folder: Path
    space: str
    model: str
    options: EvolveOptions
    ending: str | None
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
        if self.spent < self.options.evaluations and self.ending is None:
            return False
        waiting = {e.round for e in self.evaluations if e.status == "asked"}
        if any(not closed and number not in waiting for number, closed in self.rounds):
            return False  # it is still to be closed
        wanted = {
            (candidate, seed)
            for candidate in self.roles.values()
            for seed in self.options.final_seeds
        }
        return wanted <= {(fit.candidate, fit.seed) for fit in self.fits}

    @property
    def start(self) -> Candidate | None:
        """The program that evolution began with."""
        return self.candidates.get(START)

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
    def roles(self) -> dict[str, int]:
        """What is trained alone at the end, with its number: the start, and the winner
        if it is another.
        """
        if self.winner is None:
            return {}
        roles = {"start": START, "winner": self.winner}
        return {"start": START} if self.winner == START else roles

    def lineage(self, candidate: int) -> list[Candidate]:
        """From the start to a candidate, parent by parent."""
        found = []
        number: int | None = candidate
        while number is not None:
            found.append(self.candidates[number])
            number = self.candidates[number].parent
        return found[::-1]

    def ranking(self) -> list[Evaluation]:
        """The evaluations that decide, best first: see `last_ranking`."""
        return last_ranking(self.rounds, self.evaluations, self.options.evaluations)

    def fits_of(self, role: str) -> list[Fit]:
        """The winner, or the start, trained alone: a fit for each seed so far."""
        number = self.roles.get(role)
        return [fit for fit in self.fits if fit.candidate == number]

    def losses(self, role: str) -> tuple[float, ...]:
        """Test losses (nats) of the winner or the start trained alone, by seed."""
        return tuple(f.loss for f in self.fits_of(role) if f.loss is not None)

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
    """What a run holds. Raises `RunError` for a folder that is not a run, or one whose
    journal or configuration is not as the run left it.
    """
    run = RunFolder(folder)
    config = run.read()
    journal = run.look()
    if journal is None:
        return RunView(folder, *_of(run, config), None, {}, (), (), ())
    try:
        with journal.snapshot():
            journal.check()
            run.check_config(journal)
            name, model, options = _of(run, config)
            budget = journal.budget() or options.evaluations
            return RunView(
                folder,
                name,
                model,
                options=replace(options, evaluations=budget),
                ending=journal.ending(),
                candidates=journal.candidates(),
                evaluations=tuple(journal.evaluations()),
                rounds=tuple(journal.rounds()),
                fits=tuple(journal.fits()),
            )
    finally:
        journal.close()


def _of(run: RunFolder, config: Mapping[str, Any]) -> tuple[str, str, EvolveOptions]:
    """The names of the space and of the model in it, and the options."""
    program = run.program(config)
    name, space = choose_space(program, config["space"])
    return name, local_name(program, space), run.options(config)


def local_name(program: Program, space: SpaceSpec) -> str:
    """What the file calls the model that a space starts from."""
    for name, model in program.models.items():
        if model is space.start:
            return name
    return space.start.name
