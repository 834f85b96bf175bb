"""What the page tells of every candidate, gathered from a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from azc.check.program import ConvUse
from azc.check.resolve import check_source
from azc.compare.summary import ModelSummary, summarise
from azc.diagnostics import DiagnosticError
from azc.report.code import DiffLine, diff_lines
from azc.search.archive import fate
from azc.search.records import Candidate, Evaluation, ranked
from azc.search.view import RunView
from azc.source import Source

__all__ = ["Chip", "Facts", "Scored", "failures", "gather"]


@dataclass(frozen=True)
class Scored:
    """An evaluation with its place in its round: 1 the best of `of`; None if it has no
    score.
    """

    evaluation: Evaluation
    place: int | None
    of: int


@dataclass(frozen=True)
class Chip:
    """Layers in a row that mix their tokens alike, for the picture of a model."""

    text: str
    times: int
    kind: str


@dataclass(frozen=True)
class Facts:
    """A candidate. `model` is None for a program that this azc can't read; `fate` is one
    of start, winner, failed, waiting, parent, scored; `reason` only of what failed.
    `children`: whose parents it is one of; `difference`: from the first parent.
    """

    candidate: Candidate
    model: ModelSummary | None
    scores: tuple[Scored, ...]
    children: tuple[int, ...]
    fate: str
    reason: str | None
    on_line: bool
    difference: list[DiffLine]

    @property
    def number(self) -> int:
        """The candidate's number."""
        return self.candidate.id

    @property
    def last(self) -> Scored | None:
        """Its latest evaluation that has a score."""
        done = [each for each in self.scores if each.place is not None]
        return done[-1] if done else None

    @property
    def chips(self) -> list[Chip]:
        """The layers from the input to the output."""
        if self.model is None:
            return []
        pairs = [
            (
                each.mixing.replace("conv(kernel = ", "conv(").replace("kind = ", ""),
                "conv" if isinstance(each.layer.mixing, ConvUse) else "attention",
            )
            for each in self.model.layers
        ]
        return [
            Chip(text, len(list(same)), kind) for (text, kind), same in groupby(pairs)
        ]


def gather(view: RunView) -> dict[int, Facts]:
    """Every candidate by its number."""
    scores: dict[int, list[Scored]] = defaultdict(list)
    by_round: dict[int, list[Evaluation]] = defaultdict(list)
    for evaluation in view.evaluations:
        by_round[evaluation.round].append(evaluation)
    for found in by_round.values():
        order = {e.candidate: place for place, e in enumerate(ranked(found), 1)}
        for e in found:
            place = order.get(e.candidate)
            scores[e.candidate].append(Scored(e, place, len(order)))
    children: dict[int, list[int]] = defaultdict(list)
    for candidate in view.candidates.values():
        for parent in candidate.parents:
            children[parent].append(candidate.id)
    winner = view.winner
    line = {c.id for c in view.lineage(winner)} if winner is not None else set()
    facts = {}
    for number, candidate in view.candidates.items():
        mine = tuple(scores[number])
        reasons = [s.evaluation.reason for s in mine if s.evaluation.reason]
        facts[number] = Facts(
            candidate,
            _model(view, candidate),
            mine,
            tuple(children[number]),
            fate(
                number,
                winner,
                [s.evaluation.status for s in mine],
                bool(children[number]),
            ),
            reasons[-1] if reasons else None,
            number in line,
            _difference(view, candidate),
        )
    return facts


def _model(view: RunView, candidate: Candidate) -> ModelSummary | None:
    return _summary(candidate.program, view.model, view.options.length)


@lru_cache(maxsize=4096)  # a page is drawn again and again while a run is at work
def _summary(text: str, model: str, length: int) -> ModelSummary | None:
    try:
        spec = check_source(Source("candidate.azg", text, own=True)).models.get(model)
    except DiagnosticError:  # of another version of azc, say
        return None
    return None if spec is None else summarise(spec, length)


def _difference(view: RunView, candidate: Candidate) -> list[DiffLine]:
    if candidate.parent is None:
        return []
    return _diff(view.candidates[candidate.parent].program, candidate.program)


@lru_cache(maxsize=4096)
def _diff(old: str, new: str) -> list[DiffLine]:
    return diff_lines(old, new)


def failures(facts: Mapping[int, Facts]) -> dict[str, list[Facts]]:
    """What failed by its reason, the most frequent first."""
    found: dict[str, list[Facts]] = defaultdict(list)
    for each in facts.values():
        if each.reason is not None:
            found[each.reason].append(each)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
