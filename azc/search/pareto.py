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
    """Non-dominated sorting (Deb et al. 2002): the first front is what nothing
    dominates, each next one what nothing but those before does.
    """
    above = [
        {j for j, other in enumerate(points) if dominates(other, point)}
        for point in points
    ]
    left, found = list(range(len(points))), []
    while left:
        front = [i for i in left if above[i].isdisjoint(left)]
        found.append(front)
        left = [i for i in left if i not in set(front)]
    return found


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
    Thiele 1999), exactly, by slices along the last objective.
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
    total = 0.0
    for count, (point, end) in enumerate(zip(inside, ends, strict=True), 1):
        if end > point[-1]:
            below = [other[:-1] for other in inside[:count]]
            total += (end - point[-1]) * hypervolume(below, reference[:-1])
    return total


class HasScores(Protocol):
    """A candidate that was scored, or failed."""

    @property
    def scores(self) -> Scores | None:
        """By objective."""


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
