"""Where the checks of one file put what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from azc.diagnostics import Diagnostic, Fix, Note, nearby
from azc.source import Span
from azc.syntax import ast

__all__ = ["Findings", "Offer", "Offers", "renames"]


@dataclass(frozen=True)
class Offer:
    """A mend that may be offered: the declaration and the text with it, in words."""

    node: ast.Declaration
    fix: Fix
    help: str


Offers = Callable[[], Iterable[Offer]]


class Findings:
    """Diagnostics in the order found; of errors and of warnings at most a hundred each
    are kept.

    `count` is the number of errors found, kept or not: where it has not grown, a piece
    of the program is sound. A `trial` is the check of a declaration with a mend made,
    which offers no mends of its own. With `other`, both share the room for errors and
    for trials.
    """

    LIMIT = 100  # nobody reads more in one go
    TRIES = 6  # mends tried for one error
    TRIED = 100_000  # characters checked again in all to try mends

    def __init__(self, trial: bool = False, other: Findings | None = None) -> None:
        self.found: list[Diagnostic] = []
        self.count = 0
        self.trial = trial
        # What is left: errors, and characters to check again.
        room = [self.LIMIT, self.TRIED]
        self._room: list[int] = other._room if other else room
        self._warnings = 0
        self._offers: list[tuple[int, Offers]] = []
        self._settled = 0

    @property
    def full(self) -> bool:
        """Whether further errors are counted, but not kept: no need to explain them."""
        return self._room[0] <= 0

    def add(self, diagnostic: Diagnostic, offers: Offers | None = None) -> None:
        """Adds a diagnostic, and what may be offered in its help line."""
        if diagnostic.severity == "error":
            self.count += 1
            if self.full:
                return
            self._room[0] -= 1
        elif self._warnings >= self.LIMIT:
            return
        else:
            self._warnings += 1
        if offers is not None and not self.trial:
            self._offers.append((len(self.found), offers))
        self.found.append(diagnostic)

    def error(
        self,
        code: str,
        message: str,
        span: Span | None,
        help: str | None = None,
        offers: Offers | None = None,
        notes: tuple[Note, ...] = (),
    ) -> None:
        """Adds an error; of what is offered the first that mends it becomes the help."""
        self.add(Diagnostic(code, message, span, help, notes=notes), offers)

    def warn(
        self, code: str, message: str, span: Span | None, help: str | None = None
    ) -> None:
        """Adds a warning."""
        self.add(Diagnostic(code, message, span, help, "warning"))

    def unknown(
        self,
        code: str,
        what: str,
        name: str,
        known: Iterable[str],
        span: Span,
        where: str = "",
        help: str | None = None,
        offers: Offers | None = None,
        notes: tuple[Note, ...] = (),
    ) -> None:
        """Adds an error for a name that is none of `known`; by default these are told."""
        if help is None and not self.full:
            names = list(islice(known, 51))
            help = f"known: {', '.join(names)}" if 0 < len(names) <= 50 else None
        place = f" {where}" if where else ""
        message = f"unknown {what} `{name}`{place}"
        self.error(code, message, span, help, offers, notes)

    def settle(
        self,
        node: ast.Declaration,
        check: Callable[[ast.Declaration, Findings], object],
    ) -> None:
        """Tries the mends for what was found since the last call, all in `node`.

        A mend is offered where the declaration with it has one error less in those
        lines, and no new one.
        """
        pending, self._offers = self._offers, []
        before = self.found[self._settled :]
        length = node.span.end - node.span.start
        for place, offers in pending:
            told = self.found[place]
            self._room[1] -= length
            if self._room[1] < 0:
                break
            for offer in islice(offers(), self.TRIES):
                self._room[1] -= length
                trial = Findings(trial=True)
                check(offer.node, trial)
                if _mends(told, offer.fix, before, trial.found):
                    mended = replace(told, help=offer.help, fix=offer.fix)
                    self.found[place] = mended
                    break
        self._settled = len(self.found)

    @property
    def errors(self) -> list[Diagnostic]:
        """The errors alone."""
        return [d for d in self.found if d.severity == "error"]


def _mends(
    told: Diagnostic, fix: Fix, before: list[Diagnostic], after: list[Diagnostic]
) -> bool:
    assert told.span is not None
    first = min(told.span.line, fix.span.line)
    source = fix.span.source
    last = max(source.position(s.end)[0] for s in (told.span, fix.span))

    def here(found: list[Diagnostic]) -> Counter[tuple[str, str]]:
        return Counter(
            (each.code, each.message)
            for each in found
            if each.severity == "error" and (
                each.span is None
                or each.span.source is not source  # what the mend has put there
                or first <= each.span.line <= last
            )
        )  # fmt: skip

    left = here(before)
    left[told.code, told.message] -= 1
    return here(after) <= left


def renames(
    name: str,
    known: Iterable[str],
    span: Span,
    renamed: Callable[[str], ast.Declaration],
    words: Mapping[str, str],
) -> Offers:
    """Offers for a name at the start of a span: what it is called here, and slips."""

    def offers() -> Iterable[Offer]:
        place = span.source.span(span.start, span.start + len(name))
        listed = list(known)
        here = words.get(name)
        for near in [here] if here in listed else nearby(name, listed):
            if near is not None:
                yield Offer(renamed(near), Fix(place, near), f"did you mean `{near}`?")

    return offers
