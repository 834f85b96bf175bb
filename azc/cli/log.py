"""`azc log`: how the best model of a run came about.

JSON:

    folder      the folder of the run
    over        whether nothing is left to be done
    steps       the line to the best, from the start or from one that nobody bore: of
                each candidate its id, parents (the one that it goes on with first), round
                (from 1) that it was born in, mutation, scores (of each round that it was
                in: round, status done or failed, scores by objective, reason) and diff
                (text, from its first parent)
    refused     how many children were not trained: known (in normal form), equal (in
                function to a candidate), faults (by reason)
    candidates  with --all: every candidate, in the same form

Codes: R040 the run has no results yet.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from azc.cli.options import Json, Run
from azc.cli.output import Output, out
from azc.diagnostics import RunError
from azc.search.objectives import shown_scores
from azc.search.records import START, Candidate
from azc.search.refused import refused_json, refused_words
from azc.search.view import RunView, read_run
from azc.syntax.diff import text_diff

__all__ = ["log"]


def log(
    context: typer.Context,
    run: Run,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Show every candidate, not only the ancestors of the best."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how a run arrived at its best model, each step as a diff.

    The run may still be in progress. Scores are validation losses in nats (per masked
    token, per token for causal models, or per answer of a task) and the other
    objectives of the search. With shared weights, they are only comparable within a
    round.

    Example: azc log runs/first
    """
    output = out(context)
    view = read_run(run)
    if not view.spent:
        raise RunError("R040", f"nothing has been scored in {run} yet")
    best = view.best.id if view.best else START
    steps = view.lineage(best)
    chosen = list(view.candidates.values()) if everything else steps
    for candidate in chosen:
        _step(candidate, view, output)
    if view.refused:
        output.line(refused_words(view.refused))
    described = [_json(candidate, view) for candidate in steps]
    answer: dict[str, Any] = {"folder": str(run), "over": view.is_over}
    answer["steps"] = described
    answer["refused"] = refused_json(view.refused)
    if everything:
        answer["candidates"] = [_json(candidate, view) for candidate in chosen]
    output.result(**answer)


def _scores(candidate: Candidate, view: RunView) -> list[dict[str, Any]]:
    return [
        {
            "round": e.round + 1,
            "status": e.status,
            "scores": e.scores and dict(e.scores),
            "reason": e.reason,
        }
        for e in view.by_candidate[candidate.id]
        if e.status != "asked"
    ]


def _difference(candidate: Candidate, view: RunView) -> str:
    if candidate.parent is None:
        return ""
    old = view.candidates[candidate.parent]
    names = [f"candidates/{each.id:04}.azg" for each in (old, candidate)]
    return text_diff(old.program, candidate.program, *names)


def _step(candidate: Candidate, view: RunView, output: Output) -> None:
    output.line(f"{candidate.id:04}  {candidate.mutation}")
    if len(candidate.parents) > 1:
        output.line(f"      from {' and '.join(f'{n:04}' for n in candidate.parents)}")
    for score in _scores(candidate, view):
        found = f"failed: {score['reason']}"
        if score["scores"] is not None:
            found = shown_scores(score["scores"], of=view.unit)
        output.line(f"      round {score['round']}: {found}")
    output.line()
    if candidate.parent is not None:
        output.diff(_difference(candidate, view))
        output.line()


def _json(candidate: Candidate, view: RunView) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "parents": list(candidate.parents),
        "round": candidate.round + 1,
        "mutation": candidate.mutation,
        "scores": _scores(candidate, view),
        "diff": _difference(candidate, view),
    }
