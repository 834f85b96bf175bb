"""The axes that operations share with their operands, and their times in causal models.

    axes("a f, f b -> a b")      a matrix product
    axes("a b -> b a")           a transpose
    axes("a f -> a b")           a softmax: an entry depends on all of its row
    axes("a f -> a 1")           a sum of each row

An entry of the result at (a, b) depends on the operands' entries with the same a and b,
and on all entries along any other axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from azc.shapes import N, Shape
from azc.source import Span

__all__ = ["Axes", "Time", "TimeFault", "axes"]

Pair = tuple[str, str]


class Time(Enum):
    """The dependence of a value on time in a causal model, where tokens arrive one at a
    time.

    CONSTANT: it depends on no token. STREAM: it has a row for each token, which is
    computed when the token arrives and kept. MIRROR: it is the transpose of a stream.
    STATE: it has no axis of tokens and is computed again for every token, from the
    tokens so far. SNAPSHOT: it has a column for each token so far, and every token
    changes all columns.
    """

    CONSTANT = "constant"
    STREAM = "stream"
    MIRROR = "transposed stream"
    STATE = "state"
    SNAPSHOT = "snapshot"

    @property
    def is_momentary(self) -> bool:
        """True if every token changes the value."""
        return self in (Time.STATE, Time.SNAPSHOT)


class TimeFault(Exception):
    """Raised if operands have no result in a causal model.

    `span` is the text of the operation, if known.
    """

    def __init__(self, message: str = "", span: Span | None = None) -> None:
        super().__init__(message if span is None else f"{span}: {message}")
        self.span = span


@dataclass(frozen=True)
class Axes:
    """The axes of every operand and of the result, rows first."""

    operands: tuple[Pair, ...]
    result: Pair

    def row_wise(self, operand: int) -> bool:
        """Return whether a row of the result depends only on the same row of an
        operand.
        """
        return self.operands[operand][0] == self.result[0]

    def time(self, operands: Sequence[tuple[Shape, Time]], result: Shape) -> Time:
        """Return the time of the result.

        Raises:
            TimeFault: If a row of the result depends on values that later tokens
                still change.
        """
        rows, cols = self.result
        if result.rows is N:
            for pair, (shape, time) in zip(self.operands, operands, strict=True):
                if pair[1] == rows and (shape.rows is N or time is Time.SNAPSHOT):
                    raise TimeFault
            return Time.STREAM
        parts = zip(self.operands, operands, strict=True)
        if result.cols is not N:
            constant = all(time is Time.CONSTANT for _, time in operands)
            return Time.CONSTANT if constant else Time.STATE
        kept = all(_column_is_kept(pair, cols, *each) for pair, each in parts)
        return Time.MIRROR if kept else Time.SNAPSHOT


def _column_is_kept(pair: Pair, cols: str, shape: Shape, time: Time) -> bool:
    """Return whether a column of the result depends only on parts of an operand that
    are computed once.
    """
    if time is Time.CONSTANT:
        return True
    if pair[1] == cols:
        return time is Time.MIRROR
    return pair[0] == cols and time is Time.STREAM and shape.cols is not N


def axes(text: str) -> Axes:
    """Parse axes such as `a f, f b -> a b`."""
    before, after = text.split(" -> ")
    operands = tuple(_pair(part) for part in before.split(", "))
    return Axes(operands, _pair(after))


def _pair(text: str) -> Pair:
    rows, cols = text.split()
    return rows, cols
