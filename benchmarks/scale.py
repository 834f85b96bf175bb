"""Overhead of a search, and speed-up by workers.

    python -m benchmarks scale journal [--sizes 100 1000 10000] [--weights shared] [--publish]
    python -m benchmarks scale workers [--evaluations 24] [--publish]

`journal`: runs with so many candidates are resumed for five rounds in which nothing is
trained, to time the first candidate and a round. `workers`: one run with one worker and
with two, to compare their results, their times and the share of time outside candidates.
Times are wall-clock seconds, and CPU seconds where other work may disturb the clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from azc.api import load
from azc.check.choose import choose_space
from azc.check.resolve import check_source
from azc.search.events import Closed, Event, Opened
from azc.search.executors import choose
from azc.search.folder import RunFolder, fingerprint
from azc.search.genome import Genome
from azc.search.objectives import LOSS
from azc.search.options import EvolveOptions
from azc.search.population import DEEP, Member, Variation, evenly
from azc.search.records import NewCandidate
from azc.search.run import evolve, resume
from azc.search.score import Bench, Job, Outcome, Scorer, build_candidate
from azc.search.strategies.choose import choose_strategy
from azc.source import Source
from azc.supernet.supernet import Supernet, save_atomically
from benchmarks.tables import (
    RESULTS,
    add_publish_option,
    format_value,
    publish,
    result,
    table,
)

PROGRAM = """\
from std.attention import sdpa

model start {
    vocab = 68
    hidden = 8
    heads = 2
    ffn = 16
    residual = pre
    positions = none
    token_types = 0

    layers {
        repeat 4 {
            sdpa
        }
    }
}

space tiny {
    start = start
    depth = 4

    attention {
        inputs = [q, k, v]
        ops = [neg, transpose, scale, softmax, add, matmul, mul, tanh, sigmoid, conv]
        size = 1..12
    }

    conv {
        kernel = [3, 5, 7, 9, 11]
    }
}
"""
ROUNDS = 5


# A journal of any size


def synthetic(
    path: Path,
    count: int,
    weights: str,
    cache: Path,
    score: Callable[[], float] = lambda: 1.0,
) -> EvolveOptions:
    """Write a run with so many candidates, none of which was trained."""
    program = check_source(Source("tiny.azg", PROGRAM))
    name, space = choose_space(program, None)
    start = Genome.from_text(PROGRAM, "start")
    options = EvolveOptions(
        data="task:recall",
        length=16,
        evaluations=10**6,
        final_seeds=(),
        weights=weights,
    )
    scorer = Scorer(Bench(options, space.start.vocab, cache, None))
    run = RunFolder(path)
    path.mkdir()
    run.create(
        {
            "azc": "benchmark",
            "program": PROGRAM,
            "space": name,
            "options": options.as_json(),
            "fingerprint": scorer.fingerprint,
            "strategy": None,
        }
    )
    texts = mutants(start, options, 64)
    supernet = Supernet()
    supernet.admit(*build_candidate(start.text, start.model, 0))
    state = choose_strategy("op-nas", None)(start, space, options).state()
    with closing(run.open()) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")
        first = NewCandidate(start.text, (), "the start", start.key, start.function)
        config = {run.config_file.name: fingerprint(run.config_file)}
        journal.begin(first, options.evaluations, config)
        last, number = 1, 0
        while last < count:
            new = [
                NewCandidate(
                    f"# {n}\n{texts[n % len(texts)]}",
                    (1,),
                    f"step {n}",
                    f"k{n}",
                    f"f{n}",
                )
                for n in range(last + 1, min(last + 9, count) + 1)
            ]
            again = list(dict.fromkeys([1, max(1, last - 1), last]))
            journal.open_round(number, [*again, *new], state)
            for evaluation in journal.evaluations(number):
                done = replace(
                    evaluation, status="done", scores={LOSS: score()}, seconds=1.0
                )
                journal.record(done)
            journal.close_round(number, state, {f"supernet/{number + 1:04}": "0" * 64})
            last, number = last + len(new), number + 1
        supernet.save(run.snapshot_file(number))
        name = f"supernet/{number:04}.safetensors"
        journal.keep_file(name, fingerprint(run.snapshot_file(number)))
        journal.keep_file("supernet/0000.safetensors", "0" * 64)
        for candidate in journal.candidates().values():
            run.candidate_file(candidate.id).write_text(candidate.program)
        run.start_file.write_text(start.text)
    return options


def mutants(start: Genome, options: EvolveOptions, count: int) -> list[str]:
    variation = Variation(evenly(start.program.spaces["tiny"], options), DEEP)
    made = variation.children(count, lambda _: Member(1, start), random.Random(0), {})
    return [child.genome.text for child in made]


@dataclass
class Untrained:
    """An executor that gives every candidate a score and its fresh weights."""

    bench: Bench
    data: object
    cpu: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        for job in jobs:
            begun = time.process_time()
            key = None
            if job.weights is not None:
                model, _ = build_candidate(job.program, job.model, 0)
                tensors = {n: p.detach() for n, p in model.named_parameters()}
                save_atomically(tensors, job.weights)
                key = fingerprint(job.weights)
            self.cpu += time.process_time() - begun
            yield job, Outcome({LOSS: self.rng.random()}, None, 0.0, weights=key)

    def close(self) -> None:
        pass


def gone_on_with(path: Path, cache: Path) -> dict[str, float]:
    """Resume a run for five rounds, and time them."""
    with closing(sqlite3.connect(path / "journal.sqlite")) as db:
        count = "SELECT count(*) FROM evaluation"
        (spent,) = db.execute(count).fetchone()
        (candidates,) = db.execute("SELECT count(*) FROM candidate").fetchone()
    made: list[Untrained] = []
    marks: list[tuple[Event, float, float, float]] = []

    def executor(bench: Bench, data: object) -> Untrained:
        made.append(Untrained(bench, data))
        return made[0]

    def on_event(event: Event) -> None:
        now = time.perf_counter(), time.process_time(), made[0].cpu if made else 0.0
        marks.append((event, *now))

    begun = time.perf_counter(), time.process_time()
    with mock.patch.object(choose, "choose_executor", executor):
        resume(path, cache=cache, evaluations=spent + 12 * ROUNDS, on_event=on_event)
    opened = next(m for m in marks if isinstance(m[0], Opened))
    ends = [opened, *(m for m in marks if isinstance(m[0], Closed))]
    rounds = [(b[2] - b[3]) - (a[2] - a[3]) for a, b in pairwise(ends)]
    return {
        "candidates": candidates,
        "seconds to the first": opened[1] - begun[0],
        "of the processor": opened[2] - begun[1],
        "a round beside training": median(rounds[1:]),
    }


def journals(options: argparse.Namespace) -> list[dict[str, float]]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            run = Path(folder) / f"run-{size}"
            synthetic(run, size, options.weights, Path(folder) / "cache")
            found.append(gone_on_with(run, Path(folder) / "cache"))
    return found


# Workers


def workers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the demo with one worker and with two."""
    found = []
    contents = []
    program = load(options.program)
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            run = Path(folder) / f"workers-{count}"
            how = EvolveOptions(
                evaluations=options.evaluations,
                warm_up=options.warm_up,
                batch_size=16,
                contenders=4,
                final_steps=options.final_steps,
                weights=options.weights,
                workers=count,
            )
            found.append(timed(program, how, run, options.cache))
            contents.append(content(run))
    one, two = found
    two["the same run"] = contents[0] == contents[1]
    two["times as fast"] = one["seconds"] / two["seconds"]
    return found


