"""`azc ask`, `azc propose` and `azc steer`: a search in other hands."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

from azc.check.resolve import check_file
from azc.cli.who import author
from azc.search.events import Event, Opened
from azc.search.steer import Desk
from azc.search.view import read_run
from tests.cli.conftest import Azc
from tests.runs import (
    PROGRAM,
    arguments,
    log_lines,
    run_here,
    scored,
    start,
    tiny,
    until,
    write_corpus,
)

PROPOSAL = """\
from std.attention import sdpa

attention mine(q, k, v) {
    return softmax(scale(q @ k.T)) @ tanh(v)
}

model proposal {
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
        sdpa
        mine
    }
}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder / "corpus.txt")
    options = tiny(folder / "corpus.txt", evaluations=5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_here(options, folder / "run", folder / "cache")
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """A run that is over, of the test's own."""
    return Path(shutil.copytree(home / "run", tmp_path / "run"))


def test_ask_has_all_that_a_proposal_needs(azc: Azc, run: Path, home: Path) -> None:
    found = azc("ask", "run", "--json").json
    view = read_run(run)
    assert found["over"] is True
    assert found["paused"] is False
    assert found["evaluations"] == {"spent": 5, "budget": 5}
    assert found["strategy"]["name"] == "op-nas"
    assert "softmax" in found["strategy"]["display"]
    assert [each["id"] for each in found["candidates"]] == list(view.candidates)
    winner = view.winner
    assert winner is not None
    mine = next(each for each in found["candidates"] if each["id"] == winner)
    assert mine["fate"] == "winner"
    assert mine["program"] == view.candidates[winner].program
    assert mine["alone"]
    assert found["line"] == [c.id for c in view.lineage(winner)]
    names = [each["name"] for each in found["space"]["operations"]]
    assert names == sorted("neg transpose scale softmax add matmul mul tanh".split())
    matmul = found["space"]["operations"][names.index("matmul")]
    assert "[n, d], [d, n] -> [n, n]" in matmul["types"]
    assert set(found["draws"]) == {*names, "conv 3", "conv 5"}
    # What it gives checks, and can be sent back as it is.
    assert azc("check", "-", stdin=found["space"]["program"]).code == 0
    for each in found["candidates"]:
        answer = azc("propose", "run", "-", "--json", stdin=each["program"])
        assert answer.code == 1
        assert answer.json["error"]["code"] == "R046"
    shown = azc("ask", "run")
    assert (shown.code, shown.err) == (0, "")
    assert "5 of 5 evaluations spent" in shown.out
    assert "space tiny {" in shown.out


def test_a_proposal_is_taken_and_trained(azc: Azc, run: Path, home: Path) -> None:
    Path("mine.azg").write_text(PROPOSAL)
    answer = azc(
        "propose", "run", "mine.azg:proposal", "--note", "why\nnot", "--by", "ana"
    )
    assert answer.code == 0
    assert answer.out == "mine.azg: accepted for the next round\n"
    assert "to continue: azc resume run --evaluations 9" in answer.err
    twice = azc("propose", "run", "mine.azg", "--json")
    assert twice.code == 1
    assert (
        twice.json["error"]["message"]
        == "ana has already proposed this program, and it is pending"
    )
    os.environ["AZC_CACHE"] = str(home / "cache")
    try:
        assert azc("resume", "run", "--evaluations", "9", "--json").code == 0
    finally:
        del os.environ["AZC_CACHE"]
    found = azc("ask", "run", "--json").json
    (act, budget) = found["acts"]
    assert act["words"] == "ana proposes a program: why not"
    assert budget["words"] == "azc resume sets the budget to 9 evaluations"
    mine = next(c for c in found["candidates"] if c["id"] == act["candidate"])
    assert mine["mutation"] == "proposed by ana: why not"
    assert mine["scores"][0]["status"] == "done"
    # The page and the log have it too, though nobody bore it.
    for command in ("report", "log"):
        assert azc(command, "run").code == 0
    assert "proposed by ana: why not" in (run / "report.html").read_text("utf-8")
    assert azc("log", "run", "--all").code == 0


def test_a_refused_proposal_is_told_with_its_place(azc: Azc, run: Path) -> None:
    Path("bad.azg").write_text(PROPOSAL.replace("tanh(v)", "relu(v)"))
    answer = azc("propose", "run", "bad.azg", "--json")
    assert answer.code == 1
    (found,) = answer.json["diagnostics"]
    assert (found["code"], found["line"]) == ("AZG416", 21)
    # The space of a run can't be added to: its operations are told instead.
    assert found["help"].startswith("the space of the run has: ")
    assert "softmax" in found["help"]
    assert "add" not in found["help"].split()
    Path("wrong.azg").write_text(PROPOSAL.replace("tanh(v)", "tanh(w)"))
    (found,) = azc("propose", "run", "wrong.azg", "--json").json["diagnostics"]
    assert (found["code"], found["column"]) == ("AZG101", 43)
    answer = azc("propose", "run", "mine.azg")
    assert answer.code == 1
    assert "no such file" in answer.err
    Path("mine.azg").write_text(PROPOSAL)
    answer = azc("propose", "run", "mine.azg", "--parent", "77")
    assert (answer.code, "no candidate 77" in answer.err) == (2, True)
    assert azc("ask", "run", "--json").json["acts"] == []


def test_steering_is_told_and_kept(azc: Azc, run: Path) -> None:
    answer = azc(
        *("steer", "run", "--ban", "tanh", "--favour", "conv 5", "--stop", "2"),
        *("--evaluations", "30", "--pause", "--by", "ana"),
    )
    assert answer.err == ""
    assert answer.out.splitlines() == [
        "ana bans `tanh`",
        "ana draws `conv 5` 4 times as often",
        "ana stops candidate 0002",
        "ana sets the budget to 30 evaluations",
        "ana pauses the run",
    ]
    found = azc("ask", "run", "--json").json
    assert (found["draws"]["tanh"], found["draws"]["conv 5"]) == (0, 4)
    assert found["paused"] is True
    assert found["over"] is False
    assert found["evaluations"]["budget"] == 30
    found = azc("steer", "run", "--go-on", "--free", "tanh", "--json").json
    assert [act["kind"] for act in found["acts"]] == ["draw", "go-on"]
    for words in ([], ["--ban", "gelu"], ["--evaluations", "2"], ["--stop", "1"]):
        assert azc("steer", "run", *words).code == 2


def test_steering_is_done_whole_or_not_at_all(azc: Azc, run: Path) -> None:
    for words, code in (
        (["--ban", "gelu"], "U025"),
        (["--stop", "99"], "U025"),
        (["--stop", "1"], "U025"),
        (["--evaluations", "2"], "U022"),
        (["--limit", "params=1"], "U026"),
        (["--limit", "params=x"], "U020"),
        (["--limit", "latency=none"], "U025"),
        (["--favour", "tanh"], "U025"),  # which is banned in the same breath
        (["--limit", "params=1e6", "--limit", "params=2e6"], "U025"),
    ):
        found = azc("steer", "run", "--ban", "tanh", "--pause", *words, "--json")
        assert found.code == 2
        assert found.json["error"]["code"] == code
        assert read_run(run).acts == ()
    found = azc("steer", "run", "--ban", "tanh", "--ban", "tanh", "--stop", "2")
    assert (
        found.out
        == f"{author(None)} bans `tanh`\n{author(None)} stops candidate 0002\n"
    )


def test_a_limit_is_set_shown_and_lifted(azc: Azc, run: Path) -> None:
    answer = azc("steer", "run", "--limit", "params=1e6", "--limit", "latency=2ms")
    assert answer.out.splitlines() == [
        f"{author(None)} limits parameters to 1,000,000",
        f"{author(None)} limits latency to 2 ms",
    ]
    found = azc("ask", "run", "--json").json
    assert found["limits"] == {"parameters": 1e6, "latency": 2.0}
    assert "limit on latency: 2 ms\n" in azc("ask", "run").out
    assert azc("steer", "run", "--limit", "params=none").code == 0
    assert azc("ask", "run", "--json").json["limits"] == {"latency": 2.0}


def test_ask_while_a_candidate_waits_to_be_scored_again(
    azc: Azc, home: Path, tmp_path: Path
) -> None:
    """And before anything is scored, and where all that was has failed."""
    asked: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened):
            for number in (2, 3) if not event.round else ():
                Desk(run, "ana").stop(number)
            answer = azc("ask", run)
            assert (answer.code, answer.err) == (0, "")
            asked.append(answer.out)

    run = tmp_path / "asked"
    options = tiny(home / "corpus.txt", evaluations=8, final_seeds=())
    run_here(options, run, home / "cache", on_event=on_event)
    first, second = asked
    assert "place" not in first
    assert "0001  round 1, place" in second


