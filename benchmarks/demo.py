"""What `make demo` finds: the same from other seeds, beside its baselines.

    python -m benchmarks demo --runs DIR [--seeds 6] [--workers 2] [--publish]

The arguments are those of the Makefile. Runs that are in `--runs` (a folder for each seed)
are gone on with, or read if they are over.
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
from benchmarks.tables import publish, publishes

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


def done(folder: Path, seed: int, workers: int) -> RunView:
    """The run of a seed, made or gone on with where it is not over."""
    run = folder / str(seed)
    azc = [sys.executable, "-m", "azc"]
    if not (run / "run.json").exists():
        words = [*arguments(), "--seed", str(seed), "--workers", str(workers)]
        subprocess.run([*azc, "evolve", *words, "-o", str(run)], cwd=ROOT, check=True)
    elif not read_run(run).is_over:
        subprocess.run([*azc, "resume", str(run)], cwd=ROOT, check=True)
    return read_run(run)


def figures(view: RunView) -> dict[str, Any]:
    """The mean loss of every row of a run's last table, and what stands out of them."""
    means = {row.role: fmean(row.losses) for row in view.rows if row.role != "hand"}
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


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """A line for each seed, and what may be said of all."""
    lines = [
        "| seed | winner | start | random sampling | best by hand | | winner first |"
        " shown to be better than |",
        "|--:|--:|--:|--:|--:|---|---|---|",
    ]
    for seed, row in found.items():
        worse = f"; worse than {row['worse']}" if row["worse"] else ""
        lines.append(
            f"| {seed} | {row['winner']:.3f} | {row['start']:.3f} | {row['random']:.3f} |"
            f" {row['hand']:.3f} | {row['name']} | {'yes' if row['first'] else 'no'} |"
            f" {row['better']} of {row['rows']}{worse} |"
        )
    rows = found.values()
    first = sum(row["first"] for row in rows)
    lines += ["", f"The winner is ahead of every row on {first} of {len(rows)} seeds."]
    for role, told in (
        ("random", "random sampling"),
        ("hand", "the best by hand, known only afterwards"),
    ):
        mine = [row["winner"] for row in rows]
        said = verdict(mine, [row[role] for row in rows])
        if said.low is not None and said.p is not None:
            lines.append(
                f"Of {told} it is ahead by {said.gain:.3f} nats ({said.low:.3f} to"
                f" {said.high:.3f}; paired t-test over the seeds of the search,"
                f" p = {said.p:.2g})."
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    publishes(parser)
    options = parser.parse_args()
    found = {
        str(seed): figures(done(options.runs, seed, options.workers))
        for seed in range(options.seeds)
    }
    text = markdown(found)
    print(text)
    if options.publish:
        publish("demo", found, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
