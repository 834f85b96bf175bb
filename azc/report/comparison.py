"""The last table: what was trained alone, and what may be said of the winner beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from azc.data.load import DataSpec
from azc.search.records import START
from azc.search.view import RunView
from azc.training.verdict import LEVEL, Verdict

__all__ = ["COVERED", "Row", "Table", "interval", "last_table"]

COVERED = round(100 * (1 - LEVEL))  # percent, of the intervals


@dataclass(frozen=True)
class Row:
    """A program trained alone. `losses` (nats, on the test text) by seed, None where it
    failed; `verdict` on the winner beside it, None for the winner itself and where one of
    the two lacks a loss. `candidate` is None for a program that the search did not make.
    `right`: of each task, the share of answers that are, the mean over the seeds.
    """

    name: str
    candidate: int | None
    program: str
    losses: Mapping[int, float | None]
    reasons: tuple[str, ...]
    verdict: Verdict | None
    is_winner: bool
    right: Mapping[str, float]

    @property
    def known(self) -> tuple[float, ...]:
        """The losses that there are, by seed."""
        return tuple(x for _, x in sorted(self.losses.items()) if x is not None)

    @property
    def mean(self) -> float | None:
        """The mean of the losses that there are."""
        return fmean(self.known) if self.known else None


@dataclass(frozen=True)
class Table:
    """The rows, the winner first, and what they say in a sentence."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    sentence: str


def last_table(view: RunView) -> Table:
    """The comparison at the end of a run, as far as it has come."""
    seeds = view.options.final_seeds
    tasks = DataSpec.parse(view.options.data).task_parts
    rows = []
    for place, row in enumerate(view.rows):
        known = dict(zip(seeds, row.fits, strict=True))
        rows.append(
            Row(
                name=row.role if row.role in ("winner", "start") else row.entrant.name,
                candidate=row.entrant.candidate,
                program=row.entrant.program,
                losses={s: fit.loss for s, fit in known.items() if fit},
                reasons=tuple(
                    f"seed {s}: {fit.reason}"
                    for s, fit in known.items()
                    if fit and fit.reason
                ),
                verdict=view.verdicts.get(place),
                is_winner=row.role == "winner",
                right={t: fmean(row.right(t)) for t in tasks if row.right(t)},
            )
        )
    return Table(tuple(rows), seeds, tasks, _sentence(view, rows))


def _sentence(view: RunView, rows: Sequence[Row]) -> str:
    if view.winner is None:
        return "There is no winner yet: nothing has been scored."
    if not view.options.final_seeds:
        return "Nothing was trained alone, so that nothing is shown."
    if view.winner == START and len(rows) < 2:
        return "The winner is the start itself: there is nothing to compare."
    if not any(row.losses for row in rows):
        return "Nothing has been trained alone yet, so that nothing is shown."
    words: dict[str, list[str]] = {}
    open_ = []
    for row in rows:
        name = f"the {row.name}" if row.candidate == START else row.name
        if row.verdict is not None:
            gain = row.verdict.gain
            by = f"{abs(gain):.3f} nats {'ahead' if gain > 0 else 'behind'}"
            told = f"{name} ({by})" if len(rows) == 2 else name
            words.setdefault(row.verdict.word, []).append(told)
        elif not row.is_winner:
            open_.append(name)
    parts = [
        f"{word} than {_listed(words[word])}"
        for word in ("better", "not shown to be better", "worse")
        if word in words
    ]
    said = f"The winner is {'; '.join(parts)}." if parts else ""
    if open_:
        said += (
            f" Nothing can be said yet of {_listed(open_)}: not all seeds have a loss."
        )
    return said.strip()


def _listed(names: Sequence[str]) -> str:
    if len(names) > 2:
        return f"{names[0]} and {len(names) - 1} others"
    return " and ".join(names)


def interval(verdict: Verdict) -> str:
    """`0.12 to 0.34`: what covers the gain with the level's probability."""
    if verdict.low is None or verdict.high is None:
        return "unknown from one seed"
    return f"{verdict.low:+.3f} to {verdict.high:+.3f}"