def test_a_run_that_can_not_be_written_is_read(home: Path, tmp_path: Path) -> None:
    """A copy on a medium that takes nothing, say; and what can't be done to it is told
    for what it is.
    """
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    with closing(sqlite3.connect(run / "journal.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for each in (*run.rglob("*"), run):
        each.chmod(0o555 if each.is_dir() else 0o444)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "azc", *words, str(run)],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=_as_others,
        )

    try:
        for name in ("ask", "best", "log"):
            found = command(name)
            assert (found.returncode, found.stderr) == (0, "")
        found = command("steer", "--pause")
        assert found.returncode == 1
        assert found.stderr.startswith("error[R100]: ")
        assert "journal.sqlite: permission denied" in found.stderr
    finally:
        for each in (run, *run.rglob("*")):
            each.chmod(0o755)


def _as_others() -> None:
    """Root keeps to permissions from the next program on."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_run_at_work_takes_it(home: Path, tmp_path: Path) -> None:
    """One process searches, this one pauses, proposes, steers and lets it go on."""
    (tmp_path / "tiny.azg").write_text(PROGRAM)
    (tmp_path / "mine.azg").write_text(PROPOSAL)
    run = tmp_path / "run"
    # However long this process waits for its turn, the run is not over by then: the budget
    # is out of reach, and a candidate takes longer than it takes to be journalled.
    options = tiny(home / "corpus.txt", evaluations=100_000, steps=20, final_seeds=())
    words = ("evolve", tmp_path / "tiny.azg", "-o", run, *arguments(options))
    process = start(*words, cache=home / "cache")
    assert until(process, lambda: len(scored(run)) > 0)
    desk = Desk(run, "ana")
    desk.pause()
    assert until(process, lambda: "paused" in log_lines(run))
    there = len(scored(run))
    number = max(n for n, _ in read_run(run).rounds) + 1
    desk.propose(check_file(tmp_path / "mine.azg"))
    desk.draw("tanh", 0)
    desk.budget(there + 9)
    assert len(scored(run)) == there
    desk.go_on()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    view = read_run(run)
    assert [act.reason for act in view.acts] == [None] * 5
    assert view.acts[1].round == view.acts[2].round == number
    assert view.acts[1].candidate is not None
    assert view.spent == there + 9
    assert "ana pauses the run" in log_lines(run)
