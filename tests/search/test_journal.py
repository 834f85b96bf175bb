"""The journal: what is in it counts, and nothing else does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from azc.diagnostics import RunError
from azc.search.journal import Evaluation, Fit, Journal, NewCandidate


def new(parent: int | None = None, program: str = "model m {}") -> NewCandidate:
    return NewCandidate(program, parent, "a change", frozenset({"add", "mul"}), "key")


def done(candidate: int, score: float = 1.5, round: int = 0) -> Evaluation:
    return Evaluation(round, candidate, "done", score, None, 0.1)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.create(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def other(journal: Journal) -> Iterator[sqlite3.Connection]:
    """Another connection, which sees what is committed and nothing else."""
    with closing(sqlite3.connect(journal.path)) as db:
        yield db


def count(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def test_it_is_written_ahead_and_flushed(journal: Journal) -> None:
    with closing(sqlite3.connect(journal.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_was_written_is_read(journal: Journal) -> None:
    journal.open_round(0, [], [new(), new(1, "model n {}")], {"alpha": 0.5})
    journal.record(done(1))
    journal.record(Evaluation(0, 2, "failed", None, "the loss is nan", 0.2))
    journal.close_round(0)
    journal.open_round(1, [1], [new(1)], None)
    fit = Fit("winner", 1, 7, "done", 2.5, None, 1000.0, 3.0)
    journal.record_fit(fit)

    assert journal.spent() == 2
    assert journal.rounds() == [(0, True), (1, False)]
    assert journal.priorities(0) == {"alpha": 0.5}
    assert journal.priorities(7) is None
    candidates = journal.candidates()
    assert [(c.id, c.parent, c.round) for c in candidates.values()] == [
        (1, None, 0),
        (2, 1, 0),
        (3, 1, 1),
    ]
    assert candidates[2].program == "model n {}"
    assert candidates[2].features == {"add", "mul"}
    found = journal.evaluations()
    assert [(e.round, e.candidate, e.status) for e in found] == [
        (0, 1, "done"),
        (0, 2, "failed"),
        (1, 1, "asked"),
        (1, 3, "asked"),
    ]
    assert journal.evaluations(1) == found[2:]
    assert (found[0].score, found[1].reason) == (1.5, "the loss is nan")
    assert journal.fits() == [fit]


def test_an_evaluation_is_one_transaction(
    journal: Journal, other: sqlite3.Connection
) -> None:
    journal.open_round(0, [], [new(), new(1)], None)
    for spent in (0, 1, 2):
        assert count(other, "evaluation WHERE status = 'done'") == spent
        if spent < 2:
            journal.record(done(spent + 1))


def test_a_round_is_there_as_a_whole_or_not_at_all(
    journal: Journal, other: sqlite3.Connection
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        journal.open_round(0, [], [new(), new(parent=99)], None)
    for table in ("round", "candidate", "evaluation"):
        assert count(other, table) == 0
    journal.open_round(0, [], [new()], None)
    assert count(other, "evaluation") == 1


@pytest.mark.parametrize("status", ["asked", "odd", ""])
def test_another_status_is_refused(journal: Journal, status: str) -> None:
    journal.open_round(0, [], [new()], None)
    with pytest.raises(ValueError, match="not the end of an evaluation"):
        journal.record(Evaluation(0, 1, status, None, None, 0.1))
    assert journal.spent() == 0


@pytest.mark.parametrize(
    "row",
    [
        ("odd", None, None),
        ("done", None, None),
        ("failed", 1.0, "x"),
        ("done", 1.0, "x"),
    ],
)
def test_the_table_refuses_what_makes_no_sense(
    journal: Journal, other: sqlite3.Connection, row: tuple[object, ...]
) -> None:
    journal.open_round(0, [], [new()], None)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        other.execute("UPDATE evaluation SET status = ?, score = ?, reason = ?", row)


def test_a_score_counts_once(journal: Journal) -> None:
    journal.open_round(0, [], [new()], None)
    journal.record(done(1, 1.0))
    for evaluation in (done(1, 2.0), done(5), done(1, round=3)):
        with pytest.raises(RunError, match="not asked for") as caught:
            journal.record(evaluation)
        assert caught.value.code == "R032"
    assert [e.score for e in journal.evaluations()] == [1.0]


def test_readers_go_on_while_another_writes(journal: Journal) -> None:
    journal.open_round(0, [], [new(), new(1)], None)
    journal.record(done(1))
    reader = Journal(journal.path, read_only=True)
    with closing(reader), journal._transaction() as db:
        db.execute(
            "UPDATE evaluation SET status = 'done', score = 2 WHERE candidate = 2"
        )
        assert reader.spent() == 1
        assert journal.spent() == 2


def test_a_snapshot_is_of_one_moment(journal: Journal) -> None:
    journal.open_round(0, [], [new()], None)
    reader = Journal(journal.path, read_only=True)
    with closing(reader):
        with reader.snapshot():
            assert len(reader.candidates()) == 1
            journal.record(done(1))
            journal.close_round(0)
            journal.open_round(1, [1], [new(1)], None)
            assert len(reader.candidates()) == 1
            assert reader.spent() == 0
        assert len(reader.candidates()) == 2


def test_a_reader_writes_nothing(journal: Journal) -> None:
    reader = Journal(journal.path, read_only=True)
    with closing(reader), pytest.raises(RunError, match="readonly"):
        reader.open_round(0, [], [new()], None)


def test_to_make_it_twice_keeps_what_is_there(journal: Journal) -> None:
    journal.open_round(0, [], [new()], None)
    with closing(Journal.create(journal.path)) as again:
        assert len(again.candidates()) == 1


def test_a_kill_before_the_tables_is_made_good(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch()
    with closing(Journal.create(tmp_path / "journal.sqlite")) as journal:
        assert journal.rounds() == []


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 200])
def test_what_is_no_journal_is_refused(
    tmp_path: Path, content: bytes | None, read_only: bool
) -> None:
    file = tmp_path / "journal.sqlite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RunError, match=r"journal\.sqlite") as caught:
        Journal(file, read_only=read_only)
    assert caught.value.code == "R031"
    assert file.exists() == (content is not None)


def test_a_page_that_broke_is_told(journal: Journal) -> None:
    journal.open_round(0, [], [new(None, "x" * 5000) for _ in range(40)], None)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0xA5
    journal.path.write_bytes(content)
    with pytest.raises(RunError, match="broken"):
        Journal(journal.path).candidates()


def test_a_full_disk_is_no_broken_journal(journal: Journal) -> None:
    journal.open_round(0, [], [new()], None)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="full") as caught:
        journal.open_round(1, [], [new(None, "x" * 100_000)], None)
    assert caught.value.filename == str(journal.path)
    assert journal.rounds() == [(0, False)]
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.open_round(1, [], [new(None, "x" * 100_000)], None)
    assert journal.rounds() == [(0, False), (1, False)]
