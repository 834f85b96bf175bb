"""What a run came to: its best programs, the difference from the start, the
comparison of both trained alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.cli.numbers import amount
from azc.cli.output import Output, count
from azc.compare.summary import mixing_text, summarise
from azc.search.journal import START
from azc.search.view import RunView
from azc.source import Source
from azc.syntax.diff import text_diff

__all__ = ["report", "report_json"]

_SHOWN = 8  # programs in the table


def _spec(view: RunView, candidate: int) -> ModelSpec:
    text = view.candidates[candidate].program
    return check_source(Source(f"{candidate:04}.azg", text, own=True)).models[
        view.model
    ]


def _layers(spec: ModelSpec) -> str:
    """The token mixing of every layer, runs of one kind counted."""
    runs: list[list[Any]] = []
    for layer in spec.layers:
        text = mixing_text(layer).replace("conv(kernel = ", "conv(")
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1
        else:
            runs.append([text, 1])
    return ", ".join(text if n == 1 else f"{n} × {text}" for text, n in runs)


def report(view: RunView, output: Output) -> None:
    """Tables and diff on standard output, of a run with a winner."""
    failed = sum(e.status == "failed" for e in view.evaluations)
    output.line()
    head = f"{count(view.spent, 'evaluation')} in {count(len(view.rounds), 'round')}"
    output.line(
        head + (f", {failed} failed" if failed else "") + f"; run in {view.folder}"
    )
    if view.ending is not None:
        budget = count(view.options.evaluations, "evaluation")
        output.line(f"the search ended before its budget of {budget}: {view.ending}")
    _best(view, output)
    _difference(view, output)
    _alone(view, output)


def _best(view: RunView, output: Output) -> None:
    from rich.table import Table

    table = Table()
    for name in ("program", "nats", "params", "FLOPs/token", "layers"):
        right = name not in ("program", "layers")
        table.add_column(name, justify="right" if right else "left")
    shown = view.ranking()[:_SHOWN]
    for evaluation in shown:
        spec = _spec(view, evaluation.candidate)
        costs = summarise(spec, view.options.length)
        label = f"{evaluation.candidate:04}.azg"
        if evaluation.candidate == START:
            label += " (start)"
        table.add_row(
            label,
            f"{evaluation.score:.3f}",
            amount(costs.parameters),
            amount(costs.flops),
            _layers(spec),
        )
    output.line()
    output.line("the best programs of the last round")
    if not output.as_json:
        output.console().print(table)
    output.line(
        "nats: validation loss per masked token after a few steps from shared weights; it"
    )
    output.line("compares the programs of one round, and says little beyond that.")


def _difference(view: RunView, output: Output) -> None:
    start, best = view.start, view.best
    assert start is not None
    assert best is not None
    output.line()
    if start.program == best.program:
        output.line("the best program is the start itself")
        return
    steps = len(view.lineage(best.id)) - 1
    output.line(
        f"from the start to the best, {count(steps, 'mutation')} (azc log has each):"
    )
    output.line()
    names = ("start.azg", f"candidates/{best.id:04}.azg")
    output.diff(text_diff(start.program, best.program, *names))


def _alone(view: RunView, output: Output) -> None:
    from rich.table import Table

    seeds = _seeds(view)
    if not seeds:
        return
    steps = view.options.final_steps
    table = Table()
    table.add_column("")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for name in ("mean", "seeds differ by", "perplexity"):
        table.add_column(name, justify="right")
    for row in _rows(view):
        table.add_row(*row)
    output.line()
    output.line(
        f"each trained on its own for {steps} steps; loss in nats on held-out text"
    )
    if not output.as_json:
        output.console().print(table)
    output.line(_verdict(view))


def _seeds(view: RunView) -> list[int]:
    return sorted({fit.seed for role in view.roles for fit in view.fits_of(role)})


def _rows(view: RunView) -> Iterator[list[str]]:
    from math import exp

    seeds = _seeds(view)
    for role in ("start", "winner"):
        losses = {fit.seed: fit for fit in view.fits_of(role)}
        if not losses:
            continue
        cells = []
        for seed in seeds:
            fit = losses.get(seed)
            known = fit is not None and fit.loss is not None
            cells.append(f"{fit.loss:.3f}" if known and fit else "failed")
        found = view.losses(role)
        if found:
            mean = sum(found) / len(found)
            cells += [
                f"{mean:.3f}",
                f"{max(found) - min(found):.3f}",
                f"{exp(mean):.1f}",
            ]
        yield [role, *cells]


def _verdict(view: RunView) -> str:
    gain, spread = view.gain, view.spread
    if view.winner == START:
        return "the winner is the start: there is nothing to compare"
    if gain is None:
        reasons = [
            f"{role}, seed {fit.seed}: {fit.reason}"
            for role in view.roles
            for fit in view.fits_of(role)
            if fit.reason
        ]
        return f"no comparison: {'; '.join(reasons) or 'the run is not finished yet'}"
    words = f"by {abs(gain):.3f} nats"
    if spread is not None:
        words += f"; the seeds differ by {spread:.3f} at most"
    if view.is_better:
        return f"the winner is better {words}"
    if gain > 0:
        single = " from a single seed" if spread is None else ""
        return f"the winner is ahead {words}{single}, which proves nothing"
    return f"the winner is not better: it is behind {words}"


def report_json(view: RunView) -> dict[str, Any]:
    """The same as a JSON object.

    `folder`, `space`, `model`; `evaluations`: spent, budget, failed; `ending`: why the
    search ended before its budget was spent, or null; `rounds`: how many;
    `start`, `winner`: id, program (text), parameters, flops_per_token; `ranking` of the
    last round, best first: id, score (nats), seconds; `comparison`: steps, seeds, losses
    (nats on the test text) of start and winner, gain (null unless both have one from
    every seed), better (by more than the seeds differ).
    """
    answer: dict[str, Any] = {
        "folder": str(view.folder),
        "space": view.space,
        "model": view.model,
        "evaluations": {
            "spent": view.spent,
            "budget": view.options.evaluations,
            "failed": sum(e.status == "failed" for e in view.evaluations),
        },
        "ending": view.ending,
        "rounds": len(view.rounds),
        "start": None,
        "winner": None,
        "ranking": [
            {"id": e.candidate, "score": e.score, "seconds": e.seconds}
            for e in view.ranking()
        ],
        "comparison": {
            "steps": view.options.final_steps,
            "seeds": list(view.options.final_seeds),
            "losses": {r: list(view.losses(r)) for r in ("start", "winner")},
            "gain": view.gain,
            "better": view.is_better,
        },
    }
    for role, candidate in (("start", view.start), ("winner", view.best)):
        if candidate is not None:
            costs = summarise(_spec(view, candidate.id), view.options.length)
            answer[role] = {
                "id": candidate.id,
                "program": candidate.program,
                "parameters": costs.parameters,
                "flops_per_token": costs.flops,
            }
    return answer
