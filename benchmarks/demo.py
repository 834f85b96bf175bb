"""What `make demo` finds: the same from other seeds, beside its baselines.

    python -m benchmarks demo --runs DIR [--seeds 10] [--workers 2]
        [--strategies regularized,local] [--strategy-seeds 10] [--publish]

The arguments are those of the Makefile. Runs that are in `--runs` (a folder for each seed,
and for each seed and strategy) are gone on with, or read if they are over.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from azc.search.run import read_run
from azc.search.view import RunView
from azc.training.verdict import verdict
from benchmarks.tables import publish, publishes, shown

STRATEGIES = ("regularized", "local")  # random sampling is a row of every run

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> list[str]:
    """What the Makefile gives to `azc evolve`, less its seed and workers."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"^DEMO_ARGS \?= (.*)$", text, re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1])
    for name in ("--seed", "--workers"):
        place = words.index(name)
        del words[place : place + 2]
    return words


def done(folder: Path, seed: int, workers: int, strategy: str = "") -> RunView:
    """The run of a seed, made or gone on with where it is not over. That of a strategy
    besides the default has no baselines: they do not depend on it.
    """
    run = folder / (f"{strategy}-{seed}" if strategy else str(seed))
    azc = [sys.executable, "-m", "azc"]
    if not (run / "run.json").exists():
        words = [*arguments(), "--seed", str(seed), "--workers", str(workers)]
        words += ["--strategy", strategy, "--no-baselines"] if strategy else []
        subprocess.run([*azc, "evolve", *words, "-o", str(run)], cwd=ROOT, check=True)
    elif not read_run(run).is_over:
        subprocess.run([*azc, "resume", str(run)], cwd=ROOT, check=True)
    return read_run(run)


def figures(view: RunView) -> dict[str, Any]:
    """The mean loss of every row of a run's last table, and what stands out of them."""
    means = {row.role: fmean(row.losses) for row in view.rows if row.role != "hand"}
    if not view.options.baselines:
        return means
    by_hand = {
        row.entrant.name: fmean(row.losses) for row in view.rows if row.role == "hand"
    }
    best = min(by_hand, key=by_hand.__getitem__)
    others = [*by_hand.values(), means["start"], means["random"]]
    words = [found.word for found in view.verdicts.values()]
    return {
        **means,
        "hand": by_hand[best],
        "name": best,
        "first": means["winner"] < min(others),
        "better": words.count("better"),
        "worse": words.count("worse"),
        "rows": len(words),
    }


def said(mine: list[float], others: list[float], told: str) -> str:
    """What may be said of two columns, paired by seed."""
    found = verdict(mine, others)
    if found.low is None or found.high is None or found.p is None:
        return f"{told}: {shown(found.gain, digits=3)} nats, of one seed."
    return (
        f"{told}: {shown(found.gain, (found.low, found.high), 3)} nats (paired t-test"
        f" over {len(mine)} seeds of the search, p = {found.p:.2g})."
    )


def written(found: dict[str, dict[str, Any]]) -> str:
    """A line for each seed, and what may be said of all."""
    strategies = [
        name for name in STRATEGIES if any(name in row for row in found.values())
    ]
    lines = [
        f"| seed | winner |{''.join(f' {name} |' for name in strategies)} random sampling"
        " | start | best by hand | | winner first | shown to be better than |",
        f"|--:|--:|{'--:|' * len(strategies)}--:|--:|--:|---|---|---|",
    ]
    for seed, row in found.items():
        worse = f"; worse than {row['worse']}" if row["worse"] else ""
        others = "".join(
            f" {row[name]:.3f} |" if name in row else " – |" for name in strategies
        )
        lines.append(
            f"| {seed} | {row['winner']:.3f} |{others} {row['random']:.3f} |"
            f" {row['start']:.3f} | {row['hand']:.3f} | {row['name']} |"
            f" {'yes' if row['first'] else 'no'} |"
            f" {row['better']} of {row['rows']}{worse} |"
        )
    rows = list(found.values())
    first = sum(row["first"] for row in rows)
    lines += [
        "",
        f"The winner is ahead of every row on {first} of {len(rows)} seeds.",
        "",
    ]
    told = {
        "random": "random sampling",
        "hand": "the best by hand, known only afterwards",
        **{name: f"the winner of `{name}`" for name in strategies},
    }
    lines += ["How far it is ahead, on average:", ""]
    for key, name in told.items():
        both = [row for row in rows if key in row]
        mine = [row["winner"] for row in both]
        lines.append(f"- {said(mine, [row[key] for row in both], name)}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--strategy-seeds", type=int, default=10)
    publishes(parser)
    options = parser.parse_args()
    strategies = [name for name in options.strategies.split(",") if name]
    if unknown := set(strategies) - set(STRATEGIES):
        parser.error(f"--strategies: {', '.join(sorted(unknown))}")
    found: dict[str, dict[str, Any]] = {}
    for seed in range(options.seeds):
        row = found[str(seed)] = figures(done(options.runs, seed, options.workers))
        for name in strategies if seed < options.strategy_seeds else ():
            view = done(options.runs, seed, options.workers, name)
            row[name] = figures(view)["winner"]
    text = written(found)
    print(text)
    if options.publish:
        publish("demo", found, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
