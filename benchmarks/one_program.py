"""One attention program: a search for it, compared with the standard library.

    python -m benchmarks one-program --runs DIR [--above-seeds 1] [--layer-seeds 1]
        [--evaluations 120] [--publish]

Associative recall from examples/recall.azg, where one attention program varies: above a
convolution (its space `above`), and in a single layer (its space `recall`). The best
program is compared with every attention of the standard library in the same model, whose
feed-forward networks are widened until it has as many parameters. Runs in `--runs` are
resumed; other results are lines of fits.jsonl there, and nothing is trained twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azc.api import load
from azc.search.options import EvolveOptions
from azc.search.view import RunView
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from azc.syntax.parse import parse
from azc.training.verdict import NO_DIFFERENCE, Verdict, verdicts
from benchmarks.recall import (
    CONV,
    RECALL,
    Fits,
    format_result,
    parameters,
    searched,
    summary,
    typed,
)
from benchmarks.tables import (
    add_publish_option,
    format_value,
    made_with,
    publish,
    table,
    versions,
)

NAME = "one-program"
OPTIONS: Mapping[str, str] = {
    "above": "--space above --learning-rate 6e-3 --final-steps 150 --round 6"
    " --strategy local --score-seeds 3",
    "layer": "--space recall --learning-rate 1e-2 --final-steps 150 --mutations 2"
    " --patience 4 --no-learn-kinds",
}
TITLES: Mapping[str, str] = {"above": "Above a convolution:", "layer": "Single layer:"}
BELOW: Mapping[str, tuple[str, ...]] = {"above": (CONV,), "layer": ()}
# Share of the steps in which the learning rate rises, of a second comparison: with a long
# warm-up most of the library learns the task.
LONG_WARMUP: Mapping[str, float] = {"above": 0.5}
# Seeds that no search and no choice has had, and rows.
FRESH = (11, 12, 13, 14, 15)
FRESH_ROWS = 1000
# The best candidates of a search are trained from more seeds to choose one.
CHOICE = 8
CHOOSING = (21, 22, 23, 24, 25)
CHOOSING_ROWS = 2000
SHOWN = 5  # rows of a comparison that nothing is claimed of

Models = Mapping[str, Mapping[str, Any]]


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Run all searches, and train the models beside them."""
    fits = Fits(options.runs / "fits.jsonl")
    words = ["--evaluations", str(options.evaluations), *options.more.split()]
    seeds = {"above": options.above_seeds, "layer": options.layer_seeds}
    found = {
        search: one_program(fits, search, count, words, options.programs)
        for search, count in seeds.items()
    }
    return {"made_with": made_with(), **found}


