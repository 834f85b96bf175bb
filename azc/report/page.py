"""A run as one HTML file: everything in it, nothing loaded.

What is shown first comes first and can be read without scripts: the result, the charts,
the line to the winner, the best candidates. The rest is packed, JSON below gzip and
base64, and the page's script unpacks it when somebody looks for it:

- `rows`: what is listed of every candidate, to filter, to order and to draw the tree
- `texts`: by number, the text that a candidate is found by
- `inside-K`: by number, all of the candidates from K · `CHUNK` that are not listed first
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup

from azc.report.entries import entry, inside, row, searched
from azc.report.facts import Facts, gather, stand
from azc.report.models import Models
from azc.report.parts import parts
from azc.report.render import asset, render
from azc.search.records import Candidate
from azc.search.view import RunView

__all__ = ["CHUNK", "MARK", "page", "shell"]

# Near the beginning of every page: what a file must have to be replaced by another.
MARK = '<meta name="generator" content="azc report">'
CHUNK = 100  # candidates that are unpacked at once
_FIRST = 100  # candidates that are not packed


def page(
    view: RunView,
    displays: Mapping[int, Mapping[str, str]] | None = None,
    watch: Callable[[Sequence[Candidate]], Iterable[Candidate]] = iter,
) -> str:
    """Return the page of a run, also of one that is under way.

    Args:
        view: The run.
        displays: What the strategy showed of itself after each round, if that is known.
        watch: Yields the candidates while it shows how far that is. It takes
            milliseconds to compile each.
    """
    models = Models(view.model, view.options.length)
    models.compile(watch(list(view.candidates.values())))
    standing = stand(view)
    facts = gather(view, standing, models)
    first = standing.order(facts)[:_FIRST]
    return shell(
        view,
        parts(view, standing, facts, displays or {}),
        [(n, row(facts[n]), inside(view, facts[n])) for n in first],
        blocks=_blocks(view, facts, set(first)),
    )


def shell(
    view: RunView,
    sections: Mapping[str, Markup],
    first: Sequence[tuple[int, Markup, Markup]],
    *,
    blocks: Iterable[tuple[str, str]] = (),
    version: int | None = None,
) -> str:
    """Return a page around its parts.

    Args:
        view: The run.
        sections: The parts, see `parts`.
        first: The candidates listed first: number, row, and all of each.
        blocks: What is packed into the page, by name.
        version: Version of the parts, for a page that is served and follows the run.
    """
    is_live = version is not None
    style, script = asset("page.css"), asset("page.js")
    if is_live:
        style += asset("live.css")
    script = asset("live.js" if is_live else "saved.js") + script
    return str(
        render(
            "page.html",
            mark=Markup(MARK),
            style=style,
            script=script,
            policy=_policy(style, script, is_live),
            is_live=is_live,
            version=version,
            view=view,
            parts=sections,
            steer=render("steer.html", view=view, **sections) if is_live else "",
            first=first,
            total=len(view.candidates),
            blocks=blocks,
            chunk=CHUNK,
        )
    )


def _blocks(
    view: RunView, facts: Mapping[int, Facts], first: set[int]
) -> Iterable[tuple[str, str]]:
    yield "rows", _packed([entry(each) for each in facts.values()])
    yield "texts", _packed({n: searched(each) for n, each in facts.items()})
    chunks: dict[int, dict[int, str]] = {}
    for number, each in facts.items():
        if number not in first:
            chunk = chunks.setdefault(number // CHUNK, {})
            chunk[number] = inside(view, each)
    for place, chunk in chunks.items():
        yield f"inside-{place}", _packed(chunk)


def _packed(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # The same page of the same run: the time is left out.
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(style: str, script: str, live: bool) -> str:
    """Return what the browser may run and load: this style and this script, nothing
    else, were an escape ever forgotten; a page that is served, what it is served.
    """

    def allowed(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)};"
        " base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if live else "")
    )
