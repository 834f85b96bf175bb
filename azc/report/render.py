"""Templates of the page, and the functions that they use."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from azc.numbers import amount, change
from azc.report.code import diff_lines, highlight, prose, show_diff
from azc.report.comparison import interval
from azc.report.html import element, join, text
from azc.search.objectives import OBJECTIVES, shown_limit, shown_scores

__all__ = ["asset", "render", "template"]

_TEMPLATES = Path(__file__).parent / "templates"


def asset(name: str) -> Markup:
    """Return the content of a style sheet or a script."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def template(name: str) -> Any:
    """Return the macros of a template, as attributes."""
    return _environment().get_template(name).module


def render(name: str, **values: object) -> Markup:
    """Render a template."""
    return Markup(_environment().get_template(name).render(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "amount": amount,
        "highlight": highlight,
        "prose": prose,
        "claim": _claim,
        "interval": interval,
    }
    environment.globals |= {
        "change": change,
        "shown_limit": shown_limit,
        "shown_scores": shown_scores,
        "OBJECTIVES": OBJECTIVES,
        "difference": _difference,
    }
    return environment


def _claim(sentence: str) -> Markup:
    """Return a sentence with a capital and a period, and names marked."""
    parts = f"{sentence[0].upper()}{sentence[1:]}.".split("`")
    return join(
        element("span", part, class_="name") if i % 2 else part
        for i, part in enumerate(parts)
    )


@lru_cache(maxsize=1024)  # the lineage of the winner, each time the page is drawn
def _difference(old: str, new: str) -> Markup:
    """Render the difference between two programs."""
    lines = diff_lines(old, new)
    return show_diff(lines) if lines else Markup("")
