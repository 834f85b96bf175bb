"""Tiny runs of the search for tests: a program, a text, and what a run came to."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from azc.check.resolve import check_source
from azc.search.events import Event, Progress, Read
from azc.search.options import EvolveOptions
from azc.search.run import evolve
from azc.search.view import RunView
from azc.source import Source

PROGRAM = """\
# A model as small as can be.
from std.attention import sdpa

model start {
    vocab = 96
    hidden = 8
    heads = 2
    ffn = 16
    residual = pre
    positions = none
    max_length = 16
    token_types = 0
    dropout = 0
    attention_dropout = 0

    layers {
        repeat 2 {
            sdpa
        }
    }
}

space tiny {
    start = start
    depth = 2

    attention {
        inputs = [q, k, v]
        ops = [neg, transpose, scale, softmax, add, matmul, mul, tanh]
        size = 1..10
    }

    conv {
        kernel = [3, 5]
    }
}
"""

# The same as a decoder.
CAUSAL = PROGRAM.replace("    layers {", "    causal = true\n\n    layers {", 1)

# Its model alone, as a text of its own.
DECODER = """\
attention sdpa(q, k, v) {
    return softmax(scale(q @ k.T)) @ v
}

""" + CAUSAL[CAUSAL.index("model start") : CAUSAL.index("space tiny")].replace(
    "repeat 2", "conv(kernel = 3)\n        repeat 2"
)

# So small that nothing but the width of two convolutions can change.
NARROW = """\
model start {
    vocab = 96
    hidden = 8
    heads = 2
    ffn = 16
    residual = pre
    positions = none
    token_types = 0

    layers {
        conv(kernel = 3)
    }
}

