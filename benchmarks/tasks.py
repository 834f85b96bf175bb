"""Attention programs on tasks: each program of std.attention, trained alone.

    python -m benchmarks tasks [--tasks recall induction] [--steps 400] [--publish]

Models have two layers, a hidden width of 64 and no positions of their own: the program
above a convolution of width 3, with which each token knows its neighbours, or twice.
The figures are shares of right answers on the test rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import azc
from azc.api import load
from azc.check.resolve import check_source
from azc.data.load import load_data
from azc.data.tasks import TASKS
from azc.source import Source
from azc.training.fit import FitOptions, fit, measure
from benchmarks.tables import add_publish_option, made_with, publish, table

NAME = "tasks"
MODEL = """\
from std.attention import {name}

model solver {{
    vocab = 68
    hidden = 64
    heads = 4
    ffn = 256
    residual = pre
    positions = none
    token_types = 0
    dropout = 0
    attention_dropout = 0

    layers {{
        {below}
        {name}
    }}
}}
"""
BELOW = {"above conv": "conv(kernel = 3)", "twice": "{name}"}


def share(
    name: str, below: str, task: str, seed: int, options: argparse.Namespace
) -> float:
    """Return the share of right answers after training."""
    text = MODEL.format(name=name, below=BELOW[below].format(name=name))
    torch.manual_seed(seed)
    model = azc.compile(check_source(Source("solver.azg", text)), task="masked-lm")
    data = load_data(f"task:{task}", vocab=68, length=options.length)
    how = FitOptions(
        steps=options.steps, learning_rate=options.learning_rate, seed=seed
    )
    fit(model, data, how, device=options.device)
    return measure(model, data, "test", device=options.device).right[f"task:{task}"]


def render(figures: Mapping[str, Any]) -> str:
    """Return the table: a column for each task and model."""
    programs = figures["programs"]
    columns = list(next(iter(programs.values())))
    rows = [
        [f"`{name}`", *(" ".join(f"{x:.2f}" for x in row[each]) for each in columns)]
        for name, row in programs.items()
    ]
    chance = ", ".join(f"{task} {x:.2f}" for task, x in figures["chance"].items())
    return f"{table(['program', *columns], rows)}\n\nChance: {chance}.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), default=["recall", "induction"]
    )
    parser.add_argument(
        "--programs", nargs="+", default=list(load("std.attention").attentions)
    )
    parser.add_argument(
        "--models", nargs="+", choices=list(BELOW), default=["above conv"]
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--device", default="cpu")
    add_publish_option(parser)
    options = parser.parse_args()
    programs: dict[str, dict[str, list[float]]] = {}
    for name in options.programs:
        found = programs[name] = {}
        for task in options.tasks:
            for below in options.models:
                found[f"{task}, {below}"] = [
                    share(name, below, task, seed, options) for seed in options.seeds
                ]
        print(name, found, flush=True)
    figures = {
        "made_with": made_with(),
        "steps": options.steps,
        "length": options.length,
        "learning_rate": options.learning_rate,
        "seeds": options.seeds,
        "chance": {task: TASKS[task].chance for task in options.tasks},
        "programs": programs,
    }
    print(render(figures))
    if options.publish:
        publish(NAME, figures, render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
