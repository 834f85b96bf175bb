"""The final comparison: losses of models trained from scratch, and a verdict."""

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
# Names of the rows of each role: of a single row without its own name, and of several.
_ROLES = (
    ("start", "the start", ""),
    ("random", "random sampling", ""),
    ("hand", "", "{} the {} baselines"),
    ("neighbour", "", "{} its {} neighbors"),
)
COVERED = round(100 * (1 - LEVEL))  # percent, of the intervals


@dataclass(frozen=True)
class Row:
    """A program in the final comparison.

    Attributes:
        name: Name of the program.
        candidate: Its number; None if it was not created by the search.
        program: Its text.
        losses: Losses on the test data in nats, by seed; None for a failure.
        reasons: Reasons of its failures.
        verdict: The verdict on the winner compared with it; None for the winner itself,
            and if one of the two lacks a loss.
        is_winner: Whether it is the winner.
        also: Its other figures, by the names of the table's columns.
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
        """The losses that are available, ordered by seed."""
        return tuple(x for _, x in sorted(self.losses.items()) if x is not None)

    @property
    def mean(self) -> float | None:
        """The mean of the available losses."""
        return fmean(self.known) if self.known else None

    @property
    def tone(self) -> str:
        """The meaning of the verdict for the winner: "good", "level", "bad", or ""
        without one.
        """
        return "" if self.verdict is None else _TONES[self.verdict.word]


@dataclass(frozen=True)
class Table:
    """The table of the final comparison, and its conclusion.

    Attributes:
        rows: The rows, the winner first.
        seeds: The seeds.
        columns: Names of the other figures of rows.
        claim: The conclusion about the winner, without a capital and a period, with
            names between backticks.
        test: The statistical test behind it; empty if there was none.
    """

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    columns: tuple[str, ...]
    claim: str
    test: str

    @property
    def sentence(self) -> str:
        """The conclusion with its test."""
        return f"{self.claim} ({self.test})" if self.test else self.claim


def last_table(view: RunView) -> Table:
    """Create the table of the final comparison, as far as it is complete."""
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
    """Return the conclusion about the winner, and the test behind it."""
    if view.winner is None:
        return "there is no winner yet: nothing has been scored", ""
    if not view.options.final_seeds:
        return "there was no final comparison, so there is no conclusion", ""
    if not rows:
        return "the final comparison has not started, so there is no conclusion yet", ""
    if not all(row.is_whole for row in view.rows):
        return "the comparison is not complete yet", ""
    reasons = "; ".join(f"{row.name}, {each}" for row in rows for each in row.reasons)
    words = [row.verdict.word for row in rows if row.verdict is not None]
    if not words:
        if view.winner == START and not reasons:
            return "the winner is the start model: nothing better was found", ""
        return f"no comparison: {reasons or 'there are no other models'}", ""
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
    many = "" if count == 1 else f" for {count} comparisons together"
    return f"paired t-test over {seeds} seeds, at 5 %{many}"


def _others(view: RunView, rows: Sequence[Row], word: Word) -> str:
    """List the rows with a verdict in a few words: `random sampling and 2 of 8
    baselines`.
    """
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
    """Format the confidence interval of the gain: `+0.120 to +0.340`."""
    if verdict.low is None or verdict.high is None:
        return "unknown from one seed"
    return f"{verdict.low:+.3f} to {verdict.high:+.3f}"
