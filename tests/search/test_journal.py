"""The journal: what is in it counts, and nothing else does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.diagnostics import RunError
from azc.search.acts import BUDGET, NewAct
from azc.search.journal import Journal
from azc.search.records import Evaluation, Fit, NewCandidate, NewEntrant
from azc.search.refused import Refused

_keys = count(1)


def new(*parents: int, program: str = "model m {}") -> NewCandidate:
    return NewCandidate(program, parents, "a change", f"key {next(_keys)}", "")


def done(candidate: int, score: float = 1.5, round: int = 0) -> Evaluation:
    return Evaluation(round, candidate, "done", {"loss": score}, None, 0.1)


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


def give_budget(journal: Journal, evaluations: int) -> None:
    """As somebody gives it, and the loop takes it up."""
    (act,) = journal.act(NewAct(BUDGET, {"evaluations": evaluations}, "ana"))
    journal.heed(act, 0)


def counted(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def test_it_is_written_ahead_and_flushed(journal: Journal) -> None:
    with closing(sqlite3.connect(journal.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_was_written_is_read(journal: Journal) -> None:
    assert journal.state() is None
    journal.open_round(0, [new(), new(1, program="model n {}")], {"alpha": 0.5})
    assert journal.state() == {"alpha": 0.5}
    journal.record(done(1))
    journal.record(Evaluation(0, 2, "failed", None, "the loss is nan", 0.2))
    journal.close_round(0, [1, {"two": 0.1}], {"supernet/0001": "ab"})
    assert journal.state() == [1, {"two": 0.1}]
    journal.open_round(1, [1, new(2, 1)], "more")
    programs = [NewEntrant("the start", "model m {}", 1), NewEntrant("x", "y", None)]
    entrants = journal.enter(programs)
    assert journal.enter(reversed(programs)) == entrants[::-1]
    assert list(journal.entrants().values()) == entrants
    fit = Fit(2, 7, 400, "test", "done", 2.5, None)
    journal.record_fit(fit)
    assert journal.table() == []
    journal.set_table([("winner", entrants[1]), ("start", entrants[0])])
    journal.set_table([("winner", entrants[0])])  # it stands
    assert journal.table() == [("winner", 2), ("start", 1)]

    assert journal.spent() == 2
    assert journal.rounds() == [(0, True), (1, False)]
    assert journal.state() == "more"
    assert journal.files() == {"supernet/0001": "ab"}
    assert set(journal.keys().values()) == {1, 2, 3}
    assert list(journal.candidates(0)) == [1, 2]
    assert list(journal.candidates(1)) == [1, 3]
    candidates = journal.candidates()
    assert [(c.id, c.parents, c.round) for c in candidates.values()] == [
        (1, (), 0),
        (2, (1,), 0),
        (3, (2, 1), 1),
    ]
    assert candidates[2].program == "model n {}"
    assert journal.candidate(2) == candidates[2]
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


def test_scores_keep_their_order_and_every_bit(journal: Journal) -> None:
    """The first is what a ranking by one number goes by."""
    journal.open_round(0, [new(), new(1)], None)
    scores = {"latency": 0.1 + 0.2, "loss": 1 / 3, "parameters": 123456.0}
    journal.record(Evaluation(0, 1, "done", scores, None, 0.1))
    (found, _) = journal.evaluations()
    assert found.scores is not None
    assert list(found.scores.items()) == list(scores.items())
    assert found.score == 0.1 + 0.2
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.record(done(2, float("nan")))
    assert journal.spent() == 1


def test_an_evaluation_is_one_transaction(
    journal: Journal, other: sqlite3.Connection
) -> None:
    journal.open_round(0, [new(), new(1)], None)
    for spent in (0, 1, 2):
        assert counted(other, "evaluation WHERE status = 'done'") == spent
        if spent < 2:
            journal.record(done(spent + 1))


def test_a_round_is_there_as_a_whole_or_not_at_all(
    journal: Journal, other: sqlite3.Connection
) -> None:
    with pytest.raises(ValueError, match="no candidate 99 to be a parent"):
        journal.open_round(0, [new(), new(1, 99)], None)
    for table in ("round", "candidate", "evaluation"):
        assert counted(other, table) == 0
    journal.open_round(0, [new()], None)
    assert counted(other, "evaluation") == 1


@pytest.mark.parametrize("status", ["asked", "odd", ""])
def test_another_status_is_refused(journal: Journal, status: str) -> None:
    journal.open_round(0, [new()], None)
    with pytest.raises(ValueError, match="not the end of an evaluation"):
        journal.record(Evaluation(0, 1, status, None, None, 0.1))
    assert journal.spent() == 0


@pytest.mark.parametrize(
    "row",
    [
        ("odd", None, None),
        ("done", None, None),
        ("failed", '{"loss": 1.0}', "x"),
        ("done", '{"loss": 1.0}', "x"),
    ],
)
def test_the_table_refuses_what_makes_no_sense(
    journal: Journal, other: sqlite3.Connection, row: tuple[object, ...]
) -> None:
    journal.open_round(0, [new()], None)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        other.execute("UPDATE evaluation SET status = ?, scores = ?, reason = ?", row)


def test_a_score_counts_once(journal: Journal) -> None:
    journal.open_round(0, [new()], None)
    journal.record(done(1, 1.0))
    for evaluation in (done(1, 2.0), done(5), done(1, round=3)):
        with pytest.raises(RunError, match="was not requested") as caught:
            journal.record(evaluation)
        assert caught.value.code == "R032"
    assert [e.score for e in journal.evaluations()] == [1.0]


def test_readers_go_on_while_another_writes(journal: Journal) -> None:
    journal.open_round(0, [new(), new(1)], None)
    journal.record(done(1))
    reader = Journal(journal.path, read_only=True)
    with closing(reader), journal._transaction() as write:
        values = {"status": "done", "scores": '{"loss": 2}', "seconds": 1.0}
        write.update("evaluation", {"candidate": 2}, **values)
        assert reader.spent() == 1
        assert journal.spent() == 2


def test_a_snapshot_is_of_one_moment(journal: Journal) -> None:
    journal.open_round(0, [new()], None)
    reader = Journal(journal.path, read_only=True)
    with closing(reader):
        with reader.snapshot():
            assert len(reader.candidates()) == 1
            journal.record(done(1))
            journal.close_round(0, None, {})
            journal.open_round(1, [1, new(1)], None)
            assert len(reader.candidates()) == 1
            assert reader.spent() == 0
        assert len(reader.candidates()) == 2


def test_a_reader_writes_nothing(journal: Journal) -> None:
    reader = Journal(journal.path, read_only=True)
    with closing(reader), pytest.raises(PermissionError):
        reader.open_round(0, [new()], None)


def test_to_make_it_twice_keeps_what_is_there(journal: Journal) -> None:
    journal.open_round(0, [new()], None)
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
    journal.open_round(0, [new(program="x" * 5000) for _ in range(40)], None)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0xA5
    journal.path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        Journal(journal.path).candidates()


def test_a_full_disk_is_no_broken_journal(journal: Journal) -> None:
    journal.open_round(0, [new()], None)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="full") as caught:
        journal.open_round(1, [new(program="x" * 100_000)], None)
    assert caught.value.filename == str(journal.path)
    assert journal.rounds() == [(0, False)]
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.open_round(1, [new(program="x" * 100_000)], None)
    assert journal.rounds() == [(0, False), (1, False)]


def test_budgets_and_endings(journal: Journal) -> None:
    assert (journal.budget(), journal.ending()) == (0, None)
    journal.begin(new(), 8, {"run.json": "00"})
    assert journal.candidates()[1].parents == ()
    assert journal.files() == {"run.json": "00"}
    journal.open_round(0, [1, new(1)], None)
    journal.end("nothing new", 1)
    journal.end("nothing new at all", 1)
    assert (journal.budget(), journal.ending()) == (8, "nothing new at all")
    give_budget(journal, 20)
    journal.record(done(1))
    assert (journal.budget(), journal.ending()) == (20, None)


def test_what_was_refused_is_kept_once(journal: Journal) -> None:
    """Also where a round came to nothing, and is asked for again."""
    journal.begin(new(), 8, {"run.json": "00"})
    refused = [
        Refused((1,), "a", "known", "key", None),
        Refused((1,), "b", "fault", None, "it gives NaN"),
    ]
    journal.end("nothing new", 0, refused)
    journal.end("nothing new", 0, refused)
    assert journal.refused() == refused
    more = Refused((1,), "c", "equal", "function", None)
    journal.open_round(0, [1], None, [*refused, more])
    journal.open_round(1, [1], None, [more])
    assert journal.refused() == [*refused, more, more]
    with pytest.raises(sqlite3.IntegrityError):
        journal.open_round(2, [1], None, [Refused((1,), "d", "fault", "key", None)])
    journal.check()


def test_a_program_comes_once(journal: Journal) -> None:
    twice = new()
    with pytest.raises(sqlite3.IntegrityError):
        journal.open_round(0, [twice, twice], None)
    assert journal.rounds() == []


# What other hands have written

operations = st.lists(
    st.sampled_from(["open", "record", "fail", "close", "fit", "file", "budget"]),
    max_size=20,
)


@given(operations, st.data())
def test_every_row_is_under_the_seal(steps: list[str], data: st.DataObject) -> None:
    """Whatever was written by the journal passes, and any value that is changed in any
    row, or a row taken out, does not.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        with closing(Journal.create(path)) as journal:
            journal.begin(new(), 8, {"run.json": "00"})
            for step in steps:
                write_something(journal, step)
            journal.check()
        with closing(sqlite3.connect(path)) as db:
            names = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = [name for (name,) in db.execute(names) if counted(db, name)]
            table = data.draw(st.sampled_from(sorted(tables)))
            query = f"SELECT rowid, * FROM {table}"
            row = data.draw(st.sampled_from(db.execute(query).fetchall()))
            columns = [c[1] for c in db.execute(f"PRAGMA table_info({table})")]
            column = data.draw(st.sampled_from([None, *columns]))
            change = f"DELETE FROM {table} WHERE rowid = {row[0]}"
            if column is not None:
                value = (
                    "another" if isinstance(row[columns.index(column) + 1], str) else 77
                )
                text = f"UPDATE {table} SET {column} = ? WHERE rowid = {row[0]}"
            try:
                db.execute(*((change,) if column is None else (text, (value,))))
                db.commit()
            except sqlite3.IntegrityError:
                return
        with closing(Journal(path)) as journal, pytest.raises(RunError) as caught:
            journal.check()
        assert caught.value.code == "R031"


