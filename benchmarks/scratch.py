"""Attention from scratch: searches from layers that mix no tokens.

    python -m benchmarks scratch --runs DIR [--seeds 10] [--local-seeds 0]
        [--evaluations 300] [--both-seeds 3] [--both-evaluations 150]
        [--text-seeds 1] [--text-evaluations 150] [--publish]

Searches from examples/scratch.azg by op-nas, local search and random sampling: in the
space `scratch` (one layer above a convolution), in the space `both` (two layers), both on
associative recall, and in the space `scratch` on text. Models typed by hand are trained as
the winners are. Runs in `--runs` are resumed, with more evaluations if the budget is
larger; other results are lines of fits.jsonl there, and nothing is trained twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azc.training.verdict import Verdict, verdict
from benchmarks.recall import (
    CONV,
    SCRATCH,
    SOLVED,
    Fits,
    format_result,
    searched,
    summary,
    typed,
)
from benchmarks.tables import (
    add_publish_option,
    format_test,
    made_with,
    publish,
    table,
    versions,
)

NAME = "scratch"
MARGIN = 0.05  # nats: a loss that is higher by less is as good
TEXT_MARGIN = 0.02  # of a masked token, where seeds differ by less

STRATEGIES = ("op-nas", "local", "random")
SPACES = ("scratch", "both")
TEXT = "text"  # the space `scratch` with a vocabulary for text
_RESTARTS = "--round 6 --patience 2 --no-learn-kinds"
OPTIONS: Mapping[str, str] = {
    **{
        space: f"--space {space} --learning-rate 6e-3 --warmup-ratio 0.5"
        f" --final-steps 300 {_RESTARTS}"
        for space in SPACES
    },
    TEXT: "--space scratch --data python --length 64 --batch 8 --steps 200"
    f" --final-steps 400 {_RESTARTS}",
}
# Models that a person would type from the parts of a space, by their layers.
TYPED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "scratch": {"conv, sdpa": (CONV, "sdpa")},
    "both": {"conv, sdpa": (CONV, "sdpa"), "2 × sdpa": ("sdpa", "sdpa")},
    TEXT: {"conv, sdpa": (CONV, "sdpa"), "conv, conv": (CONV, CONV)},
}
TITLES: Mapping[str, str] = {
    "scratch": "One layer that mixes no tokens, above a convolution (space `scratch`):",
    "both": "Two layers that mix no tokens (space `both`):",
    TEXT: "One layer above a convolution, on text (nats per masked token):",
}

Rows = Sequence[Mapping[str, Any]]


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Run all searches, and train the models beside them."""
    fits = Fits(options.runs / "fits.jsonl")
    budgets = {
        "scratch": (options.seeds, options.evaluations, options.local_seeds),
        "both": (options.both_seeds, options.both_evaluations, None),
        TEXT: (options.text_seeds, options.text_evaluations, None),
    }
    found = {
        space: from_scratch(
            fits,
            space,
            seeds,
            ["--evaluations", str(evaluations), *options.more.split()],
            local_seeds,
        )
        for space, (seeds, evaluations, local_seeds) in budgets.items()
    }
    return {"made_with": made_with(), **found}


def from_scratch(
    fits: Fits,
    space: str,
    seeds: int,
    words: Sequence[str],
    local_seeds: int | None = None,
) -> list[dict[str, Any]]:
    """Search a space by each strategy from each seed, beside models typed by hand.

    Args:
        fits: Results of models trained alone.
        space: A key of `OPTIONS`.
        seeds: Number of seeds.
        words: More options of each search.
        local_seeds: Number of seeds of local search, None for all.
    """
    folder = fits.file.parent
    example = _on_text(folder) if space == TEXT else SCRATCH
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        for name in STRATEGIES:
            if name == "local" and local_seeds is not None and seed >= local_seeds:
                continue
            own = f"{OPTIONS[space]} --strategy {name} --seed {seed}"
            view = searched(folder / f"{space}-{name}-{seed}", example, own, words)
            row[name] = summary(view)
        for name, layers in TYPED[space].items():
            how = view.options
            program = typed(example, layers)
            row[name] = fits.from_seeds(program, how, how.seed, how.final_seeds)
        rows.append(row)
    return rows


def _on_text(folder: Path) -> Path:
    """Write the example with a vocabulary for text."""
    file = folder / "text.azg"
    text = SCRATCH.read_text("utf-8").replace("    vocab = 68\n", "    vocab = 1024\n")
    file.write_text(text, "utf-8")
    return file


