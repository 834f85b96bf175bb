"""Parts of the page that show the results of a run, each drawn separately.

A live page receives the parts that have changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from azc.report.charts import (
    Point,
    Range,
    costs_chart,
    lines_chart,
    rounds_chart,
    strip,
    strip_axis,
)
from azc.report.comparison import COVERED, Row, Table, last_table
from azc.report.facts import Facts, Standing, failures
from azc.report.render import render
from azc.search.objectives import OBJECTIVES, WRITTEN
from azc.search.records import Evaluation
from azc.search.view import RunView

__all__ = ["Controls", "Feature", "parts"]

_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)%")
_STEPS = 30  # last steps of the lineage that are shown with their differences
_ROUNDS = 8  # last rounds whose strategy values are in the table

Displays = Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class Feature:
    """An operation, or another feature, that can be banned or favored.

    Attributes:
        name: Its name.
        times: Factor by which it is drawn more often than the strategy would.
        chance: Its probability as the strategy shows it.
    """

    name: str
    times: float
    chance: str | None


@dataclass(frozen=True)
class Controls:
    """State of a page that is served.

    Attributes:
        at_work: Whether a process works on the run.
        features: The features that can be steered.
    """

    at_work: bool
    features: Sequence[Feature]


def parts(
    view: RunView,
    standing: Standing,
    facts: Mapping[int, Facts],
    displays: Displays,
    controls: Controls | None = None,
) -> dict[str, Markup]:
    """Draw the parts of the page.

    Args:
        view: The run.
        standing: Ranking of its candidates.
        facts: Facts about every candidate, by number.
        displays: Values that the strategy showed after each round.
        controls: State of a page that is served; without it, the controls are omitted.

    Returns:
        The parts by the ids of their elements; a part without content is empty.
    """
    shared = {"view": view, "controls": controls, "facts": facts}
    winner = None if standing.winner is None else facts[standing.winner]
    start = facts.get(view.start.id) if view.start else None
    failed = sum(e.status == "failed" for e in view.evaluations)
    line = [facts[candidate.id] for candidate in standing.line]
    grouped = failures(facts)
    found = {
        "top": render("top.html", **shared, failed=failed),
        "result": render("result.html", **shared, **_result(view, winner, start)),
        "search": render(
            "search.html", **shared, **_search(view, standing, facts, displays)
        ),
        "lineage": render(
            "lineage.html", **shared, line=line, early=max(0, len(line) - 1 - _STEPS)
        )
        if len(line) > 1
        else Markup(""),
        "failures": render(
            "failures.html",
            failures=[(why, [f.number for f in of]) for why, of in grouped.items()],
        )
        if grouped
        else Markup(""),
    }
    if controls is not None:
        for name in ("now", "draws", "acts"):
            found[name] = render(f"{name}.html", **shared)
    return found


def _result(
    view: RunView, winner: Facts | None, start: Facts | None
) -> dict[str, object]:
    table = last_table(view)
    return {
        "table": table,
        "winner": winner,
        "start": start,
        "start_row": _start_row(view, table),
        "covered": COVERED,
        "objectives": [OBJECTIVES[name] for name in view.options.objectives],
        **_strips(table),
    }


def _start_row(view: RunView, table: Table) -> Row | None:
    """Return the row of the start model, unless it is the winner or has no loss."""
    for row, entered in zip(table.rows, view.rows, strict=True):
        if entered.role == "start" and row.verdict is not None:
            return row
    return None


def _strips(table: Table) -> dict[str, object]:
    ranges = [Range(r.known, r.is_winner) if r.known else None for r in table.rows]
    drawn = [each for each in ranges if each is not None]
    if not drawn:
        return {"axis": None, "rows": []}
    scale = Range.scale(drawn)
    first = next((each.mean for each in drawn if each.is_winner), None)
    strips = ["" if each is None else strip(each, scale, first) for each in ranges]
    return {
        "axis": strip_axis(scale),
        "rows": list(zip(table.rows, strips, strict=True)),
    }


def _search(
    view: RunView, standing: Standing, facts: Mapping[int, Facts], displays: Displays
) -> dict[str, object]:
    rounds = rounds_chart(
        [number for number, _ in view.rounds],
        view.evaluations,
        [candidate.id for candidate in standing.line],
        winner=standing.winner,
        comparable=view.options.is_fresh,
    )
    return {
        "rounds": rounds,
        "costs": _costs(view, standing, facts),
        "uncosted": sum(not facts[e.candidate].is_compiled for e in standing.ranking),
        "lines": lines_chart(_series(displays)),
        "displays": displays,
        "recent": list(displays)[-_ROUNDS:],
        "objectives": [OBJECTIVES[name] for name in view.options.objectives],
    }


def _costs(
    view: RunView, standing: Standing, facts: Mapping[int, Facts]
) -> list[tuple[str, Markup]]:
    """Draw the deciding scores against parameters, FLOPs, and the other objectives."""
    ranking = standing.ranking
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
            charts.append((says, costs_chart(says, points, standing.winner)))
    return charts


def _cost(evaluation: Evaluation, facts: Facts, name: str) -> float | None:
    """Return the value of an objective for a candidate, or None if it is unknown."""
    found = (evaluation.scores or {}).get(name)
    if found is None and facts.model is not None and name in WRITTEN:
        found = float(getattr(facts.model, name))
    return found


def _series(displays: Displays) -> dict[str, list[tuple[int, float]]]:
    """Return the values that are percentages, by name, since they can be drawn."""
    found: dict[str, list[tuple[int, float]]] = {}
    for number, values in displays.items():
        for name, value in values.items():
            if percent := _PERCENT.fullmatch(value):
                found.setdefault(name, []).append((number, float(percent[1])))
    return found
