"""Alignment of two sequences with the least total cost, as in the edit distance of
words.

Only a band around the diagonal is computed (Ukkonen 1985). It is widened until no
cheaper path can leave it, so the result is that of the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

__all__ = ["ALONE", "align"]

ALONE = 20  # cost of an element that is in only one of the sequences
_WIDTH = 8  # diagonals on either side in the first band

Cost = Callable[[int, int], int]
Pair = tuple[int | None, int | None]


def align(rows: int, cols: int, cost: Cost, least: Sequence[int]) -> Iterator[Pair]:
    """Pair the elements of two sequences, in order, with the least total cost.

    Args:
        rows: Length of the first sequence.
        cols: Length of the second sequence.
        cost: Cost of a pair, from 0 to below `2 * ALONE`; 0 for equal elements.
        least: For every row, a lower bound of its cost in any pair, at most
            `ALONE`.

    Yields:
        Pairs of indices; None stands for an element that the other sequence lacks.
    """
    start = 0
    while start < min(rows, cols) and cost(start, start) == 0:
        yield start, start
        start += 1
    end = 0
    while end < min(rows, cols) - start and cost(rows - end - 1, cols - end - 1) == 0:
        end += 1

    def inner(i: int, j: int) -> int:
        return cost(start + i, start + j)

    middle = least[start : rows - end]
    for i, j in _middle(rows - start - end, cols - start - end, inner, middle):
        yield (None if i is None else start + i), (None if j is None else start + j)
    for i in range(end, 0, -1):
        yield rows - i, cols - i


def _middle(rows: int, cols: int, cost: Cost, least: Sequence[int]) -> list[Pair]:
    if not rows or not cols:
        removed: list[Pair] = [(i, None) for i in range(rows)]
        return [*removed, *((None, j) for j in range(cols))]
    width = _WIDTH
    # A path that leaves the band removes and adds at least `width + 1` extra elements.
    # Each row costs at least its lower bound, or is removed.
    most = max(least)
    known = sum(least) + max(cols - rows, 0) * ALONE
    known += max(rows - cols, 0) * (ALONE - most)
    each = 2 * ALONE - most
    while True:
        band = _Band(rows, cols, cost, width)
        if width >= max(rows, cols) or band.total < known + (width + 1) * each:
            return band.path()
        enough = (band.total - known) // each + 1
        width = min(4 * width, enough, max(rows, cols))


class _Band:
    """The part of the table of least costs near the diagonal."""

    def __init__(self, rows: int, cols: int, cost: Cost, width: int) -> None:
        self.rows, self.cols, self.cost = rows, cols, cost
        self.low = min(0, cols - rows) - width
        self.high = max(0, cols - rows) + width
        self.table: list[list[int]] = []
        for i in range(rows + 1):
            self.table.append(self.line(i))
        self.total = self.at(rows, cols)

    def first(self, i: int) -> int:
        """Return the first column of a line inside the band."""
        return max(0, i + self.low)

    def line(self, i: int) -> list[int]:
        first, last = self.first(i), min(self.cols, i + self.high)
        if not i:
            return [ALONE * j for j in range(last + 1)]
        above, cost = self.table[i - 1], self.cost
        shift = first - self.first(i - 1)
        line: list[int] = []
        for place in range(last - first + 1):
            # In the line above: the same column, and the one before it.
            up, j = place + shift, first + place
            found = above[up] + ALONE if up < len(above) else _FAR
            if j and up:
                paired = above[up - 1] + cost(i - 1, j - 1)
                found = min(found, paired)
            if place:
                found = min(found, line[-1] + ALONE)
            line.append(found)
        return line

    def at(self, i: int, j: int) -> int:
        """Return the least cost of the first i rows and j columns for paths inside the
        band.
        """
        place = j - self.first(i)
        line = self.table[i]
        return line[place] if 0 <= place < len(line) else _FAR

    def path(self) -> list[Pair]:
        """Trace the pairs back from the end; a pair is preferred to an addition."""
        found: list[Pair] = []
        i, j = self.rows, self.cols
        while i or j:
            here = self.at(i, j)
            if i and j and here == self.at(i - 1, j - 1) + self.cost(i - 1, j - 1):
                i, j = i - 1, j - 1
                found.append((i, j))
            elif j and here == self.at(i, j - 1) + ALONE:
                j -= 1
                found.append((None, j))
            else:
                i -= 1
                found.append((i, None))
        return found[::-1]


_FAR = 1 << 60  # cost outside the band
