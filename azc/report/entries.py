"""Candidates on the page: the row, the details below it, and the node of the tree.

All markup is created here, whether it is shown at once, packed into the file, or
requested later.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from azc.report.facts import Facts
from azc.report.render import template
from azc.search.view import RunView
from azc.source import visible

__all__ = ["entry", "inside", "row", "searched"]


def entry(each: Facts) -> list[Any]:
    """Return the data of a candidate for the page's script as a JSON value, see
    `page.js`.
    """
    model, last = each.model, each.last
    return [
        each.number,
        each.fate,
        int(each.on_line),
        each.score,
        None if last is None else last.place,
        None if model is None else model.parameters,
        None if model is None else round(model.flops),
        each.candidate.parents,
        row(each),
        template("candidate.html").node(each),
    ]


def row(each: Facts) -> Markup:
    """Return the row of a candidate in the list, a `summary` element."""
    return Markup(template("candidate.html").row(each))


def inside(view: RunView, each: Facts, can_stop: bool = False) -> Markup:
    """Return the details of a candidate; with `can_stop`, they have a button that stops
    it.
    """
    parent = each.candidate.parent
    before = None if parent is None else view.candidates[parent].program
    return Markup(template("candidate.html").inside(each, before, can_stop))


def searched(each: Facts) -> str:
    """Return the text in which a candidate is searched for."""
    text = f"{each.candidate.mutation}\n{each.candidate.program}"
    return visible(text, "\n\t").lower()
