"""Reading of runs from their folders, also while another process works in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from azc.data.load import DataSpec
from azc.data.summary import TextSummary
from azc.search.acts import (
    DRAW,
    LIMIT,
    PROPOSE,
    Act,
    allowed_after,
    budget_after,
    is_paused,
    limits_after,
)
from azc.search.barred import Barred
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.noise import Noise, noise
from azc.search.objectives import Scores, costs, over_limits
from azc.search.options import EvolveOptions
from azc.search.ranking import (
    Front,
    contenders,
    deciding,
    pareto_front,
    trained_alone,
    validation_losses,
    winner,
)
from azc.search.records import START, Candidate, Entrant, Evaluation, Fit
from azc.search.refused import Refused
from azc.training.verdict import Verdict, kendall, verdicts

__all__ = ["Agreement", "Row", "RunView", "read_run"]


_NEWS = (PROPOSE, DRAW, LIMIT)  # with these, a space that was used up may not be


@dataclass(frozen=True)
class Row:
    """A row of the final comparison: an entrant trained from scratch with every final
    seed.

    Attributes:
        role: "winner", "start", "neighbour" (of the winner), "random" (the best of
            random sampling) or "hand" (typed by hand).
        entrant: The entrant.
        fits: Its results by seed; None if one is missing.
    """

    role: str
    entrant: Entrant
    fits: tuple[Fit | None, ...]

    @property
    def is_whole(self) -> bool:
        """True if the model was trained with every seed."""
        return None not in self.fits

    @property
    def losses(self) -> tuple[float, ...]:
        """Test losses in nats, by seed, of those that did not fail."""
        return tuple(f.loss for f in self.fits if f and f.loss is not None)

    def right(self, part: str) -> tuple[float, ...]:
        """Return the accuracy on a part of the data, by seed; see `losses`."""
        return tuple(f.right[part] for f in self.fits if f and part in f.right)

    @property
    def is_sound(self) -> bool:
        """True if there is a loss for every seed."""
        return len(self.losses) == len(self.fits) > 0


@dataclass(frozen=True)
class Agreement:
    """Agreement of a stage of the search with longer training.

    Attributes:
        stage: Name of the stage.
        steps: Number of steps of the longer training.
        count: Number of candidates that have both.
        tau: Kendall's τ-b between the two rankings.
    """

    stage: str
    steps: int
    count: int
    tau: float


@dataclass(frozen=True)
class RunView:
    """The contents of a run, which can be read without its lock while it is in
    progress.

    Attributes:
        folder: Folder of the run.
        space: Name of the search space.
        model: Name of the model in programs.
        options: Options of the run, with its current budget and limits.
        ending: The reason why the search ended before its budget was spent.
        candidates: Candidates by number.
        evaluations: All evaluations.
        rounds: Rounds, with whether each is closed.
        fits: Results of training from scratch.
        entrants: Models trained from scratch, by number.
        table: The final comparison: roles with entrants.
        refused: Children that were not trained.
        acts: Actions on the run. A budget counts from its request on, a limit from the
            round that starts with it.
        states: States of the strategy after each closed round.
        costs: Measurements of programs, by their keys.
        version: Version of azc that started the run.
        causal: Whether models are causal.
        bytes_per_token: Bytes per token of the test text, if every token is predicted.
        text: Summary of the text; None if there is none, or an older version started
            the run.
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
    entrants: Mapping[int, Entrant]
    table: tuple[tuple[str, int], ...]
    refused: tuple[Refused, ...] = ()
    acts: tuple[Act, ...] = ()
    states: Mapping[int, object] = field(default_factory=dict)
    costs: Mapping[str, Scores] = field(default_factory=dict)
    version: str = "unknown"
    causal: bool = False
    bytes_per_token: float | None = None
    text: TextSummary | None = None

    @property
    def data(self) -> DataSpec:
        """The data specification of the run."""
        return DataSpec.parse(self.options.data)

    @property
    def unit(self) -> str:
        """The unit that losses, in nats, are averaged over."""
        return self.data.unit(self.causal)

    @property
    def spent(self) -> int:
        """The number of evaluations that count toward the budget."""
        return sum(e.counts for e in self.evaluations)

    @property
    def is_over(self) -> bool:
        """True if the run is complete."""
        news = any(a.round is None and a.kind in _NEWS for a in self.acts)
        if self.spent < self.options.evaluations and (self.ending is None or news):
            return False
        waiting = {e.round for e in self.evaluations if e.status == "asked"}
        if any(not closed and number not in waiting for number, closed in self.rounds):
            return False  # it is still to be closed
        if not self.options.final_seeds or next(self._deciding(), None) is None:
            return True
        return bool(self.rows) and all(row.is_whole for row in self.rows)

    @cached_property
    def by_candidate(self) -> Mapping[int, Sequence[Evaluation]]:
        """The evaluations of every candidate, in the order of rounds."""
        found: dict[int, list[Evaluation]] = {number: [] for number in self.candidates}
        for evaluation in self.evaluations:
            found[evaluation.candidate].append(evaluation)
        return found

    @property
    def is_paused(self) -> bool:
        """True if the run is paused."""
        return is_paused(self.acts)

    @property
    def start(self) -> Candidate | None:
        """The start model's candidate."""
        return self.candidates.get(START)

    @cached_property
    def winner(self) -> int | None:
        """The number of the winner.

        Before it is known, the leader of the last round; None if nothing was scored.
        See `azc.search.ranking.winner`.
        """
        names = self.options.objectives
        return winner(self.table, self.entrants, self._deciding(), names)

    @property
    def best(self) -> Candidate | None:
        """The winner's candidate."""
        return None if self.winner is None else self.candidates[self.winner]

    def lineage(self, candidate: int) -> list[Candidate]:
        """Return the ancestors of a candidate, following first parents, and the
        candidate itself last.
        """
        found = []
        number: int | None = candidate
        while number is not None:
            found.append(self.candidates[number])
            number = self.candidates[number].parent
        return found[::-1]

    def ranking(self) -> list[Evaluation]:
        """Return the deciding evaluations, best first; see `deciding`."""
        return list(self._deciding())

    def _deciding(self) -> Iterator[Evaluation]:
        return deciding(self.rounds, self.evaluations, self.options, self._out)

    @cached_property
    def _out(self) -> Barred:
        return Barred(self.acts, self._over)

    def _over(self, number: int) -> str | None:
        """Return the reason why a candidate exceeds the limits, as far as it is known,
        or None.
        """
        candidate = self.candidates[number]
        spec = Genome.from_text(candidate.program, self.model).spec
        written = costs(spec, self.options.length)
        measured = self.costs.get(candidate.key, {})
        return over_limits({**written, **measured}, self.options.limits)

    @cached_property
    def noise(self) -> Noise | None:
        """The noise of scores; None if it is unknown, and with shared weights."""
        if not self.options.is_fresh:
            return None
        measured = {
            each.id: self.costs[each.key]
            for each in self.candidates.values()
            if each.key in self.costs
        }
        return noise(self.evaluations, measured)

    @cached_property
    def front(self) -> Front | None:
        """The Pareto front of the deciding evaluations; None with one objective or
        without scores.
        """
        return pareto_front(self.ranking(), self.options.objectives)

    @cached_property
    def final_front(self) -> Front | None:
        """The Pareto front of the contenders, with their losses after training from
        scratch.

        Its knee is the winner, unless a contender was stopped after that. None with one
        objective, and before any contender was trained.
        """
        out = Barred(self.acts, self._over, kept=self.winner)
        chosen = contenders(self.rounds, self.evaluations, self.options, out)
        numbers = {n: e.candidate for n, e in self.entrants.items()}
        losses = {
            number: loss
            for (steps, entrant), loss in validation_losses(self.fits).items()
            for number in [numbers[entrant]]
            if steps == self.options.final_steps and number in chosen
        }
        alone = trained_alone(self.evaluations, losses)
        return pareto_front(alone, self.options.objectives)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the final comparison, the winner first; empty while it is
        unknown.
        """
        seeds = self.options.final_seeds
        fits = {
            (fit.entrant, fit.seed): fit
            for fit in self.fits
            if (fit.steps, fit.split) == (self.options.final_steps, "test")
        }
        return tuple(
            Row(
                role, self.entrants[number], tuple(fits.get((number, s)) for s in seeds)
            )
            for role, number in self.table
        )

    @property
    def sampled(self) -> int:
        """The number of random models in the final comparison."""
        tried = {fit.entrant for fit in self.fits if fit.split == "validation"}
        return sum(self.entrants[number].candidate is None for number in tried)

    def perplexity(self, row: Row) -> tuple[float, ...]:
        """Return the perplexities on the test data by seed; empty if losses are not
        over all tokens of a text.
        """
        known = self.bytes_per_token is not None
        return tuple(map(_exp, row.losses)) if known else ()

    def bits_per_byte(self, row: Row) -> tuple[float, ...]:
        """Return the test losses in bits per byte of the raw text, by seed; see
        `perplexity`.
        """
        size = self.bytes_per_token
        if size is None:
            return ()
        return tuple(loss / math.log(2) / size for loss in row.losses)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of other figures in the final comparison, see `also`."""
        tasks = (f"{part} right" for part in self.data.task_parts)
        text = () if self.bytes_per_token is None else ("perplexity", "bits per byte")
        return (*text, *tasks)

    def also(self, row: Row) -> dict[str, str]:
        """Return the means over seeds of the figures in `columns`, as far as they
        exist.
        """
        figures = {
            "perplexity": (self.perplexity(row), ".2f"),
            "bits per byte": (self.bits_per_byte(row), ".3f"),
        }
        for part in self.data.task_parts:
            figures[f"{part} right"] = row.right(part), ".1%"
        return {
            name: format(fmean(values), form)
            for name, (values, form) in figures.items()
            if values
        }

    @cached_property
    def verdicts(self) -> Mapping[int, Verdict]:
        """The verdicts on the winner compared with each other row, by the place of that
        row.

        Rows that failed or are incomplete have none, and neither have rows with the
        losses of the winner to the last bit: they are the same model.
        """
        if not self.rows or not self.rows[0].is_sound:
            return {}
        first = self.rows[0]
        others = {
            place: row.losses
            for place, row in enumerate(self.rows)
            if row.is_sound and row.losses != first.losses
        }
        return verdicts(first.losses, others)

    @cached_property
    def agreement(self) -> tuple[Agreement, ...]:
        """The agreement between consecutive stages of the search, as far as it is
        known.
        """
        found = []
        before = {e.candidate: e.score for e in self.ranking()}
        stages: dict[int, dict[int, float]] = {}
        for (steps, entrant), loss in validation_losses(self.fits).items():
            candidate = self.entrants[entrant].candidate
            if candidate is not None and loss is not None:
                stages.setdefault(steps, {})[candidate] = loss
        options = self.options
        name = f"{options.steps} steps alone" if options.is_fresh else "shared weights"
        for steps, losses in sorted(stages.items()):
            both = sorted(before.keys() & losses.keys())
            if len(both) > 3:  # fewer say nothing
                pairs = [(before[c], losses[c]) for c in both]
                found.append(Agreement(name, steps, len(both), kendall(pairs)))
            before, name = dict(losses), f"{steps} steps alone"
        return tuple(found)