def write_something(journal: Journal, step: str) -> None:
    number = len(journal.rounds())
    waiting = [e for e in journal.evaluations() if e.status == "asked"]
    if step == "open":
        refused = [
            Refused((1,), "a change", "equal", "a function", None),
            Refused((1,), "a change", "fault", None, "it gives NaN"),
        ]
        journal.open_round(number, [1, new(1)], {"number": number}, refused)
    elif step == "record" and waiting:
        journal.record(done(waiting[0].candidate, 0.1, waiting[0].round))
    elif step == "fail" and waiting:
        place = waiting[0]
        journal.record(
            Evaluation(place.round, place.candidate, "failed", None, "x", 1.0)
        )
    elif step == "close" and number:
        journal.close_round(number - 1, [number], {"supernet": f"{number}"})
    elif step == "fit":
        (entrant,) = journal.enter([NewEntrant("the start", "model m {}", 1)])
        seed = len(journal.fits())
        journal.record_fit(Fit(entrant.id, seed, 9, "test", "done", 1.0, None))
        journal.set_table([("start", entrant)])
    elif step == "file":
        journal.keep_file("run.json", f"{number}")
    elif step == "budget":
        give_budget(journal, journal.budget() + 1)


# Long runs


def play(journal: Journal, number: int) -> None:
    """A round of four, as a loop plays it."""
    assert journal.last_round() == (number - 1, True)
    assert len(journal.keys()) == 3 * number - 1
    journal.open_round(number, [1, new(1), new(1), new(1)], "state")
    born = journal.candidates(number)
    for evaluation in journal.evaluations(number):
        journal.record(done(evaluation.candidate, 1.5, number))
        journal.candidate(evaluation.candidate)
        assert journal.known([evaluation.candidate])
        assert journal.spent() <= 4 * (number + 1)
    assert len(born) == 4
    journal.close_round(number, "state", {f"supernet/{number + 1:04}": "ab"})


