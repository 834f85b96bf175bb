"""What evolution finds: attention from scratch, and one layer that recalls.

    python -m benchmarks scratch --runs DIR [--seeds 5] [--local-seeds 5] [--evaluations 150]
        [--both-seeds 3] [--both-evaluations 150]
        [--text-seeds 2] [--text-evaluations 150]
        [--above-seeds 1] [--layer-seeds 3] [--layer-evaluations 120] [--publish]

Associative recall, four times. From examples/scratch.azg, from a layer that mixes no tokens
above a convolution (its space `scratch`), and from two such layers (its space `both`), by
op-nas, by local search and by random mutants of the start, beside sdpa in the same model; the
first of these on text too. From
examples/recall.azg, where nothing but one attention program varies, above a convolution (its
space `above`) and in a single layer (its space `recall`): what is found there stands against
every attention of the standard library, in a model whose feed-forward network is as wide as
gives it as many parameters.

Runs that are in `--runs` are gone on with, with more evaluations where more are asked
for; other fits are lines of fits.jsonl there and not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azc.api import load
from azc.check.flatten import self_contained
from azc.check.resolve import check_source
from azc.data.load import load_data
from azc.model import register
from azc.search.genome import Genome
from azc.search.objectives import PARAMETERS, costs
from azc.search.options import EvolveOptions
from azc.search.run import read_run
from azc.search.score import build_candidate
from azc.search.view import RunView
from azc.source import Source
from azc.syntax import ast
from azc.syntax.diff import text_diff
from azc.syntax.format import format_file
from azc.syntax.parse import parse
from azc.training.fit import FitOptions, fit, measure
from azc.training.verdict import verdicts
from benchmarks.tables import ROOT, publish, publishes, shown, table

SCRATCH, RECALL = (ROOT / "examples" / f"{name}.azg" for name in ("scratch", "recall"))
DATA = "task:recall"
SOLVED = 0.5  # nats: of a hundred answers some ninety are right
MARGIN = 0.05  # nats: what is ahead by less is no better
TEXT_MARGIN = 0.02  # of a masked token; seeds differ by less

COMMON = (
    f"--data {DATA} --length 32 --weights fresh --steps 150 --batch 32 --no-by-hand"
)
# Of op-nas: many climbs. With more patience it solves the task sooner, and less well in the
# end; kinds make no difference.
HILLS = "--patience 2 --no-learn-kinds"
FINAL = "--no-baselines --contenders 4 --final-seeds 3"
STRATEGIES = ("op-nas", "local", "random")
SPACES = ("scratch", "both")
TEXT = "text"  # the space `scratch` again, its models with a vocabulary for text
SEARCHES: Mapping[str, tuple[Path, str]] = {
    **{
        f"{space}-{name}": (
            SCRATCH,
            f"--space {space} --learning-rate 6e-3 --warmup-ratio 0.5 --final-steps 300"
            f" --round 6 {HILLS} --strategy {name}",
        )
        for space in SPACES
        for name in STRATEGIES
    },
    **{
        f"{TEXT}-{name}": (
            SCRATCH,
            "--space scratch --data python --length 64 --batch 8 --steps 200"
            f" --final-steps 400 --round 6 {HILLS} --strategy {name}",
        )
        for name in STRATEGIES
    },
    "above": (
        RECALL,
        "--space above --learning-rate 6e-3 --final-steps 150 --round 6 --strategy local"
        " --score-seeds 3",
    ),
    "layer": (
        RECALL,
        "--space recall --learning-rate 1e-2 --final-steps 150 --mutations 2"
        " --patience 4 --no-learn-kinds",
    ),
}
LAYERS = ("above", "layer")  # searches of one attention program

# What a person would type from the parts of a space, by its layers.
_CONV = "conv(kernel = 3, kind = depthwise)"
TYPED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "scratch": {"conv, sdpa": (_CONV, "sdpa")},
    "both": {"conv, sdpa": (_CONV, "sdpa"), "2 × sdpa": ("sdpa", "sdpa")},
    TEXT: {"conv, sdpa": (_CONV, "sdpa"), "conv, conv": (_CONV, _CONV)},
}
BELOW: Mapping[str, tuple[str, ...]] = {"above": (_CONV,), "layer": ()}
# The library is compared a second time where the learning rate rises for longer, so that
# more of it learns the task: in this share of the steps.
RISES: Mapping[str, float] = {"above": 0.5}
FRESH = (11, 12, 13, 14, 15)  # seeds that no search has had
FRESH_ROWS = 1000  # and rows
# Where one seed says little of a program, the best of a search are chosen among by five.
CHOICE = 8
CHOOSING = (21, 22, 23, 24, 25)
CHOOSING_ROWS = 2000


# Runs


def searched(folder: Path, search: str, seed: int, words: Sequence[str]) -> RunView:
    """The run of a seed, made or gone on with where it is not over; `words`: how many
    evaluations it is to have, and what else is said of it.
    """
    run = folder / f"{search}-{seed}"
    azc = [sys.executable, "-m", "azc"]
    if not (run / "run.json").exists():
        file, own = SEARCHES[search]
        if search.startswith(TEXT):
            file = on_text(folder)
        told = f"{COMMON} {FINAL} {own} --seed {seed}".split()
        made = ["evolve", str(file), *told, "-o", str(run), *words]
        subprocess.run([*azc, *made], cwd=ROOT, check=True)
    view = read_run(run)
    evaluations = int(words[words.index("--evaluations") + 1])
    if not view.is_over or view.options.evaluations < evaluations:
        more = ["resume", str(run), "--evaluations", str(evaluations)]
        subprocess.run([*azc, *more], cwd=ROOT, check=True)
    return read_run(run)


def on_text(folder: Path) -> Path:
    """The example with a vocabulary for text."""
    file = folder / "text.azg"
    text = SCRATCH.read_text("utf-8").replace("    vocab = 68\n", "    vocab = 1024\n")
    file.write_text(text, "utf-8")
    return file


def figures(view: RunView) -> dict[str, Any]:
    """What a run came to: the evaluation that solved the task first, and the winner."""
    scored = [e for e in view.evaluations if e.counts]
    solved = (n for n, e in enumerate(scored, 1) if (e.score or SOLVED) < SOLVED)
    winner, start = (
        next(row for row in view.rows if row.role == role)
        for role in ("winner", "start")
    )
    assert view.best is not None
    return {
        "evaluations": len(scored),
        "trained": len({e.candidate for e in scored}),
        "solved": next(solved, None),
        "start": list(start.losses),
        "losses": list(winner.losses),
        "right": list(winner.right(part_of(view.options.data))),
        "program": view.best.program,
        "lineage": lineage(view, view.best.id),
    }


def lineage(view: RunView, number: int) -> str:
    """How a candidate came about: of each ancestor its number, its validation loss in
    nats, and the lines that differ from the one before.
    """
    scores = {e.candidate: e.score for e in view.evaluations}
    lines: list[str] = []
    before = ""
    for candidate in view.lineage(number):
        score = scores[candidate.id]
        loss = "failed" if score is None else f"{score:.3f} nats"
        lines.append(f"@@ {candidate.id:04}: {loss} @@")
        if before:
            lines += _changed(before, candidate.program)
        before = candidate.program
    return "\n".join(lines)


def _changed(old: str, new: str) -> list[str]:
    """The lines taken out and put in."""
    lines = text_diff(old, new, "", "").splitlines()[2:]
    return [line for line in lines if line[0] in "+-" and line[1:].strip()]


def part_of(data: str) -> str:
    """What the one part of the data is called."""
    return data if data == DATA else "text"


# What is typed by hand, trained as the runs train


class Fits:
    """Fits that are done, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, dict[str, float]] = {}
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
            self.done = dict(map(json.loads, lines))
        register()

    def alone(
        self, program: str, rows: int, how: FitOptions, options: EvolveOptions
    ) -> dict[str, float]:
        """Loss and share of right answers on test rows; `rows` is the seed of all rows, or
        of the split of a text.
        """
        data, length = options.data, options.length
        of = (program, rows, how, length, *(() if data == DATA else (data,)))
        key = hashlib.sha256(repr(of).encode()).hexdigest()
        if key not in self.done:
            model, spec = build_candidate(program, model_of(program), how.seed)
            loaded = load_data(
                data,
                vocab=spec.vocab,
                length=length,
                seed=rows,
                cache=self.file.parent / "cache",
                mask_rate=options.mask_rate,
            )
            fit(model, loaded, how, device="cpu")
            found = measure(model, loaded, "test", device="cpu")
            self.done[key] = {"loss": found.loss, "right": found.right[part_of(data)]}
            with self.file.open("a", encoding="utf-8") as file:
                print(json.dumps([key, self.done[key]]), file=file)
        return self.done[key]

    def as_run(
        self, program: str, options: EvolveOptions, rows: int, seeds: Sequence[int]
    ) -> dict[str, list[float]]:
        """A program trained from each seed as a run trains those of its last table."""
        found = [
            self.alone(
                program,
                rows,
                FitOptions(
                    steps=options.final_steps,
                    batch_size=options.batch_size,
                    learning_rate=options.learning_rate,
                    warmup=options.warmup_ratio,
                    seed=seed,
                ),
                options,
            )
            for seed in seeds
        ]
        return {
            "losses": [each["loss"] for each in found],
            "right": [each["right"] for each in found],
        }


