"""All candidates as the tree that they have grown, to open and to close."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from azc.report.code import prose
from azc.report.facts import Facts
from azc.report.html import element, join

__all__ = ["tree"]

_DEEPEST = 60  # lists in lists; a browser gives up at some hundred


def tree(facts: Mapping[int, Facts]) -> Markup:
    """Nested lists, open along the line to the winner; each stands under the first of its
    parents. What is deeper than can be nested stands in the deepest list, in order.
    """
    parts: list[Markup] = []
    # A candidate to begin, or what ends one that was begun: recursion would end where
    # a lineage is long.
    roots = [n for n, each in facts.items() if each.candidate.parent is None]
    todo: list[tuple[int, int] | Markup] = [(n, 0) for n in reversed(roots)]
    while todo:
        here = todo.pop()
        if isinstance(here, Markup):
            parts.append(here)
            continue
        number, depth = here
        each = facts[number]
        children = [
            (child, depth + 1)
            for child in reversed(each.children)
            if facts[child].candidate.parent == number
        ]
        if not children or depth >= _DEEPEST:
            parts.append(element("li", _label(each)))
            todo += children
            continue
        opened = Markup(" open") if each.on_line else Markup("")
        summary = element("summary", _label(each))
        parts.append(Markup("<li><details{}>{}<ul>").format(opened, summary))
        todo += [Markup("</ul></details></li>"), *children]
    return element("ul", join(parts), class_="tree") if parts else Markup("")


def _label(each: Facts) -> Markup:
    number, mutation = each.number, each.candidate.mutation
    link = element("a", f"{number:04}", href=f"#c{number}", class_="number")
    name = "node line" if each.on_line else "node"
    inside: list[object] = [
        link,
        " ",
        element("span", prose(mutation), class_="mutation"),
    ]
    for other in each.candidate.parents[1:]:
        also = element("a", f"{other:04}", href=f"#c{other}", class_="number")
        inside += [" and ", also]
    if each.fate in ("winner", "failed"):
        inside += [" ", element("span", each.fate, class_=f"fate {each.fate}")]
    return element("span", *inside, class_=name)
