"""Where the checks of one file put what they find."""

from __future__ import annotations

from azc.diagnostics import Diagnostic, nearest
from azc.source import Span

__all__ = ["Findings"]


class Findings:
    """Diagnostics in the order found; of errors and of warnings at most a hundred each
    are kept.

    `count` is the number of errors found, kept or not: where it has not grown, a piece
    of the program is sound.
    """

    LIMIT = 100

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.count = 0
        self._kept = {"error": 0, "warning": 0}

    def add(self, diagnostic: Diagnostic) -> None:
        """Adds what is made elsewhere."""
        self.count += diagnostic.severity == "error"
        if self._kept[diagnostic.severity] < self.LIMIT:
            self._kept[diagnostic.severity] += 1
            self.found.append(diagnostic)

    def error(
        self, code: str, message: str, span: Span | None, help: str | None = None
    ) -> None:
        """Adds an error."""
        self.add(Diagnostic(code, message, span, help))

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
        known: list[str],
        span: Span,
        where: str = "",
    ) -> None:
        """Adds an error for a name that is none of `known`, with the nearest one."""
        near = nearest(name, known)
        if near:
            help_: str | None = f"did you mean `{near}`?"
        elif known and len(known) <= 12:
            help_ = f"known: {', '.join(known)}"
        else:
            help_ = None
        place = f" {where}" if where else ""
        self.error(code, f"unknown {what} `{name}`{place}", span, help_)

    @property
    def errors(self) -> list[Diagnostic]:
        """The errors alone."""
        return [d for d in self.found if d.severity == "error"]
