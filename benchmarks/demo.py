"""The demo from several seeds: its winners beside the other rows of the comparison.

    python -m benchmarks demo --runs DIR [--seeds 10] [--workers 2]
        [--strategies regularized,local] [--strategy-seeds 10] [--publish]

The arguments are those of `make demo`. Runs in `--runs` (a folder for each seed, and for
each seed and strategy) are resumed, or read if they are over.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from azc.api import load
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.mixing.attention import AttentionSpec, AttentionUse
from azc.search.functional import program_function
from azc.search.genome import Genome
from azc.search.run import read_run
from azc.search.view import RunView
from azc.training.verdict import Verdict, verdict
from benchmarks.tables import (
    ROOT,
    add_publish_option,
    format_p,
    format_value,
    holm,
    made_with,
    publish,
    table,
    versions,
)

NAME = "demo"
STRATEGIES = ("regularized", "local")  # random sampling is a row of every run
# The neighbour without attention: every attention program replaced by a mean.
_WITHOUT = re.compile(r"winner with mean_mixing(_\d+)? for its attention")

# Rows of a comparison: the column of the table, and what the winner is tested against.
_COLUMNS: Mapping[str, tuple[str, str]] = {
    "start": ("start", "the start"),
    "random": ("random", "random sampling with the same beginning"),
    "hand": ("best by hand", "the best handwritten model*"),
    "neighbours": ("mean of neighbours", "the mean of its neighbours"),
    "neighbour": ("best neighbour", "the best of its neighbours*"),
    "without": ("mean for attention", "itself with a mean for its evolved attention"),
    **{name: (name, f"the winner of `{name}`") for name in STRATEGIES},
}
# Of runs without the same beginning.
FREE = "random sampling from the start alone"
HAND = _COLUMNS["hand"][1]
RANDOM = _COLUMNS["random"][1]


# Runs


def arguments() -> list[str]:
    """Return the arguments of `make demo`, without its seed and workers."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"^DEMO_ARGS \?= ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1].replace("\\\n", " "))
    for name in ("--seed", "--workers"):
        place = words.index(name)
        del words[place : place + 2]
    return words


def searched(folder: Path, seed: int, workers: int, strategy: str = "") -> RunView:
    """Return the run of a seed, which is started, resumed or read.

    A run of another strategy than the default compares nothing with its winner, because
    the other rows do not depend on the strategy.
    """
    run = folder / (f"{strategy}-{seed}" if strategy else str(seed))
    azc = [sys.executable, "-m", "azc"]
    if not (run / "run.json").exists():
        words = [*arguments(), "--seed", str(seed), "--workers", str(workers)]
        if strategy:
            words += ["--strategy", strategy, "--no-baselines", "--neighbours", "0"]
        subprocess.run([*azc, "evolve", *words, "-o", str(run)], cwd=ROOT, check=True)
    elif not read_run(run).is_over:
        subprocess.run([*azc, "resume", str(run)], cwd=ROOT, check=True)
    return read_run(run)


def winner_loss(view: RunView) -> float:
    """Return the mean test loss of the winner."""
    rows = [row for row in view.rows if row.role == "winner" and row.is_sound]
    if not rows:
        sys.exit(f"{view.folder} has no winner that was trained from every seed")
    return fmean(rows[0].losses)


def summary(view: RunView) -> dict[str, Any]:
    """Summarize the last comparison of a run.

    Losses are means over the final seeds, in nats. A row that failed is left out.
    """
    mine = winner_loss(view)
    program = view.rows[0].entrant.program
    means: dict[str, dict[str, float]] = {}
    others: dict[str, float] = {}
    for row in view.rows:
        if row.is_sound:
            loss = fmean(row.losses)
            means.setdefault(row.role, {})[row.entrant.name] = loss
            if row.entrant.program != program:
                others[row.entrant.program] = loss
    words = [found.word for found in view.verdicts.values()]
    assert view.start is not None
    evolved = has_evolved_attention(program, view.start.program, view.model)
    found: dict[str, Any] = {
        "winner": mine,
        "attention": evolved,
        "rank": 1 + sum(loss < mine for loss in others.values()),
        "of": 1 + len(others),
        "better": words.count("better"),
        "worse": words.count("worse"),
        "rows": len(words),
    }
    for role in ("start", "random", "hand", "neighbour"):
        if losses := means.get(role):
            best = min(losses, key=losses.__getitem__)
            found |= {role: losses[best], f"{role} name": best}
    if losses := means.get("neighbour"):
        found["neighbours"] = fmean(losses.values())
        without = [loss for name, loss in losses.items() if _WITHOUT.fullmatch(name)]
        if evolved and without:
            found["without"] = without[0]
    return found


def has_evolved_attention(program: str, start: str, model: str) -> bool:
    """Return whether a model has an attention program that evolution made.

    The program has to mix tokens, and to compute something else than the programs of the
    start and of the standard library do.
    """
    causal = Genome.from_text(start, model).spec.causal
    known = {program_function(spec, causal).key for spec in _library()}
    known |= {program_function(spec, causal).key for spec in _attentions(start, model)}
    return any(
        mixes_tokens(spec, causal) and program_function(spec, causal).key not in known
        for spec in _attentions(program, model)
    )


@cache
def _library() -> tuple[AttentionSpec, ...]:
    return tuple(load("std.attention").attentions.values())