def one_program(
    fits: Fits, search: str, seeds: int, words: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Search from each seed, and compare the best program with the library."""
    found = []
    for seed in range(seeds):
        run = fits.file.parent / f"{search}-{seed}"
        view = searched(run, RECALL, f"{OPTIONS[search]} --seed {seed}", words)
        found.append({"seed": seed, **summary(view), "top": top(view)})
    if not found:
        return {}
    best = chosen(fits, view, found)
    made = {"seeds": found, "best": best}
    made["library"] = compared(fits, best, view.options, BELOW[search], names)
    if search in LONG_WARMUP:
        slower = replace(view.options, warmup_ratio=LONG_WARMUP[search])
        made["slower"] = compared(fits, best, slower, BELOW[search], names)
    return made


def top(view: RunView) -> list[str]:
    """Return the programs with the best scores of a run, the best first."""
    scores = {e.candidate: e.score for e in view.evaluations if e.score is not None}
    best = sorted(scores, key=lambda number: (scores[number], number))[:CHOICE]
    return [view.candidates[number].program for number in best]


def chosen(fits: Fits, view: RunView, found: Sequence[Mapping[str, Any]]) -> str:
    """Return the program with the least mean loss among the best of all runs.

    Its seeds and rows are neither those of a search nor those of the comparison.
    """
    programs = dict.fromkeys(text for run in found for text in run["top"])
    losses = {}
    for text in programs:
        trained = fits.from_seeds(text, view.options, CHOOSING_ROWS, CHOOSING)
        losses[text] = fmean(trained["losses"])
        print(f"{losses[text]:.3f}  {_attention(text)}", flush=True)
    return min(losses, key=losses.__getitem__)


def as_large(layers: Sequence[str], wanted: int) -> str:
    """Return the model of these layers with about the wanted number of parameters.

    The width of its feed-forward networks is what is chosen.
    """
    one, two = (parameters(typed(RECALL, layers, ffn)) for ffn in (1, 2))
    width = 1 + round((wanted - one) / (two - one))
    return typed(RECALL, layers, width)


def compared(
    fits: Fits,
    program: str,
    options: EvolveOptions,
    below: Sequence[str],
    names: Sequence[str],
) -> dict[str, Any]:
    """Train a program and attentions of the standard library above the same layers."""
    wanted = parameters(program)
    library = {name: as_large([*below, name], wanted) for name in names}
    found = {}
    for name, text in {"found": program, **library}.items():
        trained = fits.from_seeds(text, options, FRESH_ROWS, FRESH)
        found[name] = {"parameters": parameters(text), **trained}
        print(f"{name}: {fmean(found[name]['losses']):.3f}", flush=True)
    return found


# Tables


def against(models: Models) -> dict[str, Verdict]:
    """Compare the evolved program with each of the library (see `verdicts`)."""
    names = [name for name in models if name != "found"]
    found = verdicts(
        models["found"]["losses"], {i: models[n]["losses"] for i, n in enumerate(names)}
    )
    return {name: found[place] for place, name in enumerate(names)}


def mean_loss(models: Models, name: str) -> float:
    """Return the mean loss of a model over its seeds."""
    return fmean(models[name]["losses"])


def render(found: Mapping[str, Any]) -> str:
    """Render the searches, the programs that they found, and the comparisons."""
    parts = []
    for name, title in TITLES.items():
        if study := found[name]:
            parts += [title, _searches(study["seeds"])]
            parts.append(f"```azg\n{_attention(study['best'])}\n```")
            slower = study.get("slower")
            parts += [_long_table(study["library"], slower)] if slower else []
            parts += [] if slower else [_short_table(study["library"])]
            parts.append("\n".join(_summaries(study, name)))
    return "\n\n".join([*parts, *versions(found)]) + "\n"


def _summaries(study: Mapping[str, Any], name: str) -> list[str]:
    lines = [f"- With the default warm-up: {_summary(study['library'])}"]
    if slower := study.get("slower"):
        share = f"{LONG_WARMUP[name]:.0%}".replace("%", " %")
        lines.append(f"- With a warm-up over {share} of the steps: {_summary(slower)}")
    return lines


def _summary(models: Models) -> str:
    """Count the attentions that the evolved program is ahead of, and better than."""
    found = against(models)
    ahead = sum(each.gain > 0 for each in found.values())
    words = [each.word for each in found.values()]
    return (
        f"lower mean loss than {ahead} of {len(words)}; better than"
        f" {words.count('better')} and worse than {words.count('worse')} at 5 % for all"
        f" together (paired t-tests over {len(models['found']['losses'])} seeds, Holm)."
    )


def _attention(program: str) -> str:
    """Return the text of the only attention of a program."""
    declared = parse(Source("best.azg", program, own=True)).declarations
    (made,) = (node for node in declared if isinstance(node, ast.Attention))
    return format_file(ast.File((replace(made, comments=ast.NO_COMMENTS),))).strip()


def _searches(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            str(row["seed"]),
            str(row["evaluations"]),
            f"{fmean(row['start']):.3f}",
            format_result(row["losses"], row["right"]),
        ]
        for row in rows
    ]
    return table(["seed of the search", "evaluations", "start", "winner"], lines)


def _cells(models: Models, name: str, verdict: Verdict | None) -> list[str]:
    cells = [format_result(models[name]["losses"], models[name]["right"])]
    if verdict is None:
        return [*cells, ""]
    assert verdict.low is not None
    assert verdict.high is not None
    word = "" if verdict.word == NO_DIFFERENCE else f", {verdict.word}"
    return [*cells, format_value(verdict.gain, (verdict.low, verdict.high), 3) + word]


def _rows(studies: Sequence[Models]) -> list[list[str]]:
    """Return a row for each model, the best of the first study first."""
    found = [against(models) for models in studies]
    rows = []
    first = studies[0]
    for name in sorted(
        first, key=lambda name: (name != "found", mean_loss(first, name))
    ):
        shown = "the evolved program" if name == "found" else f"`{name}`"
        row = [shown, f"{first[name]['parameters']:,}"]
        for models, each in zip(studies, found, strict=True):
            row += _cells(models, name, each.get(name))
        rows.append(row)
    return rows


_HEAD = ["attention", "parameters", "loss (right)", "evolved program ahead by"]


def _long_table(models: Models, slower: Models) -> str:
    head = [*_HEAD, "long warm-up: loss", "evolved program ahead by"]
    return table(head, _rows([models, slower]))


def _short_table(models: Models) -> str:
    """Render the evolved program and the best of the library."""
    return table(_HEAD, _rows([models])[: SHOWN + 1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--above-seeds", type=int, default=1)
    parser.add_argument("--layer-seeds", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument(
        "--programs", nargs="+", default=list(load("std.attention").attentions)
    )
    parser.add_argument(
        "--more", default="", help="more options of azc evolve, for a quick try"
    )
    add_publish_option(parser)
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    found = study(options)
    text = render(found)
    print(text)
    if options.publish:
        publish(NAME, found, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
