"""A run as one HTML file: everything in it, nothing loaded, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from azc.numbers import amount, change
from azc.report.charts import (
    Point,
    Range,
    costs_chart,
    lines_chart,
    ranges_chart,
    rounds_chart,
)
from azc.report.code import highlight, prose, show_diff
from azc.report.comparison import COVERED, Table, interval, last_table
from azc.report.facts import Facts, failures, gather
from azc.report.html import text
from azc.report.tree import tree
from azc.search.objectives import OBJECTIVES, WRITTEN, shown_limit
from azc.search.records import Evaluation
from azc.search.view import RunView

__all__ = ["MARK", "Controls", "Feature", "page"]

# Near the beginning of every page: what a file must have to be replaced by another.
MARK = '<meta name="generator" content="azc report">'
_TEMPLATES = Path(__file__).parent / "templates"
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)%")


@dataclass(frozen=True)
class Feature:
    """What may be banned or favoured: drawn so many `times` as often as the strategy
    would, which shows a `chance` for it.
    """

    name: str
    times: float
    chance: str | None


@dataclass(frozen=True)
class Controls:
    """What a page has that is served: whether a process works on the run, and what may be
    steered.
    """

    at_work: bool
    features: Sequence[Feature]


def page(
    view: RunView,
    displays: Mapping[int, Mapping[str, str]] | None = None,
    controls: Controls | None = None,
) -> str:
    """The page of a run, also of one that is under way.

    `displays`: what the strategy showed of itself after each round, if that is known.
    `controls`: for a page that is served, and follows the run.
    """
    facts = gather(view)
    table = last_table(view)
    style, script = _read("page.css"), _read("page.js")
    if controls is not None:
        style, script = style + _read("live.css"), _read("live.js") + script
    failed = sum(e.status == "failed" for e in view.evaluations)
    template = _environment().get_template("page.html")
    return template.render(
        mark=Markup(MARK),
        style=style,
        script=script,
        policy=_policy(style, script, controls is not None),
        controls=controls,
        view=view,
        failed=failed,
        facts=facts,
        start=facts.get(view.start.id) if view.start else None,
        winner=facts.get(view.winner) if view.winner is not None else None,
        table=table,
        verdict=prose(f"{table.sentence[0].upper()}{table.sentence[1:]}."),
        covered=COVERED,
        ranges=_ranges(table),
        rounds=_rounds(view),
        costs=_costs(view, facts),
        objectives=[OBJECTIVES[name] for name in view.options.objectives],
        series=lines_chart(_series(displays or {})),
        displays=displays or {},
        line=_line(view, facts),
        tree=tree(facts),
        failures=failures(facts),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "amount": amount,
        "highlight": highlight,
        "prose": prose,
        "show_diff": show_diff,
        "interval": interval,
    }
    environment.globals |= {"change": change, "shown_limit": shown_limit}
    return environment


def _read(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _policy(style: str, script: str, live: bool) -> str:
    """What the browser may run and load: this style and this script, nothing else, were
    an escape ever forgotten; a page that is served, what it is served.
    """

    def allowed(content: str) -> str:
        digest = hashlib.sha256(content.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)};"
        " base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if live else "")
    )


def _ranges(table: Table) -> Markup | None:
    rows = [Range(r.name, r.known, r.is_winner) for r in table.rows if r.known]
    return ranges_chart(rows)


def _rounds(view: RunView) -> Markup | None:
    line = [c.id for c in view.lineage(view.winner)] if view.winner is not None else []
    return rounds_chart([number for number, _ in view.rounds], view.evaluations, line)


def _costs(view: RunView, facts: Mapping[int, Facts]) -> list[tuple[str, Markup]]:
    """Scores of what decides against parameters, FLOPs, and whatever else is
    an objective.
    """
    ranking = [e for e in view.ranking() if e.score is not None]
    if not ranking:
        return []
    first = next(iter(ranking[0].scores or {}))
    names = dict.fromkeys((*WRITTEN, *view.options.objectives))
    charts = []
    for name in [name for name in names if name != first]:
        points = [
            Point(e.candidate, cost, e.score)
            for e in ranking
            for cost in [_cost(e, facts[e.candidate], name)]
            if cost is not None and e.score is not None
        ]
        if points:
            says = OBJECTIVES[name].says
            charts.append((says, costs_chart(says, points, view.winner)))
    return charts


def _cost(evaluation: Evaluation, facts: Facts, name: str) -> float | None:
    """What a candidate has of an objective, None where that is not known."""
    found = (evaluation.scores or {}).get(name)
    if found is None and facts.model is not None and name in WRITTEN:
        found = float(getattr(facts.model, name))
    return found


def _series(
    displays: Mapping[int, Mapping[str, str]],
) -> dict[str, list[tuple[int, float]]]:
    """The values that are percentages, by name: these can be drawn."""
    found: dict[str, list[tuple[int, float]]] = {}
    for number, values in displays.items():
        for name, value in values.items():
            if percent := _PERCENT.fullmatch(value):
                found.setdefault(name, []).append((number, float(percent[1])))
    return found


def _line(view: RunView, facts: Mapping[int, Facts]) -> list[Facts]:
    """The steps from the start to the winner."""
    if view.winner is None:
        return []
    return [facts[candidate.id] for candidate in view.lineage(view.winner)]
