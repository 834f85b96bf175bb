"""`azc ask`: show what a person or a language model needs to propose a program.

JSON: see `azc.search.archive.archive`, with `folder`.
"""

from __future__ import annotations

from typing import Any

import typer

from azc.cli.options import Json, Run
from azc.cli.output import Output, count, out
from azc.search.archive import archive
from azc.search.displays import last_display
from azc.search.objectives import shown_limit, shown_scores
from azc.search.view import read_run

__all__ = ["ask"]

_SHOWN = 12  # candidates, and refused programs


def ask(
    context: typer.Context,
    run: Run,
    as_json: Json = False,
) -> None:
    """Show what you need to propose a program to a search.

    With --json, it shows everything: the search space and its operations, every program
    with its scores and its state, the lineage of the best, the values of the strategy,
    refused programs with reasons, and all actions on the run.

    Example: azc ask runs/first --json
    """
    output = out(context)
    view = read_run(run)
    found = archive(view, last_display(view))
    if not output.as_json:
        _print(found, output)
    output.result(folder=str(run), **found)


def _print(found: dict[str, Any], output: Output) -> None:
    output.line("the search space and the start model")
    output.line()
    output.text(found["space"]["program"])
    output.line()
    spent, budget = found["evaluations"]["spent"], found["evaluations"]["budget"]
    output.line(f"{spent:,} of {budget:,} evaluations spent")
    for name, most in found["limits"].items():
        output.line(f"limit on {name}: {shown_limit(name, most)}")
    for name, chance in found["strategy"]["display"].items():
        output.line(f"  {name}: {chance}")
    best = []
    for each in found["candidates"]:
        done = [score for score in each["scores"] if score["score"] is not None]
        if done:  # it may have failed later, or wait to be scored again
            best.append((-done[-1]["round"], each["place"], done[-1], each))
    best.sort(key=lambda found: found[:2])
    for _, _, score, each in best[:_SHOWN]:
        output.line()
        output.line(
            f"{each['id']:04}  round {score['round']}, place {each['place']}:"
            f" {shown_scores(score['scores'])}  {each['mutation']}"
        )
        output.line()
        output.text(each["program"])
    refused = found["refused"]
    if refused:
        output.line()
        output.line(f"{count(len(refused), 'program')} refused, the last ones:")
    for each in refused[-_SHOWN:]:
        output.line(f"  {each['mutation']}: {each['reason']}")
    for act in found["acts"]:
        output.line(f"  {act['time']}  {act['words']}")
