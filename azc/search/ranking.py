"""Rules for which evaluations decide, and which may be compared.

Scores from shared weights are only comparable within a round, because each round has a
better trained snapshot. Scores from fresh weights are all comparable.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import TypeVar

from azc.search.objectives import LOSS
from azc.search.options import EvolveOptions
from azc.search.pareto import (
    HasScores,
    by_front,
    fronts,
    hypervolume,
    knee,
    points,
    unit,
)
from azc.search.records import Entrant, Evaluation, Fit, ranked

__all__ = [
    "Front",
    "contenders",
    "deciding",
    "last_ranking",
    "leading",
    "mean_loss",
    "pareto_front",
    "trained_alone",
    "validation_losses",
    "winner",
]

Rounds = Sequence[tuple[int, bool]]


def last_ranking(
    rounds: Sequence[tuple[int, bool]],
    evaluations: Iterable[Evaluation],
    budget: int,
) -> list[Evaluation]:
    """Return the last round with a score, best first, since scores are only comparable
    within a round.

    A round that is still open counts if the budget ended inside it, or if there is no
    other.
    """
    by_round: dict[int, list[Evaluation]] = {number: [] for number, _ in rounds}
    spent = 0
    for evaluation in evaluations:
        by_round[evaluation.round].append(evaluation)
        spent += evaluation.counts
    closed = [number for number, over in rounds if over]
    under_way = [number for number, over in rounds if not over]
    closed.reverse()
    ended = spent >= budget
    for number in [*under_way, *closed] if ended else [*closed, *under_way]:
        found = ranked(by_round[number])
        if found:
            return found
    return []


def deciding(
    rounds: Rounds,
    evaluations: Sequence[Evaluation],
    options: EvolveOptions,
    out: Container[int] = (),
) -> Iterator[Evaluation]:
    """Yield the deciding evaluations, best first, each candidate once; none of those in
    `out`.

    `out` is only asked about as many of them as are taken.
    """
    if options.is_fresh:
        first = {e.candidate: e for e in reversed(evaluations) if e.status == "done"}
        found = ranked(first.values())
    else:
        found = last_ranking(rounds, evaluations, options.evaluations)
    return (e for e in found if e.candidate not in out)


@dataclass(frozen=True)
class Front:
    """A Pareto front: the evaluations that no other beats in one objective without
    losing in another.

    Attributes:
        members: The evaluations, the best by the first objective first.
        knee: The member at which the front bends most.
        hypervolume: The share of the box from the best values to the worst that the
            members dominate. None if it is meaningless: a single program has all of the
            box, and two at its ends have none.
    """

    members: tuple[Evaluation, ...]
    knee: Evaluation
    hypervolume: float | None


def pareto_front(
    ranking: Sequence[Evaluation], objectives: Sequence[str]
) -> Front | None:
    """Return the front of a ranking; None with one objective, or for an empty
    ranking.
    """
    if len(objectives) == 1 or not ranking:
        return None
    values = points(ranking, objectives)
    places, scaled = fronts(values)[0], unit(values)
    share = hypervolume([scaled[i] for i in places], (1.0,) * len(objectives))
    alone = len({tuple(values[i]) for i in places}) == 1
    first = leading(ranking, objectives)
    assert first is not None
    members = tuple(ranking[i] for i in places)
    return Front(members, first, None if alone or not share else share)


_Scored = TypeVar("_Scored", bound=HasScores)


def leading(ranking: Iterable[_Scored], objectives: Sequence[str]) -> _Scored | None:
    """Return the best of a ranking without failures.

    It is the first or, with several objectives, the knee of the front.
    """
    if len(objectives) == 1:
        return next(iter(ranking), None)
    ranking = list(ranking)
    if not ranking:
        return None
    values = points(ranking, objectives)
    front = fronts(values)[0]
    return ranking[front[knee([values[i] for i in front])]]


def contenders(
    rounds: Rounds,
    evaluations: Sequence[Evaluation],
    options: EvolveOptions,
    out: Container[int] = (),
) -> list[int]:
    """Return the candidates to train from scratch, at most `options.contenders`.

    None of them is in `out`, which is only asked about as many as needed. With shared
    weights, most are from the deciding round; of each earlier round, only the place of
    its best candidate is known. With several objectives, the knee of the front comes
    first, then the rest of the front.
    """
    last, most = list(deciding(rounds, evaluations, options)), options.contenders
    names = options.objectives
    earlier = []
    if last and not options.is_fresh:
        by_round: dict[int, list[Evaluation]] = {}
        for evaluation in evaluations:
            by_round.setdefault(evaluation.round, []).append(evaluation)
        for number, _ in reversed(rounds):
            best = leading(ranked(by_round.get(number, ())), names)
            if best is not None and number != last[0].round:
                earlier.append(best.candidate)
    first = leading(last, names)
    order = [first, *by_front(last, names)] if first else []
    found = list(dict.fromkeys(e.candidate for e in order))
    room = -(-most // 2)
    chosen = dict.fromkeys([*found[:room], *earlier, *found[room:]])
    return list(islice((n for n in chosen if n not in out), most))


def mean_loss(losses: Sequence[float | None]) -> float | None:
    """Return the mean loss of several trainings of a program, or None if one failed."""
    done = [loss for loss in losses if loss is not None]
    return fmean(done) if len(done) == len(losses) > 0 else None


def validation_losses(fits: Iterable[Fit]) -> dict[tuple[int, int], float | None]:
    """Return mean validation losses over the seeds trained so far, by number of steps
    and entrant.
    """
    found: dict[tuple[int, int], list[float | None]] = {}
    for fit in fits:
        if fit.split == "validation":
            found.setdefault((fit.steps, fit.entrant), []).append(fit.loss)
    return {key: mean_loss(losses) for key, losses in found.items()}


def trained_alone(
    evaluations: Iterable[Evaluation], losses: Mapping[int, float | None]
) -> list[Evaluation]:
    """Rank candidates by their losses after training from scratch.

    Args:
        evaluations: All evaluations.
        losses: Losses by candidate; None for failures, which are left out. Ties keep
            this order.

    Returns:
        The last evaluation of each candidate, with its loss replaced, lowest loss
        first.
    """
    last = {e.candidate: e for e in evaluations if e.scores is not None}
    done = [(number, loss) for number, loss in losses.items() if loss is not None]
    done = [each for each in done if each[0] in last]
    return [
        replace(last[number], scores={**(last[number].scores or {}), LOSS: loss})
        for number, loss in sorted(done, key=lambda each: each[1])
    ]


def winner(
    table: Sequence[tuple[str, int]],
    entrants: Mapping[int, Entrant],
    ranking: Iterable[Evaluation],
    objectives: Sequence[str],
) -> int | None:
    """Return the winner: the first row of the final comparison or, before that is
    known, the leader of the `ranking`.
    """
    if table:
        return entrants[table[0][1]].candidate
    first = leading(ranking, objectives)
    return None if first is None else first.candidate
