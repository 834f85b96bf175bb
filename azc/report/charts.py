"""Charts of the page, as SVG.

A chart of ten thousand candidates does not need ten thousand elements: dots that look
alike share a path, and overlapping dots are merged. `data-n` lists the candidates of a
path in its order, so that the page's script finds the one under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from azc.numbers import amount
from azc.report.axes import Frame, Scale, chart, numbers, ticks, whole_ticks
from azc.report.html import element, join
from azc.search.records import Evaluation

__all__ = [
    "Lines",
    "Point",
    "Range",
    "costs_chart",
    "front",
    "lines_chart",
    "rounds_chart",
    "strip",
    "strip_axis",
]

_LINES = 6  # lines that have their own color and name
_BENDS = 120  # maximum number of points in a line


class _Dots:
    """Dots by kind, each with its candidate."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[tuple[float, float], int]] = {}

    def add(self, kind: str, candidate: int, x: float, y: float) -> None:
        """Add a dot. If two dots are in the same place, the first is drawn."""
        place = round(2 * x) / 2, round(2 * y) / 2
        self._kinds.setdefault(kind, {}).setdefault(place, candidate)

    def draw(self, *kinds: str) -> list[Markup]:
        """Return a path for each kind, the last one on top."""
        every = sum(map(len, self._kinds.values()))
        size = "small" if every > 1500 else "middle" if every > 250 else "large"
        return [
            element(
                "path",
                class_=f"dots {size} {kind}".strip(),
                d="".join(f"M{x:g},{y:g}h0" for x, y in found),
                data_n=" ".join(map(str, found.values())),
            )
            for kind in kinds
            if (found := self._kinds.get(kind))
        ]


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Return the path data of a line through points."""
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in points)


# Scores


def rounds_chart(
    rounds: Sequence[int],
    evaluations: Iterable[Evaluation],
    line: Sequence[int],
    *,
    winner: int | None = None,
    comparable: bool = False,
) -> Markup | None:
    """Draw scores by round, with a line between the scores of a candidate that was
    scored again.

    Args:
        rounds: Numbers of the rounds, from 0.
        evaluations: Evaluations of all rounds.
        line: The candidates from the start model to the winner.
        winner: The winner.
        comparable: Whether scores of different rounds are comparable, so that the best
            score so far is drawn.

    Returns:
        The chart, or None if there is no score.
    """
    done = [e for e in evaluations if e.score is not None]
    if not done:
        return None
    done.sort(key=lambda e: (e.round, e.score, e.candidate))
    low, top = _extent([e.score for e in done if e.score is not None])
    frame = Frame.around([number + 1 for number in rounds], [low, top])
    x, y = frame.x, frame.y
    known = set(line)
    by_candidate: dict[int, list[tuple[float, float]]] = {}
    dots, seen = _Dots(), set()
    ends = {e.candidate: e.round for e in done}
    for e in done:
        place = x(e.round + 1), y(e.score or 0.0)
        by_candidate.setdefault(e.candidate, []).append(place)
        is_first = e.round not in seen
        seen.add(e.round)
        kind = "best" if is_first else ""
        if e.candidate in known:
            is_last = e.candidate == winner and e.round == ends[e.candidate]
            kind = "winner" if is_last else "line"
        dots.add(kind, e.candidate, *place)
    again: dict[str, list[str]] = {"again": [], "again line": []}
    for candidate, places in by_candidate.items():
        if len(places) > 1:
            again["again line" if candidate in known else "again"].append(_path(places))
    paths = [element("path", class_=n, d="".join(d)) for n, d in again.items() if d]
    if comparable:
        steps = _path(_best_so_far(frame, done))
        paths.append(element("path", class_="sofar", d=steps))
    shown = whole_ticks(min(rounds) + 1, max(rounds) + 1)
    grid = frame.grid(
        "round", "validation loss, nats", shown, numbers(ticks(low, top, 6))
    )
    least = min(done, key=lambda e: (e.score, e.candidate))
    label = (
        f"Scores of {len(by_candidate):,} candidates in {len(rounds):,} rounds;"
        f" the lowest is {least.score:.3f} nats, of candidate {least.candidate:04}"
    )
    return chart(label, grid, *paths, *dots.draw("", "best", "line", "winner"))


def _best_so_far(frame: Frame, done: Sequence[Evaluation]) -> list[tuple[float, float]]:
    """Return the corners of the step line of the best score so far, round by round."""
    least = float("inf")
    found: list[tuple[float, float]] = []
    for e in done:
        if e.score is not None and e.score < least:
            least = e.score
            here = frame.x(e.round + 1)
            if found:
                found.append((here, found[-1][1]))
            found.append((here, frame.y(least)))
    return [*found, (frame.x(done[-1].round + 1), found[-1][1])]


def _extent(scores: Iterable[float]) -> tuple[float, float]:
    """Return the range of scores to draw.

    An outlier would compress all others, so it is drawn at the edge.
    """
    order = sorted(scores)
    quarter, middle = order[len(order) // 4], order[len(order) // 2]
    far = middle + 8 * (middle - quarter) if middle > quarter else order[-1]
    return order[0], min(order[-1], far)


# Values of the strategy


@dataclass(frozen=True)
class Lines:
    """A chart of lines with its key.

    Attributes:
        chart: The chart.
        key: Name, last value and color class of each named line.
        others: Number of lines that are not in the key.
    """

    chart: Markup
    key: tuple[tuple[str, str, str], ...]
    others: int


def lines_chart(series: Mapping[str, Sequence[tuple[int, float]]]) -> Lines | None:
    """Draw percentages by round.

    The lines that are highest after the last round have a color and a name.

    Returns:
        The chart, or None if there is nothing to draw.
    """
    ends = {name: points[-1][1] for name, points in series.items() if points}
    if not ends:
        return None
    everything = [point for points in series.values() for point in points]
    rounds = [number + 1 for number, _ in everything]
    top = max(value for _, value in everything)
    frame = Frame.around(rounds, [0.0, top])
    order = sorted(ends, key=lambda name: (-ends[name], name))
    parts = []
    for place in range(len(order) - 1, -1, -1):
        name = order[place]
        points = [(frame.x(n + 1), frame.y(v)) for n, v in _thinned(series[name])]
        colour = f"s{place}" if place < _LINES else "rest"
        # A line of one point is a dot.
        drawn = _path(points) + ("h0" if len(points) == 1 else "")
        parts.append(element("path", class_=f"series {colour}", d=drawn))
    shown = whole_ticks(min(rounds), max(rounds))
    percent = numbers(ticks(0.0, top), "{:g}%".format)
    grid = frame.grid("round", "share of draws", shown, percent)
    key = tuple(
        (name, f"{ends[name]:g}%", f"s{place}")
        for place, name in enumerate(order[:_LINES])
    )
    said = ", ".join(f"{name} {value}" for name, value, _ in key)
    label = f"{len(ends)} values of the strategy by round; the highest are {said}"
    return Lines(chart(label, grid, *parts), key, len(order) - len(key))


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Drop points from a line that has more than can be seen, but keep the last one."""
    step = -(-len(points) // _BENDS)
    return points[::-1][::step][::-1]


# Costs


@dataclass(frozen=True)
class Point:
    """Cost and score of a candidate."""

    candidate: int
    cost: float
    score: float


def front(points: Iterable[Point]) -> list[Point]:
    """Return the Pareto front of cost and score, the cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, p.score, p.candidate)):
        if not found or point.score < found[-1].score:
            found.append(point)
    return found


def costs_chart(name: str, points: Sequence[Point], winner: int | None) -> Markup:
    """Draw scores by cost, with a line along the Pareto front."""
    best = front(points)
    on_front = {point.candidate for point in best}
    costs, (low, top) = [p.cost for p in points], _extent(p.score for p in points)
    frame = Frame.around(costs, [low, top])
    x, y = frame.x, frame.y
    steps: list[tuple[float, float]] = []
    for point in best:
        steps += [(x(point.cost), steps[-1][1])] if steps else []
        steps.append((x(point.cost), y(point.score)))
    dots = _Dots()
    for point in points:
        kind = "front" if point.candidate in on_front else ""
        kind = "winner" if point.candidate == winner else kind
        dots.add(kind, point.candidate, x(point.cost), y(point.score))
    grid = frame.grid(
        name,
        "validation loss, nats",
        numbers(ticks(min(costs), max(costs), 4), amount),
        numbers(ticks(low, top, 6)),
    )
    label = (
        f"{name} and score of {len(points):,} candidates,"
        f" {len(best):,} of them on the Pareto front"
    )
    line = element("path", class_="frontline", d=_path(steps))
    return chart(label, grid, line, *dots.draw("", "front", "winner"))


# The final comparison


@dataclass(frozen=True)
class Range:
    """The losses of a row of the final comparison, by seed."""

    losses: tuple[float, ...]
    is_winner: bool

    @property
    def mean(self) -> float:
        """Return the mean loss."""
        return sum(self.losses) / len(self.losses)

    @classmethod
    def scale(cls, rows: Iterable[Range]) -> Scale:
        """Return the scale for all rows, in percent of the width."""
        losses = [loss for row in rows for loss in row.losses]
        room = (max(losses) - min(losses)) * 0.02 or 0.05
        return Scale(min(losses) - room, max(losses) + room, 4, 96)


def strip(row: Range, scale: Scale, winner: float | None = None) -> Markup:
    """Draw the losses of a row as dots on a line, with a bar at the mean.

    `winner` is the mean of the winner, which is drawn as a line across all rows.
    """

    def at(value: float) -> str:
        return f"{scale(value):g}%"

    parts = []
    if winner is not None:
        x = at(winner)
        parts.append(element("line", class_="beside", x1=x, x2=x, y1=0, y2="100%"))
    ends = {"x1": at(min(row.losses)), "x2": at(max(row.losses))}
    parts.append(element("line", class_="spread", y1="50%", y2="50%", **ends))
    parts += (element("circle", cx=at(loss), cy="50%", r=3.5) for loss in row.losses)
    bar = element("line", class_="mean", y1=-8, y2=8)
    parts.append(element("svg", bar, x=at(row.mean), y="50%", class_="at"))
    name = "strip winner" if row.is_winner else "strip"
    return element("svg", join(parts), class_=name, aria_hidden="true")


def strip_axis(scale: Scale) -> Markup:
    """Draw the axis above the rows."""
    parts = []
    for value in ticks(scale.low, scale.high, 3):
        where = {"x": f"{scale(value):g}%", "y": 12}
        parts.append(element("text", f"{value:g}", class_="tick mid", **where))
    return element("svg", join(parts), class_="strip axis", aria_hidden="true")
