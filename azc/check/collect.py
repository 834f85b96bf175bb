"""Where the checks of one file put what they find."""

from __future__ import annotations

from collections.abc import Collection

from azc.diagnostics import Diagnostic, listed, nearest
from azc.source import Span

__all__ = ["Findings"]


class Findings:
    """Diagnostics in the order found; of errors and of warnings at most a hundred each
    are kept.

    `count` is the number of errors found, kept or not: where it has not grown, a piece
    of the program is sound. With `other`, the errors of both are a hundred in all.
    """

    LIMIT = 100  # nobody reads more in one go

    def __init__(self, other: Findings | None = None) -> None:
        self.found: list[Diagnostic] = []
        self.count = 0
        self._errors: list[Diagnostic] = other._errors if other else []
        self._warnings = 0

    @property
    def full(self) -> bool:
        """Whether further errors are counted, but not kept: no need to explain them."""
        return len(self._errors) >= self.LIMIT

    def error(
        self, code: str, message: str, span: Span | None, help: str | None = None
    ) -> None:
        """Adds an error."""
        self._add(Diagnostic(code, message, span, help))

    def warn(
        self, code: str, message: str, span: Span | None, help: str | None = None
    ) -> None:
        """Adds a warning."""
        self._add(Diagnostic(code, message, span, help, "warning"))

    def unknown(
        self,
        code: str,
        what: str,
        name: str,
        known: Collection[str],
        span: Span,
        where: str = "",
    ) -> str | None:
        """Adds an error for a name that is none of `known`; gives the nearest one."""
        near = None if self.full else nearest(name, known)
        if near:
            help_: str | None = f"did you mean `{near}`?"
        elif 0 < len(known) <= 12:
            help_ = f"known: {listed(known)}"
        else:
            help_ = None
        place = f" {where}" if where else ""
        self.error(code, f"unknown {what} `{name}`{place}", span, help_)
        return near

    def _add(self, diagnostic: Diagnostic) -> None:
        if diagnostic.severity == "error":
            self.count += 1
            if not self.full:
                self._errors.append(diagnostic)
                self.found.append(diagnostic)
        elif self._warnings < self.LIMIT:
            self._warnings += 1
            self.found.append(diagnostic)

    @property
    def errors(self) -> list[Diagnostic]:
        """The errors alone."""
        return [d for d in self.found if d.severity == "error"]
