"""Search strategies in a table of 500 trained encoders: regret over 1,000 seeds.

    python -m benchmarks strategies [--seeds 1000] [--publish]

The strategies of azc run as in a search, round by round, with the default options; a
candidate is an architecture of NAS-Bench-BERT, and its score is the mean of GLUE. A
mutation changes one field (a layer's operation, heads, width or networks, the hidden
width, the depth) and gives the architecture of the table that is nearest to the result.
It takes some ten minutes on one core.
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
from azc.training.verdict import NO_DIFFERENCE, Verdict, Word, verdict
from benchmarks.flexibert import KINDS, Architecture, fields, load_table
from benchmarks.tables import (
    add_publish_option,
    data_folder,
    format_test,
    format_value,
    made_with,
    mean_interval,
    publish,
    table,
    versions,
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
    """Return the choice that a field belongs to: `heads` of `2 heads`."""
    return field.split(" ")[-1]


@dataclass(frozen=True, eq=False)
class Entry:
    """An architecture of the table, with the attributes of a genome that strategies read."""

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

    def code(self, values: Mapping[str, str]) -> list[int]:
        """Encode fields as numbers, −1 where there is no such layer."""
        return [
            CHOICES[choice(place)].index(values[place]) if place in values else -1
            for place in PLACES
        ]

    def nearest(
        self, values: Mapping[str, str], parent: Entry, rng: random.Random
    ) -> Entry:
        """Return an architecture with the fewest other fields, never the parent.

        Ties are broken at random.
        """
        apart = (self.codes != np.array(self.code(values))).sum(1)
        apart[parent.number] = len(PLACES) + 1
        return self.entries[rng.choice(np.flatnonzero(apart == apart.min()).tolist())]

    def mutate(
        self,
        parent: Entry,
        rng: random.Random,
        draw: Callable[..., str],
        kinds: Priorities | None = None,
    ) -> Mutation:
        """Change one field to another value that is drawn.

        The field is drawn by the priorities of `kinds`, uniformly without them.
        """
        values = dict(parent.fields)
        if kinds is None:
            name = rng.choice(list(values))
        else:
            (name,) = rng.choices(
                list(values), kinds.weights(list(map(choice, values)))
            )
        kind = choice(name)
        others = [f"{kind} {x}" for x in CHOICES[kind] if x != values[name]]
        values[name] = choice(draw(others, rng))
        if kind == "layers":
            values = {n: x for n, x in values.items() if n[:2] not in ("2 ", "3 ")}
            if values["layers"] == "4":
                values |= {
                    f"{i} {p}": rng.choice(CHOICES[p]) for i in (2, 3) for p in PARTS
                }
        found = self.nearest(values, parent, rng)
        return Mutation(genome=found, description=name, kinds=(kind,))  # type: ignore[arg-type]


def evenly(options: Sequence[str], rng: random.Random) -> str:
    """Draw one of the options uniformly."""
    return rng.choice(options)


class TableOpNas(OpNas):
    """op-nas in the table: its priorities draw the value of a field."""

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
    """Return the strategies with the options of a run and mutations in the table."""
    options = EvolveOptions()

    def mutate(genome: Any, rng: random.Random) -> Mutation:
        return space.mutate(genome, rng, evenly)

    def op_nas(
        start: Any,
        learn_kinds: bool = options.learn_kinds,
        patience: int = options.patience,
    ) -> Strategy:
        return TableOpNas(
            start,
            space,
            parents=options.parents,
            alpha=options.alpha,
            temperature=options.temperature,
            rates=Rates(options.inter_rate, options.intra_rate),
            mutations=options.mutations or 1,
            patience=patience,
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
        "op-nas --patience 2": partial(op_nas, patience=2),
        "regularized": regularized,
        "local": lambda start: LocalSearch(start, mutate),
        "random": lambda start: RandomSearch(
            start, mutate, kept=options.parents, mutations=DEEP
        ),
    }


def search(
    make: Callable[[Any], Strategy], space: Space, seed: int
) -> tuple[list[float], list[float]]:
    """Return the best score after each evaluation, and after each new architecture.

    As in a run, rounds are planned whole and cut off by the budget, and repeated
    evaluations count.
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
    """Return the exact mean regret of so many uniform draws from the table."""
    scores = sorted(each.glue for each in space.entries)
    ways = comb(len(scores), count)
    expected = sum(
        glue * comb(place, count - 1) / ways for place, glue in enumerate(scores)
    )
    return space.best - expected


def paired(mine: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Return how much less regret one strategy has than another, over the same seeds."""
    found = verdict(list(mine), list(others))
    return {"mean": found.gain, "interval": [found.low, found.high], "p": found.p}


def measured(folder: Path, seeds: int) -> dict[str, Any]:
    """Run every strategy from every seed, and return all figures."""
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
                    paired(*columns) for columns in zip(default.T, here.T, strict=True)
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


KINDS_OF_BUDGET = ("evaluations", "architectures")


def difference(found: Mapping[str, Any]) -> Verdict:
    """Return a difference of the results with its interval and p-value."""
    word: Word = "better" if found["interval"][0] > 0 else NO_DIFFERENCE
    word = "worse" if found["interval"][1] < 0 else word
    return Verdict(found["mean"], *found["interval"], found["p"], word)


def render(figures: Mapping[str, Any]) -> str:
    """Render the regrets, and the differences from the default."""
    budgets = figures["budgets"]
    heads = [f"{count} {kind}" for kind in KINDS_OF_BUDGET for count in budgets]
    names = list(figures[KINDS_OF_BUDGET[0]])
    rows = [
        [
            f"`{name}`",
            *(
                format_value(x["mean"])
                for kind in KINDS_OF_BUDGET
                for x in figures[kind][name]["regret"]
            ),
        ]
        for name in names
    ]
    uniform = list(map(format_value, figures["uniform"]))
    rows.append(["uniform draws from the table", *uniform, *uniform])
    parts = [table(["regret", *heads], rows)]
    for kind in KINDS_OF_BUDGET:
        lines = [
            [
                f"`{name}`",
                *(
                    format_test(difference(x), 2)
                    for x in figures[kind][name]["less_than_default"]
                ),
            ]
            for name in names
            if name != DEFAULT
        ]
        head = [f"`{DEFAULT}` ahead of", *(f"{count} {kind}" for count in budgets)]
        parts.append(table(head, lines))
    return "\n\n".join([*parts, *versions(figures)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000)
    add_publish_option(parser)
    options = parser.parse_args()
    figures = measured(data_folder("nas-bench-bert"), options.seeds)
    print(render(figures))
    if options.publish:
        publish(NAME, figures, render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