space tiny {
    start = start
    depth = 1

    conv {
        kernel = [3, 5]
    }
}
"""

PATIENCE = 60.0  # seconds until what another process holds counts as never let go

WORDS = (
    "river stone light tree runs falls over under the of in and water bird song".split()
)


def write_corpus(path: Path, seed: int = 0) -> Path:
    """A file with documents of words that follow each other in a chain."""
    rng = random.Random(seed)
    documents = []
    for _ in range(100):
        place = rng.randrange(len(WORDS))
        words = []
        for _ in range(rng.randint(8, 30)):
            place = (place + rng.choice((1, 1, 1, 2, 5))) % len(WORDS)
            words.append(WORDS[place])
        documents.append(" ".join(words))
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


def tiny(data: Path | str, **changes: Any) -> EvolveOptions:
    """Options of a run of a second."""
    values: dict[str, Any] = {
        "data": str(data),
        "evaluations": 10,
        "round_size": 4,
        "parents": 2,
        "warm_up": 20,
        "steps": 2,
        "batch_size": 4,
        "length": 16,
        "learning_rate": 1e-2,
        "contenders": 2,
        "final_steps": 3,
        "final_seeds": (1, 2),
        "baselines": False,
        "neighbours": 0,
        "by_hand": False,
        "weights": "shared",
    }
    return EvolveOptions(**{**values, **changes})


def run_here(
    options: EvolveOptions,
    folder: Path,
    cache: Path,
    text: str = PROGRAM,
    on_event: Callable[[Event], None] | None = None,
    **more: Any,
) -> RunView:
    """A run in this process; `more` is what `evolve` takes beyond these."""
    program = check_source(Source("tiny.azg", text))
    tell = of_the_loop(on_event) if on_event else None
    return evolve(program, None, options, folder, cache=cache, on_event=tell, **more)


def of_the_loop(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """Told what the loop tells, and not what comes before it of the data."""

    def on_event(event: Event) -> None:
        if not isinstance(event, Progress | Read):
            tell(event)

    return on_event


class Killed(BaseException):
    """Ends the loop where it stands, as a kill would: nothing catches it."""


def cut_at(number: int) -> Callable[[Event], None]:
    """Kills the loop when it tells its event of that number."""
    told = iter(range(number + 1))

    def on_event(_: Event) -> None:
        if next(told) == number:
            raise Killed

    return of_the_loop(on_event)


def arguments(options: EvolveOptions) -> list[str]:
    """The same options for the command line."""
    return [
        *("--data", options.data),
        *("--evaluations", str(options.evaluations)),
        *("--seed", str(options.seed)),
        *("--round", str(options.round_size)),
        *("--parents", str(options.parents)),
        *("--weights", options.weights),
        *("--warm-up", str(options.warm_up)),
        *("--steps", str(options.steps)),
        *("--batch", str(options.batch_size)),
        *("--length", str(options.length)),
        *("--learning-rate", str(options.learning_rate)),
        *("--warmup-ratio", str(options.warmup_ratio)),
        *("--final-steps", str(options.final_steps)),
        *("--final-seeds", str(len(options.final_seeds))),
        *("--contenders", str(options.contenders)),
        "--baselines" if options.baselines else "--no-baselines",
        *("--neighbours", str(options.neighbours)),
        "--by-hand" if options.by_hand else "--no-by-hand",
        *("--workers", str(options.workers)),
        *("--time-limit", str(options.time_limit)),
    ]


def start(
    *words: str | Path, cache: Path, env: Mapping[str, str] = {}, **settings: Any
) -> subprocess.Popen[str]:
    """`azc` in another process, which computes with one thread."""
    environment = {
        **os.environ,
        "AZC_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
        **env,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "azc", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment,
        **settings,
    )


def until(process: subprocess.Popen[str], there: Callable[[], bool]) -> bool:
    """Waits for something to be there, or for the end of the process."""
    while process.poll() is None:
        if there():
            return True
        time.sleep(0.003)
    return there()


# What a run came to. Only times may differ between two runs of one seed.

_ROWS = {
    "candidate": "SELECT * FROM candidate ORDER BY id",
    "evaluation": "SELECT round, position, candidate, status, scores, reason, weights"
    " FROM evaluation ORDER BY round, position",
    "round": "SELECT * FROM round ORDER BY id",
    "refused": "SELECT * FROM refused ORDER BY round, position",
    # By name: in what order programs enter depends on the budgets that a run had.
    "fit": "SELECT name, candidate, seed, steps, split, status, loss, reason FROM fit"
    " JOIN entrant ON entrant.id = entrant ORDER BY name, split, steps, seed",
    "place": "SELECT spent, position, role, name FROM place"
    " JOIN entrant ON entrant.id = entrant ORDER BY spent, position",
}


def rows(run: Path, table: str) -> list[tuple[Any, ...]]:
    """Rows of the journal; none before there is one."""
    file = run / "journal.sqlite"
    try:
        # A run that is being made holds the whole file while the disk takes it in: as
        # long as another azc would wait for that.
        where = f"{file.as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, PATIENCE, uri=True)) as db:
            return db.execute(_ROWS[table]).fetchall()
    except sqlite3.OperationalError as error:
        absent = "unable to open database file", f"no such table: {table}"
        if str(error) not in absent:
            raise  # with nothing read, two runs would seem to be one
        return []


def scored(run: Path) -> list[tuple[Any, ...]]:
    """The evaluations that count."""
    return [row for row in rows(run, "evaluation") if row[3] != "asked"]


def result(run: Path) -> dict[str, Any]:
    """All that the same seed must give again, to the last bit."""
    found: dict[str, Any] = {table: rows(run, table) for table in _ROWS}
    for path in [run / "start.azg", run / "best.azg", *(run / "candidates").iterdir()]:
        found[path.name] = path.read_text(encoding="utf-8")
    for path in (run / "supernet").iterdir():
        found[path.name] = path.read_bytes()
    return found


def log_lines(run: Path) -> list[str]:
    """The lines of the log without their times."""
    file = run / "log.txt"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [re.sub(r"^\S+ \S+ ", "", line) for line in text.splitlines()]