# Tables


def losses(rows: Rows, name: str) -> list[float]:
    """Return the mean loss of a strategy or a model, by seed."""
    return [fmean(row[name]["losses"]) for row in rows if name in row]


def as_good(rows: Rows, name: str, other: str, margin: float = MARGIN) -> int:
    """Count the seeds on which a strategy is as good as another or as a model."""
    pairs = zip(losses(rows, name), losses(rows, other), strict=True)
    return sum(mine <= theirs + margin for mine, theirs in pairs)


def lead(rows: Rows, name: str = "op-nas", other: str = "random") -> Verdict:
    """Compare two strategies by a paired t-test over the seeds."""
    return verdict(losses(rows, name), losses(rows, other))


def render(found: Mapping[str, Any]) -> str:
    """Render the tables, and the ancestors of the first winner."""
    parts = [
        f"Solved at: the first evaluation below {SOLVED} nats. As good: a loss that is"
        f" higher by {MARGIN} nats at most, {TEXT_MARGIN} on text."
    ]
    for space, title in TITLES.items():
        if rows := found[space]:
            lines = _text_table(rows) if space == TEXT else _recall_table(rows, space)
            parts += [title, lines, "\n".join(_counts(rows, space))]
        if space == "scratch" and (steps := _first_lineage(rows)):
            parts.append(steps)
    return "\n\n".join([*parts, *versions(found)]) + "\n"


def _strategies(rows: Rows) -> list[str]:
    return [name for name in STRATEGIES if any(name in row for row in rows)]


def _recall_table(rows: Rows, space: str) -> str:
    strategies = _strategies(rows)
    head = ["seed"]
    for name in strategies:
        head += [f"{name}: solved at", f"{name}: loss"]
    lines = []
    for row in rows:
        cells = [str(row["seed"])]
        for name in strategies:
            run = row.get(name)
            solved = str(run["solved"] or "–") if run else ""
            cells += [solved, format_result(run["losses"], run["right"]) if run else ""]
        cells += [
            format_result(row[name]["losses"], row[name]["right"])
            for name in TYPED[space]
        ]
        lines.append(cells)
    return table([*head, *TYPED[space]], lines)


def _text_table(rows: Rows) -> str:
    lines = []
    for row in rows:
        names = [*_strategies(rows), *TYPED[TEXT]]
        means = [fmean(row[name]["losses"]) for name in names]
        start = fmean(row[names[0]]["start"])
        lines.append([str(row["seed"]), *(f"{each:.3f}" for each in (start, *means))])
    return table(["seed", "start", *_strategies(rows), *TYPED[TEXT]], lines)


def _counts(rows: Rows, space: str) -> list[str]:
    """Count the seeds on which each strategy is as good as the models typed by hand."""
    lines = []
    for name in _strategies(rows):
        mine = [row for row in rows if name in row]
        margin = TEXT_MARGIN if space == TEXT else MARGIN
        counts = {other: as_good(mine, name, other, margin) for other in TYPED[space]}
        models = ", ".join(f"as {other} on {n}" for other, n in counts.items())
        evaluations = mine[0][name]["evaluations"]
        line = f"- `{name}`: as good {models} of {len(mine)} seeds; {evaluations} evaluations"
        trained = fmean(row[name]["trained"] for row in mine)
        if trained < evaluations:  # a run in which repeated evaluations counted
            line += f", {trained:.0f} candidates trained on average"
        lines.append(f"{line}.")
    if len(rows) > 1 and all({"op-nas", "random"} <= row.keys() for row in rows):
        lines.append(
            f"- `op-nas` ahead of `random` by {format_test(lead(rows))} nats, a paired"
            f" t-test over {len(rows)} seeds."
        )
    return lines


def _first_lineage(rows: Rows) -> str:
    """Show the ancestors of the first winner that solves the task."""
    for row in rows:
        for name in STRATEGIES:
            run = row.get(name)
            if run and fmean(run["losses"]) < SOLVED:
                title = f"From the start to the winner of `{name}`, seed {row['seed']}:"
                return f"{title}\n\n```diff\n{run['lineage']}\n```"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--local-seeds", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--both-seeds", type=int, default=3)
    parser.add_argument("--both-evaluations", type=int, default=150)
    parser.add_argument("--text-seeds", type=int, default=1)
    parser.add_argument("--text-evaluations", type=int, default=150)
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
