"""Collection of the diagnostics of one file."""

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
    """A possible fix: the declaration with the fix applied, the edit, and the help
    line.
    """

    node: ast.Declaration
    fix: Fix
    help: str


Offers = Callable[[], Iterable[Offer]]


class Findings:
    """Diagnostics in the order found, with at most a hundred errors and a hundred
    warnings.

    `count` is the number of all errors found: where it has not grown, a piece of the
    program has no errors. A `trial` is the check of a declaration with a fix applied;
    it offers no fixes of its own. With `other`, both share the limits on errors and
    trials.
    """

    LIMIT = 100  # nobody reads more in one go
    TRIES = 6  # fixes tried for one error
    TRIED = 100_000  # characters checked again, in total, to try fixes

    def __init__(self, trial: bool = False, other: Findings | None = None) -> None:
        self.found: list[Diagnostic] = []
        self.count = 0
        self.trial = trial
        # Remaining: errors, and characters to check again.
        room = [self.LIMIT, self.TRIED]
        self._room: list[int] = other._room if other else room
        self._warnings = 0
        self._offers: list[tuple[int, Offers]] = []
        self._settled = 0

    @property
    def full(self) -> bool:
        """True if further errors are only counted, so there is no need to explain
        them.
        """
        return self._room[0] <= 0

    def add(self, diagnostic: Diagnostic, offers: Offers | None = None) -> None:
        """Add a diagnostic, and fixes that may be offered in its help line."""
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
        """Add an error. The first fix in `offers` that removes it becomes its help."""
        self.add(Diagnostic(code, message, span, help, notes=notes), offers)

    def warn(
        self, code: str, message: str, span: Span | None, help: str | None = None
    ) -> None:
        """Add a warning."""
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
        """Add an error for a name that is not in `known`; by default the help lists
        `known`.
        """
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
        """Try the fixes for the errors found since the last call, all in `node`.

        A fix is offered if it removes an error in those lines and adds no new one.
        """
        pending, self._offers = self._offers, []
        before = self.found[self._settled :]
        length = node.span.end - node.span.start
        for place, offers in pending:
            error = self.found[place]
            self._room[1] -= length
            if self._room[1] < 0:
                break
            for offer in islice(offers(), self.TRIES):
                self._room[1] -= length
                trial = Findings(trial=True)
                check(offer.node, trial)
                if _removes(error, offer.fix, before, trial.found):
                    fixed = replace(error, help=offer.help, fix=offer.fix)
                    self.found[place] = fixed
                    break
        self._settled = len(self.found)

    @property
    def errors(self) -> list[Diagnostic]:
        """The errors, without warnings."""
        return [d for d in self.found if d.severity == "error"]


def _removes(
    error: Diagnostic, fix: Fix, before: list[Diagnostic], after: list[Diagnostic]
) -> bool:
    assert error.span is not None
    first = min(error.span.line, fix.span.line)
    source = fix.span.source
    last = max(source.position(s.end)[0] for s in (error.span, fix.span))

    def here(found: list[Diagnostic]) -> Counter[tuple[str, str]]:
        return Counter(
            (each.code, each.message)
            for each in found
            if each.severity == "error" and (
                each.span is None
                or each.span.source is not source  # code that the fix inserted
                or first <= each.span.line <= last
            )
        )  # fmt: skip

    left = here(before)
    left[error.code, error.message] -= 1
    return here(after) <= left


def renames(
    name: str,
    known: Iterable[str],
    span: Span,
    renamed: Callable[[str], ast.Declaration],
    words: Mapping[str, str],
) -> Offers:
    """Offer other names for the name at the start of a span: azc's word for it, or
    similar names.
    """

    def offers() -> Iterable[Offer]:
        place = span.source.span(span.start, span.start + len(name))
        listed = list(known)
        here = words.get(name)
        for near in [here] if here in listed else nearby(name, listed):
            if near is not None:
                yield Offer(renamed(near), Fix(place, near), f"did you mean `{near}`?")

    return offers
