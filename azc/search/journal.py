"""The journal of a run: an SQLite database, the source of truth.

A candidate is stored before it is scored, and a score counts once its transaction is
committed. Everything that a run needs to continue is in the journal, or is written
before it is. One process runs the search and writes its results; others may write
actions at the same time.

Codes: R031 a file of a run was changed or damaged; R032 a candidate was scored without
a request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from azc.diagnostics import RunError
from azc.search.acts import BUDGET, Act, NewAct, Taken
from azc.search.database import Database, Writer
from azc.search.objectives import Scores
from azc.search.records import (
    START,
    Candidate,
    Entrant,
    Evaluation,
    Fit,
    NewCandidate,
    NewEntrant,
)
from azc.search.refused import Refused

__all__ = ["Journal"]


_CANDIDATE = (
    "SELECT kinds, program, parents, mutation, key, function, id, round FROM candidate"
)


class Journal(Database):
    """An open journal. It can be read while another process writes."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open a journal.

        Raises:
            RunError: R031, if the file is missing or not a journal; R036, if it has
                another format.
        """
        # Cache what a round needs of all candidates. No other process writes it.
        self._keeps = not read_only
        self._keys: dict[str, int] | None = None
        self._spent: int | None = None
        super().__init__(path, read_only=read_only)

    def _forget(self) -> None:
        self._keys = self._spent = None

    # Writing

    def begin(self, start: NewCandidate, budget: int, files: Mapping[str, str]) -> None:
        """Store the start of a run: its first candidate, its budget, and fingerprints
        of files.
        """
        with self._transaction() as write:
            self._bear(write, start, id=START, round=0)
            write.insert("budget", evaluations=budget)
            for name, fingerprint in files.items():
                write.insert("file", name=name, fingerprint=fingerprint)

    def keep_file(self, name: str, fingerprint: str) -> None:
        """Store the fingerprint of a complete file."""
        with self._transaction() as write:
            _keep(write, name, fingerprint)

    def open_round(
        self,
        number: int,
        members: Iterable[int | NewCandidate],
        state: object,
        refused: Sequence[Refused] = (),
        taken: Iterable[Taken] = (),
    ) -> None:
        """Store the start of a round, with its candidates in this order: known and new
        ones.
        """
        numbers: list[int] = []
        with self._transaction() as write:
            self._refuse(write, number, refused)
            write.insert("round", id=number, closed=0, state=json.dumps(state))
            for position, member in enumerate(members):
                if isinstance(member, NewCandidate):
                    member = self._bear(write, member, round=number)
                write.insert(
                    "evaluation",
                    round=number,
                    position=position,
                    candidate=member,
                    status="asked",
                )
                numbers.append(member)
            self._take(write, number, taken, numbers)

    def record(self, evaluation: Evaluation) -> None:
        """Store that a candidate was scored or failed.

        Raises:
            RunError: R032, if it was not requested, or already has a result.
        """
        if evaluation.status not in ("done", "failed"):
            raise ValueError(f"{evaluation.status!r} is not the end of an evaluation")
        values = vars(evaluation) | {"scores": _json(evaluation.scores)}
        at = {name: values.pop(name) for name in ("round", "candidate")}
        with self._transaction() as write:
            if not write.update("evaluation", {**at, "status": "asked"}, **values):
                raise RunError(
                    "R032",
                    f"a score of candidate {evaluation.candidate} was not requested",
                )
            if self._spent is not None:
                self._spent += evaluation.counts

    def close_round(self, number: int, state: object, files: Mapping[str, str]) -> None:
        """Store the end of a round, whose weights are in the next snapshot, one of
        `files`.
        """
        with self._transaction() as write:
            write.update("round", {"id": number}, closed=1, state=json.dumps(state))
            for name, fingerprint in files.items():
                _keep(write, name, fingerprint)

    def _bear(self, write: Writer, new: NewCandidate, **values: int) -> int:
        for parent in new.parents:
            if not self._rows("SELECT id FROM candidate WHERE id = ?", parent):
                raise ValueError(f"there is no candidate {parent} to be a parent")
        lists = {"parents": _json(new.parents), "kinds": _json(new.kinds)}
        row = vars(new) | lists | values
        number = write.insert("candidate", **row)
        if self._keys is not None:
            for key in (new.key, new.function):
                self._keys.setdefault(key, number)
        return number

    def _refuse(self, write: Writer, number: int, refused: Sequence[Refused]) -> None:
        # A resumed run requests a round that had no members again.
        query = "SELECT count(*) FROM refused WHERE round = ?"
        there = self._db.execute(query, (number,)).fetchone()[0]
        for position, each in enumerate(refused[there:], there):
            values = vars(each) | {"parents": _json(each.parents)}
            write.insert("refused", round=number, position=position, **values)

    def end(
        self,
        reason: str,
        number: int,
        refused: Sequence[Refused] = (),
        taken: Iterable[Taken] = (),
    ) -> None:
        """Store that the search ended before its budget was spent.

        A round was requested, with the actions `taken`, but all its children were
        `refused`.
        """
        spent = self.spent()
        with self._transaction() as write:
            self._refuse(write, number, refused)
            self._take(write, number, taken, ())
            if not write.update("ending", {"spent": spent}, reason=reason):
                write.insert("ending", spent=spent, reason=reason)

    # Acts

    def act(self, *wanted: NewAct) -> list[Act]:
        """Store requested actions, all or none. This is the only method for a process
        without the lock.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        found = []
        with self._transaction() as write:
            for new in wanted:
                values = vars(new) | {
                    "value": json.dumps(dict(new.value)),
                    "time": time,
                }
                number = write.insert("act", **values)
                found.append(Act(**vars(new), id=number, time=time, **_WAITING))
        return found

    def heed(self, act: Act, number: int, reason: str | None = None) -> None:
        """Store that the loop has applied an action during a round, and its budget if
        it sets one; or, with a `reason`, that it could not be applied.
        """
        with self._transaction() as write:
            if act.kind == BUDGET and reason is None:
                write.insert("budget", evaluations=act.value["evaluations"])
            self._take(write, number, [Taken(act.id, reason=reason)], ())

    def _take(
        self,
        write: Writer,
        number: int,
        taken: Iterable[Taken],
        members: Sequence[int],
    ) -> None:
        for each in taken:
            candidate = None if each.place is None else members[each.place]
            values = {"round": number, "candidate": candidate, "reason": each.reason}
            write.update("act", {"id": each.act}, **values)

    def fail(self, before: Evaluation, reason: str, seconds: float | None) -> None:
        """Store that a candidate in an open round has failed, whatever its result
        was.
        """
        at = {"round": before.round, "candidate": before.candidate}
        values = {"status": "failed", "reason": reason, "scores": None, "weights": None}
        with self._transaction() as write:
            write.update("evaluation", at, **values, seconds=seconds)
        self._spent = None

    def acts(self, *, waiting: bool = False) -> list[Act]:
        """Return every action, or the pending ones, in the order of their requests."""
        query = (
            "SELECT kind, value, author, id, time, round, candidate, reason FROM act"
        )
        query += " WHERE round IS NULL" if waiting else ""
        rows = self._rows(f"{query} ORDER BY id")
        return [Act(kind, json.loads(value), *rest) for kind, value, *rest in rows]

    # Final training

    def enter(self, entrants: Iterable[NewEntrant]) -> list[Entrant]:
        """Store models to train from scratch; models that are already known keep their
        numbers.
        """
        found = []
        with self._transaction() as write:
            known = {(e.name, e.program): e for e in self.entrants().values()}
            for each in entrants:
                at = (each.name, each.program)
                if at not in known:
                    number = write.insert("entrant", **vars(each))
                    known[at] = Entrant(*at, each.candidate, number)
                found.append(known[at])
        return found

    def record_fit(self, fit: Fit) -> None:
        """Store the result of training an entrant."""
        with self._transaction() as write:
            values = {k: v for k, v in vars(fit).items() if k != "right"}
            write.insert("fit", **values, accuracy=json.dumps(dict(fit.right)))

    def record_costs(self, key: str, found: Scores) -> None:
        """Store the measurements of the program with a key, so that they are not
        repeated.
        """
        with self._transaction() as write:
            for name, value in found.items():
                write.insert("cost", key=key, name=name, value=value)

    def set_table(self, rows: Iterable[tuple[str, Entrant]]) -> None:
        """Store the rows of the final comparison for the current number of evaluations,
        once.
        """
        spent = self.spent()
        with self._transaction() as write:
            if self.table():
                return
            for position, (role, entrant) in enumerate(rows):
                write.insert(
                    "place",
                    spent=spent,
                    position=position,
                    role=role,
                    entrant=entrant.id,
                )

    # Reading

    def spent(self) -> int:
        """Return how much of the budget is spent, see `Evaluation.counts`."""
        if self._spent is None:
            query = "SELECT count(*) FROM evaluation WHERE seconds IS NOT NULL"
            found = int(self._rows(query)[0][0])
            if not self._keeps:
                return found
            self._spent = found
        return self._spent

    def budget(self) -> int:
        """Return the current budget in evaluations, or 0 before the run has started."""
        rows = self._rows("SELECT evaluations FROM budget ORDER BY id DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def ending(self) -> str | None:
        """Return why the search ended before its budget was spent, or None."""
        rows = self._rows("SELECT reason FROM ending WHERE spent = ?", self.spent())
        return str(rows[0][0]) if rows else None

    def rounds(self) -> list[tuple[int, bool]]:
        """Return every round with whether it is closed, in order."""
        rows = self._rows("SELECT id, closed FROM round ORDER BY id")
        return [(number, bool(closed)) for number, closed in rows]

    def last_round(self) -> tuple[int, bool] | None:
        """Return the last round with whether it is closed, or None before the first."""
        rows = self._rows("SELECT id, closed FROM round ORDER BY id DESC LIMIT 1")
        return (rows[0][0], bool(rows[0][1])) if rows else None

    def state(self) -> object:
        """Return the latest state of the strategy, or None before the first round."""
        rows = self._rows("SELECT state FROM round ORDER BY id DESC LIMIT 1")
        try:
            return json.loads(rows[0][0]) if rows else None
        except ValueError as error:
            raise self._no_state() from error

    def states(self) -> dict[int, object]:
        """Return the state of the strategy after every closed round, by round."""
        rows = self._rows("SELECT id, state FROM round WHERE closed ORDER BY id")
        try:
            return {number: json.loads(state) for number, state in rows}
        except ValueError as error:
            raise self._no_state() from error

    def _no_state(self) -> RunError:
        message = f"{self.path} is damaged: the state of the search is not JSON"
        return RunError("R031", message)

    def evaluations(self, number: int | None = None) -> list[Evaluation]:
        """Return the evaluations of one round, or of all, in the order of the
        requests.
        """
        query = (
            "SELECT round, candidate, status, scores, reason, seconds, weights"
            " FROM evaluation"
        )
        if number is None:
            rows = self._rows(f"{query} ORDER BY round, position")
        else:
            rows = self._rows(f"{query} WHERE round = ? ORDER BY position", number)
        return [_evaluation(*row) for row in rows]

    def known(self, candidates: Iterable[int]) -> dict[int, Scores]:
        """Return the first scores of each of these candidates that has any."""
        query = "SELECT scores FROM evaluation WHERE candidate = ? AND status = 'done'"
        found = {}
        for candidate in candidates:
            rows = self._rows(f"{query} ORDER BY round LIMIT 1", candidate)
            if rows:
                found[candidate] = json.loads(rows[0][0])
        return found

    def costs(self, key: str) -> dict[str, float]:
        """Return the measurements of the program with a key, by objective."""
        return dict(self._rows("SELECT name, value FROM cost WHERE key = ?", key))

    def all_costs(self) -> dict[str, dict[str, float]]:
        """Return the measurements of every program, by its key."""
        found: dict[str, dict[str, float]] = {}
        for key, name, value in self._rows("SELECT key, name, value FROM cost"):
            found.setdefault(key, {})[name] = value
        return found

    def candidates(self, number: int | None = None) -> dict[int, Candidate]:
        """Return every candidate by number, or those that a round scores."""
        query = _CANDIDATE
        if number is not None:
            query += " WHERE id IN (SELECT candidate FROM evaluation WHERE round = ?)"
        rows = self._rows(f"{query} ORDER BY id", *([] if number is None else [number]))
        return {found.id: found for found in (_candidate(*row) for row in rows)}

    def candidate(self, number: int) -> Candidate:
        """Return a candidate. Raise `KeyError` if it does not exist."""
        rows = self._rows(f"{_CANDIDATE} WHERE id = ?", number)
        if not rows:
            raise KeyError(number)
        return _candidate(*rows[0])

    def keys(self) -> Mapping[str, int]:
        """Return the key and the function of every candidate, with the first such
        number.
        """
        if self._keys is None:
            rows = self._rows("SELECT key, function, id FROM candidate ORDER BY id")
            found: dict[str, int] = {}
            for key, function, number in rows:
                found.setdefault(key, number)
                found.setdefault(function, number)
            if not self._keeps:
                return found
            self._keys = found
        return MappingProxyType(self._keys)

    def last_candidate(self) -> int:
        """Return the highest number of a candidate, or 0 if there is none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM candidate")[0][0])

    def refused(self) -> list[Refused]:
        """Return every refused child, in the order of the requests."""
        rows = self._rows(
            "SELECT parents, mutation, why, same, reason FROM refused"
            " ORDER BY round, position"
        )
        return [Refused(tuple(json.loads(of)), *rest) for of, *rest in rows]

    def entrants(self) -> dict[int, Entrant]:
        """Return every model that is trained from scratch, by number."""
        rows = self._rows(
            "SELECT name, program, candidate, id FROM entrant ORDER BY id"
        )
        return {row[3]: Entrant(*row) for row in rows}

    def table(self) -> list[tuple[str, int]]:
        """Return the rows of the final comparison, each with a role and the number of
        an entrant; empty while the winner is unknown.
        """
        query = "SELECT role, entrant FROM place WHERE spent = ? ORDER BY position"
        return [(role, entrant) for role, entrant in self._rows(query, self.spent())]

    def fits(self) -> list[Fit]:
        """Return the results of training entrants."""
        rows = self._rows(
            "SELECT accuracy, entrant, seed, steps, split, status, loss, reason FROM fit"
            " ORDER BY split, steps, seed, entrant"
        )
        return [_fit(*row) for row in rows]

    def files(self) -> dict[str, str]:
        """Return the fingerprints of files, by their names in the folder."""
        return dict(self._rows("SELECT name, fingerprint FROM file"))


_WAITING: dict[str, Any] = {"round": None, "candidate": None, "reason": None}


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, allow_nan=False)


def _candidate(kinds: str, program: str, parents: str, *rest: Any) -> Candidate:
    bore, made = (tuple(json.loads(each)) for each in (parents, kinds))
    return Candidate(program, bore, *rest, kinds=made)


def _evaluation(
    round: int, candidate: int, status: str, scores: str | None, *rest: Any
) -> Evaluation:
    by_objective = None if scores is None else json.loads(scores)
    return Evaluation(round, candidate, status, by_objective, *rest)


def _fit(right: str, *rest: Any) -> Fit:
    values: list[Any] = [*rest, json.loads(right)]
    return Fit(*values)


def _keep(write: Writer, name: str, fingerprint: str) -> None:
    if not write.update("file", {"name": name}, fingerprint=fingerprint):
        write.insert("file", name=name, fingerprint=fingerprint)
