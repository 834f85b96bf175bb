"""Results of a run: its best programs, the changes since the start model, and the final
comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.cli.output import Output, count
from azc.compare.summary import summarise
from azc.numbers import amount
from azc.report.comparison import Row, last_table
from azc.report.comparison import Table as Comparison
from azc.search.objectives import (
    LOSS,
    OBJECTIVES,
    TIMED_LOSS,
    WRITTEN,
    headings,
    in_order,
)
from azc.search.ranking import Front
from azc.search.records import START
from azc.search.refused import refused_json, refused_words
from azc.search.view import RunView
from azc.source import Source
from azc.syntax.diff import text_diff

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["final_table", "result_json", "show_result"]

_WIDE = 120  # columns of a terminal that shows the loss of every seed
_SHOWN = 8  # programs in the table


def _spec(view: RunView, candidate: int) -> ModelSpec:
    text = view.candidates[candidate].program
    return check_source(Source(f"{candidate:04}.azg", text, own=True)).models[
        view.model
    ]


def _layers(spec: ModelSpec) -> str:
    """Describe the token mixing of all layers; equal consecutive layers are counted."""
    runs: list[list[Any]] = []
    for layer in spec.layers:
        text = layer.mixing.text.replace("conv(kernel = ", "conv(")
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1
        else:
            runs.append([text, 1])
    return ", ".join(text if n == 1 else f"{n} × {text}" for text, n in runs)


def show_result(view: RunView, output: Output) -> None:
    """Print the results of a run with a winner to standard output."""
    failed = sum(e.status == "failed" for e in view.evaluations)
    output.line()
    head = f"{count(view.spent, 'evaluation')} in {count(len(view.rounds), 'round')}"
    output.line(
        head + (f", {failed} failed" if failed else "") + f"; run in {view.folder}"
    )
    if view.ending is not None:
        budget = count(view.options.evaluations, "evaluation")
        output.line(f"the search ended before its budget of {budget}: {view.ending}")
    if view.refused:
        output.line(refused_words(view.refused))
    _best(view, output)
    _front(view, output)
    _difference(view, output)
    _alone(view, output)


def _best(view: RunView, output: Output) -> None:
    from rich.table import Table

    names = [n for n in in_order(view.options.objectives) if n not in WRITTEN]
    table = Table()
    table.add_column("program")
    for heading in (*headings(names).values(), "params", "FLOPs/token"):
        table.add_column(heading, justify="right")
    table.add_column("layers")
    shown = view.ranking()[:_SHOWN]
    for evaluation in shown:
        scores = evaluation.scores or {}
        spec = _spec(view, evaluation.candidate)
        costs = summarise(spec, view.options.length)
        label = f"{evaluation.candidate:04}.azg"
        if evaluation.candidate == START:
            label += " (start)"
        table.add_row(
            label,
            *(OBJECTIVES[name].shown(scores[name]) for name in names),
            amount(costs.parameters),
            amount(costs.flops),
            _layers(spec),
        )
    output.line()
    output.line(f"the best programs {_of(view)}")
    if not output.as_json:
        output.console().print(table)
    loss = f"nats: validation loss {view.unit}"
    if view.options.is_fresh:
        steps = count(view.options.steps, "step")
        output.line(f"{loss} after {steps} from scratch;")
        output.line("it ranks programs by how fast they learn at first.")
    else:
        output.line(f"{loss} after a few steps from shared weights;")
        output.line("it is only comparable within a round.")
    tokens = count(view.options.length, "token")
    output.line(f"FLOPs: forward, in sequences of {tokens}")
    if TIMED_LOSS in names:
        seconds = view.options.seconds_alone
        output.line(f"{TIMED_LOSS}: after {seconds:,.10g} seconds from scratch")


def _of(view: RunView) -> str:
    return "of the search" if view.options.is_fresh else "of the last round"


def _front(view: RunView, output: Output) -> None:
    names = ", ".join(view.options.objectives)
    if view.front is not None:
        title = f"the Pareto front {_of(view)} by {names}"
        _print_front(view, view.front, title, output)
        knee, share = f"knee: {view.front.knee.candidate:04}.azg", ""
        if view.front.hypervolume is not None:
            share = f"; hypervolume: {100 * view.front.hypervolume:.1f} % of the box"
            share += " from the best values to the worst"
        output.line(knee + share)
    if view.final_front is not None:
        steps = count(view.options.final_steps, "step")
        title = f"the Pareto front of the contenders by {names}, after {steps}"
        _print_front(view, view.final_front, title, output)
        if view.final_front.knee.candidate == view.winner:
            output.line(f"the winner is its knee: {view.winner:04}.azg")


def _print_front(view: RunView, front: Front, title: str, output: Output) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("program")
    for name in view.options.objectives:
        unit = OBJECTIVES[name].unit
        table.add_column(name if unit == name else f"{name}, {unit}", justify="right")
    table.add_column("")
    for e in front.members:
        assert e.scores is not None
        values = [
            OBJECTIVES[name].shown(e.scores[name]) for name in view.options.objectives
        ]
        mark = "knee" if e is front.knee else ""
        table.add_row(f"{e.candidate:04}.azg", *values, mark)
    output.line()
    output.line(title)
    if not output.as_json:
        output.console().print(table)


def _front_json(front: Front | None, alone: bool = False) -> dict[str, Any] | None:
    if front is None:
        return None
    losses = [e.scores[LOSS] for e in front.members if e.scores is not None]
    return {
        "members": [e.candidate for e in front.members],
        "knee": front.knee.candidate,
        "hypervolume": front.hypervolume,
        **({"losses": losses} if alone else {}),
    }


def _difference(view: RunView, output: Output) -> None:
    start, best = view.start, view.best
    assert start is not None
    assert best is not None
    output.line()
    if start.program == best.program:
        output.line("the winner is the start model: no other contender trained better")
        return
    origin, *steps = view.lineage(best.id)
    words = f"candidate {origin.id:04} ({origin.mutation})"
    if steps:
        words = "" if origin.id == START else f" of {words}"
        words = f"{count(len(steps), 'mutation')}{words}, which azc log shows"
    output.line(f"from the start to the winner: {words}")
    output.line()
    names = ("start.azg", f"candidates/{best.id:04}.azg")
    output.diff(text_diff(start.program, best.program, *names))


def _alone(view: RunView, output: Output) -> None:
    for stage in view.agreement:
        output.line()
        output.line(
            f"Kendall's τ between the scores of {stage.count} contenders ({stage.stage})"
            f" and their final training ({stage.steps} steps): {stage.tau:.2f}"
        )
    seeds = view.options.final_seeds
    if not view.rows or not seeds:
        return
    found = last_table(view)
    output.line()
    steps = view.options.final_steps
    output.line(
        f"each trained from scratch for {steps} steps; loss on held-out"
        f" {view.data.held_out}, nats {view.unit}"
    )
    if not output.as_json:
        console = output.console()
        console.print(final_table(found, console.width))
    output.line(found.sentence)


def final_table(found: Comparison, width: int) -> RichTable:
    """Draw the final comparison for a terminal of `width` columns.

    A narrow one has no room for the loss of every seed.
    """
    from rich.table import Table

    shown = found.seeds if width >= _WIDE else ()
    table = Table()
    table.add_column("")
    for seed in shown:
        table.add_column(f"seed {seed}", justify="right")
    for name in ("mean", "winner ahead by"):
        table.add_column(name, justify="right")
    table.add_column("the winner is")
    for name in found.columns:
        table.add_column(name, justify="right")
    for row in found.rows:
        others = [row.also.get(name, "") for name in found.columns]
        same = not row.is_winner and row.losses == found.rows[0].losses
        table.add_row(*_cells(row, found.seeds, shown, same), *others)
    return table


def _cells(
    row: Row, seeds: Sequence[int], shown: Sequence[int], same: bool
) -> list[str]:
    """Return the cells of a row, with the losses of the seeds that are `shown`."""
    cells = [
        row.name if not row.is_winner else f"{row.name} (candidate {row.candidate:04})"
    ]
    for seed in shown:
        loss = row.losses.get(seed)
        told = "failed" if seed in row.losses else "…"
        cells.append(told if loss is None else f"{loss:.3f}")
    whole = len(row.known) == len(seeds)
    cells.append(f"{row.mean:.3f}" if whole else "")
    found = row.verdict
    if found is None:
        return [*cells, "", "the same model" if same and whole else ""]
    ahead = f"{found.gain:.3f}"
    if found.high is not None:
        ahead += f" ± {found.high - found.gain:.3f}"
    return [*cells, ahead, found.word]


def result_json(view: RunView) -> dict[str, Any]:
    """Return the results of a run as a JSON object.

    `folder`, `space`, `model`, `data`; `text`: what was read of it (see
    `azc.data.summary.TextSummary`), or null if there is none; `unit`: what losses, in
    nats, are averaged over; `evaluations`: spent, budget, failed; `ending`: why the
    search ended before its budget was spent, or null; `rounds`: their number;
    `refused`: children that were not trained, `known` in normal form, `equal` in
    function, `faults` by reason; `start`, `winner`: id, program (text), parameters,
    flops_per_token; `ranking` of the last round, best first: id, scores (by objective),
    seconds; `objectives`, and `front` (null with one): members (ids), knee (id),
    hypervolume (or null, see `azc.search.ranking.Front`); `final_front`: the same for
    the contenders, with their `losses` after training from scratch, whose knee is the
    winner; `agreement`: stage, steps, count, tau (Kendall's, with the ranking after so
    many steps from scratch); `comparison`: steps, seeds, sentence, and rows: role,
    name, candidate (null if it was not found by the search), losses (nats on the test
    data, by seed), right (accuracy by task, by seed), perplexity and bits_per_byte (of
    the same losses, by seed, if they are over all tokens of a text: for a causal
    model), verdict on the winner compared with it (gain, low, high, p, word; null if
    there is none).
    """
    answer: dict[str, Any] = {
        "folder": str(view.folder),
        "space": view.space,
        "model": view.model,
        "data": view.options.data,
        "text": view.text and view.text.as_json(),
        "unit": view.unit,
        "evaluations": {
            "spent": view.spent,
            "budget": view.options.evaluations,
            "failed": sum(e.status == "failed" for e in view.evaluations),
        },
        "ending": view.ending,
        "rounds": len(view.rounds),
        "refused": refused_json(view.refused),
        "start": None,
        "winner": None,
        "ranking": [
            {"id": e.candidate, "scores": e.scores, "seconds": e.seconds}
            for e in view.ranking()
        ],
        "objectives": list(view.options.objectives),
        "front": _front_json(view.front),
        "final_front": _front_json(view.final_front, alone=True),
        "agreement": [vars(stage) for stage in view.agreement],
        "comparison": {
            "steps": view.options.final_steps,
            "seeds": list(view.options.final_seeds),
            "rows": [
                {
                    "role": row.role,
                    "name": row.entrant.name,
                    "candidate": row.entrant.candidate,
                    "losses": list(row.losses),
                    "right": {
                        part: list(row.right(part)) for part in view.data.task_parts
                    },
                    "perplexity": list(view.perplexity(row)),
                    "bits_per_byte": list(view.bits_per_byte(row)),
                    "verdict": verdict and vars(verdict),
                }
                for place, row in enumerate(view.rows)
                for verdict in [view.verdicts.get(place)]
            ],
            "sentence": last_table(view).sentence if view.rows else None,
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
