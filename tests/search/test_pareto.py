"""Several objectives at once: fronts, crowding, knee, hypervolume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.search.objectives import Scores
from azc.search.pareto import (
    by_front,
    crowding,
    dominates,
    fronts,
    hypervolume,
    knee,
    unit,
)

SIDE = 4


def rows(most: int = 8) -> st.SearchStrategy[list[tuple[int, ...]]]:
    """Points with whole coordinates, in two to four objectives."""
    return st.integers(2, 4).flatmap(
        lambda width: st.lists(
            st.tuples(*[st.integers(0, SIDE)] * width), min_size=1, max_size=most
        )
    )


@given(rows())
def test_a_front_is_what_nothing_left_dominates(points: list[tuple[int, ...]]) -> None:
    found = fronts(points)
    assert sorted(i for front in found for i in front) == list(range(len(points)))
    left = set(range(len(points)))
    for front in found:
        free = {
            i for i in left if not any(dominates(points[j], points[i]) for j in left)
        }
        assert set(front) == free
        left -= free


@given(rows())
def test_the_hypervolume_is_the_number_of_cells(points: list[tuple[int, ...]]) -> None:
    """Whole coordinates cut the box into cells, each of which is dominated or is not."""
    reference = (SIDE,) * len(points[0])
    cells = product(range(SIDE), repeat=len(reference))
    count = sum(
        any(all(a <= b for a, b in zip(point, cell, strict=True)) for point in points)
        for cell in cells
    )
    assert hypervolume(points, reference) == count


def test_the_hypervolume_of_one_objective_and_of_nothing() -> None:
    assert hypervolume([(2.0,), (0.5,), (4.0,)], (3.0,)) == 2.5
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 0.0)], (1.0, 1.0)) == 0.0


def test_the_knee_is_furthest_below_the_line_through_the_ends() -> None:
    front = [(0.0, 10.0), (1.0, 3.0), (2.0, 2.0), (6.0, 1.0), (10.0, 0.0)]

    def below(point: tuple[float, float]) -> float:
        # From the line x + y = 10.
        return (10 - sum(point)) / math.sqrt(2)

    assert front[knee(front)] == max(front, key=below) == (1.0, 3.0)
    # Units play no part.
    assert knee([(1000 * a, b / 7 + 3) for a, b in front]) == 1
    assert knee([(1.0, 1.0)]) == 0


def test_crowding_is_the_way_between_neighbours() -> None:
    points = [(0.0, 8.0), (1.0, 4.0), (4.0, 0.0)]
    assert crowding(points) == [math.inf, 2.0, math.inf]
    assert crowding([]) == []


@given(rows())
def test_unit_keeps_fronts(points: list[tuple[int, ...]]) -> None:
    scaled = unit(points)
    assert fronts(scaled) == fronts(points)
    assert all(0 <= value <= 1 for point in scaled for value in point)


@dataclass(frozen=True)
class Some:
    name: str
    scores: Scores | None


def test_front_by_front_the_lonely_first() -> None:
    some = [
        Some("failed", None),
        Some("behind", {"a": 3.0, "b": 3.0}),
        Some("left", {"a": 0.0, "b": 5.0}),
        Some("near", {"a": 0.5, "b": 4.5}),
        Some("middle", {"a": 2.5, "b": 2.0}),
        Some("right", {"a": 5.0, "b": 0.0}),
    ]
    found = [each.name for each in by_front(some, ("a", "b"))]
    assert found == ["left", "right", "middle", "near", "behind"]


@pytest.mark.parametrize("names", [("a",), ("b",)])
def test_one_objective_is_left_in_order(names: tuple[str, ...]) -> None:
    some = [Some(str(i), {"a": float(i % 2), "b": 1.0}) for i in range(4)]
    assert by_front(some, names) == some
