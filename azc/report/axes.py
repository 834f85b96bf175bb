"""Frame of a chart: scales, ticks and grid lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from azc.report.html import element, join

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Frame",
    "Scale",
    "chart",
    "numbers",
    "ticks",
    "whole_ticks",
]

WIDTH, HEIGHT = 480, 290  # size of a chart in SVG user units
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 30, 40


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to positions; `low` and `high` may be equal."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """Return the position of a value; values beyond an end are clipped to it."""
        if self.high == self.low:
            return round((self.first + self.last) / 2, 2)
        share = (value - self.low) / (self.high - self.low)
        place = self.first + min(1.0, max(0.0, share)) * (self.last - self.first)
        return round(place, 2)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between two values, with steps of 1, 2 or 5 times a power of
    10.
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(s * unit for s in (1, 2, 5, 10) if s * unit >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def whole_ticks(low: int, high: int, most: int = 8) -> list[tuple[float, str]]:
    """Return whole numbers between two, the first of them included, with their names."""
    found = {round(value) for value in ticks(low, high, most)}
    step = min((b - a for a in found for b in found if b > a), default=1)
    found = {value for value in found if value - low >= 0.6 * step} | {low}
    return [(value, f"{value:,}") for value in sorted(found) if low <= value <= high]


def numbers(
    values: Sequence[float], say: Callable[[float], str] = "{:g}".format
) -> list[tuple[float, str]]:
    """Return values with their labels."""
    return [(value, say(value)) for value in values]


@dataclass(frozen=True)
class Frame:
    """The x and y scales of a chart."""

    x: Scale
    y: Scale

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float]) -> Frame:
        """Return a frame around values, with a small margin on every side."""
        x_room = (max(xs) - min(xs)) * 0.04 or abs(max(xs)) * 0.02 or 0.5
        y_room = (max(ys) - min(ys)) * 0.06 or abs(max(ys)) * 0.02 or 0.5
        return cls(
            Scale(min(xs) - x_room, max(xs) + x_room, _LEFT, WIDTH - _RIGHT),
            Scale(min(ys) - y_room, max(ys) + y_room, HEIGHT - _BOTTOM, _TOP),
        )

    def grid(
        self,
        x_name: str,
        y_name: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> Markup:
        """Draw grid lines with numbers, and the names of both axes."""
        x, y = self.x, self.y
        parts = []
        for value, name in y_ticks:
            place = y(value)
            line = {"x1": x.first, "x2": x.last, "y1": place, "y2": place}
            parts.append(element("line", class_="grid", **line))
            where = {"x": x.first - 8, "y": place + 4}
            parts.append(element("text", name, class_="tick end", **where))
        for value, name in x_ticks:
            where = {"x": x(value), "y": y.first + 17}
            parts.append(element("text", name, class_="tick mid", **where))
        parts.append(element("text", y_name, class_="axis", x=0, y=12))
        where = {"x": x.last, "y": HEIGHT - 4}
        parts.append(element("text", x_name, class_="axis end", **where))
        return join(parts)


def chart(label: str, *inside: object) -> Markup:
    """Create a drawing; `label` describes it in a sentence for screen readers."""
    return element(
        "svg",
        *inside,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
        class_="chart",
    )
