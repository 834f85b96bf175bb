"""The journal of a run: an SQLite database, the source of truth.

A candidate is there before it is scored; a score counts once its transaction has
committed. All that a run needs to go on is here or is written before it is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azc.diagnostics import RunError

__all__ = ["Candidate", "Evaluation", "Fit", "Journal", "NewCandidate"]

_SCHEMA = """
CREATE TABLE candidate (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    parent INTEGER REFERENCES candidate (id),
    mutation TEXT NOT NULL,
    features TEXT NOT NULL,
    key TEXT NOT NULL,
    program TEXT NOT NULL
) STRICT;
CREATE TABLE evaluation (
    round INTEGER NOT NULL,
    position INTEGER NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidate (id),
    status TEXT NOT NULL CHECK (status IN ('asked', 'done', 'failed')),
    score REAL,
    reason TEXT,
    seconds REAL,
    finished REAL,
    PRIMARY KEY (round, candidate)
) STRICT;
CREATE TABLE round (
    id INTEGER PRIMARY KEY,
    priorities TEXT NOT NULL,
    closed REAL
) STRICT;
CREATE TABLE fit (
    role TEXT NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidate (id),
    seed INTEGER NOT NULL,
    status TEXT NOT NULL,
    loss REAL,
    reason TEXT,
    tokens_per_second REAL,
    seconds REAL,
    PRIMARY KEY (candidate, seed)
) STRICT;
"""


@dataclass(frozen=True)
class NewCandidate:
    """A program about to enter the journal; `parent` is a candidate's id."""

    program: str
    parent: int | None
    mutation: str
    features: frozenset[str]
    key: str


@dataclass(frozen=True)
class Candidate(NewCandidate):
    """A program in the journal; `round` is where it was born."""

    id: int
    round: int


@dataclass(frozen=True)
class Evaluation:
    """One candidate in one round. `score`: validation loss in nats, lower is better,
    comparable within the round alone; None unless `status` is "done".
    """

    round: int
    candidate: int
    status: str
    score: float | None
    reason: str | None
    seconds: float | None


@dataclass(frozen=True)
class Fit:
    """A candidate trained alone from one seed; `loss`: test loss in nats."""

    role: str
    candidate: int
    seed: int
    status: str
    loss: float | None
    reason: str | None
    tokens_per_second: float | None
    seconds: float | None


class Journal:
    """An open journal. Every writing method is one transaction."""

    def __init__(self, path: Path) -> None:
        """Opens the journal, making it where there is none.

        Raises `RunError` for a file that is no journal.
        """
        self.path = path
        fresh = not path.exists()
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            tables = self._db.execute(
                "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
            ).fetchone()[0]
            if fresh or tables == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        except sqlite3.DatabaseError as error:
            if _is_full(error):
                raise OSError(str(error)) from error
            message = f"{path} is not the journal of a run: {error}"
            raise RunError("R031", message) from error

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _is_full(error):
                raise OSError(f"{self.path}: {error}") from error
            raise

    # Writing

    def open_round(
        self,
        number: int,
        parents: Iterable[int],
        children: Iterable[NewCandidate],
        priorities: object,
    ) -> None:
        """A round begins: candidates scored again, and new ones, in this order."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO round VALUES (?, ?, NULL)",
                (number, json.dumps(priorities)),
            )
            members = list(parents)
            for child in children:
                row = db.execute(
                    "INSERT INTO candidate (round, parent, mutation, features, key,"
                    " program) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        number,
                        child.parent,
                        child.mutation,
                        json.dumps(sorted(child.features)),
                        child.key,
                        child.program,
                    ),
                )
                assert row.lastrowid is not None
                members.append(row.lastrowid)
            db.executemany(
                "INSERT INTO evaluation (round, position, candidate, status)"
                " VALUES (?, ?, ?, 'asked')",
                [(number, i, member) for i, member in enumerate(members)],
            )

    def record(self, evaluation: Evaluation) -> None:
        """A candidate was scored or has failed; from here on it counts."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE evaluation SET status = ?, score = ?, reason = ?, seconds = ?,"
                " finished = ? WHERE round = ? AND candidate = ? AND status = 'asked'",
                (
                    evaluation.status,
                    evaluation.score,
                    evaluation.reason,
                    evaluation.seconds,
                    time.time(),
                    evaluation.round,
                    evaluation.candidate,
                ),
            )
            if changed.rowcount != 1:
                raise RunError(
                    "R032", f"candidate {evaluation.candidate} was not asked for"
                )

    def close_round(self, number: int) -> None:
        """A round is over and its weights are in the next snapshot."""
        with self._transaction() as db:
            db.execute(
                "UPDATE round SET closed = ? WHERE id = ?", (time.time(), number)
            )

    def record_fit(self, fit: Fit) -> None:
        """A candidate was trained alone."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO fit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    fit.role,
                    fit.candidate,
                    fit.seed,
                    fit.status,
                    fit.loss,
                    fit.reason,
                    fit.tokens_per_second,
                    fit.seconds,
                ),
            )

    # Reading

    def spent(self) -> int:
        """Evaluations that count: done or failed."""
        return int(
            self._db.execute(
                "SELECT count(*) FROM evaluation WHERE status != 'asked'"
            ).fetchone()[0]
        )

    def rounds(self) -> list[tuple[int, bool]]:
        """Every round with whether it is closed, in order."""
        rows = self._db.execute("SELECT id, closed IS NOT NULL FROM round ORDER BY id")
        return [(int(number), bool(closed)) for number, closed in rows]

    def priorities(self, number: int) -> object:
        """The priorities that a round was drawn with."""
        row = self._db.execute(
            "SELECT priorities FROM round WHERE id = ?", (number,)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def evaluations(self, number: int | None = None) -> list[Evaluation]:
        """The evaluations of one round, or of all, in the order asked."""
        where = "" if number is None else "WHERE round = ?"
        rows = self._db.execute(
            "SELECT round, candidate, status, score, reason, seconds FROM evaluation"
            f" {where} ORDER BY round, position",
            () if number is None else (number,),
        )
        return [Evaluation(*row) for row in rows]

    def candidates(self) -> dict[int, Candidate]:
        """Every candidate by id."""
        rows = self._db.execute(
            "SELECT id, round, parent, mutation, features, key, program FROM candidate"
            " ORDER BY id"
        )
        return {
            number: Candidate(
                program=program,
                parent=parent,
                mutation=mutation,
                features=frozenset(json.loads(features)),
                key=key,
                id=number,
                round=born,
            )
            for number, born, parent, mutation, features, key, program in rows
        }

    def fits(self) -> list[Fit]:
        """Every candidate trained alone."""
        rows = self._db.execute(
            "SELECT role, candidate, seed, status, loss, reason, tokens_per_second,"
            " seconds FROM fit ORDER BY seed, role DESC"
        )
        return [Fit(*row) for row in rows]


def _is_full(error: sqlite3.Error) -> bool:
    return "full" in str(error) or "disk I/O" in str(error)
