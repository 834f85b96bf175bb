"""Kinds of values of settings and arguments, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from azc.check.collect import Findings, Offer
from azc.check.words import VALUES
from azc.diagnostics import Fix, nearby
from azc.syntax import ast
from azc.syntax.format import format_expr
from azc.syntax.parse import is_name

__all__ = [
    "Choice",
    "Kind",
    "OddWhole",
    "OneOrMore",
    "Real",
    "Truth",
    "Whole",
    "read_value",
]


class Kind(Protocol):
    """A kind of value: how to read it and how to describe it."""

    def read(self, value: ast.Value) -> Any | None:
        """Return the Python value, or None if it is not of this kind."""

    @property
    def words(self) -> str:
        """A description of the allowed values."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers, both bounds included."""

    low: int
    high: int

    def read(self, value: ast.Value) -> int | None:
        """Return the number, or None."""
        if not isinstance(value, ast.Number) or not isinstance(value.value, int):
            return None
        return value.value if self.low <= value.value <= self.high else None

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        return f"a whole number from {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class OddWhole:
    """Odd whole numbers, both bounds included."""

    low: int
    high: int

    def read(self, value: ast.Value) -> int | None:
        """Return the number, or None."""
        number = Whole(self.low, self.high).read(value)
        return number if number is not None and number % 2 else None

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        return f"an odd number from {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class Real:
    """Numbers between two bounds."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def read(self, value: ast.Value) -> float | None:
        """Return the number, or None."""
        if not isinstance(value, ast.Number):
            return None
        number = float(value.value)
        low_fine = self.low < number or (number == self.low and not self.open_low)
        high_fine = number < self.high or (number == self.high and not self.open_high)
        return number if low_fine and high_fine else None

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        low = "above" if self.open_low else "at least"
        high = "below" if self.open_high else "at most"
        return f"a number, {low} {self.low:g} and {high} {self.high:g}"


@dataclass(frozen=True)
class Truth:
    """`true` or `false`."""

    def read(self, value: ast.Value) -> bool | None:
        """Return the truth value, or None."""
        return value.value if isinstance(value, ast.Boolean) else None

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        return "true or false"


@dataclass(frozen=True)
class Choice:
    """One of several names."""

    names: tuple[str, ...]

    def read(self, value: ast.Value) -> str | None:
        """Return the name, or None."""
        fine = isinstance(value, ast.Name) and value.id in self.names
        return value.id if fine and isinstance(value, ast.Name) else None

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        return ", ".join(self.names[:-1]) + f" or {self.names[-1]}"


@dataclass(frozen=True)
class OneOrMore:
    """One value of a kind, or a list of them."""

    kind: Kind

    def read(self, value: ast.Value) -> tuple[Any, ...] | None:
        """Return all values, or None."""
        items = value.items if isinstance(value, ast.List) else (value,)
        values = [self.kind.read(item) for item in items]
        if not values or len(values) > 64 or any(item is None for item in values):
            return None
        return tuple(values)

    @property
    def words(self) -> str:
        """A description of the allowed values."""
        return f"{self.kind.words}, or a list of these"


def read_value(
    name: str,
    kind: Kind,
    value: ast.Value,
    findings: Findings,
    code: str,
    root: ast.Declaration,
) -> Any | None:
    """Read the value of a setting or argument.

    Args:
        name: The setting.
        kind: The kind of value.
        value: The value.
        findings: Collects the diagnostics.
        code: The code of the error.
        root: The declaration that contains the value.

    Returns:
        The Python value, or None if it is not of this kind, which is reported.
    """
    found = kind.read(value)
    if found is None:
        help_: str | None = None
        if isinstance(value, ast.Name):
            help_ = VALUES.get(name, {}).get(value.id)
            if not help_ or is_name(help_):
                help_ = None  # another word for a value: it is offered as a fix
        if isinstance(kind, OddWhole) and isinstance(value, ast.Number):
            help_ = "only an odd width has a centre"

        def offers() -> Iterator[Offer]:
            for new in _meant(name, kind, value):
                text = format_expr(new)
                node = ast.swapped(root, value, new)
                yield Offer(node, Fix(value.span, text), f"did you mean `{text}`?")

        message = f"`{name}` must be {kind.words}"
        findings.error(code, message, value.span, help_, offers)
    return found


def _meant(name: str, kind: Kind, value: ast.Value) -> Iterator[ast.Value]:
    """Iterate over values that may be meant by one of the wrong kind."""
    if isinstance(value, ast.Name) and isinstance(kind, Choice):
        here = VALUES.get(name, {}).get(value.id)
        near = nearby(value.id, kind.names) if here is None else [here]
        yield from (ast.Name(each) for each in near if each in kind.names)
    elif isinstance(kind, Truth) and isinstance(value, ast.Name | ast.Number):
        word = value.id if isinstance(value, ast.Name) else value.text
        if word in ("yes", "on", "1"):
            yield ast.Boolean(True)
        elif word in ("no", "off", "none", "0"):
            yield ast.Boolean(False)
    elif isinstance(value, ast.Number) and float(value.value).is_integer():
        yield ast.Number(str(int(value.value)))  # for 1e4, 512.0