def _attentions(program: str, model: str) -> list[AttentionSpec]:
    layers = Genome.from_text(program, model).spec.layers
    uses = [layer.mixing for layer in layers]
    return [use.program for use in uses if isinstance(use, AttentionUse)]


def mixes_tokens(spec: AttentionSpec, causal: bool = False) -> bool:
    """Return whether a token's output depends on the inputs of another.

    Learned convolutions have their initial weights, which mix nothing.
    """
    interpreter = Interpreter(build_graph(spec), causal)
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(6, 4)) for name in spec.params}
    other = {name: array.copy() for name, array in inputs.items()}
    for array in other.values():
        array[2] += rng.normal(size=4)
    rows = [row for row in range(6) if row != 2]
    before, after = (interpreter(**each)[rows] for each in (inputs, other))
    return not np.allclose(before, after, rtol=1e-9, atol=1e-12, equal_nan=True)


# Tables


def comparisons(
    found: Mapping[str, Any],
) -> list[tuple[str, int, Verdict, float | None]]:
    """Test the winner against every other row, over the seeds of the search.

    Returns:
        For each row its name, the number of seeds, a paired t-test, and the p-value
        corrected for the number of rows (Holm 1979), None for a single seed.
    """
    rows = list(found["runs"].values())
    tests = []
    for key, (_, name) in _COLUMNS.items():
        if both := [row for row in rows if key in row]:
            if key == "random" and not found["same_beginning"]:
                name = FREE
            mine = [row["winner"] for row in both]
            each = verdict(mine, [row[key] for row in both])
            tests.append((name, len(both), each))
    corrected = iter(holm([each.p for _, _, each in tests if each.p is not None]))
    return [
        (name, count, each, None if each.p is None else next(corrected))
        for name, count, each in tests
    ]


def render(found: Mapping[str, Any]) -> str:
    """Render a row for each seed, and the tests over all seeds."""
    runs: Mapping[str, Mapping[str, Any]] = found["runs"]
    rows = list(runs.values())
    columns = [key for key in _COLUMNS if any(key in row for row in rows)]
    is_known = any("attention" in row for row in rows)
    head = [
        "seed",
        "winner",
        *(_COLUMNS[key][0] for key in columns),
        "rank of the winner",
    ]
    head += ["better than", *(["evolved attention"] if is_known else [])]
    lines = []
    for seed, row in runs.items():
        cells = [seed, f"{row['winner']:.3f}"]
        cells += [f"{row[key]:.3f}" if key in row else "–" for key in columns]
        cells += [_rank(row), _better(row)]
        cells += [_yes(row["attention"])] if is_known else []
        lines.append(cells)
    parts = [f"Command: `azc evolve {found['arguments']}`.", table(head, lines)]
    parts += ["\n".join(_notes(rows)), render_tests(found)]
    return "\n\n".join([*parts, *versions(found)]) + "\n"


def _rank(row: Mapping[str, Any]) -> str:
    if "rank" in row:
        return f"{row['rank']} of {row['of']}"
    return "1" if row["first"] else "not 1"  # of results without ranks


def _better(row: Mapping[str, Any]) -> str:
    worse = f"; worse than {row['worse']}" if row["worse"] else ""
    return f"{row['better']} of {row['rows']}{worse}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def is_first(row: Mapping[str, Any]) -> bool:
    """Return whether the winner of a run has the lowest loss of its comparison."""
    return bool(row["rank"] == 1 if "rank" in row else row["first"])


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Count first places, and name the best rows."""
    first = sum(map(is_first, rows))
    lines = [f"- The winner has the lowest loss on {first} of {len(rows)} seeds."]
    known = [row for row in rows if "attention" in row]
    if known:
        count = sum(row["attention"] for row in known)
        lines.append(
            f"- It has an evolved attention program on {count} of {len(known)}."
        )
    for role, name in (("hand", "by hand"), ("neighbour", "neighbour")):
        names = [row[f"{role} name"] for row in rows if f"{role} name" in row]
        if named := Counter(each.removeprefix("winner with ") for each in names):
            each = "; ".join(f"{text} ({n})" for text, n in named.most_common())
            lines.append(f"- Best {name}, with the number of seeds: {each}.")
    return lines


def render_tests(found: Mapping[str, Any]) -> str:
    """Render the tests over the seeds."""
    lines = []
    for name, count, each, corrected in comparisons(found):
        known = each.low is not None and each.high is not None
        ends = (each.low, each.high) if known else None
        gain = format_value(each.gain, ends, 3)
        lines.append([name, str(count), gain, format_p(each.p), format_p(corrected)])
    return table(["ahead of", "seeds", "nats (95 % interval)", "p", "p, Holm"], lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--strategy-seeds", type=int, default=10)
    add_publish_option(parser)
    options = parser.parse_args()
    strategies = [name for name in options.strategies.split(",") if name]
    if unknown := set(strategies) - set(STRATEGIES):
        parser.error(f"--strategies: {', '.join(sorted(unknown))}")
    runs: dict[str, dict[str, Any]] = {}
    for seed in range(options.seeds):
        view = searched(options.runs, seed, options.workers)
        row = runs[str(seed)] = summary(view)
        for name in strategies if seed < options.strategy_seeds else ():
            other = searched(options.runs, seed, options.workers, name)
            row[name] = winner_loss(other)
    found = {
        "made_with": made_with(),
        "arguments": shlex.join(arguments()),
        "same_beginning": view.options.by_hand,
        "runs": runs,
    }
    text = render(found)
    print(text)
    if options.publish:
        publish(NAME, found, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
