"""The last comparison: what was trained alone, and what may be said of the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from azc.search.records import START
from azc.search.view import Row as Entered
from azc.search.view import RunView
from azc.training.verdict import LEVEL, NO_DIFFERENCE, Verdict, Word

__all__ = ["COVERED", "Row", "Table", "interval", "last_table"]

_PHRASES: Mapping[Word, str] = {
    "better": "better than",
    NO_DIFFERENCE: "not significantly different from",
    "worse": "worse than",
}
_TONES: Mapping[Word, str] = {
    "better": "good",
    NO_DIFFERENCE: "level",
    "worse": "bad",
}
# By role of a row: what one of it is called where it has no name, and several are.
_ROLES = (
    ("start", "the start", ""),
    ("random", "random sampling", ""),
    ("hand", "", "{} the {} baselines"),
    ("neighbour", "", "{} its {} neighbours"),
)
COVERED = round(100 * (1 - LEVEL))  # percent, of the intervals


@dataclass(frozen=True)
class Row:
    """A program trained alone.

    `losses` (nats, on the test text) by seed, None where it failed. `verdict`: the
    winner's beside it, None for the winner itself and where one of the two lacks a loss.
    `candidate` is None for a program that the search did not make. `also`: other figures
    of it, by the names of the table's columns.
    """

    name: str
    candidate: int | None
    program: str
    losses: Mapping[int, float | None]
    reasons: tuple[str, ...]
    verdict: Verdict | None
    is_winner: bool
    also: Mapping[str, str]

    @property
    def known(self) -> tuple[float, ...]:
        """Return the losses that there are, by seed."""
        return tuple(x for _, x in sorted(self.losses.items()) if x is not None)

    @property
    def mean(self) -> float | None:
        """Return the mean of the losses that there are."""
        return fmean(self.known) if self.known else None

    @property
    def tone(self) -> str:
        """Return what the verdict means for the winner: "good", "level" or "bad"; empty
        without a verdict.
        """
        return "" if self.verdict is None else _TONES[self.verdict.word]


@dataclass(frozen=True)
class Table:
    """The rows, the winner first, and what they say.

    `claim`: what may be said of the winner, without a capital and a full stop, names
    between backticks. `test`: how that was tested, empty where nothing was. `columns`:
    names of other figures that rows have.
    """

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    columns: tuple[str, ...]
    claim: str
    test: str

    @property
    def sentence(self) -> str:
        """Return the claim with its test."""
        return f"{self.claim} ({self.test})" if self.test else self.claim


def last_table(view: RunView) -> Table:
    """Return the comparison at the end of a run, as far as it has come."""
    seeds = view.options.final_seeds
    rows = []
    for place, row in enumerate(view.rows):
        known = dict(zip(seeds, row.fits, strict=True))
        rows.append(
            Row(
                name=_name(view, row),
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
                also=view.also(row),
            )
        )
    return Table(tuple(rows), seeds, view.columns, *_sentence(view, rows))


def _name(view: RunView, row: Entered) -> str:
    if row.role == "random":
        return f"random sampling, best of {view.sampled}"
    return row.role if row.role == "winner" else row.entrant.name


def _sentence(view: RunView, rows: Sequence[Row]) -> tuple[str, str]:
    """Return what may be said of the winner, and the test that it is said by."""
    if view.winner is None:
        return "there is no winner yet: nothing has been scored", ""
    if not view.options.final_seeds:
        return "nothing was trained alone, so that nothing is shown", ""
    if not rows:
        return "nothing has been trained alone yet, so that nothing is shown", ""
    if not all(row.is_whole for row in view.rows):
        return "the comparison is not over yet", ""
    reasons = "; ".join(f"{row.name}, {each}" for row in rows for each in row.reasons)
    words = [row.verdict.word for row in rows if row.verdict is not None]
    if not words:
        if view.winner == START and not reasons:
            return "the winner is the start itself: nothing better was found", ""
        return f"no comparison: {reasons or 'there is nothing beside it'}", ""
    count = len(words)
    parts = [
        f"{phrase} {_others(view, rows, word)}"
        for word, phrase in _PHRASES.items()
        if word in words
    ]
    if count > 1 and len(parts) == 1:
        parts = [f"{_PHRASES[words[0]]} any of the {count} others"]
    subject = "the winner is"
    if len(view.options.objectives) > 1:
        subject = "by its loss alone, the winner is"
    failed = f"; {reasons}" if reasons else ""
    return f"{subject} {'; '.join(parts)}{failed}", _test(view, count)


def _test(view: RunView, count: int) -> str:
    seeds = len(view.options.final_seeds)
    if seeds == 1:
        return "a single seed proves nothing"
    many = "1 comparison" if count == 1 else f"{count} comparisons"
    return f"paired t-test over {seeds} seeds, at 5 % for {many} together"


def _others(view: RunView, rows: Sequence[Row], word: Word) -> str:
    """Return the rows with a verdict in few words: `random sampling and 2 of 8 baselines`."""
    found = []
    for role, one, several in _ROLES:
        compared = [
            row
            for entered, row in zip(view.rows, rows, strict=True)
            if entered.role == role and row.verdict is not None
        ]
        with_it = [row for row in compared if row.verdict and row.verdict.word == word]
        if len(with_it) == 1:
            found.append(one or f"`{with_it[0].name}`")
        elif with_it:
            part = "all" if with_it == compared else f"{len(with_it)} of"
            found.append(several.format(part, len(compared)))
    *most, last = found
    return f"{', '.join(most)} and {last}" if most else last


def interval(verdict: Verdict) -> str:
    """Return what covers the gain with the level's probability: `0.12 to 0.34`."""
    if verdict.low is None or verdict.high is None:
        return "unknown from one seed"
    return f"{verdict.low:+.3f} to {verdict.high:+.3f}"
