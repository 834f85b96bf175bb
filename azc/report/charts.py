"""The charts of the page, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from azc.numbers import amount
from azc.report.axes import WIDTH, Frame, Scale, chart, ticks
from azc.report.html import element, join
from azc.search.records import Evaluation

__all__ = [
    "Point",
    "Range",
    "costs_chart",
    "front",
    "lines_chart",
    "ranges_chart",
    "rounds_chart",
]

_LINES = 6  # lines with a colour and a name of their own


def _dot(candidate: int, x: float, y: float, name: str, title: str) -> Markup:
    """A candidate in a chart, with the way to its entry. The list of candidates has the
    same ways for the keyboard.
    """
    mark = element("circle", element("title", title), cx=x, cy=y, r=4)
    return element(
        "a", mark, href=f"#c{candidate}", class_=f"dot {name}", tabindex="-1"
    )


# Scores


def rounds_chart(
    rounds: Sequence[int], evaluations: Iterable[Evaluation], line: Sequence[int]
) -> Markup | None:
    """Scores by round, a line from round to round for each candidate scored again;
    `line`: the candidates from the start to the winner. None where there is no score.
    """
    done = [e for e in evaluations if e.score is not None]
    if not done:
        return None
    low, top = _extent([e.score for e in done if e.score is not None])
    numbers = [number + 1 for number in rounds]
    frame = Frame.around(numbers, [low, top])
    x, y = frame.x, frame.y
    by_candidate: dict[int, list[Evaluation]] = {}
    best: dict[int, Evaluation] = {}
    for e in sorted(done, key=lambda e: (e.round, e.score, e.candidate)):
        by_candidate.setdefault(e.candidate, []).append(e)
        best.setdefault(e.round, e)
    known = set(line)
    paths, dots = [], []
    for candidate, found in by_candidate.items():
        places = [(x(e.round + 1), y(e.score or 0.0)) for e in found]
        if len(found) > 1:
            points = " ".join(f"{a},{b}" for a, b in places)
            name = "again line" if candidate in known else "again"
            paths.append(element("polyline", points=points, class_=name))
        for e, place in zip(found, places, strict=True):
            names = ["line"] if candidate in known else []
            names += ["best"] if best[e.round] is e else []
            title = f"{candidate:04}, round {e.round + 1}: {e.score:.4f} nats"
            dots.append(_dot(candidate, *place, " ".join(names), title))
    shown = _whole_ticks(min(numbers), max(numbers))
    grid = frame.grid(
        "round", "validation loss, nats", shown, _numbers(ticks(low, top, 6))
    )
    label = f"Scores of {len(by_candidate)} candidates in {len(rounds)} rounds"
    return chart(label, grid, *paths, *dots)


def _extent(scores: Iterable[float]) -> tuple[float, float]:
    """The scores from which to which a chart is drawn. One far off would press all others
    together: it stands at the edge.
    """
    order = sorted(scores)
    quarter, middle = order[len(order) // 4], order[len(order) // 2]
    far = middle + 8 * (middle - quarter) if middle > quarter else order[-1]
    return order[0], min(order[-1], far)


def _whole_ticks(low: int, high: int) -> list[tuple[float, str]]:
    found = {round(value) for value in ticks(low, high, 8)} | {low}
    return [(value, str(value)) for value in sorted(found) if low <= value <= high]


def _numbers(
    values: Sequence[float], say: Callable[[float], str] = "{:g}".format
) -> list[tuple[float, str]]:
    return [(value, say(value)) for value in values]


# What the strategy shows


def lines_chart(series: Mapping[str, Sequence[tuple[int, float]]]) -> Markup | None:
    """Values in percent by round; the highest of the last round with their names. None
    where there is nothing to draw.
    """
    ends = {name: points[-1][1] for name, points in series.items() if points}
    if not ends:
        return None
    everything = [point for points in series.values() for point in points]
    rounds = [number + 1 for number, _ in everything]
    frame = Frame.around(rounds, [0.0, max(v for _, v in everything)], WIDTH - 96)
    x, y = frame.x, frame.y
    order = sorted(ends, key=lambda name: (-ends[name], name))
    parts, labels = [], []
    for place in range(len(order) - 1, -1, -1):
        name = order[place]
        points = " ".join(f"{x(number + 1)},{y(v)}" for number, v in series[name])
        colour = f"s{place}" if place < _LINES else "rest"
        title = element("title", f"{name}: {ends[name]:g}%")
        drawn = {"points": points, "class_": f"series {colour}"}
        parts.append(element("polyline", title, **drawn))
        if len(series[name]) == 1:
            at = {"cx": x(series[name][0][0] + 1), "cy": y(series[name][0][1])}
            parts.append(element("circle", title, r=3, class_=f"series {colour}", **at))
    named = order[:_LINES]
    heights = _apart([y(ends[name]) for name in named], 14)
    for place, (name, height) in enumerate(zip(named, heights, strict=True)):
        where = {"x": x.last + 8, "y": height + 4}
        labels.append(element("text", name, class_=f"name s{place}", **where))
    shown = _whole_ticks(min(rounds), max(rounds))
    values = ticks(0.0, max(v for _, v in everything))
    percent = _numbers(values, "{:g}%".format)
    grid = frame.grid("round", "share of draws", shown, percent)
    label = f"{len(ends)} values of the strategy by round"
    return chart(label, grid, *parts, *labels)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Places downwards from the first, each so far below the one before at least."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + least) if found else place)
    return found


# Costs


@dataclass(frozen=True)
class Point:
    """A candidate by what it costs and how it scores."""

    candidate: int
    cost: float
    score: float


def front(points: Iterable[Point]) -> list[Point]:
    """Those that no other beats in cost or score without losing in the other (Pareto),
    the cheapest first.
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, p.score, p.candidate)):
        if not found or point.score < found[-1].score:
            found.append(point)
    return found


