"""SQLite database of a journal, with a checksum over all rows.

The sum of the fingerprints of all rows is stored in the database, so that rows changed,
added or removed by anything else are detected. It is updated in the same transaction
that writes the rows, so several processes may write.

Codes: R031 a file of a run was changed or damaged; R036 the run has another format
version; R037 another process is working on the run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from azc.diagnostics import RunError

__all__ = ["FORMAT", "Database", "Writer"]

FORMAT = 8  # format of runs; increase it when the journal's tables or run.json change

_SCHEMA = """
CREATE TABLE candidate (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    parents TEXT NOT NULL,
    mutation TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    function TEXT NOT NULL,
    kinds TEXT NOT NULL,
    program TEXT NOT NULL
) STRICT;
CREATE TABLE round (
    id INTEGER PRIMARY KEY,
    closed INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE TABLE evaluation (
    round INTEGER NOT NULL REFERENCES round (id),
    position INTEGER NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidate (id),
    status TEXT NOT NULL CHECK (status IN ('asked', 'done', 'failed')),
    scores TEXT CHECK ((scores IS NOT NULL) = (status = 'done')),
    reason TEXT CHECK ((reason IS NOT NULL) = (status = 'failed')),
    seconds REAL,
    weights TEXT,
    PRIMARY KEY (round, candidate)
) STRICT;
CREATE INDEX scored ON evaluation (candidate, round);
CREATE TABLE entrant (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    program TEXT NOT NULL,
    candidate INTEGER REFERENCES candidate (id),
    UNIQUE (name, program)
) STRICT;
CREATE TABLE place (
    spent INTEGER NOT NULL,
    position INTEGER NOT NULL,
    role TEXT NOT NULL,
    entrant INTEGER NOT NULL REFERENCES entrant (id),
    PRIMARY KEY (spent, position)
) STRICT;
CREATE TABLE refused (
    round INTEGER NOT NULL,
    position INTEGER NOT NULL,
    parents TEXT NOT NULL,
    mutation TEXT NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('known', 'equal', 'fault')),
    same TEXT CHECK ((same IS NULL) = (why = 'fault')),
    reason TEXT CHECK ((reason IS NOT NULL) = (why = 'fault')),
    PRIMARY KEY (round, position)
) STRICT;
CREATE TABLE fit (
    entrant INTEGER NOT NULL REFERENCES entrant (id),
    seed INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('validation', 'test')),
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    loss REAL CHECK ((loss IS NOT NULL) = (status = 'done')),
    reason TEXT CHECK ((reason IS NOT NULL) = (status = 'failed')),
    accuracy TEXT NOT NULL,
    PRIMARY KEY (entrant, seed, steps, split)
) STRICT;
CREATE TABLE cost (
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (key, name)
) STRICT;
CREATE TABLE budget (id INTEGER PRIMARY KEY, evaluations INTEGER NOT NULL) STRICT;
CREATE TABLE ending (spent INTEGER PRIMARY KEY, reason TEXT NOT NULL) STRICT;
CREATE TABLE act (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    author TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    round INTEGER,
    candidate INTEGER REFERENCES candidate (id),
    reason TEXT
) STRICT;
CREATE TABLE file (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) STRICT;
CREATE TABLE seal (total TEXT NOT NULL) STRICT;
INSERT INTO seal VALUES ('0');
"""

_SEALED = (
    "candidate",
    "round",
    "evaluation",
    "refused",
    "entrant",
    "place",
    "fit",
    "cost",
    "budget",
    "ending",
    "act",
    "file",
)
_DISK = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


class Writer:
    """The rows that one transaction writes, and their effect on the checksum."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.change = 0

    def insert(self, table: str, **values: object) -> int:
        """Insert a row and return its number."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        number = self.db.execute(query, tuple(values.values())).lastrowid
        assert number is not None
        self.change += self._fingerprint(table, number)
        return number

    def update(self, table: str, at: Mapping[str, object], **values: object) -> bool:
        """Update the row at a place; return whether it exists."""
        where = " AND ".join(f"{name} = ?" for name in at)
        query = f"SELECT rowid FROM {table} WHERE {where}"
        row = self.db.execute(query, tuple(at.values())).fetchone()
        if row is None:
            return False
        self.change -= self._fingerprint(table, row[0])
        names = ", ".join(f"{name} = ?" for name in values)
        query = f"UPDATE {table} SET {names} WHERE rowid = ?"
        self.db.execute(query, (*values.values(), row[0]))
        self.change += self._fingerprint(table, row[0])
        return True

    def _fingerprint(self, table: str, number: int) -> int:
        # Read the row back: RETURNING has other types than the table.
        query = f"SELECT * FROM {table} WHERE rowid = ?"
        return _fingerprint(table, self.db.execute(query, (number,)).fetchone())

    def seal(self) -> None:
        """Add the changes to the checksum over all rows."""
        total = int(self.db.execute("SELECT total FROM seal").fetchone()[0], 16)
        new = f"{(total + self.change) % 2**128:x}"
        self.db.execute("UPDATE seal SET total = ?", (new,))


def _fingerprint(table: str, row: Sequence[object]) -> int:
    text = json.dumps([table, *row])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


class Database:
    """An open database. Every writing method is one transaction.

    Raises:
        RunError: R031 for a damaged file, in any method.
        OSError: If the disk is full, in any method.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a journal. It can be read while another process writes.

        Raises:
            RunError: R031, if the file is missing or not a journal; R036, if it has
                another format.
        """
        self.path = path
        with self._faults():
            mode = "rw"
            if read_only:
                mode = "ro&immutable=1" if _is_alone(path) else "ro"
            self._db = _connect(path, mode)
            if not read_only:
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("SELECT count(*) FROM round").fetchone()
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found != FORMAT:
            raise RunError(
                "R036",
                f"{path} has format {found}, but this version of azc reads {FORMAT}",
            )

    @classmethod
    def create(cls, path: Path) -> Self:
        """Create a journal, or complete one that a killed process left without its
        tables.
        """
        with _told(path), closing(_connect(path, "rwc")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                version = f"PRAGMA user_version = {FORMAT};"
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {version} COMMIT;")
        return cls(path)

    @classmethod
    def is_made(cls, path: Path) -> bool:
        """Return whether there is a database with its tables. A killed process may
        leave a file without any.
        """
        if not path.exists():
            return False
        with _told(path), closing(_connect(path, "ro")) as db:
            return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def settle(self) -> None:
        """Move all rows into the database file, so that it can be copied without the
        log beside it (`-wal`).

        If a reader keeps the log open, it stays.
        """
        with suppress(sqlite3.Error):
            self._db.execute(f"PRAGMA busy_timeout = {_SETTLING}")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def seal(self) -> str:
        """Return the checksum over all rows, which differs if any row differs."""
        return str(self._rows("SELECT total FROM seal")[0][0])

    def check(self) -> None:
        """Raise `RunError` R031 if the rows are not those that were written."""
        total = 0
        with self.snapshot():
            for table in _SEALED:
                for row in self._rows(f"SELECT * FROM {table}"):
                    total += _fingerprint(table, row)
            seal = self._rows("SELECT total FROM seal")
        if seal != [(f"{total % 2**128:x}",)]:
            raise RunError(
                "R031",
                f"{self.path} has changed since the run wrote it",
                "restore a copy of it, or start a new run",
            )

    def _faults(self) -> AbstractContextManager[None]:
        return _told(self.path)

    @contextmanager
    def _transaction(self) -> Iterator[Writer]:
        with self._faults():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                writer = Writer(self._db)
                yield writer
                writer.seal()
                self._db.execute("COMMIT")
            except BaseException:
                self._forget()
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read everything inside the block from one snapshot, whatever other processes
        write.
        """
        if self._db.in_transaction:
            yield
            return
        with self._faults():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def _forget(self) -> None:
        """Drop cached rows, which may be wrong after a failed transaction."""

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._faults():
            return self._db.execute(query, values).fetchall()


_PATIENCE = 60.0  # seconds to wait for another process that writes
_SETTLING = 5000  # milliseconds to wait for processes that read
_MAX_PATH = 500  # bytes; SQLite's limit is 512, including suffixes of its own


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    where = f"{path.resolve().as_uri()}?mode={mode}"
    if len(os.fsencode(path.resolve())) > _MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    return sqlite3.connect(where, _PATIENCE, uri=True, isolation_level=None)


def _is_alone(path: Path) -> bool:
    """Return whether a journal must be opened as immutable.

    That is so if nobody else uses it and its folder is read-only: SQLite can't create
    the file there that readers need.
    """
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    whole = not log.exists() or log.stat().st_size == 0
    return whole and not index.exists() and not os.access(path.parent, os.W_OK)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Translate SQLite errors.

    A full disk is not a damaged journal, and a broken constraint is a bug.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DISK:
            reason = os.strerror(_DISK[code])
            raise OSError(_DISK[code], reason, str(path)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise RunError(
                "R037", f"another process keeps writing to {path}"
            ) from error
        message = f"{path} is not the journal of a run, or is damaged: {error}"
        raise RunError("R031", message) from error
