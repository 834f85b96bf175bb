"""Search strategies in a table of 500 trained encoders: regret, over 200 seeds.

    python -m benchmarks strategies [--seeds 200] [--publish]

The strategies of azc are asked and told as a run does it, round by round, with its default
options; a candidate is an architecture of NAS-Bench-BERT, its score the mean of GLUE. A
mutation changes one field (a layer's operation, heads, width or networks, the hidden
width, the depth) and gives the architecture of the table that is nearest to the result.
It takes some minutes; `--publish` writes the tables to docs/benchmarks.md and
benchmarks/results.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from azc.search.mutate import Mutation, Rates
from azc.search.options import EvolveOptions, derived
from azc.search.population import DEEP
from azc.search.priorities import Priorities
from azc.search.records import START
from azc.search.strategies.base import Scored, Strategy
from azc.search.strategies.local import LocalSearch
from azc.search.strategies.opnas import OpNas
from azc.search.strategies.random_search import RandomSearch
from azc.search.strategies.regularized import Regularized
from benchmarks.flexibert import KINDS, Architecture, fields, load_table
from benchmarks.tables import (
    data_folder,
    made_with,
    mean_interval,
    publish,
    publishes,
    shown,
    table,
)

NAME = "strategies"
BUDGETS = (25, 50, 100)
DEFAULT = EvolveOptions().strategy
CHOICES: Mapping[str, tuple[str, ...]] = {
    "what": tuple(what for kind in KINDS.values() for what in kind),
    "heads": ("2", "4"),
    "width": ("512", "1024"),
    "networks": ("1", "3"),
    "layers": ("2", "4"),
    "hidden": ("128", "256"),
}
PARTS = ("what", "heads", "width", "networks")  # of a layer
PLACES = ("layers", "hidden", *(f"{i} {part}" for i in range(4) for part in PARTS))


def choice(field: str) -> str:
    """What a field is called among the choices: `heads` of `2 heads`."""
    return field.split(" ")[-1]


@dataclass(frozen=True, eq=False)
class Entry:
    """An architecture of the table, with what strategies look at in a genome."""

    number: int
    fields: Mapping[str, str]
    glue: float

    @property
    def key(self) -> str:
        return str(self.number)

    @cached_property
    def features(self) -> frozenset[str]:
        return frozenset(f"{choice(name)} {x}" for name, x in self.fields.items())


class Space:
    """The table: each architecture once, with the mean of its scores."""

    def __init__(self, archs: Sequence[Architecture]) -> None:
        scores: dict[Architecture, list[float]] = {}
        for arch in archs:
            scores.setdefault(replace(arch, glue=0.0), []).append(arch.glue)
        self.entries = [
            Entry(number, fields(arch), float(np.mean(glue)))
            for number, (arch, glue) in enumerate(scores.items())
        ]
        self.codes = np.array([self.code(each.fields) for each in self.entries])
        self.best = max(each.glue for each in self.entries)

    def code(self, told: Mapping[str, str]) -> list[int]:
        """The fields as numbers, −1 where there is no such layer."""
        return [
            CHOICES[choice(place)].index(told[place]) if place in told else -1
            for place in PLACES
        ]

    def nearest(
        self, told: Mapping[str, str], parent: Entry, rng: random.Random
    ) -> Entry:
        """The architecture that fewest fields of are others, but the parent: of equals
        any.
        """
        apart = (self.codes != np.array(self.code(told))).sum(1)
        apart[parent.number] = len(PLACES) + 1
        return self.entries[rng.choice(np.flatnonzero(apart == apart.min()).tolist())]

    def mutate(
        self,
        parent: Entry,
        rng: random.Random,
        draw: Callable[..., str],
        kinds: Priorities | None = None,
    ) -> Mutation:
        """One field has another value, which is drawn, as the field is where `kinds` of
        them have priorities.
        """
        told = dict(parent.fields)
        if kinds is None:
            name = rng.choice(list(told))
        else:
            (name,) = rng.choices(list(told), kinds.weights(list(map(choice, told))))
        kind = choice(name)
        others = [f"{kind} {x}" for x in CHOICES[kind] if x != told[name]]
        told[name] = choice(draw(others, rng))
        if kind == "layers":
            told = {n: x for n, x in told.items() if n[:2] not in ("2 ", "3 ")}
            if told["layers"] == "4":
                told |= {
                    f"{i} {p}": rng.choice(CHOICES[p]) for i in (2, 3) for p in PARTS
                }
        found = self.nearest(told, parent, rng)
        return Mutation(genome=found, description=name, kinds=(kind,))  # type: ignore[arg-type]


def evenly(options: Sequence[str], rng: random.Random) -> str:
    """One of them, all as likely."""
    return rng.choice(options)


class TableOpNas(OpNas):
    """Operation priorities in the table: the value of a field is drawn by them."""

    def __init__(self, start: Any, space: Space, **options: Any) -> None:
        super().__init__(start, SimpleNamespace(ops=(), kernels=()), **options)  # type: ignore[arg-type]
        features = [f"{kind} {x}" for kind, values in CHOICES.items() for x in values]
        known = self.priorities
        self.priorities = Priorities.start(features, known.alpha, known.temperature)
        self.table = space

    def _mutate(self, genome: Any, rng: random.Random) -> Mutation:
        return self.table.mutate(genome, rng, self.priorities.draw, self.kinds)

    def _wander(self, genome: Any, rng: random.Random) -> Mutation:
        return self.table.mutate(genome, rng, self.priorities.draw)


def strategies(space: Space) -> dict[str, Callable[[Any], Strategy]]:
    """The strategies of azc with the options of a run, but for mutations in the table."""
    options = EvolveOptions()

    def mutate(genome: Any, rng: random.Random) -> Mutation:
        return space.mutate(genome, rng, evenly)

    def op_nas(start: Any, learn_kinds: bool = options.learn_kinds) -> Strategy:
        return TableOpNas(
            start,
            space,
            parents=options.parents,
            alpha=options.alpha,
            temperature=options.temperature,
            rates=Rates(options.inter_rate, options.intra_rate),
            mutations=options.mutations or 1,
            patience=options.patience,
            learn_kinds=learn_kinds,
        )

    def regularized(start: Any) -> Strategy:
        return Regularized(
            start,
            mutate,
            size=options.population,
            tournament=options.tournament,
            kept=options.parents,
            mutations=options.mutations or 1,
        )

    return {
        "op-nas": op_nas,
        "op-nas --no-learn-kinds": partial(op_nas, learn_kinds=False),
        "regularized": regularized,
        "local": lambda start: LocalSearch(start, mutate),
        "random": lambda start: RandomSearch(
            start, mutate, kept=options.parents, mutations=DEEP
        ),
    }


def search(
    make: Callable[[Any], Strategy], space: Space, seed: int
) -> tuple[list[float], list[float]]:
    """The best score after each evaluation, and after each new architecture.

    A run's way of asking: rounds of its size, planned whole and cut off by the budget;
    what is scored again counts as an evaluation.
    """
    size, most = EvolveOptions().round_size, max(BUDGETS)
    start = random.Random(derived(seed, "start")).choice(space.entries)
    strategy = make(start)
    members: dict[int, Entry] = {START: start}
    known = {start.key: START}
    scored: set[int] = set()
    by_evaluation: list[float] = []
    by_new: list[float] = []
    number = 0
    best = -np.inf
    while len(by_new) < most or len(by_evaluation) < most:
        asked = strategy.ask(
            size, random.Random(derived(seed, "round", number)), known
        )[:size]
        if not asked:
            break
        round_: list[Scored] = []
        for each in asked:
            kinds: tuple[str, ...] = ()
            if isinstance(each, int):
                candidate = each
            else:
                candidate = max(members) + 1
                members[candidate] = each.genome  # type: ignore[assignment]
                kinds = each.kinds
                assert each.genome.key not in known
                known[each.genome.key] = candidate
            entry = members[candidate]
            best = max(best, entry.glue)
            by_evaluation.append(best)
            if candidate not in scored:
                scored.add(candidate)
                by_new.append(best)
            scores = {"loss": -entry.glue}
            round_.append(Scored(candidate, entry, scores, kinds))  # type: ignore[arg-type]
        strategy.tell(round_)
        number += 1
    return by_evaluation, by_new


def uniform(space: Space, count: int) -> float:
    """The mean regret of so many architectures drawn evenly from the table, exactly."""
    scores = sorted(each.glue for each in space.entries)
    ways = comb(len(scores), count)
    expected = sum(
        glue * comb(place, count - 1) / ways for place, glue in enumerate(scores)
    )
    return space.best - expected


def measured(folder: Path, seeds: int) -> dict[str, Any]:
    """All figures."""
    space = Space(load_table(folder))
    regrets: dict[str, dict[str, list[list[float]]]] = {}
    for name, make in strategies(space).items():
        runs = [search(make, space, seed) for seed in range(seeds)]
        regrets[name] = {
            kind: [[space.best - run[at][n - 1] for n in BUDGETS] for run in runs]
            for at, kind in enumerate(("evaluations", "architectures"))
        }
        every = regrets[name]["evaluations"]
        print(name, [float(np.mean(x)) for x in zip(*every, strict=True)])
    found: dict[str, Any] = {}
    for kind in ("evaluations", "architectures"):
        rows = found[kind] = {}
        default = np.array(regrets[DEFAULT][kind])
        for name, every in regrets.items():
            here = np.array(every[kind])
            rows[name] = {
                "regret": [mean_interval(column) for column in here.T],
                "less_than_default": [
                    mean_interval(column) for column in (here - default).T
                ],
            }
    return {
        "made_with": made_with(),
        "architectures": len(space.entries),
        "seeds": seeds,
        "budgets": list(BUDGETS),
        "uniform": [uniform(space, count) for count in BUDGETS],
        **found,
    }


def written(figures: dict[str, Any]) -> str:
    """The tables."""
    parts = []
    for kind in ("evaluations", "architectures"):
        heads = [f"{count} {kind}" for count in figures["budgets"]]
        rows = [
            [f"`{name}`", *(shown(x["mean"], x["interval"]) for x in found["regret"])]
            for name, found in figures[kind].items()
        ]
        rows.append(["evenly from the table", *map(shown, figures["uniform"])])
        others = [name for name in figures[kind] if name != DEFAULT]
        rows += [
            [
                f"`{name}` − `{DEFAULT}`",
                *(
                    shown(x["mean"], x["interval"])
                    for x in figures[kind][name]["less_than_default"]
                ),
            ]
            for name in others
        ]
        parts.append(table(["regret", *heads], rows))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    publishes(parser)
    options = parser.parse_args()
    figures = measured(data_folder("nas-bench-bert"), options.seeds)
    print(written(figures))
    if options.publish:
        publish(NAME, figures, written(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
