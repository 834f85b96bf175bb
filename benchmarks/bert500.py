"""Training-free scores of 500 encoders beside their GLUE scores.

    python -m benchmarks bert500 [--scores FILE] [--publish]

Each architecture of NAS-Bench-BERT is compiled at its hidden width, with its layers as far
as the language has them (see benchmarks/flexibert.py), its weights are drawn, and each
score of azc.scores is computed on one batch of text. The results are rank correlations
with GLUE, over all architectures and within one depth and width. It takes about half an
hour on one core; `--scores` keeps the scores in a file and continues from there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import azc
from azc.data.load import load_data
from azc.scores.training_free import SCORES
from benchmarks.flexibert import (
    Architecture,
    load_repeated,
    load_table,
    own_parameters,
    program_text,
)
from benchmarks.tables import (
    add_publish_option,
    data_folder,
    format_value,
    made_with,
    publish,
    rho,
    table,
    tau,
    tau_interval,
    versions,
    within,
)

NAME = "bert500"
VOCAB, SEQUENCES, TOKENS = 2048, 6, 64
OWN = "parameters, the authors' count"
# Columns of the published results, computed by the authors at one width for all.
PUBLISHED: Mapping[str, str] = {
    "parameters": "Number of Parameters",
    "synaptic saliency": "Synaptic Saliency",
    "synaptic diversity": "Synaptic Diversity",
    "activation distance": "Activation Distance",
    "Jacobian covariance": "Jacobian Score",
    "head confidence": "Head Softmax Confidence",
    "head importance": "Head Importance",
}


def scored(arch: Architecture, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return every score of one architecture, with the weights of seed 0."""
    torch.manual_seed(0)
    program = azc.loads(program_text(arch, VOCAB), "flexibert.azg")
    model: Any = azc.compile(program, task="masked-lm")
    return {name: score(model, inputs) for name, score in SCORES.items()}


def all_scores(archs: Sequence[Architecture], file: Path | None) -> list[Any]:
    """Return the scores of all architectures, and append each to the file."""
    known: list[Any] = []
    if file is not None and file.exists():
        known = [json.loads(line) for line in file.read_text().splitlines()]
    data = load_data("python", vocab=VOCAB, length=TOKENS)
    inputs = next(iter(data.held_out("validation", SEQUENCES))).inputs("cpu")
    began = time.monotonic()
    for number in range(len(known), len(archs)):
        known.append(scored(archs[number], inputs))
        if file is not None:
            with file.open("a", encoding="utf-8") as end:
                end.write(json.dumps(known[-1]) + "\n")
        if number % 50 == 49:
            print(f"{number + 1} of {len(archs)}, {time.monotonic() - began:.0f} s")
    return known


def correlations(
    values: Sequence[float], archs: Sequence[Architecture]
) -> dict[str, Any]:
    """Return correlations with GLUE: over all, and within one depth and width."""
    glue = [arch.glue for arch in archs]
    sizes = [arch.size for arch in archs]

    groups = {}
    for size in sorted(set(sizes)):
        members = [i for i, each in enumerate(sizes) if each == size]
        columns = ([column[i] for i in members] for column in (values, glue))
        groups[f"{size[0]} × {size[1]}"] = tau(*columns)
    return {
        "tau": tau(values, glue),
        "tau_interval": tau_interval(values, glue),
        "rho": rho(values, glue),
        "tau_within": within(tau, values, glue, sizes),
        "tau_within_interval": tau_interval(values, glue, sizes),
        "rho_within": within(rho, values, glue, sizes),
        "tau_by_size": groups,
    }


def measured(folder: Path, file: Path | None) -> dict[str, Any]:
    """Return all figures."""
    archs = load_table(folder)
    found = all_scores(archs, file)
    columns = {name: [each[name] for each in found] for name in SCORES}
    columns[OWN] = [float(own_parameters(arch)) for arch in archs]
    with (folder / "BERT_results_activation.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    published = {
        name: [float(row[name]) for row in rows] for name in PUBLISHED.values()
    }
    again = load_repeated(folder)

    sizes = [arch.size for arch in archs]
    return {
        "made_with": made_with(),
        "architectures": len(archs),
        "by_size": {
            f"{layers} × {hidden}": sizes.count((layers, hidden))
            for layers, hidden in sorted(set(sizes))
        },
        "batch": {"vocab": VOCAB, "sequences": SEQUENCES, "tokens": TOKENS},
        "scores": {name: correlations(x, archs) for name, x in columns.items()},
        "published": {name: correlations(x, archs) for name, x in published.items()},
        "repeated": {
            "architectures": len(again),
            "tau": tau(*zip(*again, strict=True)),
            "tau_interval": tau_interval(*zip(*again, strict=True)),
            "rho": rho(*zip(*again, strict=True)),
        },
    }


def _cells(found: Mapping[str, Any]) -> list[str]:
    return [
        format_value(found["tau"], found["tau_interval"]),
        format_value(found["tau_within"], found["tau_within_interval"]),
    ]


def render(figures: Mapping[str, Any]) -> str:
    """Render the table, the best scores first."""
    head = ["score", "τ", "τ within a size", "published: τ", "τ within a size"]
    again = figures["repeated"]
    count = again["architectures"]
    ceiling = format_value(again["tau"], again["tau_interval"])
    rows = [[f"a second training ({count} architectures)", ceiling, "–", "–", "–"]]
    scores = figures["scores"]
    for name in sorted(scores, key=lambda name: -scores[name]["tau"]):
        theirs = figures["published"].get(PUBLISHED.get(name))
        rows.append(
            [name, *_cells(scores[name]), *(_cells(theirs) if theirs else ["–", "–"])]
        )
    return "\n\n".join([table(head, rows), *versions(figures)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=Path, help="a file to keep the scores in")
    add_publish_option(parser)
    options = parser.parse_args()
    figures = measured(data_folder("nas-bench-bert"), options.scores)
    print(render(figures))
    if options.publish:
        publish(NAME, figures, render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
