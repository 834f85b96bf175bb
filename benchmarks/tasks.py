"""Which attention solves which task: each program of std.attention, trained alone.

    python -m benchmarks tasks [--tasks recall induction] [--steps 400] [--json out.json]

Models of two layers, 64 wide, without positions of their own: the program twice, or once
above a convolution of width 3, which fixes what a token knows of its neighbours and leaves
the rest to the program. The figures are shares of answers right on the test rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import azc
from azc.api import load
from azc.check.resolve import check_source
from azc.data.load import load_data
from azc.data.tasks import TASKS
from azc.source import Source
from azc.training.fit import FitOptions, fit, measure

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
    """How many answers are right after training."""
    text = MODEL.format(name=name, below=BELOW[below].format(name=name))
    torch.manual_seed(seed)
    model = azc.compile(check_source(Source("solver.azg", text)), task="masked-lm")
    data = load_data(f"task:{task}", vocab=68, length=options.length)
    how = FitOptions(
        steps=options.steps, learning_rate=options.learning_rate, seed=seed
    )
    fit(model, data, how, device=options.device)
    return measure(model, data, "test", device=options.device).right[f"task:{task}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), default=["recall", "induction"]
    )
    parser.add_argument(
        "--programs", nargs="+", default=list(load("std.attention").attentions)
    )
    parser.add_argument("--models", nargs="+", choices=list(BELOW), default=list(BELOW))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    heads = [f"{task}, {below}" for task in options.tasks for below in options.models]
    print(f"| program | {' | '.join(heads)} |")
    print(f"|---|{'--:|' * len(heads)}")
    for name in options.programs:
        found = figures[name] = {}
        for task in options.tasks:
            for below in options.models:
                found[f"{task}, {below}"] = [
                    share(name, below, task, seed, options) for seed in options.seeds
                ]
        cells = [" ".join(f"{each:.2f}" for each in found[head]) for head in heads]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    chance = ", ".join(f"{task} {TASKS[task].chance:.2f}" for task in options.tasks)
    print(f"\nchance: {chance}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
