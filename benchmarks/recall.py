"""Searches and single models that the studies of recall share, kept on disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

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
from azc.syntax.diff import text_diff
from azc.training.fit import FitOptions, fit, measure
from benchmarks.tables import ROOT

SCRATCH, RECALL = (ROOT / "examples" / f"{name}.azg" for name in ("scratch", "recall"))
DATA = "task:recall"
SOLVED = 0.5  # nats: about nine answers of ten are right
CONV = "conv(kernel = 3, kind = depthwise)"

COMMON = (
    f"--data {DATA} --length 32 --weights fresh --steps 150 --batch 32 --no-by-hand"
    " --no-baselines --neighbours 0 --contenders 4 --final-seeds 3"
)


# Searches


def searched(run: Path, example: Path, own: str, words: Sequence[str]) -> RunView:
    """Return a search, which is started, resumed or read.

    Args:
        run: Its folder.
        example: The program that it starts from.
        own: Options beside `COMMON`; those given last count.
        words: More options, `--evaluations` among them. A run with a smaller budget is
            resumed.
    """
    azc = [sys.executable, "-m", "azc"]
    if not (run / "run.json").exists():
        options = [*f"{COMMON} {own}".split(), "-o", str(run), *words]
        subprocess.run([*azc, "evolve", str(example), *options], cwd=ROOT, check=True)
    view = read_run(run)
    evaluations = int(words[words.index("--evaluations") + 1])
    if not view.is_over or view.options.evaluations < evaluations:
        more = ["resume", str(run), "--evaluations", str(evaluations)]
        subprocess.run([*azc, *more], cwd=ROOT, check=True)
    return read_run(run)


def summary(view: RunView) -> dict[str, Any]:
    """Summarize a run: its first evaluation below `SOLVED`, and its winner."""
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
        "right": list(winner.right(_part(view.options.data))),
        "program": view.best.program,
        "lineage": lineage(view, view.best.id),
    }


def lineage(view: RunView, number: int) -> str:
    """Show the ancestors of a candidate: validation loss in nats, and changed lines."""
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
    """Return the lines that were removed and added."""
    lines = text_diff(old, new, "", "").splitlines()[2:]
    return [line for line in lines if line[0] in "+-" and line[1:].strip()]


def _part(data: str) -> str:
    """Return the name of the only part of the data."""
    return data if data == DATA else "text"


# Single models, trained as a search trains those of its last comparison


class Fits:
    """Results of trained models, kept in a file."""

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
        """Return loss and share of right answers on test rows.

        Args:
            program: Text of the model.
            rows: Seed of all rows, or of the split of a text.
            how: Options of the training.
            options: Options of a search, for its data.
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
            self.done[key] = {"loss": found.loss, "right": found.right[_part(data)]}
            with self.file.open("a", encoding="utf-8") as file:
                print(json.dumps([key, self.done[key]]), file=file)
        return self.done[key]

    def from_seeds(
        self, program: str, options: EvolveOptions, rows: int, seeds: Sequence[int]
    ) -> dict[str, list[float]]:
        """Return losses and shares of right answers, one of each seed."""
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
    """Return the start of an example with other layers and feed-forward networks."""
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
    """Return the name of the only model of a program."""
    (name,) = check_source(Source("found.azg", program, own=True)).models
    return name


def parameters(program: str) -> int:
    """Count the parameters of the only model of a program."""
    spec = Genome.from_text(program, model_of(program)).spec
    return int(costs(spec, 1)[PARAMETERS])


def format_result(losses: Sequence[float], right: Sequence[float]) -> str:
    """Format a mean loss with the share of right answers."""
    return f"{fmean(losses):.3f} ({fmean(right):.0%})".replace("%", " %")