def typed(example: Path, layers: Sequence[str], ffn: int | None = None) -> str:
    """The start of an example with other layers, and another feed-forward network."""
    program = check_source(Source(example.name, example.read_text("utf-8"), own=True))
    text = self_contained(program, "start")
    head, _, _ = text.partition("    layers {")
    names = {name for name in layers if "(" not in name}
    head = head[head.index("model start") :]
    if ffn is not None:
        old = program.models["start"].ffn[0]
        head = head.replace(f"    ffn = {old}\n", f"    ffn = {ffn}\n")
    imports = "".join(f"from std.attention import {name}\n" for name in sorted(names))
    body = "\n".join(layers)
    made = f"{imports}{head}layers {{\n{body}\n}}\n}}\n"
    return self_contained(check_source(Source("start.azg", made, own=True)), "start")


def model_of(program: str) -> str:
    """The name of its one model."""
    (name,) = check_source(Source("found.azg", program, own=True)).models
    return name


def parameters(program: str) -> int:
    spec = Genome.from_text(program, model_of(program)).spec
    return int(costs(spec, 1)[PARAMETERS])


def as_large(layers: Sequence[str], wanted: int) -> str:
    """The model of these layers, its feed-forward networks so wide that it has as many
    parameters, or nearly.
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
    """A program that was found, and attentions of the standard library above the same."""
    wanted = parameters(program)
    library = {name: as_large([*below, name], wanted) for name in names}
    models = {"found": program, **library}
    found = {}
    for name, text in models.items():
        trained = fits.as_run(text, options, FRESH_ROWS, FRESH)
        found[name] = {"parameters": parameters(text), **trained}
        print(f"{name}: {fmean(found[name]['losses']):.3f}", flush=True)
    return found


# Tables


def as_good(mine: Sequence[float], others: Sequence[float], margin: float) -> bool:
    return fmean(mine) <= fmean(others) + margin


def written(found: Mapping[str, Any]) -> str:
    """The tables of all that was found."""
    parts = [
        _scratch_table(found[space], list(TYPED[space]))
        for space in SPACES
        if found[space]
    ]
    if told := _first_lineage(found["scratch"]):
        parts.append(told)
    if found[TEXT]:
        parts.append(_text_table(found[TEXT], list(TYPED[TEXT])))
    for name in LAYERS:
        if found[name]:
            parts.append(_layer_table(found[name]["seeds"]))
            parts.append(f"```azg\n{_attention(found[name]['best'])}\n```")
            parts.append(_library_table(found[name]["library"]))
            if slower := found[name].get("slower"):
                parts.append(
                    f"The same where the learning rate rises in {RISES[name]:.0%} of the"
                    " steps:".replace("%", " %")
                )
                parts.append(_library_table(slower))
    return "\n\n".join(parts) + "\n"


def _cell(losses: Sequence[float], right: Sequence[float]) -> str:
    return f"{fmean(losses):.3f} ({fmean(right):.0%})".replace("%", " %")


def _first_lineage(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the first run that solves the task came from the start to its winner."""
    for row in rows:
        for name in STRATEGIES:
            run = row.get(name)
            if run and fmean(run["losses"]) < SOLVED:
                told = f"From the start to the winner of `{name}`, seed {row['seed']}:"
                return f"{told}\n\n```diff\n{run['lineage']}\n```"
    return ""


