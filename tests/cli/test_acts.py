"""`azc ask`, `azc propose` and `azc steer`: a search in other hands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from azc.check.resolve import check_file
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
    assert "5 of 5 evaluations are spent" in shown.out
    assert "space tiny {" in shown.out


def test_a_proposal_is_taken_and_trained(azc: Azc, run: Path, home: Path) -> None:
    Path("mine.azg").write_text(PROPOSAL)
    answer = azc(
        "propose", "run", "mine.azg:proposal", "--note", "why\nnot", "--by", "ana"
    )
    assert answer.code == 0
    assert answer.out == "mine.azg: taken, for the next round\n"
    assert "azc resume run --evaluations 9 goes on" in answer.err
    twice = azc("propose", "run", "mine.azg", "--json")
    assert twice.code == 1
    assert twice.json["error"]["message"] == "ana has proposed this, and it waits"
    os.environ["AZC_CACHE"] = str(home / "cache")
    try:
        assert azc("resume", "run", "--evaluations", "9", "--json").code == 0
    finally:
        del os.environ["AZC_CACHE"]
    found = azc("ask", "run", "--json").json
    (act, budget) = found["acts"]
    assert act["words"] == "ana proposes a program: why not"
    assert budget["words"] == "azc resume gives a budget of 9 evaluations"
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
        "ana has `conv 5` drawn 4 times as often",
        "ana stops candidate 0002",
        "ana gives a budget of 30 evaluations",
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


def test_a_run_at_work_takes_it(home: Path, tmp_path: Path) -> None:
    """One process searches, this one pauses, proposes, steers and lets it go on."""
    (tmp_path / "tiny.azg").write_text(PROGRAM)
    (tmp_path / "mine.azg").write_text(PROPOSAL)
    run = tmp_path / "run"
    options = tiny(home / "corpus.txt", evaluations=400, final_seeds=())
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