def costs_chart(name: str, points: Sequence[Point], winner: int | None) -> Markup:
    """Scores of one round by cost, those on the Pareto front joined."""
    best = front(points)
    on_front = {point.candidate for point in best}
    costs, (low, top) = [p.cost for p in points], _extent(p.score for p in points)
    frame = Frame.around(costs, [low, top])
    x, y = frame.x, frame.y
    steps: list[tuple[float, float]] = []
    for point in best:
        steps += [(x(point.cost), steps[-1][1])] if steps else []
        steps.append((x(point.cost), y(point.score)))
    path = " ".join(f"{a},{b}" for a, b in steps)
    dots = []
    for point in points:
        names = ["front"] if point.candidate in on_front else []
        names += ["best"] if point.candidate == winner else []
        cost = f"{point.cost:,.0f}" if point.cost >= 1000 else f"{point.cost:.4g}"
        title = f"{point.candidate:04}: {cost}, {point.score:.4f} nats"
        place = x(point.cost), y(point.score)
        dots.append(_dot(point.candidate, *place, " ".join(names), title))
    along = ticks(min(costs), max(costs), 4)
    grid = frame.grid(
        name,
        "validation loss, nats",
        _numbers(along, amount),
        _numbers(ticks(low, top, 6)),
    )
    label = f"{name} and score of {len(points)} candidates, {len(best)} on the front"
    line = element("polyline", points=path, class_="frontline")
    return chart(label, grid, line, *dots)


# The last table


@dataclass(frozen=True)
class Range:
    """A row of the last table: losses by seed, and their mean."""

    name: str
    losses: tuple[float, ...]
    is_winner: bool

    @property
    def mean(self) -> float:
        """The mean loss."""
        return sum(self.losses) / len(self.losses)


def ranges_chart(rows: Sequence[Range]) -> Markup | None:
    """Losses of the last table, a dot a seed and a bar at the mean."""
    if not rows:
        return None
    losses = [loss for row in rows for loss in row.losses]
    height = 30 * len(rows) + 60
    room = (max(losses) - min(losses)) * 0.05 or 0.05
    x = Scale(min(losses) - room, max(losses) + room, 150, WIDTH - 16)
    y = Scale(0, max(1, len(rows) - 1), 22, height - 60)
    frame = Frame(x, Scale(0, 1, height - 42, 8))
    parts = []
    for place, row in enumerate(rows):
        at = 22.0 if len(rows) == 1 else y(place)
        name = "row winner" if row.is_winner else "row"
        short = row.name if len(row.name) <= 20 else row.name[:19] + "…"
        where = {"x": 140, "y": at + 4}
        inside: list[object] = [element("text", short, class_="tick end", **where)]
        ends = {"x1": x(min(row.losses)), "x2": x(max(row.losses)), "y1": at, "y2": at}
        inside.append(element("line", class_="spread", **ends))
        inside += (element("circle", cx=x(loss), cy=at, r=3.5) for loss in row.losses)
        mean = {"x1": x(row.mean), "x2": x(row.mean), "y1": at - 8, "y2": at + 8}
        inside.append(element("line", class_="mean", **mean))
        inside.append(element("title", f"{row.name}: mean {row.mean:.4f} nats"))
        parts.append(element("g", *inside, class_=name))
    along = _numbers(ticks(min(losses), max(losses)))
    for value, _ in along:
        line = {"x1": x(value), "x2": x(value), "y1": 8, "y2": height - 42}
        parts.insert(0, element("line", class_="grid", **line))
    grid = frame.grid("test loss, nats", "", along, ())
    label = f"Test losses of {len(rows)} programs trained alone, lower is better"
    return chart(label, grid, join(parts), height=height)
