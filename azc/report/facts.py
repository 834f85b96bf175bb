"""Facts about every candidate of a run, for the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from azc.report.models import Model, Models
from azc.search.archive import fate
from azc.search.records import Candidate, Evaluation, ranked
from azc.search.view import RunView

__all__ = ["Facts", "Scored", "Standing", "failures", "gather", "stand"]


@dataclass(frozen=True)
class Scored:
    """An evaluation and its place in its round, from 1 to `of`; None if it has no
    score.
    """

    evaluation: Evaluation
    place: int | None
    of: int


@dataclass(frozen=True)
class Standing:
    """Ranking of the candidates of a run, computed once for all of them.

    Attributes:
        winner: The winner, or None.
        ranking: The deciding evaluations, best first.
        line: The candidates from the start model to the winner.
    """

    winner: int | None
    ranking: tuple[Evaluation, ...]
    line: tuple[Candidate, ...]

    def order(self, numbers: Iterable[int]) -> list[int]:
        """Order candidates by their deciding score, then those without one, newest
        first.
        """
        first = [e.candidate for e in self.ranking]
        return [*first, *sorted(set(numbers) - set(first), reverse=True)]


def stand(view: RunView) -> Standing:
    """Compute the standing of a run."""
    winner = view.winner
    line = () if winner is None else tuple(view.lineage(winner))
    ranking = tuple(e for e in view.ranking() if e.score is not None)
    return Standing(winner, ranking, line)


@dataclass(frozen=True)
class Facts:
    """Facts about a candidate.

    Attributes:
        candidate: The candidate.
        model: Its model; None if the program can't be read by this version of azc, or
            was not compiled yet.
        is_compiled: Whether it was compiled.
        scores: Its evaluations.
        children: Candidates that it is a parent of.
        fate: One of start, winner, failed, waiting, parent, scored.
        reason: The reason of its failure.
        on_line: Whether it is an ancestor of the winner, or the winner.
        score: Its deciding score; None if there is none.
    """

    candidate: Candidate
    model: Model | None
    is_compiled: bool
    scores: tuple[Scored, ...]
    children: tuple[int, ...]
    fate: str
    reason: str | None
    on_line: bool
    score: float | None

    @property
    def number(self) -> int:
        """The candidate's number."""
        return self.candidate.id

    @property
    def last(self) -> Scored | None:
        """The latest evaluation with a score."""
        done = [each for each in self.scores if each.place is not None]
        return done[-1] if done else None


def gather(view: RunView, standing: Standing, models: Models) -> dict[int, Facts]:
    """Return the facts about every candidate by number.

    Only candidates that `models` has compiled have a model.
    """
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
    line = {each.id for each in standing.line}
    deciding = {e.candidate: e.score for e in standing.ranking}
    facts = {}
    for number, candidate in view.candidates.items():
        mine = tuple(scores[number])
        statuses = [each.evaluation.status for each in mine]
        reasons = [s.evaluation.reason for s in mine if s.evaluation.reason]
        facts[number] = Facts(
            candidate=candidate,
            model=models.known(number),
            is_compiled=number in models,
            scores=mine,
            children=tuple(children[number]),
            fate=fate(number, standing.winner, statuses, bool(children[number])),
            reason=reasons[-1] if reasons else None,
            on_line=number in line,
            score=deciding.get(number),
        )
    return facts


def failures(facts: Mapping[int, Facts]) -> dict[str, list[Facts]]:
    """Group failed candidates by reason, the most frequent first."""
    found: dict[str, list[Facts]] = defaultdict(list)
    for each in facts.values():
        if each.reason is not None:
            found[each.reason].append(each)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