def read_run(folder: Path) -> RunView:
    """Read a run.

    Raises:
        RunError: For a folder that is not a run, or whose journal or configuration has
            changed since the run wrote it.
    """
    run = RunFolder(folder)
    config, traces = run.read(), run.traces()
    journal = run.look()
    if journal is None:
        return _of(run, config)
    try:
        with journal.snapshot():
            journal.check()
            run.check_traces(journal, traces)
            run.check_config(journal)
            of = _of(run, config)
            acts = journal.acts()
            budget = budget_after(acts, journal.budget() or of.options.evaluations)
            taken = [act for act in acts if act.round is not None]
            options = replace(
                of.options,
                evaluations=budget,
                limits=limits_after(taken, of.options.limits),
                **allowed_after(acts),
            )
            return replace(
                of,
                options=options,
                ending=journal.ending(),
                candidates=journal.candidates(),
                evaluations=tuple(journal.evaluations()),
                rounds=tuple(journal.rounds()),
                fits=tuple(journal.fits()),
                entrants=journal.entrants(),
                table=tuple(journal.table()),
                refused=tuple(journal.refused()),
                acts=tuple(acts),
                states=journal.states(),
                costs=journal.all_costs(),
            )
    finally:
        journal.close()


def _of(run: RunFolder, config: Mapping[str, Any]) -> RunView:
    """Create a view from the configuration only, for a run that has not started."""
    model, space = run.space(config)
    return RunView(
        run.path,
        config["space"],
        model,
        run.options(config),
        ending=None,
        candidates={},
        evaluations=(),
        rounds=(),
        fits=(),
        entrants={},
        table=(),
        version=str(config.get("azc", "unknown")),
        causal=space.start.causal,
        bytes_per_token=config.get("bytes_per_token"),
        text=run.text(config),
    )


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # beyond, it is more than a float holds