def _text_table(rows: Sequence[Mapping[str, Any]], typed: Sequence[str]) -> str:
    lines = []
    for row in rows:
        runs = [row[name] for name in STRATEGIES]
        losses = [run["losses"] for run in (*runs, *(row[name] for name in typed))]
        cells = [shown(fmean(each), digits=3) for each in losses]
        start = shown(fmean(runs[0]["start"]), digits=3)
        lines.append([str(row["seed"]), start, *cells])
    text = [table(["seed", "start", *STRATEGIES, *typed], lines), ""]
    return "\n".join(text + _counts(rows, STRATEGIES, typed, TEXT_MARGIN))


def _counts(
    rows: Sequence[Mapping[str, Any]],
    strategies: Sequence[str],
    typed: Sequence[str],
    margin: float,
) -> list[str]:
    """On how many seeds what each strategy found is as good as what is typed."""
    lines = []
    for name in strategies:
        mine = [row for row in rows if name in row]
        counts = {
            other: sum(
                as_good(row[name]["losses"], row[other]["losses"], margin)
                for row in mine
            )
            for other in typed
        }
        told = ", ".join(f"as {other} on {n}" for other, n in counts.items())
        told += f" of {len(mine)} seeds"
        if margin == MARGIN:
            below = [[x < SOLVED for x in row[name]["losses"]] for row in mine]
            told += (
                f" (solved from every seed of the winner's training on"
                f" {sum(map(all, below))}, from one at least on {sum(map(any, below))})"
            )
        evaluations = mine[0][name]["evaluations"]
        told = f"- `{name}`: as good {told}, with {evaluations} evaluations"
        trained = fmean(row[name]["trained"] for row in mine)
        if trained < evaluations:  # a run from when what is scored again counted
            told += f", in which {trained:.0f} candidates were trained on average"
        lines.append(f"{told}.")
    return lines


