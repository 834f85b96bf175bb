"""Multi-objective ranking: fronts, crowding, knee and hypervolume. Lower values are
better.

Points are rows of numbers, one per objective; rows are referred to by their indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from azc.search.objectives import Scores

__all__ = [
    "HasScores",
    "by_front",
    "crowding",
    "dominates",
    "fronts",
    "hypervolume",
    "knee",
    "points",
    "unit",
]

Point = Sequence[float]  # a value for every objective


def dominates(one: Point, other: Point) -> bool:
    """Return whether one point is nowhere worse than the other, and somewhere
    better.
    """
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(
        other
    )


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Sort points into fronts (non-dominated sorting, Deb et al. 2002).

    No point dominates those of the first front; those of each next front are dominated
    only by points of earlier fronts. Points are processed in lexicographic order, in
    which none dominates an earlier one, and each goes into the first front that does
    not dominate it. A binary search finds that front, because a point that is dominated
    in one front is dominated in all earlier ones (Zhang et al. 2015, ENS-BS).
    """
    import numpy as np

    values = np.array(points, dtype=np.float64)
    found: list[list[int]] = []

    def is_dominated(point: int, front: list[int]) -> bool:
        others = values[front]
        no_worse = (others <= values[point]).all(axis=1)
        return bool((no_worse & (others < values[point]).any(axis=1)).any())

    for point in sorted(range(len(points)), key=lambda i: tuple(points[i])):
        low, high = 0, len(found)
        while low < high:
            middle = (low + high) // 2
            if is_dominated(point, found[middle]):
                low = middle + 1
            else:
                high = middle
        if low == len(found):
            found.append([])
        found[low].append(point)
    return [sorted(front) for front in found]


def crowding(points: Sequence[Point]) -> list[float]:
    """Compute the crowding distance of each point in a front (Deb et al. 2002).

    It is infinite at the ends of an objective.
    """
    found = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: (points[i][axis], i))
        found[order[0]] = found[order[-1]] = math.inf
        extent = points[order[-1]][axis] - points[order[0]][axis]
        if extent == 0:
            continue
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            found[i] += (points[after][axis] - points[before][axis]) / extent
    return found


def knee(front: Sequence[Point]) -> int:
    """Return the index of the knee of a front, where it bends most.

    The knee is furthest below the plane through the ends of the front, with each
    objective scaled to 0 to 1 over the front (Das 1999). Ties go to the first.
    """
    heights = [sum(point) for point in unit(front)]
    return heights.index(min(heights))


def unit(points: Sequence[Point]) -> list[Point]:
    """Scale each objective to 0 to 1, or to 0 if all its values are equal."""
    lows = [min(axis) for axis in zip(*points, strict=True)]
    extents = [max(axis) - min(axis) for axis in zip(*points, strict=True)]
    return [
        tuple(
            (value - low) / extent if extent else 0.0
            for value, low, extent in zip(point, lows, extents, strict=True)
        )
        for point in points
    ]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Compute the hypervolume that points dominate up to a reference point (Zitzler and
    Thiele 1999), exactly, by slices along the last objective. A slice is as
    large as the one before where the projection of its point is dominated there.
    """
    inside = [
        tuple(point)
        for point in points
        if all(a < b for a, b in zip(point, reference, strict=True))
    ]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - min(point[0] for point in inside))
    inside.sort(key=lambda point: point[-1])
    ends = [*(point[-1] for point in inside[1:]), reference[-1]]
    total = slice_ = 0.0
    front: list[tuple[float, ...]] = []  # of the projections so far
    for (*point, low), end in zip(inside, ends, strict=True):
        if not any(_no_worse(other, point) for other in front):
            front = [each for each in front if not _no_worse(point, each)]
            front.append(tuple(point))
            slice_ = hypervolume(front, reference[:-1])
        total += (end - low) * slice_
    return total


def _no_worse(one: Point, other: Point) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


class HasScores(Protocol):
    """A candidate that was scored, or failed."""

    @property
    def scores(self) -> Scores | None:
        """The scores by objective."""


_Scored = TypeVar("_Scored", bound=HasScores)


def points(scored: Iterable[HasScores], objectives: Sequence[str]) -> list[Point]:
    """Return a row of values for each candidate that did not fail."""
    return [
        tuple(each.scores[name] for name in objectives)
        for each in scored
        if each.scores is not None
    ]


def by_front(scored: Iterable[_Scored], objectives: Sequence[str]) -> list[_Scored]:
    """Sort the candidates that did not fail by front, and within a front by crowding
    distance, largest first. Ties, and candidates with one objective, keep their order.
    """
    done = [each for each in scored if each.scores is not None]
    if len(objectives) == 1:
        return done
    rows, found = points(done, objectives), []
    for front in fronts(rows):
        far = crowding([rows[i] for i in front])
        order = sorted(range(len(front)), key=lambda place: -far[place])
        found += [done[front[place]] for place in order]
    return found
