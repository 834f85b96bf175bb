"""A run as a self-contained HTML file.

The most important parts come first and need no scripts: the result, the charts, the
lineage of the winner, and the best candidates. The rest is packed as JSON, compressed
with gzip and encoded in base64. The page's script unpacks it when it is needed:

- `rows`: the data of every candidate for listing, filtering, sorting and the tree
- `texts`: by number, the text in which a candidate is searched for
- `inside-K`: by number, the details of the candidates from K · `CHUNK` on, except for
  those that are listed first
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

# At the beginning of every page. A file with this mark may be overwritten.
MARK = '<meta name="generator" content="azc report">'
CHUNK = 100  # candidates that are unpacked at once
_FIRST = 100  # candidates that are not packed


def page(
    view: RunView,
    displays: Mapping[int, Mapping[str, str]] | None = None,
    watch: Callable[[Sequence[Candidate]], Iterable[Candidate]] = iter,
) -> str:
    """Return the page of a run, which may be incomplete.

    Args:
        view: The run.
        displays: Values that the strategy showed after each round, if known.
        watch: Yields the candidates and reports progress. Compiling each of them takes
            milliseconds.
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
    """Assemble a page from its parts.

    Args:
        view: The run.
        sections: The parts, see `parts`.
        first: The candidates listed first: number, row, and details of each.
        blocks: Packed data of the page, by name.
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
    # Without a time stamp, the same run always gives the same page.
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _policy(style: str, script: str, live: bool) -> str:
    """Return the content security policy of the page.

    Should an escape ever be missing, the browser still runs only this style and this
    script. A page that is served may also connect to its server.
    """

    def allowed(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)};"
        " base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if live else "")
    )
