"""The frame of a chart: scales, round numbers along them, and lines across."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from azc.report.html import element, join

__all__ = ["HEIGHT", "WIDTH", "Frame", "Scale", "chart", "ticks"]

WIDTH, HEIGHT = 480, 300  # of a chart, in its own units


@dataclass(frozen=True)
class Scale:
    """From values to places, in a straight line; `low` and `high` may be one value."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """The place of a value; beyond an end, that end's."""
        if self.high == self.low:
            return round((self.first + self.last) / 2, 2)
        share = (value - self.low) / (self.high - self.low)
        place = self.first + min(1.0, max(0.0, share)) * (self.last - self.first)
        return round(place, 2)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two values: steps of 1, 2 or 5 and zeros."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(s * unit for s in (1, 2, 5, 10) if s * unit >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Frame:
    """Where a chart has its axes; the room right of `right` is for names of lines."""

    x: Scale
    y: Scale

    @classmethod
    def around(
        cls,
        xs: Sequence[float],
        ys: Sequence[float],
        right: float = WIDTH - 12,
        height: float = HEIGHT,
    ) -> Frame:
        """A frame around values, with a little room on every side."""
        x_room = (max(xs) - min(xs)) * 0.04 or abs(max(xs)) * 0.02 or 0.5
        y_room = (max(ys) - min(ys)) * 0.06 or abs(max(ys)) * 0.02 or 0.5
        return cls(
            Scale(min(xs) - x_room, max(xs) + x_room, 60, right),
            Scale(min(ys) - y_room, max(ys) + y_room, height - 44, 12),
        )

    def grid(
        self,
        x_name: str,
        y_name: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> Markup:
        """Lines across with their numbers, and what both axes are."""
        x, y = self.x, self.y
        parts = []
        for value, name in y_ticks:
            place = y(value)
            line = {"x1": x.first, "x2": x.last, "y1": place, "y2": place}
            parts.append(element("line", class_="grid", **line))
            where = {"x": x.first - 6, "y": place + 4}
            parts.append(element("text", name, class_="tick end", **where))
        for value, name in x_ticks:
            where = {"x": x(value), "y": y.first + 16}
            parts.append(element("text", name, class_="tick mid", **where))
        middle = (x.first + x.last) / 2
        where = {"x": middle, "y": y.first + 36}
        parts.append(element("text", x_name, class_="axis mid", **where))
        upright = f"translate(11 {(y.first + y.last) / 2}) rotate(-90)"
        parts.append(element("text", y_name, class_="axis mid", transform=upright))
        return join(parts)


def chart(label: str, *inside: object, height: float = HEIGHT) -> Markup:
    """A drawing; `label` says in a sentence what it shows, for who can't see it."""
    return element(
        "svg",
        *inside,
        viewBox=f"0 0 {WIDTH} {height}",
        role="group",
        aria_label=label,
        class_="chart",
    )