def timed(program: Any, how: EvolveOptions, run: Path, cache: Path) -> dict[str, Any]:
    """Run a search, and return its times and the share of time outside candidates."""
    inside: list[float] = []
    original = choose.choose_executor

    def executor(bench: Bench, data: Any) -> Any:
        made = original(bench, data)
        made.run = watched(made.run, inside)
        return made

    clock, mine, theirs = time.perf_counter(), processor("SELF"), processor("CHILDREN")
    with mock.patch.object(choose, "choose_executor", executor):
        evolve(program, None, how, run, cache=cache)
    seconds = time.perf_counter() - clock
    assert not multiprocessing.active_children()
    return {
        "workers": how.workers,
        "seconds": seconds,
        "of the processor, here": processor("SELF") - mine,
        "of the processor, workers": processor("CHILDREN") - theirs,
        "share not of candidates": 1 - sum(inside) / seconds,
    }


def watched(run: Any, inside: list[float]) -> Any:
    """Record the time in which candidates are waited for."""

    def watch(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        outcomes = run(jobs)
        while True:
            begun = time.perf_counter()
            answer = next(outcomes, None)
            inside.append(time.perf_counter() - begun)
            if answer is None:
                return
            yield answer

    return watch


def processor(whose: str) -> float:
    used = resource.getrusage(getattr(resource, f"RUSAGE_{whose}"))
    return used.ru_utime + used.ru_stime


def content(run: Path) -> list[Any]:
    """Return all results of a run, without its times."""
    with closing(sqlite3.connect(run / "journal.sqlite")) as db:
        rows = [
            db.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in (
                ("candidate", "*"),
                ("evaluation", "round, candidate, status, scores, reason, weights"),
                ("fit", "*"),
            )
        ]
    snapshots = sorted((run / "supernet").iterdir())
    return [*rows, *(path.read_bytes() for path in snapshots)]


# Tables

_COLUMNS = {
    "candidates": "candidates",
    "seconds to the first": "seconds to the first candidate",
    "of the processor": "CPU seconds to the first candidate",
    "a round beside training": "CPU seconds a round, without training",
}


def render(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Render the tables of the parts that were measured."""
    parts = []
    if rows := found.get("workers"):
        head = ["workers", "seconds", "speed-up", "same run", "time outside candidates"]
        lines = [
            [
                str(row["workers"]),
                format_value(row["seconds"], digits=0),
                format_value(row.get("times as fast", 1.0)),
                {True: "yes", False: "no", None: ""}[row.get("the same run")],
                f"{row['share not of candidates']:.1%}".replace("%", " %"),
            ]
            for row in rows
        ]
        parts.append(table(head, lines))
    if rows := found.get("journal"):
        keys = list(rows[0])
        lines = [
            [
                f"{row[key]:,}" if isinstance(row[key], int) else format_value(row[key])
                for key in keys
            ]
            for row in rows
        ]
        parts.append(table([_COLUMNS[key] for key in keys], lines))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["journal", "workers"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--weights", choices=["fresh", "shared"], default="fresh")
    parser.add_argument("--program", default="examples/text.azg")
    parser.add_argument("--evaluations", type=int, default=24)
    parser.add_argument("--warm-up", type=int, default=300)
    parser.add_argument("--final-steps", type=int, default=400)
    parser.add_argument("--cache", type=Path, default=Path(".cache/scale"))
    add_publish_option(parser)
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(1)
    found = journals(options) if options.what == "journal" else workers(options)
    print(render({options.what: found}))
    if options.publish:
        known = result("scale") if (RESULTS / "scale.json").exists() else {}
        all_ = known | {options.what: found}
        publish("scale", all_, render(all_))
    return 0


if __name__ == "__main__":
    sys.exit(main())