def test_a_round_asks_no_more_of_a_long_journal_than_of_a_short_one(
    journal: Journal,
) -> None:
    journal._db.execute("PRAGMA synchronous = OFF")
    journal.open_round(0, [new()], "state")
    journal.record(done(1))
    journal.close_round(0, "state", {})
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    taken = {}
    for number in range(1, 301):
        if number in (20, 300):
            steps = 0
            journal._db.set_progress_handler(step, 10)
        play(journal, number)
        journal._db.set_progress_handler(None, 0)
        taken[number] = steps
    assert taken[20] > 10
    assert taken[300] < 1.3 * taken[20]


def test_what_is_kept_of_all_candidates_is_what_is_there(journal: Journal) -> None:
    journal.open_round(0, [new(), new(1)], "state")
    assert journal.keys()
    assert journal.spent() == 0
    journal.record(done(1))
    with pytest.raises(RunError):
        journal.record(done(1))
    taken = next(iter(journal.keys()))
    twice = NewCandidate("p", (1,), "a change", taken, "")
    with pytest.raises(sqlite3.IntegrityError):
        journal.open_round(1, [new(1), twice], "state")
    journal.open_round(1, [1, new(1), new(2)], "state")
    journal.record(done(1, 1.0, 1))
    with closing(Journal(journal.path, read_only=True)) as reader:
        assert journal.keys() == reader.keys()
        assert journal.spent() == reader.spent() == 2
        journal.record(done(3, 1.0, 1))
        assert journal.spent() == reader.spent() == 3
