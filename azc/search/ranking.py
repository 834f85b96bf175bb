"""Which evaluations decide: what may be compared with what.

Scores from shared weights compare within a round alone, because each round has a better
trained snapshot; scores from fresh weights compare all with each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from azc.search.options import EvolveOptions
from azc.search.pareto import by_front
from azc.search.records import Entrant, Evaluation, ranked

__all__ = ["contenders", "deciding", "last_ranking", "winner"]

Rounds = Sequence[tuple[int, bool]]


def last_ranking(
    rounds: Sequence[tuple[int, bool]],
    evaluations: Iterable[Evaluation],
    budget: int,
) -> list[Evaluation]:
    """The last round with a score, best first: scores compare within a round only.

    A round that is still open counts where the budget ended in the midst of it, and
    where there is no other.
    """
    by_round: dict[int, list[Evaluation]] = {number: [] for number, _ in rounds}
    spent = 0
    for evaluation in evaluations:
        by_round[evaluation.round].append(evaluation)
        spent += evaluation.status != "asked"
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
    rounds: Rounds, evaluations: Sequence[Evaluation], options: EvolveOptions
) -> list[Evaluation]:
    """The evaluations that the best is taken from, best first, each candidate once."""
    if not options.is_fresh:
        return last_ranking(rounds, evaluations, options.evaluations)
    first = {e.candidate: e for e in reversed(evaluations) if e.status == "done"}
    return ranked(first.values())


def contenders(
    rounds: Rounds,
    evaluations: Sequence[Evaluation],
    options: EvolveOptions,
    stopped: Collection[int] = (),
) -> list[int]:
    """The candidates to be trained alone at the end, at most `options.contenders`, none
    of them `stopped`.

    With shared weights most are of the round that decides; of each earlier one its best
    is the only one whose place is known. By several objectives those on the front come
    first.
    """
    last, most = deciding(rounds, evaluations, options), options.contenders
    earlier = []
    if last and not options.is_fresh:
        by_round: dict[int, list[Evaluation]] = {}
        for evaluation in evaluations:
            by_round.setdefault(evaluation.round, []).append(evaluation)
        for number, _ in reversed(rounds):
            best = ranked(by_round.get(number, ()))
            if best and number != last[0].round:
                earlier.append(best[0].candidate)
    order = [e.candidate for e in by_front(last, options.objectives)]
    room = -(-most // 2)
    chosen = dict.fromkeys([*order[:room], *earlier, *order[room:]])
    return [number for number in chosen if number not in stopped][:most]


def winner(
    table: Sequence[tuple[str, int]],
    entrants: Mapping[int, Entrant],
    ranking: Sequence[Evaluation],
) -> int | None:
    """The candidate that a run has come to: the first of the last comparison; before that
    is known, of the `ranking` that decides.
    """
    if table:
        return entrants[table[0][1]].candidate
    return ranking[0].candidate if ranking else None
