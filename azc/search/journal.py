"""The journal of a run: an SQLite database, the source of truth.

A candidate is there before it is scored; a score counts once its transaction has
committed. All that a run needs to go on is here or is written before it is.

Codes: R031 a file that is no journal, or a broken one; R032 a score not asked for.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azc.diagnostics import RunError

__all__ = ["Candidate", "Evaluation", "Fit", "Journal", "NewCandidate", "ranked"]

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
    score REAL CHECK ((score IS NOT NULL) = (status = 'done')),
    reason TEXT CHECK ((reason IS NOT NULL) = (status = 'failed')),
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
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    loss REAL CHECK ((loss IS NOT NULL) = (status = 'done')),
    reason TEXT CHECK ((reason IS NOT NULL) = (status = 'failed')),
    tokens_per_second REAL,
    seconds REAL,
    PRIMARY KEY (candidate, seed)
) STRICT;
"""

_DISK = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}


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


def ranked(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Those of one round that did not fail, best first."""
    done = [e for e in evaluations if e.score is not None]
    return sorted(done, key=lambda e: (e.score, e.candidate))


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
    """An open journal. Every writing method is one transaction.

    Methods raise `RunError` R031 for a broken file, `OSError` where the disk is full.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens a journal. A reader may come while another process writes.

        Raises `RunError` R031 for a file that is no journal, or none.
        """
        self.path = path
        with self._faults():
            self._db = _connect(path, "ro" if read_only else "rw")
            if not read_only:
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("SELECT count(*) FROM round").fetchone()

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Makes a journal, or goes on with one that a kill left without its tables."""
        with _told(path), closing(_connect(path, "rwc")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        return cls(path)

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def _faults(self) -> AbstractContextManager[None]:
        return _told(self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._faults():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever is written meanwhile."""
        with self._faults():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

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
        """A candidate was scored or has failed; from here on it counts.

        Raises `RunError` R032 where it was not asked for, or has counted before.
        """
        if evaluation.status not in ("done", "failed"):
            raise ValueError(f"{evaluation.status!r} is not the end of an evaluation")
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

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._faults():
            return self._db.execute(query, values).fetchall()

    def spent(self) -> int:
        """Evaluations that count: done or failed."""
        query = "SELECT count(*) FROM evaluation WHERE status != 'asked'"
        return int(self._rows(query)[0][0])

    def rounds(self) -> list[tuple[int, bool]]:
        """Every round with whether it is closed, in order."""
        rows = self._rows("SELECT id, closed IS NOT NULL FROM round ORDER BY id")
        return [(number, bool(closed)) for number, closed in rows]

    def priorities(self, number: int) -> object:
        """The priorities that a round was drawn with."""
        rows = self._rows("SELECT priorities FROM round WHERE id = ?", number)
        return json.loads(rows[0][0]) if rows else None

    def evaluations(self, number: int | None = None) -> list[Evaluation]:
        """The evaluations of one round, or of all, in the order asked."""
        query = (
            "SELECT round, candidate, status, score, reason, seconds FROM evaluation"
        )
        if number is None:
            rows = self._rows(f"{query} ORDER BY round, position")
        else:
            rows = self._rows(f"{query} WHERE round = ? ORDER BY position", number)
        return [Evaluation(*row) for row in rows]

    def candidates(self) -> dict[int, Candidate]:
        """Every candidate by id."""
        rows = self._rows(
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
        rows = self._rows(
            "SELECT role, candidate, seed, status, loss, reason, tokens_per_second,"
            " seconds FROM fit ORDER BY seed, role DESC"
        )
        return [Fit(*row) for row in rows]


_MAX_PATH = 500  # bytes: SQLite's is 512, with what it adds to names


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    where = f"{path.resolve().as_uri()}?mode={mode}"
    if len(os.fsencode(path.resolve())) > _MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    return sqlite3.connect(where, uri=True, isolation_level=None)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Says what SQLite has met: a full disk is no broken journal, and a broken
    constraint is our fault.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DISK:
            raise OSError(_DISK[code], f"{error}", str(path)) from error
        message = f"{path} is not the journal of a run, or a broken one: {error}"
        raise RunError("R031", message) from error
