"""Mutants: how many are new, and whether they compile to what the interpreter computes.

    python -m benchmarks mutants [--candidates 500] [--mutants 10000] [--publish]

1. Candidates: mutants of a space's start, 1 to 8 mutations deep, as random sampling has
   them. How many repeat one before, or the start: in their text, in normal form (the
   key), in what they compute (the function); how many can't be trained, and why; and
   what it costs to know.
2. Mutants of mutants: walks through three spaces, each mutation of the one before. Every
   program that is new in normal form is compiled and set beside the reference
   interpreter, on ragged batches with NaN in the padding. A difference larger than
   rounding is explained if the reference moves as much when its own values are off by
   the last digit, or if float32 overflows; any other is wrong, and the script fails.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from azc.check.program import AttentionSpec, AttentionUse, SpaceSpec
from azc.check.spaces import membership
from azc.passes.pipeline import program_graph
from azc.search.functional import program_function
from azc.search.genome import Genome, program_key, space_features
from azc.search.mutate import Rates, mutate
from azc.search.priorities import Priorities
from benchmarks.tables import add_publish_option, made_with, publish, table, versions
from tests.programs import Batch
from tests.properties.test_agreement import Case, check_values
from tests.search.spaces import space_of, start_of

NAME = "mutants"
SPACES = {
    "text": "examples/text.azg",
    "autobert_zero": "std.spaces",
    "all_ops": "all operations",
}
DEPTH = 8  # mutations from the start, at most
WALK = 40  # mutations of mutants until a walk begins again


def mutated(genome: Genome, space: SpaceSpec, rng: random.Random) -> Genome:
    """Return a child, as a search makes it before it knows anything."""
    while True:
        uniform = _uniform(space)
        made = mutate(genome, space, rng, uniform, Rates(0.7, 0.7))
        if made is not None:
            return made.genome


@cache
def _features(names: tuple[str, ...]) -> Priorities:
    return Priorities.start(names, alpha=0.5)


def _uniform(space: SpaceSpec) -> Priorities:
    return _features(space_features(space))


def candidates(name: str, count: int) -> dict[str, Any]:
    """Return the counts of part 1 for one space."""
    rng, space, start = random.Random(0), space_of(name), start_of(name)
    seen = {kind: {getattr(start, kind)} for kind in ("text", "key", "function")}
    found: Counter[str] = Counter()
    seconds = 0.0
    for _ in range(count):
        genome = start
        for _ in range(rng.randint(1, DEPTH)):
            genome = mutated(genome, space, rng)
        began = time.process_time()
        faults = {*genome.faults.values()}
        keys = {"text": genome.text, "key": genome.key, "function": genome.function}
        seconds += time.process_time() - began
        known = keys["function"] in seen["function"]
        for kind, key in keys.items():
            found[f"same {kind}"] += key in seen[kind]
            seen[kind].add(key)
        for fault in faults:
            found[fault] += 1
        found["to be trained"] += not faults and not known
        found["refused"] += bool(faults) or known
    return {"candidates": count, **found, "ms": 1e3 * seconds / count}


def walked(name: str, count: int) -> Iterator[Genome]:
    """Yield mutants of mutants."""
    rng, space = random.Random(1), space_of(name)
    genome = start_of(name)
    for step in range(count):
        genome = mutated(start_of(name) if step % WALK == 0 else genome, space, rng)
        yield genome


def batch(params: tuple[str, ...], seed: int) -> Batch:
    """Return a ragged batch, padded right, left and in holes, with NaN there."""
    rng = np.random.default_rng(seed)
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1]], bool)
    inputs = {
        name: np.where(mask[:, None, :, None], rng.normal(size=(3, 2, 6, 4)), np.nan)
        for name in params
    }
    return Batch(inputs, mask, "nan")


def agrees(program: AttentionSpec, seed: int, found: Counter[str]) -> None:
    """Compile one program and compare it with the reference."""
    graph = program_graph(program)
    try:
        case = Case(graph, batch(graph.inputs, seed), "free")
    except Exception as error:  # whatever it is, it is counted
        found[f"does not compile: {type(error).__name__}"] += 1
        return
    found["compiles"] += 1
    values = [case.wanted(b, head) for b, head in product(range(3), range(2))]
    if not all(np.isfinite(each).all() for each in values):
        found["not finite"] += 1
        fault = program_function(program).fault
        found["not finite, and refused for it"] += "NaN" in str(fault)
        return
    found["finite"] += 1
    count: Counter[str] = Counter()
    try:
        with np.errstate(all="ignore"):
            check_values(case, count)
    except AssertionError as error:
        found[f"wrong: {error}"] += 1
        return
    for kind in ("float64", "float32"):
        found[f"explained in {kind}"] += bool(count[f"forgiven in {kind}"])
    found["agrees"] += 1


def mutants(count: int) -> dict[str, Any]:
    """Return the counts of part 2."""
    found: Counter[str] = Counter()
    keys: set[str] = set()
    for place, name in enumerate(SPACES):
        # The first have one more where they can't have the same number.
        share = (count + len(SPACES) - 1 - place) // len(SPACES)
        for genome in walked(name, share):
            found["mutants"] += 1
            found["check and lie in the space"] += not membership(
                genome.spec, space_of(name)
            )
            for layer in genome.spec.layers:
                if not isinstance(layer.mixing, AttentionUse):
                    continue
                program = layer.mixing.program
                key = program_key(program)
                if key not in keys:
                    keys.add(key)
                    found["programs, each once"] += 1
                    agrees(program, len(keys), found)
    return dict(found)


_COLUMNS = {
    "candidates": "mutants",
    "same text": "known text",
    "same key": "known normal form",
    "same function": "known function",
    "it computes NaN or infinite values": "NaN or infinite",
    "it does not depend on its inputs": "constant",
    "refused": "refused",
    "to be trained": "trained",
}


def render(figures: dict[str, Any]) -> str:
    """Render the tables of the parts that were measured."""
    parts = []
    if "candidates" in figures:
        rows = [
            [name, *(f"{found.get(column, 0):,}" for column in _COLUMNS)]
            for name, found in figures["candidates"].items()
        ]
        parts.append(table(["space", *_COLUMNS.values()], rows))
    if "mutants of mutants" in figures:
        rows = _verdicts(figures["mutants of mutants"])
        parts.append(table(["mutants of mutants", "of", "count"], rows))
    return "\n\n".join([*parts, *versions(figures)]) + "\n"


def _verdicts(found: dict[str, int]) -> list[list[str]]:
    def row(what: str, whole: str, part: str | int) -> list[str]:
        count = part if isinstance(part, int) else found.get(part, 0)
        return [what, f"{found[whole]:,}", f"{count:,}"]

    once, finite = "programs, each once", "finite"
    shaken = found.get("explained in float32", 0) + found.get("explained in float64", 0)
    return [
        row(
            "valid mutants in the space",
            "mutants",
            "check and lie in the space",
        ),
        row("distinct programs that compile", once, "compiles"),
        row("of these, finite on all inputs", "compiles", finite),
        row(
            "of the others, refused before training",
            "not finite",
            "not finite, and refused for it",
        ),
        row("of the finite, equal to the interpreter", finite, "agrees"),
        row(
            "of these, within the rounding of the interpreter only",
            "agrees",
            shaken,
        ),
    ]


def main() -> int:
    """Measures, prints and says whether anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    add_publish_option(parser)
    args = parser.parse_args()
    figures: dict[str, Any] = {"made_with": made_with()}
    if args.candidates:
        figures["candidates"] = {
            name: candidates(name, args.candidates) for name in SPACES
        }
    if args.mutants:
        figures["mutants of mutants"] = mutants(args.mutants)
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if args.publish:
        publish(NAME, figures, render(figures))
    wrong = ("wrong", "does not compile")
    rows = figures.get("mutants of mutants", {})
    return int(any(row.startswith(wrong) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
