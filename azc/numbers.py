"""Numbers and values as people read and write them."""

from __future__ import annotations

import re

__all__ = [
    "amount",
    "as_size",
    "as_time",
    "change",
    "count",
    "in_bytes",
    "in_milliseconds",
    "in_seconds",
    "ranges",
    "setting",
]

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([uµm]?)s\s*")
_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|min|h)\s*")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_UNITS = {  # of a size, the largest first
    f"{letter}{binary}B": (1024 if binary else 1000) ** power
    for power, letter in ((4, "T"), (3, "G"), (2, "M"), (1, "k"))
    for binary in ("", "i")
}


def amount(number: float) -> str:
    """Three digits and a unit: `14.2 M`."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(number) >= 0.9995 * 10**power:
            return f"{_digits(number / 10**power)} {unit}"
    return f"{number:.0f}" if number == int(number) else _digits(number)


def count(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _digits(number: float) -> str:
    if abs(number) >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


def change(old: float, new: float) -> str:
    """How much more, in the unit of its size and in percent: `+1.2 M, +3.4%`."""
    text = f"{'+' if new > old else '-' if new < old else ''}{amount(abs(new - old))}"
    percent = f"{100 * (new - old) / old:+.1f}%" if old else ""
    return f"{text}, {percent}" if percent.strip("+-0.%") else text


def in_bytes(text: str) -> int | None:
    """How many bytes `4GB` (4 · 10⁹), `512 MiB` (512 · 2²⁰) or `1000` are, None for what
    is no such size.
    """
    found = _SIZE.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        return None
    power = " kmgt".index(found[2].lower() or " ")
    unit: int = (1024 if found[3] else 1000) ** power
    return round(float(found[1]) * unit)


def in_milliseconds(text: str) -> float | None:
    """How many milliseconds `2ms`, `500us` or `1.5 s` are, None for what is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    return float(found[1]) * {"": 1e3, "m": 1.0}.get(found[2], 1e-3)


def in_seconds(text: str) -> float | None:
    """Return the seconds of `90`, `90s`, `1.5 min` or `2h`, None for what is no time."""
    found = _SPAN.fullmatch(text)
    if found is not None:
        return float(found[1]) * _SECONDS[found[2]]
    try:
        return float(text)
    except ValueError:
        return None


def as_time(seconds: float) -> str:
    """Write seconds as `in_seconds` reads them: `60s`, `30min`, `1h`."""
    if seconds >= 3600 and seconds % 3600 == 0:
        return f"{seconds / 3600:.10g}h"
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:.10g}min"
    return f"{seconds:.10g}s"


def as_size(count: int) -> str:
    """Write bytes as `in_bytes` reads them: `4GB`, `512MiB`, `1001`."""
    for unit, size in _UNITS.items():
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


def setting(value: object) -> str:
    """A value as programs write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        texts = [setting(each) for each in value]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def ranges(places: list[int]) -> str:
    """Ascending numbers, runs of them joined: `1, 3-5`."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
