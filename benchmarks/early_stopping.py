"""Early stopping replayed on 345 training curves: its regret and its cost.

    python -m benchmarks early-stopping [--seeds 200] [--publish]

Recurrent cells of NAS-Bench-NLP (Klyuchnikov et al. 2022), trained for 50 epochs on
WikiText-2. From a pool drawn at random, successive halving (Jamieson and Talwalkar 2016)
keeps one in η after each stage, by the best validation loss so far; the best of those that
trained to the end is chosen. Regret is what its loss is above the best of the pool's, in
nats a word; cost is the epochs trained, as a share of training the whole pool to the end.
A failed run ranks last and costs the epochs until it failed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from azc.search.options import derived
from benchmarks.tables import (
    add_publish_option,
    data_folder,
    format_value,
    made_with,
    mean_interval,
    publish,
    table,
    versions,
)

NAME = "early-stopping"
EPOCHS = 50
POOLS = (6, 24, 96)
ETAS = (2, 3, 4)
STAGES = (2, 3, 4)  # training to the end included
EARLY = (1, 5, 10)  # epochs after which only the best continues

Stages = Sequence[tuple[int, int]]  # how many train until which epoch


def load_curves(folder: Path) -> np.ndarray[Any, Any]:
    """Return the best validation loss after each epoch, [runs, epochs], inf after a failure."""
    with gzip.open(folder / "wikitext2_curves.json.gz", "rt", encoding="utf-8") as text:
        runs = json.load(text)
    found = np.full((len(runs), EPOCHS), np.inf)
    for curve, run in zip(found, runs, strict=True):
        losses = np.array(run["val"], float)
        curve[: len(losses)] = np.minimum.accumulate(losses)
    # A loss that is not a number stays so: a failed run is never among the best.
    return np.where(np.isnan(found), np.inf, found)


def halving(pool: int, eta: int, stages: int) -> Stages:
    """Return the stages of successive halving.

    The last one trains to the end, each of the others for 1/η of the epochs of the next.
    """
    return [
        (-(-pool // eta**stage), round(EPOCHS / eta ** (stages - 1 - stage)))
        for stage in range(stages)
    ]


def replay(
    curves: np.ndarray[Any, Any], stages: Stages, again: bool = False
) -> tuple[float, float]:
    """Return regret and cost of one pool, [runs, epochs].

    With `again`, each stage trains from scratch.
    """
    alive = np.arange(len(curves))
    length = np.isfinite(curves).sum(1)
    # The epoch in which it fails is trained too.
    length = np.minimum(length + 1, EPOCHS)
    spent, done = 0, 0
    for size, epoch in stages:
        alive = alive[:size]
        until = np.minimum(length[alive], epoch)
        since = 0 if again else np.minimum(length[alive], done)
        spent += int((until - since).sum())
        done = epoch
        alive = alive[np.argsort(curves[alive, epoch - 1], kind="stable")]
    full = float(length.sum())
    return float(curves[alive[0], -1] - curves[:, -1].min()), spent / full


def policies(pool: int) -> Mapping[str, tuple[Stages, bool]]:
    """Return the policies by name: their stages, and whether each starts over."""
    found: dict[str, tuple[Stages, bool]] = {
        "all to the end": ([(pool, EPOCHS)], False)
    }
    half = EPOCHS // 2
    halves = [(pool, half), (-(-pool // 2), EPOCHS)]
    found[f"halves: {half}, {EPOCHS}, from scratch"] = (halves, True)
    for epoch in EARLY:
        found[f"one continues: {epoch}, {EPOCHS}"] = (
            [(pool, epoch), (1, EPOCHS)],
            False,
        )
    for eta in ETAS:
        for count in STAGES:
            stages = halving(pool, eta, count)
            epochs = ", ".join(str(epoch) for _, epoch in stages)
            found[f"η = {eta}: {epochs}"] = (stages, False)
    return found


def measured(folder: Path, seeds: int) -> dict[str, Any]:
    """Replay every policy on every pool, and return all figures."""
    curves = load_curves(folder)
    found: dict[str, Any] = {}
    for size in POOLS:
        rows = found[str(size)] = {}
        for name, (stages, again) in policies(size).items():
            replays = []
            for seed in range(seeds):
                rng = random.Random(derived(seed, "pool", size))
                pool = rng.sample(range(len(curves)), size)
                replays.append(replay(curves[pool], stages, again))
            regret, cost = zip(*replays, strict=True)
            rows[name] = {
                "regret": mean_interval(regret),
                "cost": mean_interval(cost),
                "found_best": float(np.mean(np.array(regret) == 0.0)),
            }
    return {
        "made_with": made_with(),
        "curves": len(curves),
        "failed": int((~np.isfinite(curves[:, -1])).sum()),
        "seeds": seeds,
        "pools": found,
    }


def render(figures: dict[str, Any]) -> str:
    """Render the table."""
    pools = figures["pools"]
    heads = [f"{what}, pool of {size}" for size in pools for what in ("regret", "cost")]
    names = next(iter(pools.values()))
    rows = []
    for name in names:
        row = [name]
        for found in pools.values():
            regret, cost = found[name]["regret"], found[name]["cost"]
            ends = regret["interval"] if regret["interval"][1] >= 0.0005 else None
            row += [format_value(regret["mean"], ends, 3), format_value(cost["mean"])]
        rows.append(row)
    parts = [table(["epochs of the stages", *heads], rows), *versions(figures)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    add_publish_option(parser)
    options = parser.parse_args()
    figures = measured(data_folder("nas-bench-nlp"), options.seeds)
    print(render(figures))
    if options.publish:
        publish(NAME, figures, render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