def _scratch_table(rows: Sequence[Mapping[str, Any]], typed: Sequence[str]) -> str:
    strategies = [name for name in STRATEGIES if any(name in row for row in rows)]
    head = ["seed"]
    for name in strategies:
        head += [f"{name}: solved at", f"{name}: winner"]
    lines = []
    for row in rows:
        cells = [str(row["seed"])]
        for name in strategies:
            run = row.get(name)
            cells += (
                [str(run["solved"] or "—"), _cell(run["losses"], run["right"])]
                if run
                else ["", ""]
            )
        cells += [_cell(row[name]["losses"], row[name]["right"]) for name in typed]
        lines.append(cells)
    text = [table([*head, *typed], lines), ""]
    return "\n".join(text + _counts(rows, strategies, typed, MARGIN))


def _attention(program: str) -> str:
    """The text of its one attention."""
    declared = parse(Source("best.azg", program, own=True)).declarations
    (made,) = (node for node in declared if isinstance(node, ast.Attention))
    return format_file(ast.File((replace(made, comments=ast.NO_COMMENTS),))).strip()


def _layer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            str(row["seed"]),
            str(row["solved"] or "—"),
            str(row["trained"]),
            shown(fmean(row["start"]), digits=3),
            _cell(row["losses"], row["right"]),
        ]
        for row in rows
    ]
    head = ["seed", "solved at", "trained", "start", "winner"]
    return table(head, lines)


def _library_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    names = [name for name in found if name != "found"]
    names.sort(key=lambda name: fmean(found[name]["losses"]))
    said = verdicts(
        found["found"]["losses"], {i: found[n]["losses"] for i, n in enumerate(names)}
    )
    lines = []
    for place, name in enumerate(["found", *names]):
        row = found[name]
        cells = [
            f"`{name}`" if place else "what was found",
            f"{row['parameters']:,}",
            _cell(row["losses"], row["right"]),
        ]
        if place:
            each = said[place - 1]
            assert each.low is not None
            assert each.high is not None
            cells += [shown(each.gain, (each.low, each.high), 3), each.word]
        else:
            cells += ["", ""]
        lines.append(cells)
    return table(["attention", "parameters", "loss (right)", "ahead by", ""], lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--local-seeds", type=int, help="of local search, as many as --seeds by default"
    )
    parser.add_argument("--evaluations", type=int, default=150)
    parser.add_argument("--both-seeds", type=int, default=3)
    parser.add_argument("--both-evaluations", type=int, default=150)
    parser.add_argument("--text-seeds", type=int, default=2)
    parser.add_argument("--text-evaluations", type=int, default=150)
    parser.add_argument("--above-seeds", type=int, default=1)
    parser.add_argument("--layer-seeds", type=int, default=3)
    parser.add_argument("--layer-evaluations", type=int, default=120)
    parser.add_argument(
        "--programs", nargs="+", default=list(load("std.attention").attentions)
    )
    parser.add_argument(
        "--more", default="", help="more words for azc evolve, for a quick try"
    )
    publishes(parser)
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    found = study(options)
    text = written(found)
    print(text)
    if options.publish:
        publish("scratch", found, text)
    return 0


def study(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, and what stands beside them."""
    fits = Fits(options.runs / "fits.jsonl")

    def words(evaluations: int) -> list[str]:
        return ["--evaluations", str(evaluations), *options.more.split()]

    alone = words(options.layer_evaluations)
    return {
        "scratch": from_scratch(
            fits,
            "scratch",
            options.seeds,
            words(options.evaluations),
            options.local_seeds,
        ),
        "both": from_scratch(
            fits, "both", options.both_seeds, words(options.both_evaluations)
        ),
        TEXT: from_scratch(
            fits, TEXT, options.text_seeds, words(options.text_evaluations)
        ),
        "above": one_program(
            fits, "above", options.above_seeds, alone, options.programs
        ),
        "layer": one_program(
            fits, "layer", options.layer_seeds, alone, options.programs
        ),
    }


def one_program(
    fits: Fits, search: str, seeds: int, words: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """What each seed comes to where one program varies, and the best beside the library."""
    found = []
    for seed in range(seeds):
        view = searched(fits.file.parent, search, seed, words)
        found.append({"seed": seed, **figures(view), "top": top(view)})
    if not found:
        return {}
    best = chosen(fits, view, found)
    made = {"seeds": found, "best": best}
    made["library"] = compared(fits, best, view.options, BELOW[search], names)
    if search in RISES:
        slower = replace(view.options, warmup_ratio=RISES[search])
        made["slower"] = compared(fits, best, slower, BELOW[search], names)
    return made


def top(view: RunView) -> list[str]:
    """The programs with the best scores in a run, the best first."""
    scores = {e.candidate: e.score for e in view.evaluations if e.score is not None}
    best = sorted(scores, key=lambda number: (scores[number], number))[:CHOICE]
    return [view.candidates[number].program for number in best]


def chosen(fits: Fits, view: RunView, found: Sequence[Mapping[str, Any]]) -> str:
    """Of the best programs of all runs the one with the least mean loss, from seeds and
    rows that neither a search nor the comparison has.
    """
    programs = dict.fromkeys(text for run in found for text in run["top"])
    losses = {}
    for text in programs:
        trained = fits.as_run(text, view.options, CHOOSING_ROWS, CHOOSING)
        losses[text] = fmean(trained["losses"])
        print(f"{losses[text]:.3f}  {_attention(text)}", flush=True)
    return min(losses, key=losses.__getitem__)


def from_scratch(
    fits: Fits,
    space: str,
    seeds: int,
    words: Sequence[str],
    local_seeds: int | None = None,
) -> list[dict[str, Any]]:
    """What each strategy came to in a space on each seed, beside what is typed; local
    search on the first `local_seeds` alone.
    """
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        for name in STRATEGIES:
            if name == "local" and local_seeds is not None and seed >= local_seeds:
                continue
            view = searched(fits.file.parent, f"{space}-{name}", seed, words)
            row[name] = figures(view)
        for name, layers in TYPED[space].items():
            own = view.options
            example = on_text(fits.file.parent) if space == TEXT else SCRATCH
            program = typed(example, layers)
            row[name] = fits.as_run(program, own, own.seed, own.final_seeds)
        rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
